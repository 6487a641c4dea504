"""Every metric of the inspector, declared in this one file, in the exposition format of Prometheus.

No packet can mint a series: each label's values come from a closed set, from the configuration
and the command line, or from a fixed number of learned ones; everything else is `other`, and
`label_overflow_total` says how often. Series that are known in advance exist from the start with
the value 0, so that a rate() sees the first event.
"""

from __future__ import annotations

import platform
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, NamedTuple

from prometheus_client import CollectorRegistry, Gauge, Info, disable_created_metrics, generate_latest
from prometheus_client import Counter as Total
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from inspector import __version__
from inspector.errors import (
    Anomaly,
    AttachError,
    HookTakenError,
    LiveError,
    NoSuchInterfaceError,
    PrivilegeError,
    ToolchainError,
)
from inspector.model import CountedPairs, Direction, Finding, FindingBatch, Verdict
from inspector.record import Counter
from inspector.sinks.histogram import BulkHistogram

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
"""What `Metrics.render` returns, as a Content-Type."""

OTHER: Final = "other"
LEARNED_VIPS: Final = 64
LEARNED_INTERFACES: Final = 64
_REMEMBERED: Final = 65536

# Powers of two and a half, roughly: endpoint mappers answer within a millisecond on a LAN, calls time out in seconds.
LATENCY_BUCKETS: Final = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_AGE_BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

_LOST: Final = {
    Counter.LOST_COMPACT_FULL: "compact_full",
    Counter.LOST_BULK_FULL: "bulk_full",
    Counter.LOST_COPY: "copy",
}
_DIRECTIONS: Final = {
    Counter.PACKETS_TO_SERVER: Direction.TO_SERVER,
    Counter.PACKETS_FROM_SERVER: Direction.FROM_SERVER,
}
_ANOMALIES: Final = {
    Counter.LATER_FRAGMENTS: Anomaly.IP_FRAGMENT,
    Counter.UNREADABLE_HEADERS: Anomaly.UNREADABLE_FRAME,
}
_ATTACH_FAILURES: Final[dict[type[LiveError], str]] = {
    NoSuchInterfaceError: "no_such_interface",
    HookTakenError: "hook_taken",
    PrivilegeError: "privilege",
    ToolchainError: "toolchain",
    AttachError: "refused",
}


def attach_failure_reason(error: LiveError) -> str:
    """Return the value of the label `reason` for an error that kept the program off an interface."""
    for kind, reason in _ATTACH_FAILURES.items():
        if isinstance(error, kind):
            return reason
    return OTHER


class Metrics:
    """The metrics of one inspector, in a registry of the caller's.

    `vips` are the configured virtual addresses, which always have a label of their own;
    `learned_vips` is how many more get one, first come first served, when a mismatch names them.
    """

    def __init__(
        self, registry: CollectorRegistry, *, vips: Iterable[str] = (), learned_vips: int = LEARNED_VIPS
    ) -> None:
        # Without this every counter carries a second series with its birthday.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry
        self._interfaces: set[str] = set()
        self._vips = {str(ip_address(vip)) for vip in vips}
        self._vips_left = learned_vips
        self._last: dict[tuple[str, Counter], int] = {}
        self._attached: dict[str, set[tuple[str, str]]] = {}
        self._known: dict[int, _Known] = {}
        self._declare()
        self._initialise()

    def _declare(self) -> None:
        """Declare what comes from findings, and then the rest."""
        self._responses = self._counter(
            "responses", "Answers judged, by verdict (unanswered requests included).", "interface", "verdict"
        )
        self._mismatches = self._counter(
            "mismatches",
            "Answers that offer another server address than the one that was asked, and no declared pool explains it.",
            "interface",
            "vip",
            "service",
        )
        self._anomalies = self._counter("anomalies", "Things that could not be read, or only with doubt.", "reason")
        self._overflow = self._counter(
            "label_overflow", "Events counted under the label value `other`, having none of their own.", "label"
        )
        self._latency = self._histogram(
            "response_latency_seconds", "Time between a request and its answer, both seen here.", LATENCY_BUCKETS
        )
        self._connections = self._gauge("tracked_connections", "Connections whose state is held.")
        self._declare_kernel()
        Info("epm_inspector_build", "Version of the inspector and of Python.", registry=self._registry).info(
            {"version": __version__, "python_version": platform.python_version()}
        )

    def _declare_kernel(self) -> None:
        """Declare what comes from the kernel program and its rings."""
        self._packets = self._counter(
            "packets", "TCP packets to and from the ports of the endpoint mapper.", "interface", "direction"
        )
        self._matched = self._counter("packets_matched", "Packets with payload, SYN, FIN or RST: submitted or lost.")
        self._counted = self._counter("packets_counted", "Of those, requests and responses counted without a record.")
        self._held = self._gauge("requests_held", "Requests without a record whose response the kernel waits for.")
        self._submitted = self._counter("ring_submitted", "Records put into a ring by the kernel program.")
        self._lost = self._counter("ring_lost", "Matched packets of which no record could be made.", "reason")
        self._consumed = self._counter("records_consumed", "Records taken out of the rings.")
        self._attach_failures = self._counter(
            "attach_failures", "Attempts to attach the program that failed.", "interface", "reason"
        )
        self._program_attached = self._gauge(
            "program_attached", "1 while the program is attached there in that mode.", "interface", "hook", "mode"
        )
        self._ring_used = self._gauge("ring_used_bytes", "Bytes in the rings which are not read yet.")
        self._ring_size = self._gauge("ring_size_bytes", "Bytes which the rings can hold.")
        self._last_record = self._gauge("last_record_timestamp_seconds", "When the newest record was made.")
        self._age = self._histogram(
            "record_age_seconds", "Age of the newest record of each batch when it was read.", _AGE_BUCKETS
        )

    def _initialise(self) -> None:
        """Make the series exist which are known in advance."""
        for anomaly in Anomaly:
            self._anomalies.labels(str(anomaly))
        for reason in _LOST.values():
            self._lost.labels(reason)
        for label in ("interface", "vip", "service"):
            self._overflow.labels(label)

    def observe(self, finding: Finding) -> None:
        """Count one finding: its verdict, its latency and, if any of its mappings mismatches, one mismatch."""
        self._count_finding(finding, 1)
        if finding.latency_ns is not None:
            self._latency.observe(finding.latency_ns / 1e9)

    def _count_finding(self, finding: Finding, count: int) -> None:
        interface = self._interface(finding.source, count)
        self._responses.labels(interface, str(finding.verdict)).inc(count)
        vip = str(finding.asked)
        if _is_mismatch(finding):
            self._mismatches.labels(interface, self._vip(vip, count), self._service(finding, count)).inc(count)
        elif vip in self._vips and (name := _service_name(finding)) is not None:
            # While all is well, so that the first mismatch of this service is a step from 0.
            self._mismatches.labels(interface, vip, name)

    def observe_batch(self, batch: FindingBatch) -> None:
        """Count the findings of a batch, as `observe` would one by one."""
        for judgement, count in batch.counts():
            known = self._known.get(id(judgement))
            if known is None:
                self._count_finding(judgement, count)
                self._remember(judgement)
                continue
            for counter in known.counters:
                counter.inc(count)
        self._latency.observe_many(batch.latencies_ns() / 1e9)

    def observe_pairs(self, finding: Finding, pairs: CountedPairs) -> None:
        """Count what the kernel program counted, as `observe` would one by one; `finding` is that of any of them."""
        self._count_finding(finding, pairs.total)
        self._latency.add(pairs.latencies, pairs.latency_ns / 1e9)

    def _remember(self, judgement: Finding) -> None:
        """Keep the counters of a judgement, unless some of its labels are `other`: those are counted apart."""
        interface, vip, service = judgement.source, str(judgement.asked), _service_name(judgement)
        mismatch = _is_mismatch(judgement)
        if interface not in self._interfaces or (mismatch and (vip not in self._vips or service is None)):
            return
        counters = [self._responses.labels(interface, str(judgement.verdict))]
        if mismatch:
            counters.append(self._mismatches.labels(interface, vip, service))
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[id(judgement)] = _Known(judgement, counters)

    def observe_anomaly(self, anomaly: Anomaly, count: int = 1) -> None:
        """Count an anomaly."""
        self._anomalies.labels(str(anomaly)).inc(count)

    def update_kernel(self, counters: Mapping[str, Mapping[Counter, int]]) -> None:
        """Take over the kernel program's counters: by interface, since the program was loaded.

        A counter below its last value has begun anew, with a newly loaded program.
        """
        for source, values in counters.items():
            interface = self._interface(source)
            for counter, value in values.items():
                last = self._last.get((source, counter), 0)
                self._last[source, counter] = value
                self._add_kernel(interface, counter, value - last if value >= last else value)

    def _add_kernel(self, interface: str, counter: Counter, count: int) -> None:
        if counter in _DIRECTIONS:
            self._packets.labels(interface, str(_DIRECTIONS[counter])).inc(count)
        elif counter in _LOST:
            self._lost.labels(_LOST[counter]).inc(count)
        elif counter in _ANOMALIES:
            self._anomalies.labels(str(_ANOMALIES[counter])).inc(count)
        elif counter is Counter.MATCHED:
            self._matched.inc(count)
        elif counter is Counter.COUNTED:
            self._counted.inc(count)
        else:
            self._submitted.inc(count)

    def update_ring(self, used: int, size: int) -> None:
        """Take over the rings' fill, in bytes."""
        self._ring_used.set(used)
        self._ring_size.set(size)

    def requests_held(self, count: int) -> None:
        """Take over how many requests the kernel program holds."""
        self._held.set(count)

    def records_consumed(self, count: int, newest_time_ns: int, age_s: float) -> None:
        """Count a batch of records taken out of the rings; its newest was made at `newest_time_ns`, `age_s` ago."""
        self._consumed.inc(count)
        self._last_record.set(newest_time_ns / 1e9)
        self._age.observe(age_s)

    def tracked_connections(self, count: int) -> None:
        """Take over how many connections have state."""
        self._connections.set(count)

    def attached(self, interface: str, hook: str, mode: str) -> None:
        """Note that the program is on an interface: `hook` is xdp or tc, `mode` native, generic, ..."""
        label = self._interface(interface)
        self._attached.setdefault(label, set()).add((hook, mode))
        self._program_attached.labels(label, hook, mode).set(1)

    def detached(self, interface: str) -> None:
        """Note that the program is on no hook of an interface any more."""
        label = self._interface(interface)
        for hook, mode in self._attached.pop(label, ()):
            self._program_attached.labels(label, hook, mode).set(0)

    def attach_failure(self, interface: str, reason: str) -> None:
        """Count a failure to attach; `reason` is what `attach_failure_reason` returns."""
        known = reason if reason in _ATTACH_FAILURES.values() else OTHER
        self._attach_failures.labels(self._interface(interface), known).inc()

    def render(self) -> bytes:
        """Return all metrics as text of the type `CONTENT_TYPE`."""
        return generate_latest(self._registry)

    def _interface(self, name: str, count: int = 1) -> str:
        """Return the label of an interface; on first sight its series are made."""
        if name in self._interfaces:
            return name
        if len(self._interfaces) >= LEARNED_INTERFACES:
            self._overflow.labels("interface").inc(count)
            return OTHER
        self._interfaces.add(name)
        for direction in Direction:
            self._packets.labels(name, str(direction))
        for verdict in Verdict:
            self._responses.labels(name, str(verdict))
        for reason in (*_ATTACH_FAILURES.values(), OTHER):
            self._attach_failures.labels(name, reason)
        return name

    def _vip(self, address: str, count: int) -> str:
        """Return the label of a virtual address that a mismatch names."""
        if address in self._vips:
            return address
        if self._vips_left <= 0:
            self._overflow.labels("vip").inc(count)
            return OTHER
        self._vips_left -= 1
        self._vips.add(address)
        return address

    def _service(self, finding: Finding, count: int) -> str:
        """Return the label of the service that a mismatch concerns."""
        name = _service_name(finding)
        if name is None:
            self._overflow.labels("service").inc(count)
            return OTHER
        return name

    def _counter(self, name: str, documentation: str, *labels: str) -> Total:
        return Total(f"epm_inspector_{name}", documentation, labels, registry=self._registry)

    def _gauge(self, name: str, documentation: str, *labels: str) -> Gauge:
        return Gauge(f"epm_inspector_{name}", documentation, labels, registry=self._registry)

    def _histogram(self, name: str, documentation: str, buckets: tuple[float, ...]) -> BulkHistogram:
        return BulkHistogram(f"epm_inspector_{name}", documentation, registry=self._registry, buckets=buckets)


class _Known(NamedTuple):
    """A judgement, held so that its identity stays its own, and the counters which its findings go to."""

    judgement: Finding
    counters: list[Total]


def _is_mismatch(finding: Finding) -> bool:
    return finding.verdict is Verdict.MISMATCH or any(
        mapping.verdict is Verdict.MISMATCH for mapping in finding.mappings
    )


def _service_name(finding: Finding) -> str | None:
    """Return the well-known name of what a finding is about: of the first mismatching mapping, or of the request."""
    mismatching = [mapping.interface for mapping in finding.mappings if mapping.verdict is Verdict.MISMATCH]
    for interface in (*mismatching, finding.requested, *(mapping.interface for mapping in finding.mappings)):
        if interface is not None and interface.name is not None:
            return interface.name
    return None
