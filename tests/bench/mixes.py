"""The real and the hostile mix, from the rings' pages to the metrics: what one core reads, decodes, judges and counts.

The rates are records for each second of this process's own CPU time, all of its threads included, so that other
processes do not count. Baselines of the same run: the real mix with repeated bytes, which a decoder that remembers
payloads takes for known; the real mix with all records in entries of one size, so that a reading is of one ring; and
the scalar decoder on a part of either mix.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

import numpy as np

from tests.bench.consumer import Consumer
from tests.bench.hostile_mix import HONEST_VIP, hostile_templates
from tests.bench.memory_source import MemorySource
from tests.bench.mix import Mix
from tests.bench.real_mix import real_templates

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CONVERSATIONS: Final = 60_000
_SCALAR_SHARE: Final = 20
_ROUNDS: Final = 5
# By then compiled code is loaded, and what a decoder keeps of servers and their endpoints is there.
_WARM_UP_SHARE: Final = 0.1
# By then the burst of the quota for the scalar decoder is used up.
_HOSTILE_WARM_UP_SHARE: Final = 0.2
# A conversation of the hostile mix begins each 2.5 us: 2.1 million records a second.
_HOSTILE_SPACING_NS: Final = 2_500
_HONEST: Final = ip_address(HONEST_VIP)


@dataclass(frozen=True, slots=True)
class Pass:
    """One way through a mix, or through what the time sufficed for.

    `records` and `cpu_seconds` are those after the warm-up. `answers` are those to honest clients which were found,
    `expected` those which were there; those of the warm-up too.
    """

    records: int
    cpu_seconds: float
    answers: int
    expected: int

    @property
    def records_per_s(self) -> float:
        """Records for each second of CPU time."""
        return self.records / self.cpu_seconds


def passes(
    mix: Mix, seconds: float, decoder: str | None = None, *, is_hostile: bool = False, together: bool = False
) -> Iterator[Pass]:
    """Yield passes through a mix, each with a new pipeline, until so many seconds are over; at least one.

    A pass ends with the mix or with the time. Raises RuntimeError where an answer of the real mix is not counted.
    """
    source = MemorySource(mix, together=together)
    answers = np.cumsum(mix.answers_in_order())
    end = time.monotonic() + seconds
    for _ in range(_ROUNDS):
        source.restart()
        consumer = Consumer(source, asked=_HONEST if is_hostile else None, decoder=decoder)
        while consumer.records < mix.records * (_HOSTILE_WARM_UP_SHARE if is_hostile else _WARM_UP_SHARE):
            consumer.take(0)
        warm, began = consumer.records, time.process_time()
        while consumer.take(0) and time.monotonic() < end:
            pass
        spent, records = time.process_time() - began, consumer.records
        found = consumer.of_asked if is_hostile else consumer.responses
        done = Pass(records - warm, spent, found, int(answers[records - 1]))
        if found != done.expected and not is_hostile:
            raise RuntimeError(f"not every answer of the real mix was counted once: {done}")
        yield done
        if time.monotonic() >= end:
            return


def rate(done: Iterable[Pass]) -> float:
    """Return the median of records a second."""
    return statistics.median(one.records_per_s for one in done)


def measure(conversations: int = CONVERSATIONS, seconds: float = 15.0) -> dict[str, float]:
    """Return the rates of both mixes beside their baselines; `seconds` is what each may take."""
    few = max(conversations // _SCALAR_SHARE, 1)
    templates = real_templates()
    mix = Mix(templates, conversations)
    real = rate(passes(mix, seconds))
    together = rate(passes(mix, seconds, together=True))
    repeated = rate(passes(Mix(templates, conversations, repeated=True), seconds))
    real_scalar = rate(passes(Mix(templates, few), seconds, "scalar"))
    honest, forged = hostile_templates()
    hostile_mix = Mix(honest, conversations, forged, spacing_ns=_HOSTILE_SPACING_NS)
    of_hostile = list(passes(hostile_mix, seconds, is_hostile=True))
    unbounded = rate(passes(hostile_mix, seconds, "unbounded", is_hostile=True))
    hostile_scalar = rate(passes(Mix(honest, few, forged), seconds, "scalar", is_hostile=True))
    hostile = rate(of_hostile)
    share = sum(one.answers for one in of_hostile) / max(sum(one.expected for one in of_hostile), 1)
    return {
        "real_records_per_s": round(real),
        "real_ns_per_record": round(1e9 / real, 1),
        "real_together_records_per_s": round(together),
        "real_vs_together": round(real / together, 3),
        "real_repeated_records_per_s": round(repeated),
        "real_vs_repeated": round(real / repeated, 3),
        "real_scalar_records_per_s": round(real_scalar),
        "real_vs_scalar": round(real / real_scalar, 2),
        "hostile_records_per_s": round(hostile),
        "hostile_unbounded_records_per_s": round(unbounded),
        "hostile_vs_unbounded": round(hostile / unbounded, 2),
        "hostile_scalar_records_per_s": round(hostile_scalar),
        "hostile_vs_scalar": round(hostile / hostile_scalar, 2),
        "hostile_honest_share": round(share, 4),
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
