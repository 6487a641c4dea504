"""`make soak`: run an inspector for SOAK_MINUTES, and say whether it stayed as it was; figures in build/soak.json."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.kernel.conftest import laid_cable
from tests.soak.run import WARM_UP, Soak, soaking, verdicts

RESULTS: Final = Path("build/soak.json")
_ROUND_S: Final = 12.0
# For each half.
_FEWEST: Final = 2


def soak(minutes: float, round_s: float, warm_up: int = WARM_UP) -> Soak:
    """Run for so long, and at least so many rounds that halves can be compared. Needs root and bcc."""
    with laid_cable() as cable, tempfile.TemporaryDirectory() as folder:
        with soaking(cable, Path(folder), round_s, warm_up) as run:
            until = time.monotonic() + 60 * minutes
            while time.monotonic() < until or len(run.rounds) < warm_up + 2 * _FEWEST:
                run.turn(len(run.rounds))
                last = run.rounds[-1]
                print(f"{last.seconds:7.1f} s  {last.memory >> 20} MiB  {last.matched:,} packets", file=sys.stderr)
            results = verdicts(run)
            results["it ends in good order"] = run.inspector.stop() == 0
        results["nothing is left on the interface"] = cable.programs() == []
        _report(run, results)
        return run


def _report(run: Soak, results: dict[str, bool]) -> None:
    first, last = run.rounds[run.warm_up], run.rounds[-1]
    table = Table("", "after the warm-up", "at the end", title=f"{len(run.rounds)} rounds, {last.seconds:,.0f} s")
    for key, value in asdict(last).items():
        table.add_row(key, f"{asdict(first)[key]:,}", f"{value:,}")
    for text, holds in results.items():
        table.add_row(text, "", "yes" if holds else "NO", style=None if holds else "red")
    Console(width=100).print(table)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"rounds": list(map(asdict, run.rounds)), "results": results}, indent=2) + "\n")
    if not all(results.values()):
        raise SystemExit(1)


def main() -> int:
    """Run the command; returns 0, or ends with 1 where something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--round-seconds", type=float, default=_ROUND_S)
    arguments = parser.parse_args()
    soak(arguments.minutes, arguments.round_seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
