"""`epm-inspector read` against tshark on the same file: how many times as fast."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench.conversations import SEGMENTS_EACH, write_capture

_ROUNDS = 3


def _seconds(command: Sequence[str]) -> float:
    """Return the median wall time of a command whose output nobody looks at."""
    times = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def measure(count: int = 10_000) -> dict[str, float]:
    """Return frames per second of both and their ratio, on `count` conversations."""
    tshark = shutil.which("tshark")
    if tshark is None:
        raise RuntimeError("tshark is not installed: there is nothing to compare with")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "conversations.pcapng"
        write_capture(path, count)
        ours = _seconds([sys.executable, "-m", "inspector", "read", "--json", str(path)])
        fields = ["-e", "epm.proto.ip", "-e", "epm.proto.tcp_port", "-e", "epm.rc", "-e", "epm.uuid"]
        theirs = _seconds([tshark, "-r", str(path), "-Y", "epm", "-T", "fields", *fields])
    frames = count * SEGMENTS_EACH
    return {
        "read_frames_per_s": round(frames / ours),
        "tshark_frames_per_s": round(frames / theirs),
        "read_vs_tshark": round(theirs / ours, 2),
    }
