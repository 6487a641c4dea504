"""What we ask of a dashboard beyond Grafana's schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
VARIABLES = ("datasource", "job", "instance", "interface")
# Identifiers of Grafana's units; a typing mistake would be shown as a suffix.
UNITS = {"short", "none", "percentunit", "cpm", "pps", "s", "bytes"}
KINDS = {"timeseries", "stat", "state-timeline", "table", "heatmap"}
# Metrics of an inspector as a whole have no interface.
OF_AN_INTERFACE = {
    "epm_inspector_responses_total",
    "epm_inspector_mismatches_total",
    "epm_inspector_vip_responses_total",
    "epm_inspector_service_responses_total",
    "epm_inspector_follow_ups_total",
    "epm_inspector_answers_undelivered_total",
    "epm_inspector_connections_total",
    "epm_inspector_causes_total",
    "epm_inspector_packets_total",
    "epm_inspector_program_attached",
    "epm_inspector_attach_failures_total",
    "epm_inspector_attachments_lost_total",
    "epm_inspector_reattachments_total",
}
_SELECTOR = re.compile(r"\b((?:epm_inspector|process)_\w+|up|ALERTS)(\{[^}]*\})?")


def faults_of(dashboard: dict[str, Any]) -> list[str]:
    """Return everything that is wrong with a dashboard, in words."""
    return [
        *_faults_of_whole(dashboard),
        *_faults_of_variables(dashboard),
        *(fault for panel in dashboard["panels"] for fault in _faults_of_panel(panel)),
        *_faults_of_layout(dashboard["panels"]),
    ]


def _faults_of_whole(dashboard: dict[str, Any]) -> Iterator[str]:
    if not re.fullmatch(r"epm-inspector-[a-z]{1,26}", dashboard.get("uid", "")):
        yield "the identifier is not of our own, or longer than 40 characters"
    if "id" in dashboard:
        yield "an id belongs to one Grafana server"
    text = json.dumps(dashboard)
    for name in ("__inputs", "__requires", "__elements"):
        if name in text:
            yield f"{name}: made for import by hand, which provisioning does not fill in"
    for key in ("title", "description", "tags", "refresh", "time", "links"):
        if not dashboard.get(key):
            yield f"no {key}"
    if dashboard.get("editable") is not False:
        yield "provisioned dashboards cannot be saved: editable is false"
    numbers = [panel["id"] for panel in dashboard["panels"]]
    if len(set(numbers)) != len(numbers):
        yield "two panels have the same number"


def _faults_of_variables(dashboard: dict[str, Any]) -> Iterator[str]:
    variables = dashboard["templating"]["list"]
    names = tuple(variable["name"] for variable in variables)
    if names[: len(VARIABLES)] != VARIABLES:
        yield f"variables begin with {VARIABLES}, not {names}"
    for variable in variables:
        name = variable["name"]
        if not variable.get("label") or not variable.get("description"):
            yield f"variable {name}: no label or description"
        if variable["type"] == "datasource":
            continue
        if variable.get("datasource") != DATASOURCE:
            yield f"variable {name}: another data source than the chosen one"
        if not (variable.get("multi") and variable.get("includeAll") and variable.get("allValue") == ".*"):
            yield f"variable {name}: not for several values and all"
        if variable.get("refresh") != 2:
            yield f"variable {name}: not refreshed with the time range"
    used = set(re.findall(r"\$(\w+)", json.dumps([panel.get("targets") for panel in dashboard["panels"]])))
    for name in sorted(set(names) - used - {"datasource"}):
        yield f"variable {name}: no panel uses it"
    for name in sorted(used - set(names) - {"__range", "__range_s", "__rate_interval"}):
        yield f"there is no variable {name}"


def _faults_of_panel(panel: dict[str, Any]) -> Iterator[str]:
    name = f"panel {panel['id']} ({panel.get('title')})"
    if panel["type"] == "row":
        return
    if panel["type"] not in KINDS:
        yield f"{name}: of the unknown kind {panel['type']}"
    description = panel.get("description", "")
    if not panel.get("title") or not description.endswith(".") or len(description) < 30:
        yield f"{name}: no title, or no description in sentences"
    if panel["fieldConfig"]["defaults"].get("unit") not in UNITS:
        yield f"{name}: unit {panel['fieldConfig']['defaults'].get('unit')}"
    if panel.get("datasource") != DATASOURCE:
        yield f"{name}: another data source than the chosen one"
    targets = panel.get("targets") or []
    if not targets or [target["refId"] for target in targets] != [chr(65 + index) for index in range(len(targets))]:
        yield f"{name}: queries are named A, B, ..."
    for target in targets:
        yield from (f"{name}: {fault}" for fault in _faults_of_target(target, panel["type"]))


def _faults_of_target(target: dict[str, Any], kind: str) -> Iterator[str]:
    if target.get("datasource") != DATASOURCE:
        yield "a query to another data source than the chosen one"
    if kind in ("timeseries", "state-timeline", "heatmap") and not target.get("legendFormat"):
        yield "a query without a legend"
    if (kind in ("stat", "table")) != bool(target.get("instant")):
        yield "numbers and tables ask once, graphs over time"
    if re.search(r"\[\d+\w\]", target["expr"]):
        yield "a window of its own instead of $__rate_interval or $__range"
    for metric, selector in _SELECTOR.findall(re.sub(r"process_start_time_seconds <|\(up offset", "", target["expr"])):
        for variable in ("job", "instance", *(["interface"] if metric in OF_AN_INTERFACE else [])):
            if f'{variable}=~"${variable}"' not in selector:
                yield f"{metric} is not restricted to ${variable}"


def _faults_of_layout(panels: list[dict[str, Any]]) -> Iterator[str]:
    taken: dict[tuple[int, int], int] = {}
    for panel in panels:
        place = panel["gridPos"]
        if place["x"] + place["w"] > 24:
            yield f"panel {panel['id']}: wider than the dashboard"
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                if (x, y) in taken:
                    yield f"panel {panel['id']} lies over panel {taken[x, y]}"
                    return
                taken[x, y] = panel["id"]
