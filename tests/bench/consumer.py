"""The consuming side of the benchmarks, as `epm-inspector attach` does it: ring, lanes, pipeline, outcomes, metrics."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final, Protocol

from prometheus_client import CollectorRegistry

from inspector.config import Config
from inspector.consequence import FindingKind
from inspector.decode.batch import FindingBatch
from inspector.decode.quota import Quota
from inspector.inspection.following import Following
from inspector.judge.policy import Policy
from inspector.live.session import Session
from inspector.metrics.updates import Metrics
from inspector.model import Verdict
from inspector.ordered import newest_ns
from inspector.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from inspector.evidence.recorder import Evidence
    from inspector.live.rings.ringbuf import Block
    from inspector.model import IPAddress
    from inspector.record import KernelCounter
    from inspector.wire.limits import Limits

INTERFACE: Final = "bench0"
_REFRESH_S: Final = 1.0


class Source(Protocol):
    """What a consumer needs of `inspector.live.session.Session`."""

    @property
    def losing(self) -> bool:
        """Whether records were lost lately."""

    def poll(self, timeout_s: float) -> Sequence[Block]:
        """Return blocks of records, valid until the next call."""

    def drain(self) -> Sequence[Block]:
        """Return the rest."""

    def counters(self) -> Mapping[str, Mapping[KernelCounter, int]]:
        """Return the kernel program's counters by interface name."""

    def ring_usage(self) -> tuple[int, int]:
        """Return used bytes and size of the rings."""


def new_pipeline(limits: Limits | None = None, decoder: str | None = None) -> Pipeline:
    """Return a pipeline: "scalar", "engine" (with its quota, as in `attach`) or "unbounded" (without).

    Without a name the decoder is that of `BENCH_DECODER`, or the engine.
    """
    decoder = decoder or os.environ.get("BENCH_DECODER", "engine")
    quota = Quota() if decoder == "engine" else None
    return Pipeline(Policy(), lambda _: INTERFACE, limits, engine=decoder != "scalar", quota=quota)


def observe(metrics: Metrics, findings: Iterable[FindingBatch]) -> None:
    """Count findings as they come out of the pipeline."""
    for batch in findings:
        metrics.observe(batch)


def judged(registry: CollectorRegistry) -> int:
    """Return how many answers the metrics have counted, whatever their verdict.

    Not `unanswered`: a run of conversations ends in the midst of some, which are given up when there are too many.
    """
    return sum(
        int(sample.value)
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "epm_inspector_responses_total" and sample.labels["verdict"] != Verdict.UNANSWERED
    )


def answers_of(found: FindingBatch, asked: IPAddress) -> int:
    """Return how many answers there are of one server that was asked."""
    return sum(
        count
        for finding, count in found.counts()
        if finding.asked == asked and finding.kind is FindingKind.ANSWER and finding.verdict is not Verdict.UNANSWERED
    )


class Consumer:
    """A new pipeline with new metrics behind a source, and evidence if asked; compiled code is loaded before.

    Answers of a session are followed; other sources have no program behind them.

    `of_asked` counts answers of the server `asked`, if one is named.
    """

    def __init__(
        self,
        session: Source,
        evidence: Evidence | None = None,
        *,
        asked: IPAddress | None = None,
        decoder: str | None = None,
    ) -> None:
        self._session = session
        self._evidence = evidence
        self._asked = asked
        self.of_asked = 0
        self._pipeline = new_pipeline(decoder=decoder)
        self._following: Following | None = None
        if isinstance(session, Session) and session.follow_ups is not None:
            self._following = Following(session, session.follow_ups, Config())
        self._registry = CollectorRegistry()
        self._metrics = Metrics(self._registry)
        self._refresh_due = 0.0

    @property
    def records(self) -> int:
        """Records which went through the pipeline."""
        return self._pipeline.records

    @property
    def responses(self) -> int:
        """Answers which the metrics have counted."""
        return judged(self._registry)

    @property
    def anomalies(self) -> int:
        """Anomalies which the pipeline has counted, of all kinds."""
        return self._pipeline.anomalies.total()

    def take(self, timeout_s: float) -> bool:
        """Wait for records and take them; return whether there were any."""
        batches = self._session.poll(timeout_s)
        self._pipeline.losing = self._session.losing
        self._feed(batches)
        self._refresh()
        return bool(batches)

    def take_rest(self) -> None:
        """Take what is left, when nothing is sent any more."""
        while self.take(0):
            pass
        self._feed(self._session.drain())
        if self._following is not None:
            self._observe(self._following.close(()))

    def _feed(self, batches: Sequence[Block]) -> None:
        found = self._decode(batches)
        if self._evidence is not None:
            for batch in batches:
                self._evidence.keep(batch)
            found = self._evidence.name(found)
        if self._following is not None and batches:
            self._observe(self._following.select(batches))
            found = self._following.take(found, newest_ns(batches))
        self._observe(found)

    def _observe(self, found: Iterable[FindingBatch]) -> None:
        if self._asked is not None:
            found = self._count_asked(found, self._asked)
        observe(self._metrics, found)

    def _decode(self, batches: Sequence[Block]) -> Iterable[FindingBatch]:
        """Decode the blocks of a reading."""
        return self._pipeline.feed(batches)

    def _count_asked(self, findings: Iterable[FindingBatch], asked: IPAddress) -> Iterator[FindingBatch]:
        for found in findings:
            self.of_asked += answers_of(found, asked)
            yield found

    def _refresh(self) -> None:
        """Take the kernel's counters over, once a second."""
        now = time.monotonic()
        if now >= self._refresh_due:
            self._refresh_due = now + _REFRESH_S
            self._metrics.update_kernel(self._session.counters())
            self._metrics.update_ring(*self._session.ring_usage())
            self._metrics.tracked_connections(self._pipeline.tracked_connections)
            if self._following is not None:
                self._following.refresh()
