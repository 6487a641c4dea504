"""The demonstration: the original case, live, on this machine, from the first packet to the metric."""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from inspector.config import DEFAULT_LISTEN, split_listen
from inspector.errors import LaboratoryError
from inspector.lab import topology
from inspector.lab.gateway import Laboratory
from inspector.lab.processes import stop
from inspector.lab.scrape import attached_interfaces, responses_by_verdict, scrape
from inspector.model import Verdict

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator
    from types import FrameType

EXPECTED: Final = {
    Verdict.MISMATCH: "a registered interface, asked of the virtual address and offered at the server's own",
    Verdict.NOT_REGISTERED: "an interface which the server does not have",
}
_PORTS: Final = (topology.CLIENT_PORT, topology.SERVER_PORT)
_ATTACH_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.1
_QUESTION_SECONDS: Final = 1.0
# What was asked last may still be on its way through the gateway and the ring.
_SETTLE_SECONDS: Final = 1.0

_WHO_IS_WHO: Final = f"""\
  client    {topology.CLIENT_ADDRESS:<10} impacket and rpcclient ask here, about once a second, where interfaces live
  gateway              the inspector is attached to its ports {topology.CLIENT_PORT} and {topology.SERVER_PORT}
  balancer  {topology.VIRTUAL_ADDRESS:<10} the virtual address (VIP) that is asked; rewrites IP headers, no payloads
  server    {topology.SERVER_ADDRESS:<10} Samba's endpoint mapper; every tower names this dedicated address (DIP)
To expect: mismatch for registered interfaces (asked {topology.VIRTUAL_ADDRESS}, offered {topology.SERVER_ADDRESS}),
not_registered for the others, no_address where only named pipes are offered."""


def run(seconds: float | None = None, listen: str | None = None) -> int:
    """Run the demonstration for so many seconds (None: until Ctrl-C); `listen` is where the metrics go (host:port).

    Returns 0 when the expected verdicts came, else 1. Raises LaboratoryError when it cannot be shown here.
    """
    address = listen or free_address(DEFAULT_LISTEN)
    say("Building the laboratory: network namespaces, and a real endpoint mapper behind a virtual address ...")
    with termination_as_interrupt(), Laboratory() as laboratory:
        say(_WHO_IS_WHO)
        say(f"Metrics, while this runs: http://{address}/metrics\n")
        inspector = start_inspector(laboratory, address)
        try:
            totals = _watch(laboratory, inspector, address, seconds)
        finally:
            status = stop(inspector)
        say("\nRemoving the laboratory.")
    return _conclude(totals, status, address)


def _watch(
    laboratory: Laboratory, inspector: subprocess.Popen[str], address: str, seconds: float | None
) -> Counter[str]:
    """Let the clients ask for that long, or until Ctrl-C; return the scraped number of responses by verdict."""
    wait_until_attached(inspector, address)
    log = laboratory.folder / "clients.log"
    with log.open("w") as output:
        clients = start_clients(laboratory, output.fileno())
    deadline = None if seconds is None else time.monotonic() + seconds
    with contextlib.suppress(KeyboardInterrupt):
        while deadline is None or time.monotonic() < deadline:
            if inspector.poll() is not None:
                raise LaboratoryError(f"the inspector ended by itself, with status {inspector.returncode}")
            if clients.poll() is not None:
                raise LaboratoryError(f"the clients ended by themselves: {log.read_text().strip()[-500:]}")
            time.sleep(_POLL_SECONDS)
    stop(clients)
    time.sleep(_SETTLE_SECONDS)
    return responses_by_verdict(scrape(address))


def start_inspector(laboratory: Laboratory, address: str, *more: str, **settings: Any) -> subprocess.Popen[str]:
    """Start an inspector of both ports of the gateway with its metrics at `address`.

    `more` are options of `attach`, `settings` those of subprocess.Popen.
    """
    options = ["--netns", laboratory.names["gateway"], "--listen", address, *more]
    return laboratory.start(None, [sys.executable, "-m", "inspector", "attach", *options, *_PORTS], **settings)


def start_clients(laboratory: Laboratory, output: int) -> subprocess.Popen[str]:
    """Start the clients, which ask about once a second; their output goes to the descriptor `output`."""
    options = ["--server", topology.VIRTUAL_ADDRESS, "--settings", str(laboratory.client_settings)]
    command = [sys.executable, "-m", "inspector.lab.clients", *options, "--interval", str(_QUESTION_SECONDS)]
    return laboratory.start("client", command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)


def wait_until_attached(inspector: subprocess.Popen[str], address: str) -> None:
    """Return once the inspector is attached to both ports; raises LaboratoryError when that does not happen."""
    deadline = time.monotonic() + _ATTACH_SECONDS
    while inspector.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if attached_interfaces(scrape(address)) >= set(_PORTS):
                return
        time.sleep(_POLL_SECONDS)
    raise LaboratoryError(
        "the inspector was not attached in time" if inspector.poll() is None else "the inspector could not be attached"
    )


def _conclude(totals: Counter[str], status: int, address: str) -> int:
    missing = [f"{verdict} ({meaning})" for verdict, meaning in EXPECTED.items() if not totals[verdict]]
    counts = ", ".join(f"{count} {verdict}" for verdict, count in totals.most_common() if count) or "none"
    say(f"Responses by verdict, as scraped from http://{address}/metrics: {counts}.")
    if missing:
        say(f"Missing: {'; '.join(missing)}.")
    if status != 0:
        say(f"The inspector ended with status {status}.")
    if missing or status != 0:
        return 1
    say("The expected verdicts came.")
    return 0


def free_address(wanted: str) -> str:
    """Return the wanted address (host:port), or one with another port of the same host where that one is taken."""
    host, port = split_listen(wanted)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            probe.bind((host, 0))
            free: int = probe.getsockname()[1]
            say(f"Port {port} is taken: it is {free} this time.")
            return f"{host}:{free}"
    return wanted


@contextlib.contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end the demonstration as Ctrl-C does: everything is removed."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def say(text: str) -> None:
    """Print a line for the viewer."""
    print(text, flush=True)
