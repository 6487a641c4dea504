"""The demonstration: the laboratory gateway, an inspector on its ports, and clients that ask."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from types import FrameType
from typing import Final

from inspector.errors import LaboratoryError
from inspector.lab import topology
from inspector.lab.gateway import Laboratory
from inspector.lab.processes import stop

DEFAULT_LISTEN: Final = "127.0.0.1:10135"
EXPECTED_VERDICTS: Final = ("mismatch", "not_registered")
_PORTS: Final = ("clients0", "servers0")
_PATIENCE_SECONDS: Final = 30.0
_STEP_SECONDS: Final = 0.2

_WHO_IS_WHO: Final = f"""\
The laboratory gateway, in network namespaces of its own:
  client     {topology.CLIENT_ADDRESS}, asks the endpoint mapper (impacket, then Samba's rpcclient)
  gateway    epm-inspector is attached to both of its ports
  balancer   the virtual address {topology.VIRTUAL_ADDRESS}, translated by nftables
  server     {topology.SERVER_ADDRESS}, Samba's endpoint mapper
The balancer rewrites the IP header; the answer still says {topology.SERVER_ADDRESS}: that is the mismatch.
"""


class _Interrupted:
    """Set by Ctrl-C and SIGTERM, so that everything is removed in good order."""

    def __init__(self) -> None:
        self.flag = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self.flag = True


@contextlib.contextmanager
def _signals() -> Iterator[_Interrupted]:
    interrupted = _Interrupted()
    before = {number: signal.signal(number, interrupted) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _free_address(wanted: str) -> str:
    """Return the wanted address if nobody listens there, else one with a free port, and say so."""
    host, _, port = wanted.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError:
            probe.bind((host, 0))
            port = str(probe.getsockname()[1])
            print(f"{wanted} is taken: metrics are on port {port}", flush=True)
    return f"{host}:{port}"


def _verdicts(address: str) -> dict[str, float]:
    """Return findings by verdict, as the metrics say; empty while the server is not there."""
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except (urllib.error.URLError, OSError):
        return {}
    counts: dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith("epm_inspector_responses_total{"):
            labels, _, value = line.rpartition(" ")
            verdict = labels.partition('verdict="')[2].partition('"')[0]
            counts[verdict] = counts.get(verdict, 0) + float(value)
    return counts


def _wait_until_attached(inspector: subprocess.Popen[str], address: str, interrupted: _Interrupted) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not interrupted.flag:
        if inspector.poll() is not None:
            raise LaboratoryError(f"the inspector ended with status {inspector.returncode} before it was attached")
        with contextlib.suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(f"http://{address}/healthz", timeout=5).close()
            return
        if time.monotonic() > deadline:
            raise LaboratoryError("the inspector did not attach in time")
        time.sleep(_STEP_SECONDS)


def _watch(laboratory: Laboratory, seconds: float | None, interrupted: _Interrupted) -> None:
    """Let clients ask about once a second until the time is over or somebody interrupts."""
    clients = laboratory.start(
        "client",
        [
            *(sys.executable, "-m", "inspector.lab.clients", "--server", topology.VIRTUAL_ADDRESS),
            *("--interval", "1", "--settings", str(laboratory.client_settings)),
        ],
        stdout=subprocess.DEVNULL,
    )
    deadline = None if seconds is None else time.monotonic() + seconds
    while not interrupted.flag and (deadline is None or time.monotonic() < deadline):
        if clients.poll() is not None:
            raise LaboratoryError(f"the clients ended with status {clients.returncode}")
        time.sleep(_STEP_SECONDS)
    clients.kill()


def run(seconds: float | None = None, listen: str | None = None) -> int:
    """Run the demonstration; returns 0 only if the expected verdicts came. Raises LaboratoryError.

    `seconds` is how long clients ask (None: until Ctrl-C); `listen` is where the metrics are served.
    """
    address = _free_address(listen or DEFAULT_LISTEN)
    with _signals() as interrupted, Laboratory() as laboratory:
        print(_WHO_IS_WHO, flush=True)
        command = [sys.executable, "-m", "inspector", "attach", *_PORTS, "--listen", address]
        inspector = laboratory.start(None, [*command, "--netns", laboratory.names["gateway"]])
        try:
            _wait_until_attached(inspector, address, interrupted)
            _watch(laboratory, seconds, interrupted)
            verdicts = _verdicts(address)
        finally:
            stop(inspector)
    print(f"metrics were at http://{address}/metrics; findings by verdict: {json.dumps(verdicts)}")
    missing = [verdict for verdict in EXPECTED_VERDICTS if not verdicts.get(verdict)]
    if missing:
        print(f"these verdicts were expected and did not come: {', '.join(missing)}", file=sys.stderr)
        return 1
    if inspector.returncode != 0:
        print(f"the inspector ended with status {inspector.returncode}", file=sys.stderr)
        return 1
    print("the laboratory is removed; the expected verdicts came")
    return 0
