"""What evidence costs the consuming core: whole conversations, all of them mismatches, with and without it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from inspector.config import Config
from inspector.evidence.recorder import Evidence
from tests.bench.rig import Rig
from tests.bench.workloads import calls

if TYPE_CHECKING:
    from tests.bench.rig import Run

RATES: Final = {"10k": 10_000, "100k": 100_000, "1m": 1_000_000}
"""Records a second."""

_WARM_UP_S: Final = 0.3


def _share(run: Run) -> float:
    return round(run.cpu_seconds / run.seconds, 4)


def measure(seconds: float = 5.0) -> dict[str, float | None]:
    """Return the consumer's CPU share by rate, files written, and of how many connections one was held."""
    figures: dict[str, float | None] = {}
    with Rig(calls()) as rig, tempfile.TemporaryDirectory() as folder:
        rig.run(RATES["10k"], _WARM_UP_S)
        for name, rate in RATES.items():
            figures[f"evidence_off_cpu_share_{name}"] = _share(rig.run(rate, seconds))
            evidence = Evidence(Path(folder) / name, Config(), {})
            run = rig.run(rate, seconds, evidence)
            evidence.close()
            counts = evidence.counts()
            if not run.lost_packets and counts.written + sum(counts.left_out.values()) != run.responses:
                raise RuntimeError(f"mismatches are not accounted for: {counts}, {run}")
            figures[f"evidence_on_cpu_share_{name}"] = _share(run)
            figures[f"evidence_lost_{name}"] = run.lost_packets
            figures[f"evidence_files_{name}"] = counts.written
            figures[f"evidence_one_of_{name}"] = counts.one_of
    return figures


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
