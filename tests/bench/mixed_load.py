"""Both mixes at a rate, through the kernel program and its rings: what is lost, and what an attack hides.

One core sends frames of a mix (`tests.bench.frames`), the other consumes as `attach` does. In each round of the frames
the conversations are new ones. Baseline: map responses which repeat, in `tests.bench.sustained`.
"""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Final

from tests.bench.frames import FrameWorkload
from tests.bench.hostile_mix import HONEST_SHARE, HONEST_VIP, hostile_templates
from tests.bench.mix import Mix
from tests.bench.producer import alone
from tests.bench.real_mix import real_templates
from tests.bench.rig import Rig
from tests.bench.sustained import TEN_GIGABIT, search

FORGED_PER_S: Final = 500_000
"""Forged packets a second beside the honest ones."""

_CONVERSATIONS: Final = 3_000
_MARGIN: Final = 0.9
_WARM_UP: Final = (5_000.0, 0.5)


def _measure_real(
    workload: FrameWorkload, seconds: float, *, step_s: float, budget_s: float, first_rate: float
) -> dict[str, float | None]:
    with Rig(workload) as rig:
        rig.run(*_WARM_UP)
        best, failed = search(rig, step_s, budget_s, first_rate)
        run = rig.run(TEN_GIGABIT if best >= TEN_GIGABIT else best * _MARGIN, seconds)
    return {
        "real_sustained_packets_per_s": round(run.consumed / run.seconds),
        "real_lost": run.lost_packets,
        "real_sustained_seconds": round(run.production.seconds, 1),
        "real_cpu_share": round(run.cpu_seconds / run.seconds, 4),
        "real_other_cpu_share": round(run.other_cpu_seconds / run.seconds, 4),
        "real_highest_lossless_per_s": round(best),
        "real_loss_begins_per_s": None if failed is None else round(failed),
    }


def _measure_hostile(workload: FrameWorkload, seconds: float, forged_per_s: float) -> dict[str, float | None]:
    with Rig(workload, asked=ip_address(HONEST_VIP)) as rig:
        rig.run(*_WARM_UP)
        run = rig.run(forged_per_s / (1 - HONEST_SHARE), seconds)
    return {
        "honest_found_share": round(run.of_asked / max(run.production.responses, 1), 4),
        "hostile_forged_per_s": round(run.produced_per_s * (1 - HONEST_SHARE)),
        "hostile_lost_share": round(run.lost_packets / run.matched, 4),
    }


def measure(
    seconds: float = 60.0,
    *,
    step_s: float = 2.0,
    budget_s: float = 40.0,
    hostile_s: float = 10.0,
    forged_per_s: float = FORGED_PER_S,
    conversations: int = _CONVERSATIONS,
    first_rate: float = 10_000,
) -> dict[str, float | None]:
    """Return rates and losses of the real mix, and the share of honest answers found. Needs root, bcc, two CPUs.

    The long run of the real mix is at 5.4 M packets/s, or nine tenths of the highest rate without loss below that.
    """
    real = FrameWorkload(Mix(real_templates(), conversations), exact=True)
    honest, forged = hostile_templates()
    hostile = FrameWorkload(Mix(honest, conversations * 2, forged), exact=False)
    return {
        "producer_real_packet_ns": round(alone(real), 1),
        **_measure_real(real, seconds, step_s=step_s, budget_s=budget_s, first_rate=first_rate),
        **_measure_hostile(hostile, hostile_s, forged_per_s),
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
