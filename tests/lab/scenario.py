"""One run of the whole thing: clients ask through the gateway, the inspector and tcpdump watch."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inspector.lab import topology
from inspector.lab.processes import stop
from inspector.lab.scrape import responses_by_verdict, scrape
from tests.build.account import let_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from prometheus_client import Metric

    from inspector.lab.gateway import Laboratory

ROOT = Path(__file__).parents[2]
PORTS = (topology.CLIENT_PORT, topology.SERVER_PORT)
PATIENCE_SECONDS = 180.0


@dataclass(frozen=True)
class Scenario:
    """What there is to look at when the inspector has ended."""

    output: str
    log: str
    status: int
    metrics: dict[str, Metric]
    answers: list[dict[str, Any]]
    written: Path
    appended: Path
    evidence: Path
    wires: dict[str, Path]

    @property
    def wire(self) -> Path:
        """What tcpdump recorded on the port toward the clients."""
        return self.wires[topology.CLIENT_PORT]

    @property
    def findings(self) -> list[dict[str, Any]]:
        """The findings, in the order in which they were printed."""
        return [json.loads(line) for line in self.output.splitlines()]


def play(
    laboratory: Laboratory,
    folder: Path,
    *,
    ports: Sequence[str] = PORTS,
    server: str = topology.VIRTUAL_ADDRESS,
    options: Sequence[str] = (),
    complete: Callable[[dict[str, Metric]], bool] = lambda _metrics: True,
) -> Scenario:
    """Attach, let the clients ask one round, scrape, end the inspector with SIGTERM; files go to `folder`.

    `options` are more options of `attach`; the scrape is repeated until it is `complete`, too. What answers led to is
    not followed: that differs between the moment and a file, and test_scenarios has it.
    """
    address = free_address()
    output, log, written = (folder / name for name in ("out.jsonl", "err.txt", "written.pcapng"))
    appended, evidence = folder / "appended.jsonl", folder / "evidence"
    wires = {port: folder / f"{port}.pcap" for port in PORTS}
    with contextlib.ExitStack() as stack:
        for port, wire in wires.items():
            stack.enter_context(recorded(laboratory, port, wire))
        options = ["--json", "--no-follow-up", "--listen", address, "--write", str(written), *options]
        options += ["--output", str(appended), "--evidence", str(evidence)]
        inspector = attach(laboratory, folder, *options, ports=ports)
        stack.callback(stop, inspector)
        wait_for(lambda: "metrics http" in log.read_text() or inspector.poll() is not None)
        answers = [json.loads(line) for line in ask(laboratory, "--lookup", server=server).splitlines()]
        wait_for(lambda: _everything_arrived(address, output) and complete(scrape(address)))
        metrics = scrape(address)
        inspector.terminate()
        status = inspector.wait(PATIENCE_SECONDS)
    return Scenario(output.read_text(), log.read_text(), status, metrics, answers, written, appended, evidence, wires)


def attach(laboratory: Laboratory, folder: Path, *options: str, ports: Sequence[str] = PORTS) -> subprocess.Popen[str]:
    """Start `epm-inspector attach` on ports of the gateway; output in out.jsonl, everything else in err.txt."""
    let_in(folder)
    command = [sys.executable, "-m", "inspector", "attach", "--netns", laboratory.names["gateway"], *ports, *options]
    with (folder / "out.jsonl").open("w") as out, (folder / "err.txt").open("w") as err:
        return laboratory.start(None, command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=ROOT)


def ask(laboratory: Laboratory, *options: str, server: str = topology.VIRTUAL_ADDRESS) -> str:
    """Let both clients ask one round of questions; return their answers, a JSON object a line."""
    command = [sys.executable, "-m", "inspector.lab.clients", "--server", server, "--rounds", "1"]
    return laboratory.run("client", [*command, "--settings", str(laboratory.client_settings), *options])


def read(capture: Path, *options: str) -> str:
    """Return what `epm-inspector read --json` prints of a capture file, without what answers led to."""
    command = [sys.executable, "-m", "inspector", "read", "--json", "--no-follow-up", capture.name, *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=capture.parent, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def programs(laboratory: Laboratory) -> dict[str, int]:
    """Return the identifier of the XDP program on each port of the gateway, 0 for none: the kernel's word for it."""
    with topology.links_of(laboratory.names["gateway"]) as links:
        return {port: _xdp_program(links.get_links(ifname=port)[0]) for port in PORTS}


def _xdp_program(link: Any) -> int:
    return int(link.get_nested("IFLA_XDP", "IFLA_XDP_PROG_ID") or 0)


def free_address() -> str:
    """Return 127.0.0.1 with a port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def wait_for(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Return when the condition holds; fails the test when it does not come to hold in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


@contextlib.contextmanager
def recorded(laboratory: Laboratory, port: str, wire: Path, expression: str = "") -> Iterator[None]:
    """Record what crosses a port of the gateway, both directions: what the filter expression says, or everything."""
    # Slots are as large as the snap length, and the default length leaves eight of them: too few for a burst.
    room = ["-s", "4096", "-B", "16384"]
    command = ["tcpdump", "-i", port, "-n", "--immediate-mode", "-U", "-w", str(wire), *room]
    # Root's tcpdump would give itself another user's rights, who may not write here.
    recorder = laboratory.start("gateway", [*command, "-Z", "root", expression], stderr=subprocess.PIPE)
    try:
        assert recorder.stderr is not None
        assert any("listening on" in line for line in recorder.stderr), "tcpdump did not start"
        yield
    finally:
        recorder.send_signal(signal.SIGINT)
        _, statistics = recorder.communicate(timeout=PATIENCE_SECONDS)
    assert "\n0 packets dropped by kernel" in statistics, "tcpdump missed packets: there is nothing to compare with"


def _everything_arrived(address: str, output: Path) -> bool:
    """Whether every finding printed is in the metrics, and a second brings no more."""
    before = output.read_text().count("\n")
    time.sleep(1.0)
    printed = output.read_text().count("\n")
    return printed == before > 0 and sum(responses_by_verdict(scrape(address)).values()) == printed
