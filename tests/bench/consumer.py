"""The consuming side of the benchmarks, as `epm-inspector attach` does it: ring, lanes, pipeline, metrics."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry

from inspector.judge.policy import Policy
from inspector.model import Finding, FindingBatch, Verdict
from inspector.pipeline import Pipeline
from inspector.sinks.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from inspector.commands.evidence import Evidence
    from inspector.live.ring import Block
    from inspector.live.session import Session

INTERFACE: Final = "bench0"
_REFRESH_S: Final = 1.0


def observe(metrics: Metrics, findings: Iterable[Finding | FindingBatch]) -> None:
    """Count findings, single ones and batches, as they come out of the pipeline."""
    for found in findings:
        if isinstance(found, Finding):
            metrics.observe(found)
        else:
            metrics.observe_batch(found)


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


class Consumer:
    """A new pipeline with new metrics behind a session, and evidence if asked; compiled code is loaded before."""

    def __init__(self, session: Session, evidence: Evidence | None = None) -> None:
        self._session = session
        self._evidence = evidence
        self._pipeline = Pipeline(Policy(), lambda _: INTERFACE)
        self._pipeline.load_columns()
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

    def _feed(self, batches: list[Block]) -> None:
        for batch in batches:
            found = self._pipeline.feed_batch(batch)
            if self._evidence is not None:
                self._evidence.keep(batch)
                found = self._evidence.name(found)
            observe(self._metrics, found)

    def _refresh(self) -> None:
        """Take the kernel's counters over, once a second."""
        now = time.monotonic()
        if now >= self._refresh_due:
            self._refresh_due = now + _REFRESH_S
            self._metrics.update_kernel(self._session.counters())
            self._metrics.update_ring(*self._session.ring_usage())
            self._metrics.tracked_connections(self._pipeline.tracked_connections)
