"""Every scenario of the laboratory, played by the demonstration: its captures show what the table says, and no more."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from inspector.cli import main
from inspector.consequence import HARMFUL
from inspector.lab import leftovers, topology
from inspector.lab.scenarios.expected import complaints
from inspector.lab.scenarios.play import findings_of
from inspector.lab.scenarios.table import SCENARIOS
from tests.conftest import require_tools, unavailable
from tests.lab.conftest import why_no_nat64
from tests.lab.scenario import wait_for
from tests.lab.test_lifetime import left_of, services_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.lab

# Clients get through: an alarm in one of these is a false one.
HEALTHY = (
    "healthy",
    "balanced",
    "to-the-dip-open",
    "mapper-slow",
    "loss",
    "gateway-balances",
    "gateway-rewrites",
    "proxy",
)
# Longer than the laboratory waits for what it starts: what it says then is in the failure.
SECONDS = 90


@pytest.fixture(scope="module", autouse=True)
def parts(root: None) -> None:  # noqa: ARG001 - asked for what it requires, not for a value
    """Skip with the reason where a part of the scenarios is missing."""
    require_tools(["tcpdump", "rpcclient", "haproxy"])
    reason = why_no_nat64()
    if reason is not None:
        unavailable(reason)
    if importlib.util.find_spec("impacket") is None:
        unavailable("impacket is missing: pip install 'epm-inspector[lab]'")


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_shows_what_it_is_for(name: str, tmp_path: Path) -> None:
    """Every expected finding comes, and none that is not expected. A process plays it: one laboratory each."""
    command = [sys.executable, "-m", "inspector", "demo", "--scenario", name, "--captures", str(tmp_path)]
    environment = os.environ | {"COLUMNS": "200"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    captures = [tmp_path / f"{port}.pcap" for port in SCENARIOS[name].ports]
    assert all(capture.exists() for capture in captures), done.stderr
    findings = findings_of(SCENARIOS[name], captures)
    assert complaints(SCENARIOS[name].expected, findings) == [], done.stdout + done.stderr
    if name in HEALTHY:
        assert not {finding.get("outcome") for finding in findings} & HARMFUL
    assert done.returncode == 0, done.stdout
    assert "All of it came, and nothing else." in done.stdout


def test_all_scenarios_but_the_healthy_ones_expect_harm() -> None:
    """The table says of each scenario whether a client is hurt."""
    hurt = {name for name, one in SCENARIOS.items() if any(line.outcome in HARMFUL for line in one.expected)}
    assert hurt == SCENARIOS.keys() - HEALTHY


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_scenario_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    """Namespaces and processes go, stopped ones too; after SIGKILL the next laboratory removes the namespaces."""
    command = [sys.executable, "-m", "inspector", "demo", "--scenario", "mapper-mute", "--captures", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as demo:
        wait_for((tmp_path / f"{topology.SERVER_PORT}.pcap").exists, seconds=20)
        assert "samba-dcerpcd" in services_of(demo.pid)
        demo.send_signal(number)
        status = demo.wait(SECONDS)
    wait_for(lambda: not services_of(demo.pid), seconds=10)
    if number == signal.SIGKILL:
        leftovers.remove(demo.pid)
    assert status == (130 if number == signal.SIGTERM else -number)
    assert left_of(demo.pid) == []


def test_an_unknown_scenario_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    """Each name with its story, and an error of one line."""
    assert main(["demo", "--scenario", "nonsense"]) == 1
    printed = capsys.readouterr()
    assert [line.split()[0] for line in printed.out.splitlines()] == list(SCENARIOS)
    assert printed.err.splitlines() == ["epm-inspector: no scenario is called 'nonsense': take one of the names above"]
