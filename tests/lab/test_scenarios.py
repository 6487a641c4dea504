"""Every scenario, played by the demonstration: recordings and `attach` show what the table says, and no more."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from inspector.cli import main
from inspector.consequence import HARMFUL
from inspector.lab import leftovers, topology
from inspector.lab.scenarios.expected import complaints
from inspector.lab.scenarios.play import WRITTEN, findings_of, live_findings
from inspector.lab.scenarios.table import SCENARIOS
from tests.conftest import require_tools, unavailable
from tests.lab.conftest import why_no_nat64
from tests.lab.scenario import wait_for
from tests.lab.test_lifetime import left_of, services_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
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
SECONDS = 240
# Each in a laboratory of its own, which mostly waits.
SIDE_BY_SIDE = 4


@pytest.fixture(scope="module", autouse=True)
def parts(root: None, bpf: None) -> None:  # noqa: ARG001 - asked for what they require, not for values
    """Skip with the reason where a part of the scenarios is missing."""
    require_tools(["tcpdump", "rpcclient", "haproxy"])
    reason = why_no_nat64()
    if reason is not None:
        unavailable(reason)
    if importlib.util.find_spec("impacket") is None:
        unavailable("impacket is missing: pip install 'epm-inspector[lab]'")


class Shown(NamedTuple):
    """A demonstration that has ended: its files, and what it said."""

    folder: Path
    status: int
    words: str


def show(name: str, folder: Path) -> Shown:
    """Let a process play a scenario: one laboratory each."""
    command = [sys.executable, "-m", "inspector", "demo", "--scenario", name, "--captures", str(folder)]
    environment = os.environ | {"COLUMNS": "200"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    return Shown(folder, done.returncode, done.stdout + done.stderr)


@pytest.fixture(scope="module")
def shown(
    request: pytest.FixtureRequest,
    parts: None,  # noqa: ARG001 - asked for what it requires, not for a value
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Future[Shown]]]:
    """Begin to play the scenarios of all tests that will run, several side by side."""
    wanted = [item.callspec.params.get("name") for item in request.session.items if hasattr(item, "callspec")]
    names = [name for name in SCENARIOS if name in wanted]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        yield {name: pool.submit(show, name, tmp_path_factory.mktemp(name)) for name in names}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_shows_what_it_is_for(name: str, shown: dict[str, Future[Shown]]) -> None:
    """Every expected finding comes, of the recordings and of `attach` itself, and none that is not expected.

    What `attach` has written says what `attach` has said, of each connection.
    """
    scenario = SCENARIOS[name]
    folder, status, words = shown[name].result()
    captures = [folder / f"{port}.pcap" for port in scenario.ports]
    assert all(capture.exists() for capture in captures), words
    findings, live = findings_of(scenario, captures), live_findings(folder)
    assert complaints(scenario.expected, findings) == [], words
    assert complaints(scenario.expected_live, live) == [], words
    if name in HEALTHY:
        assert not {finding.get("outcome") for finding in (*findings, *live)} & HARMFUL
    if name != "proxy":
        # At the end of a file it is known that both connections are one question.
        assert outcomes(live) <= outcomes(findings_of(scenario, [folder / WRITTEN])), words
    assert status == 0, words
    assert "All of it came, and nothing else." in words


def outcomes(findings: Iterable[dict[str, Any]]) -> set[tuple[str | None, ...]]:
    """Return outcome and cause of each connection that has any."""
    keys = ("client", "client_port", "asked", "server_port", "outcome", "target", "cause")
    return {tuple(str(one.get(key)) for key in keys) for one in findings if one.get("outcome") or one.get("cause")}


def test_all_scenarios_but_the_healthy_ones_expect_harm() -> None:
    """The table says of each scenario whether a client is hurt."""
    hurt = {name for name, one in SCENARIOS.items() if any(line.outcome in HARMFUL for line in one.expected)}
    assert hurt == SCENARIOS.keys() - HEALTHY


def test_where_attach_says_something_else_there_is_a_reason() -> None:
    """And the healthy scenarios are harmless for both."""
    for name, scenario in SCENARIOS.items():
        assert bool(scenario.live) == bool(scenario.live_differs), name
        assert scenario.is_harmless == (name in HEALTHY)
        assert any(one.outcome in HARMFUL for one in scenario.expected_live) != scenario.is_harmless


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
