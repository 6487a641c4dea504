"""`epm-inspector read` against tshark on a capture file of the real mix: how many times as fast, start included.

Both read the same file in turn. Where ours is done so soon that its start counts, it also reads one of ten times the
size, and its rate is of that one: tshark, whose rate falls with the size, is not asked to.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from tests.bench.mix import write_capture
from tests.bench.read_speed import median, read_command, run, tshark_command
from tests.bench.real_mix import real_templates

CONVERSATIONS: Final = 40_000

_QUICK_S: Final = 2.0
_TIMES: Final = 10
_TIMEOUT_S: Final = 300


def _check(path: Path, answers: int) -> None:
    """Raise RuntimeError unless `read` finds each answer of the file."""
    command = read_command(path, "--json")
    done = subprocess.run(command, check=True, capture_output=True, timeout=_TIMEOUT_S)
    found = done.stdout.count(b"\n") - done.stdout.count(b'"verdict":"unanswered"')
    if found != answers:
        raise RuntimeError(f"read finds {found} answers of {answers}")


def measure(conversations: int = CONVERSATIONS, rounds: int = 2) -> dict[str, float]:
    """Return packets a second of both, and the ratio."""
    templates = real_templates()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "real.pcap"
        packets, answers = write_capture(path, templates, conversations)
        _check(path, answers)
        turns = [(run(read_command(path, "--summary")), run(tshark_command(path))) for _ in range(rounds)]
        ours = statistics.median(one.seconds for one, _ in turns)
        theirs = statistics.median(one.seconds for _, one in turns)
        rate, most_mib = packets / ours, max(one.most_mib for one, _ in turns)
        if ours < _QUICK_S and conversations >= CONVERSATIONS:
            more, _ = write_capture(path, templates, conversations * _TIMES)
            finished = median(read_command(path, "--summary"))
            rate, most_mib = more / finished.seconds, finished.most_mib
    return {
        "read_real_packets": packets,
        "read_real_packets_per_s": round(rate),
        "read_real_rss_mib": round(most_mib, 1),
        "tshark_real_packets_per_s": round(packets / theirs),
        "read_real_vs_tshark": round(rate * theirs / packets, 3),
    }


def measure_follow_up(conversations: int = CONVERSATIONS, rounds: int = 3) -> dict[str, float]:
    """Return how fast healthy conversations are read with their follow-ups, beside without, and beside tshark.

    tshark reads a file of a tenth of the size.
    """
    templates = real_templates(healthy=True)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "healthy.pcap"
        fewer, _ = write_capture(path, templates, conversations)
        theirs = statistics.median(run(tshark_command(path)).seconds for _ in range(rounds))
        packets, _ = write_capture(path, templates, conversations * _TIMES)
        command = read_command(path, "--summary")
        turns = [(run([*command, "--no-follow-up"]), run([*command, "--follow-up"])) for _ in range(rounds)]
        plain = statistics.median(one.seconds for one, _ in turns)
        followed = statistics.median(one.seconds for _, one in turns)
    return {
        "read_follow_up_packets_per_s": round(packets / followed),
        "read_follow_up_rss_mib": round(max(one.most_mib for _, one in turns), 1),
        "read_follow_up_vs_plain": round(plain / followed, 3),
        "read_follow_up_vs_tshark": round(packets / followed * theirs / fewer, 3),
    }


if __name__ == "__main__":
    print(json.dumps(measure() | measure_follow_up(), indent=2))
