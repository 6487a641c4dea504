"""One CPU produces, one consumes: the kernel program between them for real, and every packet accounted for."""

from __future__ import annotations

import contextlib
import time
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Final, Self

from inspector.live.bpf import loader, syscalls
from inspector.live.bpf.options import pack_options
from inspector.live.rings.percpu import ENTRY_BYTES
from inspector.live.session import Session, lane_bytes
from inspector.record import LOSS_REASONS, KernelCounter
from tests.bench.consumer import Consumer
from tests.bench.process import busy_seconds
from tests.bench.producer import Producer, Production, cpus, own_cpu

if TYPE_CHECKING:
    from inspector.evidence.recorder import Evidence
    from inspector.model import IPAddress
    from tests.bench.producer import AnyWorkload

_WAIT_S: Final = 0.05
_TURN_S: Final = 0.05
# A reader that is so much later than the last packet has let records gather in the rings.
_LATE_SHARE, _LATE_S = 0.1, 0.1


@dataclass(frozen=True, slots=True)
class Run:
    """What became of the packets of one run.

    `responses` are those which the metrics counted, `of_asked` those of the server which was named; `seconds` go from
    the first packet to the last one's finding, `cpu_seconds` are the consumer's, `other_cpu_seconds` those of
    everything else on the machine, the producer excepted: where they are many, so may be the losses.
    """

    production: Production
    matched: int
    submitted: int
    lost: dict[KernelCounter, int]
    consumed: int
    responses: int
    of_asked: int
    anomalies: int
    seconds: float
    cpu_seconds: float
    other_cpu_seconds: float

    @property
    def lost_packets(self) -> int:
        """Lost packets, whatever the reason."""
        return sum(self.lost.values())

    @property
    def produced_per_s(self) -> float:
        """Packets sent in a second."""
        return self.production.packets / self.production.seconds

    def reached(self, rate: float) -> bool:
        """Say whether the producer could do what was asked of it, but for three percent."""
        return self.production.repetitions > 0.97 * rate * self.production.seconds

    @property
    def kept_up(self) -> bool:
        """Whether the consumer was done soon after the last packet, and did not only fill empty rings."""
        return self.seconds <= self.production.seconds * (1 + _LATE_SHARE) + _LATE_S

    @property
    def responses_per_s(self) -> float:
        """Map responses that reached the metrics in a second."""
        return self.responses / self.seconds


class Stopwatch:
    """Adds up wall and CPU seconds of this process, and the machine's, over the blocks which it is the context of."""

    def __init__(self) -> None:
        self.seconds = self.cpu_seconds = self.machine_seconds = 0.0

    def __enter__(self) -> Self:
        self._add(-1)
        return self

    def __exit__(self, *_: object) -> None:
        self._add(1)

    def _add(self, sign: int) -> None:
        self.seconds += sign * time.monotonic()
        self.cpu_seconds += sign * time.process_time()
        self.machine_seconds += sign * busy_seconds()


class Rig:
    """The loaded program, a producer of a workload and a session; leaving the context takes all of it down."""

    def __init__(
        self, workload: AnyWorkload, compact_ring_bytes: int | None = None, *, asked: IPAddress | None = None
    ) -> None:
        self._exact, self._asked = workload.exact, asked
        producing, consuming = cpus()
        self._resources = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            program = loader.load(
                (loader.XDP_PROGRAM,), compact_ring_bytes=compact_ring_bytes or lane_bytes(), follow_up=True
            )
            stack.callback(program.close)
            syscalls.map_update(program.maps["epm_options"], 0, pack_options([], (135,)))
            self._producer = stack.enter_context(Producer(program.programs[loader.XDP_PROGRAM], workload, producing))
            self._session = Session(program, ())
            stack.callback(self._session.close)
            stack.enter_context(own_cpu(consuming))
            self._resources = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def _counters(self) -> dict[KernelCounter, int]:
        slots = self._session.counters().values()
        return {counter: sum(slot[counter] for slot in slots) for counter in KernelCounter}

    def run(self, rate: float | None, seconds: float, evidence: Evidence | None = None) -> Run:
        """Send so many packets a second, `None` for as many as can be, and consume them meanwhile, keeping evidence.

        Raises RuntimeError when a packet is not accounted for.
        """
        consumer = Consumer(self._session, evidence, asked=self._asked)
        before = self._counters()
        self._producer.start(rate, seconds)
        with Stopwatch() as spent:
            while not self._producer.is_done():
                consumer.take(_WAIT_S)
            consumer.take_rest()
        return self._account(consumer, before, self._producer.result(), spent)

    def run_in_turns(self, turns: int) -> Run:
        """Fill half of the ring and consume it, so many times; only the consumer's time counts. Raises as `run`.

        Answers that wait for their follow-up at the end are taken without the clock.
        """
        consumer = Consumer(self._session, asked=self._asked)
        before = self._counters()
        spent = Stopwatch()
        productions = []
        rate = lane_bytes() / 2 / ENTRY_BYTES / _TURN_S
        for _ in range(turns):
            productions.append(self._producer.run(rate, _TURN_S))
            with spent:
                while consumer.take(0):
                    pass
        consumer.take_rest()
        return self._account(consumer, before, _total(productions), spent)

    def _account(self, consumer: Consumer, before: dict[KernelCounter, int], sent: Production, spent: Stopwatch) -> Run:
        after = self._counters()
        counted = {counter: after[counter] - before[counter] for counter in KernelCounter}
        run = Run(
            sent,
            counted[KernelCounter.MATCHED],
            counted[KernelCounter.SUBMITTED],
            {counter: counted[counter] for counter in LOSS_REASONS},
            consumer.records,
            consumer.responses,
            consumer.of_asked,
            consumer.anomalies,
            spent.seconds,
            spent.cpu_seconds,
            max(spent.machine_seconds - spent.cpu_seconds - sent.cpu_seconds, 0.0),
        )
        _check(run, self._session.backlog(), exact=self._exact)
        return run


def _total(productions: list[Production]) -> Production:
    return Production(*map(sum, zip(*map(astuple, productions), strict=True)))


def _check(run: Run, backlog: int, *, exact: bool) -> None:
    """Raise RuntimeError unless each packet is accounted for and, where none was lost, each map response found.

    The latter only of an exact workload: one whose answers are all real.
    """
    if not (
        run.production.packets == run.matched
        and run.matched == run.submitted + run.lost_packets
        and run.submitted == run.consumed + backlog
        and (run.lost_packets or not exact or run.responses == run.production.responses)
    ):
        raise RuntimeError(f"packets are not accounted for: {run}, backlog {backlog}")
