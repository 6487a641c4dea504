"""`make bench`: every benchmark with its baseline, as a table and as build/bench.json.

Each runs as a session of its own (`python -m tests.bench.NAME` does the same by hand), so that none finds another's
memory and none takes the others' figures with it when it fails; the exit status says whether one did.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.table import Table

RESULTS: Final = Path("build/bench.json")
TIMEOUT_S: Final = 300.0

Figures = dict[str, float | None]


class Benchmark(NamedTuple):
    """What is measured, and what a reader compares the figures with."""

    title: str
    baseline: str


BENCHMARKS: Final = {
    "xdp_cost": Benchmark("XDP program, per packet", "an empty XDP program, same run"),
    "contention": Benchmark("XDP program, two processors at once", "one processor; an empty XDP program"),
    "veth_bulk": Benchmark("bulk TCP through a veth with the program", "the same without a program, same turn"),
    "producer": Benchmark("making a packet, for those below", "a tail call into an empty XDP program: all it does"),
    "pipeline_rate": Benchmark("ring to finding and metrics", "submitted records, all of which must arrive"),
    "sustained": Benchmark("line rate, one core against one", "5.4 M/s: 10 Gbit/s of map responses; no loss"),
    "mixes": Benchmark("real and hostile mix, rings' pages to metrics", "repeated bytes; the scalar decoder"),
    "mixed_load": Benchmark("both mixes through the kernel program", "5.4 M/s; 500,000 forged packets a second"),
    "evidence": Benchmark("evidence of mismatches, one core", "the same conversations without evidence"),
    "vips": Benchmark("a response, by number of VIPs", "one VIP"),
    "memory": Benchmark("memory, by open connections", "no connection: the loaded program"),
    "start": Benchmark("start of attach", "Python's own start"),
    "installed": Benchmark("disk space of an installation", "an empty virtual environment"),
    "read_speed": Benchmark("reading capture files", "tshark, impacket, scapy on the same frames; an empty file"),
    "read_real": Benchmark("reading a capture file of the real mix", "tshark; follow-ups: the same without, in turn"),
}


class BenchmarkError(Exception):
    """A benchmark gave no figures; says why."""


def _machine() -> dict[str, str]:
    models = (line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    model = next(models, "processor: unknown").split(":", 1)[1].strip()
    processor = f"{model}, {os.cpu_count()} CPUs"
    return {"machine": f"{processor}, Linux {platform.release()}", "command": shlex.join(sys.orig_argv)}


def run(name: str, timeout_s: float = TIMEOUT_S) -> Figures:
    """Run one benchmark and return its figures; raise BenchmarkError with its last words if it has none."""
    command = [sys.executable, "-m", f"tests.bench.{name}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, start_new_session=True)
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"not done after {timeout_s:.0f} s") from None
    if done.returncode:
        raise BenchmarkError((done.stderr.strip().splitlines() or ["it says nothing"])[-1])
    try:
        figures: Figures = json.loads(done.stdout)
    except ValueError:
        raise BenchmarkError("its output is no JSON") from None
    return figures


def _shown(figure: float | None) -> str:
    return "not reached" if figure is None else f"{figure:,}"


def main() -> int:
    """Run all benchmarks, print the table, write the file; return 1 if one failed, 0 otherwise."""
    results: dict[str, Any] = dict(_machine())
    table = Table("benchmark", "key", "figure", "baseline", title=str(results["machine"]))
    failures = {}
    for name, benchmark in BENCHMARKS.items():
        began = time.monotonic()
        try:
            figures = run(name)
        except BenchmarkError as error:
            failures[name] = str(error)
            table.add_row(benchmark.title, f"{name} FAILED", "", str(error), style="red")
        else:
            for key, figure in figures.items():
                table.add_row(benchmark.title, key, _shown(figure), benchmark.baseline)
            results |= figures
        table.add_section()
        print(f"{name}: {time.monotonic() - began:.1f} s", file=sys.stderr)
    results["baselines"] = {name: benchmark.baseline for name, benchmark in BENCHMARKS.items()}
    results["failures"] = failures
    Console(width=140).print(table)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
