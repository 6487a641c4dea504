"""A real Prometheus scrapes a real inspector: every expression has data, and the alert comes and goes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboards.generator.alerting import Alert
from dashboards.generator.alerts import alerts
from dashboards.generator.pace import Pace
from dashboards.generator.recordings import expanded, recorded
from dashboards.stack.api import ask, is_ready, query
from dashboards.stack.story import PACE
from inspector.lab import leftovers
from tests.conftest import require_tools
from tests.dashboards.committed import ROOT, load_dashboards, load_grafana_rules, load_rules, panels_of

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("root", "bpf")]

PATIENCE_SECONDS = 150.0
RAISED, ENDED = "Alertmanager has it:", "Alertmanager has it no more"
# What Grafana puts in the place of its variables.
GRAFANA = {"$__rate_interval": "15s", "$__range_s": "300", "$__range": "5m"}
EVERYTHING = dict.fromkeys(("$job", "$instance", "$interface", "$vip"), ".*")


class Stack:
    """The demonstration as a child, and what it has said so far."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "dashboards.stack", "--declare-after", "15"]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.output = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line

    def wait_for(self, words: str) -> None:
        """Return once it has said that; fails the test when it does not in time."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while words not in self.output:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.1)

    def address(self, name: str) -> str:
        """Return where a server listens, host:port."""
        found = re.search(rf"^{name} +http://([\d.:]+)", self.output, re.MULTILINE)
        assert found is not None, self.output
        return found[1]

    def end(self) -> int:
        """End it as Ctrl-C does; return its status."""
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(60)
        self.wait_for_end()
        return status

    def wait_for_end(self) -> None:
        """Return once everything was read that it has said."""
        self._reader.join(60)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Run the demonstration for all tests of this file, from the moment on when the alert is in Alertmanager."""
    require_tools(["prometheus", "promtool", "rpcclient", "nft"])
    running = Stack()
    try:
        running.wait_for(RAISED)
        yield running
    finally:
        running.process.kill()
        running.process.wait()
        leftovers.remove(running.process.pid)


def values(expression: str, variables: dict[str, str]) -> str:
    """Return an expression as Grafana sends it."""
    for name, value in (GRAFANA | variables).items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


def chosen(stack: Stack) -> dict[str, str]:
    """Return the variables with one value each, as Grafana writes it: for a regular expression in a text."""
    instance = re.escape(stack.address("Inspector")).replace("\\", "\\\\")
    return {
        "$job": "epm-inspector",
        "$instance": instance,
        "$interface": "(clients0|servers0)",
        "$vip": "10\\\\.11\\\\.2\\\\.2",
    }


def ask_over_time(prometheus: str, expression: str) -> list[dict[str, Any]]:
    """Return the series of the last half minute, as a graph asks for them."""
    now = time.time()
    parameters = {"query": expression, "start": str(now - 30), "end": str(now), "step": "5s"}
    result: list[dict[str, Any]] = ask(prometheus, "/api/v1/query_range", **parameters)["data"]["result"]
    return result


TARGETS = [
    pytest.param(panel, target, id=f"{uid}-{panel['id']}{target['refId']}")
    for uid, dashboard in load_dashboards().items()
    for panel in panels_of(dashboard)
    for target in panel["targets"]
]


@pytest.mark.parametrize("choice", ["everything", "chosen"])
@pytest.mark.parametrize(("panel", "target"), TARGETS)
def test_every_panel_has_data(stack: Stack, panel: dict[str, Any], target: dict[str, Any], choice: str) -> None:
    """For all inspectors and for a chosen one; each series has the labels which its name in the legend needs."""
    expression = values(target["expr"], EVERYTHING if choice == "everything" else chosen(stack))
    ask_for = query if target.get("instant") else ask_over_time
    series = ask_for(stack.address("Prometheus"), expression)
    assert series, expression
    columns = panel.get("transformations", [{}, {"options": {"renameByName": {}}}])[1]["options"]["renameByName"]
    labels = set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", ""))) | {
        name for name in columns if not name.startswith("Value")
    }
    for one in series:
        assert labels <= one["metric"].keys(), one
        numbers = [one["value"]] if "value" in one else one["values"]
        assert all(float(number) >= 0 for _, number in numbers), one


def test_the_panels_show_what_happens(stack: Stack) -> None:
    """The mismatch is on the overview: how often, of how many, for which VIP and service."""
    panels = {panel["id"]: panel for panel in panels_of(load_dashboards()["epm-inspector-overview"])}

    def shown(number: int) -> list[dict[str, Any]]:
        expression = values(panels[number]["targets"][0]["expr"], EVERYTHING)
        return query(stack.address("Prometheus"), expression)

    assert float(shown(1)[0]["value"][1]) >= 1
    assert float(shown(2)[0]["value"][1]) >= 5
    assert 0 < float(shown(3)[0]["value"][1]) < 1
    assert float(shown(6)[0]["value"][1]) == 2
    by_service = {(one["metric"]["vip"], one["metric"]["service"]): float(one["value"][1]) for one in shown(13)}
    assert by_service["10.11.2.2", "SAMR"] >= 5
    assert by_service["10.11.2.2", "MAPI"] == 0


@pytest.mark.parametrize("uid", load_dashboards())
def test_every_variable_has_values(stack: Stack, uid: str) -> None:
    """What is chosen from: the job, the inspector, its interfaces, the VIPs."""
    expected = {
        "job": {"epm-inspector"},
        "instance": {stack.address("Inspector")},
        "interface": {"clients0", "servers0"},
        "vip": {"10.11.2.2", "other"},
    }
    for variable in load_dashboards()[uid]["templating"]["list"][1:]:
        selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"]).groups()  # type: ignore[union-attr]
        parameters = {"match[]": values(selector, EVERYTHING)}
        found = set(ask(stack.address("Prometheus"), f"/api/v1/label/{label}/values", **parameters)["data"])
        assert found, variable["name"]
        assert found <= expected[variable["name"]]


def quantities(alert: Alert) -> Iterator[str]:
    """Yield what an alert judges, and what its conditions do, each without what it is compared with."""
    for comparison in (alert.judged, *(condition.comparison for condition in alert.conditions)):
        # What was an hour ago cannot be had from a demonstration of minutes; the metric is the same.
        yield re.sub(r"(max_over_time\(.*\]) offset \w+", r"\1", comparison.quantity)


@pytest.mark.parametrize("form", ["Prometheus", "Grafana"])
@pytest.mark.parametrize("number", range(len(alerts(PACE, recorded(PACE)))))
def test_every_alert_has_data_to_judge(stack: Stack, form: str, number: int) -> None:
    """In both forms: by the recordings at the pace of the demonstration, by whole expressions at that of production."""
    alert = alerts(PACE, recorded(PACE))[number] if form == "Prometheus" else alerts(Pace(), expanded(Pace()))[number]
    for quantity in quantities(alert):
        series = query(stack.address("Prometheus"), quantity)
        if quantity.startswith("absent("):
            assert series == [], "an inspector is there"
        else:
            assert series, quantity
            assert all(one["metric"].get("instance") for one in series), series


@pytest.mark.parametrize("rule", load_grafana_rules(), ids=lambda rule: rule["title"])
def test_grafanas_queries_are_understood(stack: Stack, rule: dict[str, Any]) -> None:
    """As they are committed, conditions included; those about mismatches have something to say."""
    series = query(stack.address("Prometheus"), rule["data"][0]["model"]["expr"])
    if "Mismatch" in rule["title"]:
        assert {one["metric"]["vip"] for one in series} == {"10.11.2.2"}


def test_every_rule_is_healthy(stack: Stack) -> None:
    """Prometheus evaluates all of them without an error."""
    groups = ask(stack.address("Prometheus"), "/api/v1/rules")["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == len(load_rules())
    assert {(rule["name"], rule["health"], rule.get("lastError")) for rule in rules} == {
        (rule["name"], "ok", None) for rule in rules
    }


def test_alertmanager_has_the_mismatch(stack: Stack) -> None:
    """With labels to route by, and words that name VIP, service and inspector."""
    found = ask(stack.address("Alertmanager"), "/api/v2/alerts", filter='alertname="EpmInspectorMismatches"')
    (alert,) = [alert for alert in found if alert["labels"]["service"] == "SAMR"]
    inspector = stack.address("Inspector")
    assert alert["status"]["state"] == "active"
    assert alert["labels"] == {
        "alertname": "EpmInspectorMismatches",
        "severity": "info",
        "job": "epm-inspector",
        "instance": inspector,
        "vip": "10.11.2.2",
        "service": "SAMR",
    }
    assert alert["annotations"]["summary"] == (
        f"10.11.2.2 answers with the address of another server: SAMR (seen by {inspector})"
    )
    assert alert["annotations"]["runbook_url"].endswith("/docs/runbook.md#epminspectormismatches")


def test_a_vip_that_is_new_is_announced(stack: Stack) -> None:
    """Nobody declared it: its series was born with the first mismatch, and the alert has seen that."""
    found = ask(stack.address("Alertmanager"), "/api/v2/alerts", filter='alertname="EpmInspectorNewMismatchingVip"')
    assert [alert["labels"]["vip"] for alert in found] == ["10.11.2.2"]


def test_the_alert_ends_when_the_pool_is_declared(stack: Stack) -> None:
    """The configuration is read again on SIGHUP; the same answers are `pooled` from then on."""
    stack.wait_for(ENDED)
    expression = 'sum by (verdict) (increase(epm_inspector_responses_total{verdict=~"mismatch|pooled"}[10s]))'
    series = query(stack.address("Prometheus"), expression)
    increases = {one["metric"]["verdict"]: float(one["value"][1]) for one in series}
    assert increases["mismatch"] == 0
    assert increases["pooled"] > 0


def test_nothing_is_left_behind(stack: Stack) -> None:
    """Ctrl-C ends everything: status 0, for what was to be seen was seen."""
    owner = stack.process.pid
    assert stack.end() == 0, stack.output
    names = leftovers.namespace_names(owner).values()
    assert not any((leftovers.STATE.parent / "netns" / name).exists() for name in names)
    assert not (leftovers.STATE / f"lab-{owner}").exists()
    for name in ("Prometheus", "Alertmanager", "Inspector"):
        assert not is_ready(stack.address(name), "/metrics")


@pytest.fixture
def another() -> Iterator[Stack]:
    """Run a demonstration that will be disturbed, from the moment on when everything runs."""
    running = Stack()
    try:
        running.wait_for("Waiting for the alert")
        yield running
    finally:
        running.process.kill()
        running.process.wait()
        leftovers.remove(running.process.pid)


def test_a_server_that_dies_ends_the_demonstration(another: Stack) -> None:
    """One line says which, and the rest is removed."""
    settings = f"--config.file={leftovers.STATE}/lab-{another.process.pid}/prometheus.yaml".encode()
    (prometheus,) = [file.parent.name for file in Path("/proc").glob("[0-9]*/cmdline") if settings in read(file)]
    address = another.address("Prometheus")
    os.kill(int(prometheus), signal.SIGKILL)
    assert another.process.wait(60) == 1
    another.wait_for_end()
    assert f"demo-stack: http://{address}/api/v1/alerts is not answered any more" in another.output
    assert "Traceback" not in another.output
    assert not (leftovers.STATE / f"lab-{another.process.pid}").exists()


def test_kill_9_leaves_no_server(another: Stack) -> None:
    """All of them end with the demonstration, also when it cannot say so."""
    addresses = [another.address(name) for name in ("Prometheus", "Alertmanager", "Inspector")]
    assert all(is_ready(address, "/metrics") for address in addresses)
    another.process.kill()
    deadline = time.monotonic() + 10
    while any(is_ready(address, "/metrics") for address in addresses):
        assert time.monotonic() < deadline, "a server has outlived its owner"
        time.sleep(0.1)


def read(file: Path) -> bytes:
    """Return what is in a file of /proc, nothing when its process has gone."""
    try:
        return file.read_bytes()
    except OSError:
        return b""
