"""The page in a real browser, without a screen: it shows, loads nothing, refreshes, and can be used by everyone."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
from axe_core_python.selenium import Axe  # type: ignore[import-untyped]
from prometheus_client import CollectorRegistry
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from inspector.http.overview import Overview
from inspector.http.routes import Routes
from inspector.http.server import MetricsServer
from inspector.metrics.updates import Metrics
from tests.build.blocks import batch_of
from tests.build.state import STATE
from tests.conftest import require_tools
from tests.unit.test_console import FINDING, UNANSWERED
from tests.unit.test_follow_up_output import LATER
from tests.unit.test_page import Inspected

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PATIENCE_S = 60
NOW_NS = int(datetime.fromisoformat(STATE["time"][:19] + "+00:00").timestamp()) * 1_000_000_000


@contextmanager
def serving() -> Iterator[tuple[MetricsServer, Overview]]:
    """Serve the page of an inspection with some findings."""
    overview = Overview()
    overview.observe(batch_of(replace(FINDING, time_ns=NOW_NS, follow_up=replace(LATER, time_ns=NOW_NS))))
    overview.observe(batch_of(UNANSWERED))
    routes = Routes(Metrics(CollectorRegistry()), overview)
    routes.inspection = Inspected()
    with MetricsServer("127.0.0.1", 0, routes.table()) as server:
        yield server, overview


@contextmanager
def browser(folder: Path, *options: str) -> Iterator[Chrome]:
    """Run Chromium without a screen; in a container it cannot have a sandbox of its own, nor much shared memory."""
    require_tools(["chromium", "chromedriver"])
    wanted = ChromeOptions()
    wanted.binary_location = "/usr/bin/chromium"
    wanted.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for option in ("--headless", "--no-sandbox", "--disable-dev-shm-usage", f"--user-data-dir={folder}", *options):
        wanted.add_argument(option)
    driver = Chrome(wanted, Service("/usr/bin/chromedriver"))
    driver.set_page_load_timeout(_PATIENCE_S)
    try:
        yield driver
    finally:
        driver.quit()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page(tmp_path: Path, scheme: str) -> None:
    """It is styled, the browser complains of nothing, and axe finds no fault with it in light or dark colours."""
    with (
        serving() as (server, _),
        browser(tmp_path, f"--blink-settings=preferredColorScheme={scheme == 'light':d}") as it,
    ):
        it.get(server.url + "/")
        assert it.title == "1 failure in the last hour - epm-inspector"
        [offered] = [table for table in it.find_elements(By.TAG_NAME, "table") if "What was offered" in table.text]
        assert "10.11.2.2 MAPI 10.11.2.7 mismatch 1" in offered.text
        hour, servers = it.find_elements(By.CSS_SELECTOR, "svg[role=img]")
        assert "refused 1" in str(hour.get_attribute("aria-label"))
        assert "1 answer: refused 1" in servers.text
        # Of a picture whose style were refused every part would be black.
        bar = hour.find_element(By.CSS_SELECTOR, "rect.o-refused")
        assert bar.value_of_css_property("fill") == {"light": "rgb(179, 38, 30)", "dark": "rgb(255, 138, 128)"}[scheme]
        for picture in (hour, servers):
            size = picture.size
            assert size["height"] > 20
            assert size["width"] <= it.find_element(By.TAG_NAME, "body").size["width"]
        heading = offered.find_element(By.CSS_SELECTOR, "thead th")
        assert heading.value_of_css_property("border-bottom-width") == "2px"
        assert [entry for entry in it.get_log("browser") if "favicon" not in entry["message"]] == []
        found = Axe().run(it)
        assert [(fault["id"], fault["nodes"][0]["html"]) for fault in found["violations"]] == []
        assert len(found["passes"]) > 20


def test_refresh(tmp_path: Path) -> None:
    """The page which is to be refreshed shows a new finding by itself; its link leads to the one that stays."""
    with serving() as (server, overview), browser(tmp_path) as it:
        it.get(server.url + "/live")
        overview.observe(batch_of(FINDING))
        waiting = WebDriverWait(it, _PATIENCE_S)
        waiting.until(lambda page: "10.11.2.7 mismatch 2" in page.find_element(By.TAG_NAME, "main").text)
        it.find_element(By.LINK_TEXT, "stop refreshing").click()
        waiting.until(lambda page: page.current_url == server.url + "/")
