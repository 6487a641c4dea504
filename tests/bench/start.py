"""How long `epm-inspector attach` takes until it is attached, and how much memory it has then."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

from pyroute2 import IPRoute, netns

from inspector.live.process.namespaces import inside
from tests.bench.process import resident_mib, ring_mib

if TYPE_CHECKING:
    from collections.abc import Iterator

_INTERFACE: Final = "bench0"
_TIMEOUT_S: Final = 60
_SETTLE_S: Final = 0.5


@contextlib.contextmanager
def cable() -> Iterator[str]:
    """Make a network namespace with a veth pair in it, both ends up; yield its name, remove it afterwards."""
    name = f"epm-bench-{os.getpid()}"
    netns.create(name)
    try:
        with inside(name), IPRoute() as rtnetlink:
            rtnetlink.link("add", ifname=_INTERFACE, kind="veth", peer={"ifname": f"{_INTERFACE}-peer"})
            for end in (_INTERFACE, f"{_INTERFACE}-peer"):
                rtnetlink.link("set", index=rtnetlink.link_lookup(ifname=end)[0], state="up")
        yield name
    finally:
        netns.remove(name)


def _wait_for(process: subprocess.Popen[bytes], word: bytes) -> None:
    """Read the process's messages until a line begins with a word; raise RuntimeError if none does."""
    said = b""
    assert process.stderr is not None
    deadline = time.monotonic() + _TIMEOUT_S
    while not any(line.startswith(word) for line in said.splitlines()):
        ready, _, _ = select.select([process.stderr], [], [], max(deadline - time.monotonic(), 0))
        more = os.read(process.stderr.fileno(), 65536) if ready else b""
        if not more:
            raise RuntimeError(f"it was not attached: {said.decode(errors='replace')}")
        said += more


def start(namespace: str) -> tuple[float, float, float]:
    """Attach and end; return seconds until it says "attached", MiB of resident memory soon after, and of the rings."""
    command = [sys.executable, "-m", "inspector", "attach", "--netns", namespace, "--listen", "127.0.0.1:0"]
    began = time.perf_counter()
    with subprocess.Popen([*command, _INTERFACE], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            _wait_for(process, b"attached")
            seconds = time.perf_counter() - began
            time.sleep(_SETTLE_S)
            memory, rings = resident_mib(process.pid), ring_mib(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
    return seconds, memory, rings


def _interpreter() -> float:
    """Return the seconds which Python takes to start and to end, with nothing to do."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - began


def measure(rounds: int = 3) -> dict[str, float]:
    """Return seconds to "attached" (the median) and resident memory, and what Python's own start takes. Needs root."""
    with cable() as namespace:
        starts = [start(namespace) for _ in range(rounds)]
    return {
        "start_to_attached_s": round(statistics.median(seconds for seconds, _, _ in starts), 3),
        "attached_rss_mib": round(statistics.median(memory - rings for _, memory, rings in starts), 1),
        "attached_rss_rings_mib": round(statistics.median(rings for _, _, rings in starts), 1),
        "python_start_s": round(statistics.median(_interpreter() for _ in range(rounds)), 3),
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
