"""What findings, the kernel program and the inspection do to the metrics.

No packet can mint a series: each label's values come from a closed set, from the configuration
and the command line, or from a fixed number of learned ones; everything else is `other`, and
`label_overflow_total` says how often. Series that are known in advance exist from the start with
the value 0, so that a rate() sees the first event.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from inspector.errors import Anomaly, AttachmentLoss
from inspector.evidence.quota import LeftOut
from inspector.losses import Loss
from inspector.metrics.families import Families
from inspector.metrics.labels import ANOMALIES, ATTACH_FAILURES, DIRECTIONS, LOST, OTHER, is_mismatch, service_name
from inspector.model import OTHER_INTERFACES, Direction, Finding, Verdict
from inspector.record import KernelCounter

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

    from prometheus_client import Counter

    from inspector.decode.batch import FindingBatch

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
"""What `Metrics.render` returns, as a Content-Type."""

LEARNED_VIPS: Final = 64
LEARNED_INTERFACES: Final = 64
_REMEMBERED: Final = 65536


class Metrics:
    """The metrics of one inspector, in a registry of the caller's.

    `vips` are the configured virtual addresses, which always have a label of their own;
    `learned_vips` is how many more get one, first come first served, when a mismatch names them.
    """

    def __init__(
        self, registry: CollectorRegistry, *, vips: Iterable[str] = (), learned_vips: int = LEARNED_VIPS
    ) -> None:
        self._registry, self._families = registry, Families(registry)
        self._interfaces: set[str] = set()
        self._vips = {str(ip_address(vip)) for vip in vips}
        self._learned_vips = self._vips_left = learned_vips
        self._last: dict[tuple[str, KernelCounter], int] = {}
        self._attached: dict[str, set[tuple[str, str]]] = {}
        self._known: dict[int, _Known] = {}
        self._prepared: set[tuple[str, str]] = set()
        self._told: dict[Hashable, int] = {}
        self._initialise()

    def _initialise(self) -> None:
        """Make the series exist which are known in advance."""
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

    def _counters(self, finding: Finding) -> list[Counter]:
        """Return the counters of a finding, those included of labels which have no value of their own for it."""
        mismatch, asked, service = is_mismatch(finding), str(finding.asked), service_name(finding)
        interface = self._learn_interface(finding.source)
        vip = self._learn_vip(asked) if mismatch else asked if asked in self._vips else None
        of_interface = interface or OTHER_INTERFACES
        of_service = (of_interface, vip or OTHER, service or OTHER)
        self._prepare(of_interface, vip or OTHER)
        counters = [
            self._families.responses.labels(of_interface, str(finding.verdict)),
            self._families.vip_responses.labels(of_interface, vip or OTHER, str(finding.verdict)),
            self._families.service_responses.labels(*of_service),
        ]
        named = {"interface": interface}
        if mismatch:
            counters.append(self._families.mismatches.labels(*of_service))
            named |= {"vip": vip, "service": service}
        elif vip is not None and service is not None:
            # While all is well, so that the first mismatch of this service is a step from 0.
            self._families.mismatches.labels(*of_service)
        return counters + [self._families.overflow.labels(label) for label, value in named.items() if value is None]

    def _prepare(self, interface: str, vip: str) -> None:
        """Make the series of a VIP on an interface exist on first sight."""
        if (interface, vip) not in self._prepared:
            self._prepared.add((interface, vip))
            for verdict in Verdict:
                self._families.vip_responses.labels(interface, vip, str(verdict))

    def observe(self, batch: FindingBatch) -> None:
        """Count findings: each one's verdict, its latency and, if any of its mappings mismatches, one mismatch."""
        for template, count in batch.counts():
            known = self._known.get(id(template)) if batch.lasting else None
            if known is not None:
                counters = known.counters
            else:
                counters = self._remember(template).counters if batch.lasting else self._counters(template)
            for counter in counters:
                counter.inc(count)
        self._families.latency.observe_many(batch.latencies_ns() / 1e9)

    def _remember(self, judgement: Finding) -> _Known:
        """Return the counters of a judgement, and keep them."""
        known = _Known(judgement, self._counters(judgement))
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[id(judgement)] = known
        return known

    def observe_anomaly(self, anomaly: Anomaly, count: int = 1) -> None:
        """Count an anomaly."""
        self._families.anomalies.labels(str(anomaly)).inc(count)

    def update_kernel(self, counters: Mapping[str, Mapping[KernelCounter, int]]) -> None:
        """Take over the kernel program's counters: by interface, since the program was loaded.

        A counter below its last value has begun anew, with a newly loaded program.
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
        """Take over the rings' fill, in bytes."""
        self._families.ring_used.set(used)
        self._families.ring_size.set(size)

    def records_consumed(self, count: int, newest_time_ns: int, age_s: float) -> None:
        """Count a batch of records taken out of the rings; its newest was made at `newest_time_ns`, `age_s` ago."""
        self._families.consumed.inc(count)
        self._families.last_record.set(newest_time_ns / 1e9)
        self._families.age.observe(age_s)

    def update_losses(self, losses: Iterable[tuple[Loss, int]]) -> None:
        """Take over how many findings could not be taken to their places so far."""
        for loss, count in losses:
            self._families.findings_lost.labels(*loss.value).inc(self._rise(loss, count))

    def update_evidence(self, written: int, left_out: Mapping[LeftOut, int], one_of: int) -> None:
        """Take over what became of mismatches so far, and of how many connections one is held."""
        self._families.evidence_files.inc(self._rise("evidence", written))
        for reason, count in left_out.items():
            self._families.evidence_left_out.labels(str(reason)).inc(self._rise(reason, count))
        self._families.evidence_one_of.set(one_of)

    def _rise(self, name: Hashable, count: int) -> int:
        """Return by how much a count has grown since it was told last."""
        last = self._told.get(name, 0)
        self._told[name] = count
        return count - last

    def tracked_connections(self, count: int) -> None:
        """Take over how many connections have state."""
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
        """Count that an interface has no program any more, against our will."""
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
        """Take over configured virtual addresses and how many may be learned; what has a label keeps it."""
        self._vips |= {str(ip_address(vip)) for vip in vips}
        self._vips_left += learned_vips - self._learned_vips
        self._learned_vips = learned_vips
        self._known.clear()

    def attach_failure(self, interface: str, reason: str) -> None:
        """Count a failure to attach; `reason` is what `attach_failure_reason` returns."""
        known = reason if reason in ATTACH_FAILURES.values() else OTHER
        self._families.attach_failures.labels(self._interface(interface), known).inc()

    def render(self) -> bytes:
        """Return all metrics as text of the type `CONTENT_TYPE`."""
        return generate_latest(self._registry)

    def _interface(self, name: str) -> str:
        """Return the label of an interface that something other than a finding is about."""
        label = self._learn_interface(name)
        if label is None:
            self._families.overflow.labels("interface").inc()
            return OTHER_INTERFACES
        return label

    def _learn_interface(self, name: str) -> str | None:
        """Return the label of an interface, None when none is left; on first sight its series are made."""
        if name in self._interfaces:
            return name
        if len(self._interfaces) >= LEARNED_INTERFACES:
            return None
        self._interfaces.add(name)
        for direction in Direction:
            self._families.packets.labels(name, str(direction))
        for verdict in Verdict:
            self._families.responses.labels(name, str(verdict))
        for reason in (*ATTACH_FAILURES.values(), OTHER):
            self._families.attach_failures.labels(name, reason)
        for loss in AttachmentLoss:
            self._families.attachments_lost.labels(name, str(loss))
        self._families.reattachments.labels(name)
        return name

    def _learn_vip(self, address: str) -> str | None:
        """Return the label of a virtual address that a mismatch names, None when none is left."""
        if address in self._vips:
            return address
        if self._vips_left <= 0:
            return None
        self._vips_left -= 1
        self._vips.add(address)
        # What was asked of this address so far was counted under `other`.
        self._known.clear()
        return address


class _Known(NamedTuple):
    """A judgement, held so that its identity stays its own, and the counters which each of its findings goes to."""

    judgement: Finding
    counters: list[Counter]
