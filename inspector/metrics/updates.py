"""What findings, the kernel program and the inspection do to the metrics.

No packet can mint a series: each label's values come from a closed set, from the configuration
and the command line, or from a fixed number of learned ones (`Series`); everything else is `other`,
and `label_overflow_total` says how often. Series that are known in advance exist from the start with
the value 0, so that a rate() sees the first event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from inspector.errors import Anomaly, AttachmentLoss
from inspector.evidence.quota import LeftOut
from inspector.losses import Loss
from inspector.metrics.families import Families
from inspector.metrics.labels import ANOMALIES, ATTACH_FAILURES, DIRECTIONS, LOST, OTHER
from inspector.metrics.series import Series
from inspector.model import OTHER_INTERFACES
from inspector.record import KernelCounter

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

    from inspector.decode.batch import FindingBatch
    from inspector.model import Finding

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
"""What `Metrics.render` returns, as a Content-Type."""

LEARNED_VIPS: Final = 64


class Metrics:
    """The metrics of one inspector, in a registry of the caller's.

    `vips` are the configured virtual addresses, which always have a label of their own;
    `learned_vips` is how many more get one, first come first served, when a mismatch or an outcome that hurts names
    them. `follow_up`: what answers lead to is followed, so that a count of 0 is true.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        vips: Iterable[str] = (),
        learned_vips: int = LEARNED_VIPS,
        follow_up: bool = True,
    ) -> None:
        self._registry, self._families = registry, Families(registry)
        self._series = Series(self._families, vips, learned_vips, follow_up=follow_up)
        self._last: dict[tuple[str, KernelCounter], int] = {}
        self._attached: dict[str, set[tuple[str, str]]] = {}
        self._told: dict[Hashable, int] = {}
        self._initialise()

    def _initialise(self) -> None:
        """Create the series whose labels are known in advance, with the value 0."""
        for anomaly in Anomaly:
            self._families.anomalies.labels(str(anomaly))
        for reason in LOST.values():
            self._families.lost.labels(reason)
        for label in ("interface", "vip", "service"):
            self._families.overflow.labels(label)
        for loss in Loss:
            self._families.findings_lost.labels(*loss.value)
        for left_out in LeftOut:
            self._families.evidence_left_out.labels(str(left_out))

    def observe(self, batch: FindingBatch) -> None:
        """Count findings: verdict, latency, a mismatch if any mapping is one, and what became of them."""
        for counter, count in self._series.totals(batch):
            counter.inc(count)
        self._families.latency.observe_many(batch.latencies_ns() / 1e9)
        if not batch.lasting:
            # Answers of which nothing is known yet but what was said have templates that last.
            connects = [time_ns for template, _ in batch.counts() for time_ns in _connects_ns(template)]
            self._families.connect_latency.observe_many(np.array(connects, np.int64) / 1e9)

    def observe_not_followed(self, findings: Iterable[Finding]) -> None:
        """Count answers that nobody followed; their findings were counted as answers before."""
        for finding in findings:
            self._series.not_followed(finding).inc()

    def observe_anomaly(self, anomaly: Anomaly, count: int = 1) -> None:
        """Count an anomaly."""
        self._families.anomalies.labels(str(anomaly)).inc(count)

    def update_kernel(self, counters: Mapping[str, Mapping[KernelCounter, int]]) -> None:
        """Add the growth of the kernel program's counters, which are by interface since the program was loaded.

        A counter below its last value belongs to a newly loaded program and counts from 0.
        """
        for source, values in counters.items():
            interface = self._interface(source)
            for counter, value in values.items():
                last = self._last.get((source, counter), 0)
                self._last[source, counter] = value
                self._add_kernel(interface, counter, value - last if value >= last else value)

    def _add_kernel(self, interface: str, counter: KernelCounter, count: int) -> None:
        if counter in DIRECTIONS:
            self._families.packets.labels(interface, str(DIRECTIONS[counter])).inc(count)
        elif counter in LOST:
            self._families.lost.labels(LOST[counter]).inc(count)
        elif counter in ANOMALIES:
            self._families.anomalies.labels(str(ANOMALIES[counter])).inc(count)
        elif counter is KernelCounter.MATCHED:
            self._families.matched.inc(count)
        elif counter is KernelCounter.SUBMITTED:
            self._families.submitted.inc(count)

    def went_round(self, now_s: float) -> None:
        """Note that the main loop runs, at a time in seconds since 1970: the metrics are served by another thread."""
        self._families.last_round.set(now_s)

    def update_ring(self, used: int, size: int) -> None:
        """Set the used bytes and the capacity of the rings."""
        self._families.ring_used.set(used)
        self._families.ring_size.set(size)

    def records_consumed(self, count: int, newest_time_ns: int, age_s: float) -> None:
        """Count a batch of records taken out of the rings; its newest was made at `newest_time_ns`, `age_s` ago."""
        self._families.consumed.inc(count)
        self._families.last_record.set(newest_time_ns / 1e9)
        self._families.age.observe(age_s)

    def update_losses(self, losses: Iterable[tuple[Loss, int]]) -> None:
        """Set the counts of findings that could not be written; they are totals since the start."""
        for loss, count in losses:
            self._families.findings_lost.labels(*loss.value).inc(self._rise(loss, count))

    def update_evidence(self, written: int, left_out: Mapping[LeftOut, int], one_of: int) -> None:
        """Set the counts of evidence files and of mismatches without one, totals since the start, and the sampling."""
        self._families.evidence_files.inc(self._rise("evidence", written))
        for reason, count in left_out.items():
            self._families.evidence_left_out.labels(str(reason)).inc(self._rise(reason, count))
        self._families.evidence_one_of.set(one_of)

    def update_follow_up_maps(self, used: Mapping[str, int], evicted: Mapping[str, int]) -> None:
        """Set the entries of the kernel's maps, and the evictions since the start."""
        for name, count in used.items():
            self._families.map_entries.labels(name).set(count)
            self._families.map_evictions.labels(name).inc(self._rise(("map", name), evicted.get(name, 0)))

    def _rise(self, name: Hashable, count: int) -> int:
        """Return the growth of a total since the last call for this key."""
        last = self._told.get(name, 0)
        self._told[name] = count
        return count - last

    def tracked_connections(self, count: int) -> None:
        """Set the number of connections in the decoder's tables."""
        self._families.connections.set(count)

    def attached(self, interface: str, hook: str, mode: str) -> None:
        """Note that the program is on an interface: `hook` is xdp or tc, `mode` native, generic, ..."""
        label = self._interface(interface)
        self._attached.setdefault(label, set()).add((hook, mode))
        self._families.program_attached.labels(label, hook, mode).set(1)

    def detached(self, interface: str) -> None:
        """Note that the program is on no hook of an interface any more."""
        label = self._interface(interface)
        for hook, mode in self._attached.pop(label, ()):
            self._families.program_attached.labels(label, hook, mode).set(0)

    def attachment_lost(self, interface: str, reason: AttachmentLoss) -> None:
        """Count a loss of the program on an interface."""
        self._families.attachments_lost.labels(self._interface(interface), str(reason)).inc()

    def reattached(self, interface: str) -> None:
        """Count that an interface has the program again."""
        self._families.reattachments.labels(self._interface(interface)).inc()

    def config_reloaded(self, time_ns: int) -> None:
        """Note that the configuration was read, at this time."""
        self._families.config_successful.set(1)
        self._families.config_time.set(time_ns / 1e9)

    def config_rejected(self) -> None:
        """Note that the configuration could not be read again; the old one holds."""
        self._families.config_successful.set(0)

    def reconfigure(self, vips: Iterable[str], learned_vips: int) -> None:
        """Set the configured VIPs and the number of learned ones; addresses with a label keep it."""
        self._series.reconfigure(vips, learned_vips)

    def attach_failure(self, interface: str, reason: str) -> None:
        """Count a failure to attach; `reason` is what `attach_failure_reason` returns."""
        known = reason if reason in ATTACH_FAILURES.values() else OTHER
        self._families.attach_failures.labels(self._interface(interface), known).inc()

    def render(self) -> bytes:
        """Return all metrics as text of the type `CONTENT_TYPE`."""
        return generate_latest(self._registry)

    def _interface(self, name: str) -> str:
        """Return the label of an interface that something other than a finding is about."""
        label = self._series.interface(name)
        if label is None:
            self._families.overflow.labels("interface").inc()
            return OTHER_INTERFACES
        return label


def _connects_ns(finding: Finding) -> list[int]:
    """Return how long it took to connect, of a finding and of its follow-up."""
    times = (one.consequence.connect_ns for one in finding.with_follow_up() if one.consequence is not None)
    return [time_ns for time_ns in times if time_ns is not None]
