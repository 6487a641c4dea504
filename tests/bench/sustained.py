"""Line rate, from the wire to the metric: what one consuming core sustains without loss, and where loss begins.

One core produces packets (`tests.bench.producer`), which the kernel program inspects and submits to its ring; the
other core reads, judges and counts them as `epm-inspector attach` does, with the same sizes of rings. What else
runs on the machine takes time from either: `sustained_other_cpu_share` says how much (of one CPU) in the long run.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Final

from tests.bench.rig import Rig
from tests.bench.workloads import calls, responses

if TYPE_CHECKING:
    from tests.bench.rig import Run

TEN_GIGABIT: Final = 5_400_000
"""Map responses a second of which 10 Gbit/s Ethernet can carry no more."""
SHARE_RATES: Final = {"1k": 1_000, "10k": 10_000, "100k": 100_000, "1m": 1_000_000}

_WARM_UP_S: Final = 0.3
_FIRST_RATE: Final = 250_000.0
_CLOSE_ENOUGH: Final = 1.05
# Short of the highest rate, for a long run where that is below the goal.
_MARGIN: Final = 0.9
_TINY_RING: Final = 1 << 16


def _best_of_two(rig: Rig, rate: float, seconds: float) -> Run:
    """Return a run at that rate, or a second one where the first has loss.

    What else the machine, or its hypervisor, does can take either CPU away for longer than the ring lasts.
    """
    run = rig.run(rate, seconds)
    return run if run.kept_up and not run.lost_packets else rig.run(rate, seconds)


def search(rig: Rig, seconds: float, budget_s: float, first_rate: float | None = None) -> tuple[float, float | None]:
    """Return the highest rate found that the reader keeps up with and the lowest that it does not, in packets a second.

    The latter is None if the producer itself can do no more. Rates are doubled and then bisected.
    """
    began = time.monotonic()
    best, failed, rate = 0.0, None, first_rate or _FIRST_RATE
    while time.monotonic() - began < budget_s:
        run = _best_of_two(rig, rate, seconds)
        if run.lost_packets or not run.kept_up:
            failed = rate
        else:
            best = max(best, run.produced_per_s)
            if not run.reached(rate):
                break
        if failed is None:
            rate *= 2
        elif failed <= best * _CLOSE_ENOUGH:
            break
        else:
            rate = (best + failed) / 2
    return best, failed


def _measure_responses(seconds: float, rate: float | None, step_s: float, budget_s: float) -> dict[str, float | None]:
    with Rig(responses()) as rig:
        rig.run(_FIRST_RATE, _WARM_UP_S)
        shares = {}
        for name, share_rate in SHARE_RATES.items():
            run = rig.run(share_rate, step_s)
            shares[f"cpu_share_{name}"] = round(run.cpu_seconds / run.seconds, 4)
        best, failed = search(rig, step_s, budget_s)
        run = rig.run(rate or (TEN_GIGABIT if best >= TEN_GIGABIT else best * _MARGIN), seconds)
    return {
        "sustained_rate_per_s": round(run.responses_per_s),
        "sustained_lost": run.lost_packets,
        "sustained_seconds": round(run.production.seconds, 1),
        "sustained_cpu_share": round(run.cpu_seconds / run.seconds, 4),
        "sustained_other_cpu_share": round(run.other_cpu_seconds / run.seconds, 4),
        "sustained_cpu_ns_per_response": round(run.cpu_seconds * 1e9 / max(run.consumed, 1), 1),
        "highest_lossless_per_s": round(best),
        "loss_begins_per_s": None if failed is None else round(failed),
        **shares,
    }


def _measure_calls(step_s: float, budget_s: float) -> dict[str, float | None]:
    with Rig(calls()) as rig:
        rig.run(_FIRST_RATE, _WARM_UP_S)
        best, _ = search(rig, step_s, budget_s)
        run = _best_of_two(rig, best * _MARGIN, step_s * 2)
    return {
        "calls_rate_per_s": round(run.responses_per_s),
        "calls_packets_per_s": round(run.consumed / run.seconds),
        "calls_lost": run.lost_packets,
    }


def _measure_overflow(seconds: float) -> dict[str, float | None]:
    """Send all that can be sent into a ring of 256 records. The run raises unless all packets are accounted for."""
    with Rig(responses(), compact_ring_bytes=_TINY_RING) as rig:
        run = rig.run(None, seconds)
    return {"overflow_lost": run.lost_packets, "overflow_produced": run.production.packets, "overflow_conserved": 1.0}


def measure(
    seconds: float = 60.0, rate: float | None = None, *, step_s: float = 3.0, budget_s: float = 45.0
) -> dict[str, float | None]:
    """Return rates, losses and the consumer's CPU share. Needs root, bcc and two CPUs.

    `rate` is that of the long run: 5.4 M/s, or nine tenths of the highest without loss where that is less.
    """
    return (
        _measure_responses(seconds, rate, step_s, budget_s)
        | _measure_calls(step_s, budget_s / 2)
        | _measure_overflow(min(seconds, 2.0))
    )


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
