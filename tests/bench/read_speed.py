"""`epm-inspector read` against tshark, impacket and scapy: frames a second, and how many times as fast.

In the small file it is the start that counts, of tshark and of ours. The big one is read by both of them whole, and
its first conversations by impacket and scapy, which would take an hour for all.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.bench import peers
from tests.bench.conversations import SEGMENTS_EACH, write_big_capture, write_capture

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROUNDS: Final = 3
_KIB: Final = 1024
_LOOK_S: Final = 0.02
_FIELDS: Final = ("epm.proto.ip", "epm.proto.tcp_port", "epm.rc", "epm.uuid")


@dataclass(frozen=True, slots=True)
class Finished:
    """What a command took: wall time, and the most memory it had."""

    seconds: float
    most_mib: float


@dataclass(frozen=True, slots=True)
class Sizes:
    """Conversations in each file."""

    small: int = 10_000
    big: int = 1_000_000
    tshark: int = 20_000
    impacket: int = 1_000
    scapy: int = 500


def _most_mib(process: subprocess.Popen[bytes]) -> float | None:
    """Return the most resident memory which a running process has had (proc(5), VmHWM); None if it has ended.

    What wait4(2) says of a child counts the memory of the process which started it.
    """
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / _KIB for line in lines if line.startswith("VmHWM:")), None)


def run(command: Sequence[str]) -> Finished:
    """Run a command whose output nobody looks at."""
    most = 0.0
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while True:
            try:
                _, complaints = process.communicate(timeout=_LOOK_S)
                break
            except subprocess.TimeoutExpired:
                most = _most_mib(process) or most
    seconds = time.perf_counter() - began
    if process.returncode:
        raise RuntimeError(f"{command[0]} failed: {complaints.decode(errors='replace')[-500:]}")
    return Finished(seconds, most)


def median(command: Sequence[str]) -> Finished:
    """Run a command several times; return the median time and the most memory."""
    runs = [run(command) for _ in range(_ROUNDS)]
    return Finished(statistics.median(run.seconds for run in runs), max(run.most_mib for run in runs))


def read_command(path: Path, option: str) -> list[str]:
    """Return the command which reads a capture file."""
    return [sys.executable, "-m", "inspector", "read", "--no-follow-up", option, str(path)]


def tshark_command(path: Path) -> list[str]:
    """Return the command with which tshark reads the same; raise RuntimeError where there is no tshark."""
    program = shutil.which("tshark")
    if program is None:
        raise RuntimeError("tshark is not installed: there is nothing to compare with")
    return [
        program,
        "-r",
        str(path),
        "-Y",
        "epm",
        "-T",
        "fields",
        *(part for field in _FIELDS for part in ("-e", field)),
    ]


def _measure_small(folder: Path, count: int) -> dict[str, float]:
    """Return figures of the small file, and of one without packets."""
    path, empty = folder / "conversations.pcapng", folder / "empty.pcapng"
    write_capture(path, count)
    write_capture(empty, 0)
    ours, theirs, start = (
        median(read_command(path, "--json")),
        median(tshark_command(path)),
        median(read_command(empty, "--json")),
    )
    frames = count * SEGMENTS_EACH
    return {
        "read_frames_per_s": round(frames / ours.seconds),
        "tshark_frames_per_s": round(frames / theirs.seconds),
        "read_vs_tshark": round(theirs.seconds / ours.seconds, 2),
        "read_start_s": round(start.seconds, 3),
        "read_rss_small_mib": round(ours.most_mib, 1),
    }


def _measure_peers(folder: Path, sizes: Sizes) -> dict[str, float]:
    """Return the frames a second of the others, each on the first so many conversations of the big file."""
    path = folder / "slice.pcap"
    write_big_capture(path, sizes.tshark)
    tshark = sizes.tshark * SEGMENTS_EACH / run(tshark_command(path)).seconds
    write_big_capture(path, sizes.impacket)
    impacket = peers.frames_per_s(peers.count_with_impacket, path, sizes.impacket)
    write_big_capture(path, sizes.scapy)
    scapy = peers.frames_per_s(peers.count_with_scapy, path, sizes.scapy)
    return {
        "tshark_slice_conversations": sizes.tshark,
        "tshark_slice_frames_per_s": round(tshark),
        "impacket_frames_per_s": round(impacket),
        "scapy_frames_per_s": round(scapy),
    }


def _measure_big(folder: Path, count: int) -> dict[str, float]:
    """Return figures of the big file: all findings as JSON, their summary only, and what tshark takes."""
    path = folder / "big.pcap"
    write_big_capture(path, count)
    frames = count * SEGMENTS_EACH
    as_json, summary, tshark = (
        median(read_command(path, "--json")),
        median(read_command(path, "--summary")),
        run(tshark_command(path)),
    )
    path.unlink()
    return {
        "read_big_conversations": count,
        "read_big_json_frames_per_s": round(frames / as_json.seconds),
        "read_rss_big_mib": round(as_json.most_mib, 1),
        "read_big_summary_frames_per_s": round(frames / summary.seconds),
        "read_rss_big_summary_mib": round(summary.most_mib, 1),
        "tshark_big_frames_per_s": round(frames / tshark.seconds),
        "tshark_rss_big_mib": round(tshark.most_mib, 1),
    }


def measure(sizes: Sizes | None = None) -> dict[str, float]:
    """Return frames per second of all four, ratios, and resident memory of tshark and ours."""
    sizes = sizes or Sizes()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = _measure_small(folder, sizes.small)
        figures |= _measure_peers(folder, sizes) | _measure_big(folder, sizes.big)
    for mode in ("json", "summary"):
        ours = figures[f"read_big_{mode}_frames_per_s"]
        for peer in ("tshark_big", "impacket", "scapy"):
            ratio = ours / figures[f"{peer}_frames_per_s"]
            figures[f"read_big_{mode}_vs_{peer.removesuffix('_big')}"] = round(ratio, 1)
    return figures


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
