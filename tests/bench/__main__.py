"""`make bench`: every benchmark with its baseline, as a table and as build/bench.json."""

from __future__ import annotations

import json
import platform
import shlex
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import pipeline_rate, read_speed, xdp_cost

RESULTS = Path("build/bench.json")
BENCHMARKS = {
    "XDP program, per packet": (xdp_cost.measure, "an empty XDP program, same run"),
    "ring to finding and metrics": (pipeline_rate.measure, "submitted records, all of which must arrive"),
    "reading a capture file": (read_speed.measure, "tshark on the same file"),
}


def _machine() -> dict[str, str]:
    models = (line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    model = next(models, "processor: unknown").split(":", 1)[1].strip()
    return {"machine": f"{model}, Linux {platform.release()}", "command": shlex.join(sys.orig_argv)}


def main() -> None:
    """Run all benchmarks, print the table, write the file."""
    results: dict[str, float | str] = dict(_machine())
    table = Table("benchmark", "key", "figure", "baseline", title=str(results["machine"]))
    for name, (measure, baseline) in BENCHMARKS.items():
        began = time.monotonic()
        figures = measure()
        for key, figure in figures.items():
            table.add_row(name, key, f"{figure:,}", baseline)
        results |= figures
        print(f"{next(iter(figures))}: {time.monotonic() - began:.1f} s", file=sys.stderr)
    Console(width=120).print(table)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
