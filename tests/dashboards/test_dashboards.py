"""Dashboards: valid by the schema of Grafana's development kit, and by our own lint; both can find something."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from dashboards.generator.hurt import OUTCOME_COLOURS
from dashboards.generator.overview import VERDICT_COLOURS
from inspector.consequence import Outcome
from inspector.model import Verdict
from tests.dashboards.committed import PROVISIONING, load_dashboards, panels_of
from tests.dashboards.lint import faults_of
from tests.dashboards.sdk_schema import faults_of_dashboard

DASHBOARDS = load_dashboards()
OVERVIEW, HEALTH = "epm-inspector-overview", "epm-inspector-health"
Change = Callable[[dict[str, Any]], object]


def panel(dashboard: dict[str, Any], number: int) -> dict[str, Any]:
    """Return a panel by its number."""
    found: dict[str, Any]
    (found,) = [panel for panel in dashboard["panels"] if panel["id"] == number]
    return found


def test_there_are_two() -> None:
    """What is seen, and those who see it."""
    assert set(DASHBOARDS) == {OVERVIEW, HEALTH}
    assert all(dashboard["uid"] == name for name, dashboard in DASHBOARDS.items())


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_valid_by_the_schema(uid: str) -> None:
    """Every key is declared, every value of its type, every kind of panel and query known."""
    assert faults_of_dashboard(DASHBOARDS[uid]) == []


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_valid_by_our_lint(uid: str) -> None:
    """Chosen data source, variables, units, descriptions, stable identifiers, nothing left to fill in."""
    assert faults_of(DASHBOARDS[uid]) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda dashboard: dashboard.update(colour="red"),
        lambda dashboard: dashboard.update(title=7),
        lambda dashboard: dashboard.update(graphTooltip=9),
        lambda dashboard: dashboard.pop("schemaVersion"),
        lambda dashboard: dashboard.update(tags="epm-inspector"),
        lambda dashboard: panel(dashboard, 12).update(titel="x"),
        lambda dashboard: panel(dashboard, 12)["gridPos"].update(w="12"),
        lambda dashboard: panel(dashboard, 12)["options"]["legend"].update(displayMode="tabel"),
        lambda dashboard: panel(dashboard, 12)["options"].update(legends={}),
        lambda dashboard: panel(dashboard, 12)["fieldConfig"]["defaults"]["custom"].update(showPoints="seldom"),
        lambda dashboard: panel(dashboard, 11)["fieldConfig"]["defaults"]["thresholds"].update(mode="percent"),
        lambda dashboard: panel(dashboard, 12)["targets"][0].update(expression="up"),
        lambda dashboard: panel(dashboard, 12)["datasource"].update(type="influx"),
        lambda dashboard: panel(dashboard, 12)["links"][0].update(type="href"),
        lambda dashboard: panel(dashboard, 13)["transformations"][0].update(ids="merge"),
        lambda dashboard: dashboard["templating"]["list"][1].update(refresh=4),
        lambda dashboard: dashboard["annotations"]["list"][0].update(enable="yes"),
    ],
)
def test_the_schema_finds_mistakes(change: Change) -> None:
    """Keys that do not exist, values of other types, words that are none, at every depth."""
    dashboard = copy.deepcopy(DASHBOARDS[OVERVIEW])
    change(dashboard)
    assert len(faults_of_dashboard(dashboard)) > 0


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda dashboard: dashboard.update(uid="x"), "identifier"),
        (lambda dashboard: dashboard.update(id=4), "one Grafana server"),
        (lambda dashboard: dashboard.update(__inputs=[]), "__inputs"),
        (lambda dashboard: dashboard.update(editable=True), "editable"),
        (lambda dashboard: dashboard["templating"]["list"].pop(0), "variables begin with"),
        (lambda dashboard: dashboard["templating"]["list"][2].update(multi=False), "several values"),
        (lambda dashboard: panel(dashboard, 12).update(description=""), "no description"),
        (lambda dashboard: panel(dashboard, 12)["fieldConfig"]["defaults"].pop("unit"), "unit None"),
        (lambda dashboard: panel(dashboard, 12).update(datasource={"type": "prometheus", "uid": "abc"}), "data source"),
        (lambda dashboard: panel(dashboard, 12)["targets"][0].update(datasource=None), "data source"),
        (lambda dashboard: panel(dashboard, 12)["targets"][0].update(legendFormat=""), "legend"),
        (lambda dashboard: panel(dashboard, 12)["targets"][0].update(expr="rate(up[5m])"), "window of its own"),
        (
            lambda dashboard: panel(dashboard, 12)["targets"][0].update(expr='up{job=~"$job"}'),
            "not restricted",
        ),
        (lambda dashboard: panel(dashboard, 12)["targets"][0].update(expr="up * $factor"), "no variable factor"),
        (lambda dashboard: panel(dashboard, 12)["gridPos"].update(x=0), "lies over"),
        (lambda dashboard: panel(dashboard, 12)["gridPos"].update(w=13), "wider"),
        (lambda dashboard: panel(dashboard, 12).update(id=11), "same number"),
    ],
)
def test_the_lint_finds_mistakes(change: Change, fault: str) -> None:
    """Each of its rules."""
    dashboard = copy.deepcopy(DASHBOARDS[OVERVIEW])
    change(dashboard)
    assert any(fault in found for found in faults_of(dashboard)), faults_of(dashboard)


def test_every_verdict_has_its_colour() -> None:
    """A verdict that is added later is not forgotten."""
    assert set(VERDICT_COLOURS) == set(Verdict)
    overrides = panel(DASHBOARDS[OVERVIEW], 20)["fieldConfig"]["overrides"]
    assert {override["matcher"]["options"] for override in overrides} == {str(verdict) for verdict in Verdict}


def test_every_outcome_has_its_colour() -> None:
    """An outcome that is added later is not forgotten."""
    assert set(OUTCOME_COLOURS) == set(Outcome)
    overrides = panel(DASHBOARDS[OVERVIEW], 56)["fieldConfig"]["overrides"]
    assert {override["matcher"]["options"] for override in overrides} == {str(outcome) for outcome in Outcome}


def test_the_overview_begins_with_who_is_hurt() -> None:
    """Before everything else, and red; a mismatch by itself is red nowhere."""
    first, *others = DASHBOARDS[OVERVIEW]["panels"]
    assert (first["type"], first["title"]) == ("row", "Who is hurt, where, since when, why")
    end = next(number for number, one in enumerate(others) if one["type"] == "row")
    text = str([target["expr"] for one in others[:end] for target in one["targets"]])
    for needle in (
        "epm_inspector_causes_total",
        "epm_inspector_follow_ups_total",
        "epm_inspector_answers_undelivered_total",
        "epm_inspector_connections_total",
        "sum by (cause)",
        "sum by (instance, vip, service, outcome)",
    ):
        assert needle in text, needle
    assert "red" in str(panel(DASHBOARDS[OVERVIEW], 54)["fieldConfig"])
    for number in (2, 3, 10, 11):
        assert "red" not in str(panel(DASHBOARDS[OVERVIEW], number)["fieldConfig"]), number


def test_tables_have_the_worst_first() -> None:
    """By the first value, also where it is the only one."""
    for number, name in ((13, "Mismatches"), (59, "Follow-ups"), (60, "Clients hurt")):
        [order] = panel(DASHBOARDS[OVERVIEW], number)["options"]["sortBy"]
        assert order == {"displayName": name, "desc": True}


def test_what_the_overview_shows() -> None:
    """Mismatches by VIP and service, all verdicts, latency, each kind of failure, and what could not be read."""
    text = str([target["expr"] for one in panels_of(DASHBOARDS[OVERVIEW]) for target in one["targets"]])
    for needle in (
        "sum by (instance, vip, service) (rate(epm_inspector_mismatches_total",
        "epm_inspector_service_responses_total",
        "sum by (verdict) (rate(epm_inspector_responses_total",
        "histogram_quantile(0.99",
        'verdict=~"not_registered"',
        'verdict=~"rejected|fault"',
        'verdict=~"unanswered"',
        "epm_inspector_anomalies_total",
        "epm_inspector_connect_latency_seconds_bucket",
    ):
        assert needle in text, needle


def test_what_the_health_dashboard_shows() -> None:
    """Attached and how, configuration, loss, fill, age, processor and memory."""
    text = str([target["expr"] for one in panels_of(DASHBOARDS[HEALTH]) for target in one["targets"]])
    for needle in (
        "hook, mode) (epm_inspector_program_attached",
        "epm_inspector_config_last_reload_successful",
        "epm_inspector_ring_lost_total",
        "epm_inspector_ring_used_bytes",
        "epm_inspector_record_age_seconds_bucket",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
    ):
        assert needle in text, needle


def test_provisioning_files() -> None:
    """A data source of a known identifier, and a provider of the folder with the dashboards."""
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "epm-inspector.yaml").read_text())["datasources"]
    assert (source["type"], source["uid"], source["access"]) == ("prometheus", "prometheus", "proxy")
    assert source["jsonData"]["timeInterval"] == "15s"
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "epm-inspector.yaml").read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["folder"] == "epm-inspector"
    assert provider["options"]["path"].startswith("/")
