"""What is committed is what the generator writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dashboards.generator.files import Settings, files
from dashboards.generator.grafana_alerts import rule_uid
from dashboards.generator.pace import DAY, HOUR, MINUTE, Pace
from tests.dashboards.committed import DASHBOARDS, ROOT

HAND_WRITTEN = {"prometheus/tests"}
GENERATED = files(Settings())


@pytest.mark.parametrize("path", sorted(GENERATED))
def test_committed_files_are_what_the_generator_writes(path: str) -> None:
    """After a change of the description: `make dashboards`, and review the difference."""
    assert (DASHBOARDS / path).read_text(encoding="utf-8") == GENERATED[path], "run `make dashboards`"


def test_nothing_else_is_committed() -> None:
    """A file that is no longer generated does not stay behind."""
    found = {
        str(path.relative_to(DASHBOARDS))
        for path in DASHBOARDS.rglob("*")
        if path.suffix in (".json", ".yaml") and str(path.parent.relative_to(DASHBOARDS)) not in HAND_WRITTEN
    }
    assert found == set(GENERATED)


def test_an_installation_has_settings_of_its_own(tmp_path: Path) -> None:
    """The command line writes elsewhere, with another runbook, data source and folder."""
    settings = {
        "--output": str(tmp_path),
        "--runbook": "https://wiki.example/epm",
        "--prometheus-url": "http://prometheus.example:9090",
        "--datasource-uid": "mimir",
        "--scrape-interval": "30s",
        "--dashboard-folder": "/srv/dashboards",
    }
    arguments = [word for pair in settings.items() for word in pair]
    subprocess.run([sys.executable, "-m", "dashboards.generator", *arguments], cwd=ROOT, check=True)
    written = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert written.keys() == GENERATED.keys()
    assert not any("epm-inspector.example" in text for text in written.values())
    assert "https://wiki.example/epm#epminspectordown" in written["prometheus/epm-inspector.rules.yaml"]
    (source,) = yaml.safe_load(written["provisioning/datasources/epm-inspector.yaml"])["datasources"]
    assert (source["url"], source["uid"]) == ("http://prometheus.example:9090", "mimir")
    assert source["jsonData"]["timeInterval"] == "30s"
    assert "path: /srv/dashboards" in written["provisioning/dashboards/epm-inspector.yaml"]
    alerting = yaml.safe_load(written["provisioning/alerting/epm-inspector.yaml"])
    uids = {rule["data"][0]["datasourceUid"] for group in alerting["groups"] for rule in group["rules"]}
    assert uids == {"mimir"}


@pytest.mark.parametrize(
    ("faster", "span", "text"),
    [
        (1, 10 * MINUTE, "10m"),
        (1, DAY, "1d"),
        (1, 90 * MINUTE, "90m"),
        (1, 30, "30s"),
        (20, 10 * MINUTE, "30s"),
        (20, HOUR, "3m"),
        (60, 30, "1s"),
    ],
)
def test_spans_of_time(faster: int, span: int, text: str) -> None:
    """As PromQL writes them, in the largest unit that fits, and never 0."""
    assert Pace(faster).text(span) == text


def test_identifiers_of_rules() -> None:
    """Words in lower case, with hyphens between."""
    assert rule_uid("EpmInspectorNewMismatchingVip") == "epm-inspector-new-mismatching-vip"


def test_the_package_installs_without_the_generator() -> None:
    """Nothing that runs on a gateway imports the generator, or the development kit of Grafana."""
    for file in (ROOT / "inspector").rglob("*.py"):
        text = file.read_text()
        assert "import dashboards" not in text, file
        assert "from dashboards" not in text, file
        assert "grafana_foundation_sdk" not in text, file
