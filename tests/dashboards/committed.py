"""The generated files as they are committed, and the expressions in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[2]
DASHBOARDS = ROOT / "dashboards"
RULES = DASHBOARDS / "prometheus" / "epm-inspector.rules.yaml"
RULE_TESTS = sorted((DASHBOARDS / "prometheus" / "tests").glob("*.yaml"))
PROVISIONING = DASHBOARDS / "provisioning"
GRAFANA_ALERTS = PROVISIONING / "alerting" / "epm-inspector.yaml"
DASHBOARD_FILES = sorted((DASHBOARDS / "grafana").glob("*.json"))
RUNBOOK = ROOT / "docs" / "runbook.md"


class Expression(NamedTuple):
    """One expression, and where it stands."""

    where: str
    text: str


def load_dashboards() -> dict[str, dict[str, Any]]:
    """Return the dashboards by identifier."""
    return {file.stem: json.loads(file.read_text()) for file in DASHBOARD_FILES}


def load_rules() -> list[dict[str, Any]]:
    """Return the recording and alerting rules of Prometheus."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def load_alerts() -> list[dict[str, Any]]:
    """Return the alerting rules of Prometheus."""
    return [rule for rule in load_rules() if "alert" in rule]


def load_grafana_rules() -> list[dict[str, Any]]:
    """Return the alert rules that Grafana provisions."""
    return [rule for group in yaml.safe_load(GRAFANA_ALERTS.read_text())["groups"] for rule in group["rules"]]


def panels_of(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the panels of a dashboard without its rows."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def panel_expressions() -> Iterator[Expression]:
    """Yield the expressions of all panels, annotations and variables."""
    for uid, dashboard in load_dashboards().items():
        for panel in panels_of(dashboard):
            for target in panel["targets"]:
                yield Expression(f"{uid}, panel {panel['id']} ({panel['title']}) {target['refId']}", target["expr"])
        for annotation in dashboard["annotations"]["list"]:
            yield Expression(f"{uid}, annotation {annotation['name']}", annotation["expr"])


def variable_selectors() -> Iterator[Expression]:
    """Yield the selectors from which the dashboards' variables take their values."""
    for uid, dashboard in load_dashboards().items():
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
                assert found is not None, variable
                yield Expression(f"{uid}, variable {variable['name']}", found[1])


def rule_expressions() -> Iterator[Expression]:
    """Yield the expressions of all rules, in both forms."""
    for rule in load_rules():
        yield Expression(f"rule {rule.get('record') or rule['alert']}", rule["expr"])
    for rule in load_grafana_rules():
        yield Expression(f"Grafana's rule {rule['title']}", rule["data"][0]["model"]["expr"])
