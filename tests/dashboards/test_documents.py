"""The pages for operators: what they say to copy is accepted by the programs that it is for."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from inspector.config import load_config
from tests.conftest import require_tools
from tests.dashboards.committed import DASHBOARDS, ROOT, RUNBOOK

PAGE = ROOT / "docs" / "grafana.md"


def blocks(page: Path, language: str) -> list[str]:
    """Return the blocks of a page in a language, without the indentation of a list."""
    found = re.findall(rf"^( *)```{language}\n(.*?)\n *```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return ["\n".join(line.removeprefix(margin) for line in text.splitlines()) + "\n" for margin, text in found]


def check(*command: str | Path) -> None:
    """Run a program that checks a file; fails the test with its words."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_understands_its_settings(tmp_path: Path) -> None:
    """Scraping, remote write and federation."""
    require_tools(["promtool"])
    texts = [text for text in blocks(PAGE, "yaml") if re.search(r"^(scrape_configs|remote_write):", text, re.MULTILINE)]
    assert len(texts) == 3
    for number, text in enumerate(texts):
        file = tmp_path / f"{number}.yaml"
        file.write_text(text)
        check("promtool", "check", "config", file)


def test_alertmanager_understands_its_settings(tmp_path: Path) -> None:
    """Grouping, where information goes, and which alerts keep others quiet."""
    require_tools(["amtool"])
    (text,) = [text for text in blocks(PAGE, "yaml") if text.startswith("route:")]
    file = tmp_path / "alertmanager.yaml"
    file.write_text(text)
    check("amtool", "check-config", file)


@pytest.mark.parametrize("page", [PAGE, RUNBOOK], ids=lambda page: page.stem)
def test_the_inspector_understands_its_settings(page: Path, tmp_path: Path) -> None:
    """Where to listen, and a virtual address with its pool."""
    texts = blocks(page, "toml")
    assert texts
    for text in texts:
        file = tmp_path / "inspector.toml"
        file.write_text(text)
        load_config(file)


@pytest.mark.parametrize("page", [PAGE, RUNBOOK], ids=lambda page: page.stem)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    """Other pages, sections of this one, and files in dashboards/."""
    text = page.read_text()
    for path, anchor in re.findall(r"\]\(([\w./]*)(?:#(\w+))?\)", text):
        target = page.parent / path if path else page
        assert target.exists(), path
        headings = {heading.lower() for heading in re.findall(r"^## (\w+)$", target.read_text(), re.MULTILINE)}
        assert not anchor or anchor in headings, anchor
    for path in re.findall(r"`((?:grafana|prometheus|provisioning|generator|stack)/[\w./-]*)`", text):
        assert (DASHBOARDS / path).exists(), path
    for path in re.findall(r"(?<![\w/])dashboards/[\w./-]+\w", text):
        assert (ROOT / path).exists(), path
