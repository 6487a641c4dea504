"""The page of `read --report` in a real browser: it shows, loads nothing, fits, prints, and can be used by everyone."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from axe_core_python.selenium import Axe  # type: ignore[import-untyped]
from selenium.webdriver.common.by import By

from inspector.model import Verdict
from inspector.output.console import Tally
from inspector.output.report import report
from tests.system.test_browser import browser
from tests.unit.test_console import FINDING
from tests.unit.test_sums import hurt, sums_of

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path) -> str:
    """Write a page of many findings with long words, and return its address."""
    long = "/captures/" + "of-a-gateway-" * 12 + "2026.pcapng"
    findings = [replace(hurt(f"2001:db8::{number}"), why="refused " * 40, source=long) for number in range(40)]
    findings += [replace(FINDING, time_ns=FINDING.time_ns + number * 10**9) for number in range(100)]
    path.write_text(report(sums_of(*findings), Tally(verdicts={Verdict.MISMATCH: 100}), [long], ["a note"]))
    return path.as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [700, 1400])
def test_report(tmp_path: Path, scheme: str, width: int) -> None:
    """The browser complains of nothing, axe finds no fault, nothing is wider than the window, pictures are coloured."""
    options = (f"--blink-settings=preferredColorScheme={scheme == 'light':d}", f"--window-size={width},900")
    with browser(tmp_path / "profile", *options) as it:
        it.get(write(tmp_path / "r.html"))
        assert "40 clients were hurt" in it.find_element(By.TAG_NAME, "main").text
        assert it.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
        pictures = it.find_elements(By.CSS_SELECTOR, "svg[role=img]")
        assert len(pictures) == 2
        bar = pictures[0].find_element(By.CSS_SELECTOR, "rect.hurt")
        assert bar.value_of_css_property("fill") == {"light": "rgb(176, 0, 32)", "dark": "rgb(255, 138, 128)"}[scheme]
        assert it.get_log("browser") == []
        found = Axe().run(it)
        assert [(fault["id"], fault["nodes"][0]["html"]) for fault in found["violations"]] == []
        assert len(found["passes"]) > 15


def test_it_prints(tmp_path: Path) -> None:
    """On paper, in several pages."""
    with browser(tmp_path / "profile") as it:
        it.get(write(tmp_path / "r.html"))
        printed = base64.b64decode(it.print_page())
    assert printed.startswith(b"%PDF")
    assert printed.count(b"/Type /Page\n") > 1
