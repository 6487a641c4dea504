"""From the ring to findings and metrics, on whole conversations: what the reader alone can do on one core.

Every packet really runs through the kernel program and its ring; the reader waits meanwhile, and only its time counts.
"""

from __future__ import annotations

import json

from tests.bench.rig import Rig
from tests.bench.workloads import calls


def measure(turns: int = 50) -> dict[str, float]:
    """Return responses and records per second, and how many packets and responses did not become what they must."""
    with Rig(calls()) as rig:
        rig.run_in_turns(2)
        run = rig.run_in_turns(turns)
    return {
        "pipeline_responses_per_s": round(run.responses_per_s),
        "pipeline_records_per_s": round(run.consumed / run.seconds),
        "pipeline_lost": run.matched - run.consumed + run.production.responses - run.responses,
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
