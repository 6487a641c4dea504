"""Every metric of the inspector, declared in this one file, in the exposition format of Prometheus."""

from __future__ import annotations

import platform
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Info, ProcessCollector, disable_created_metrics

from inspector import __version__
from inspector.decode import implementation
from inspector.metrics.histogram import BulkHistogram

# Powers of two and a half, roughly: endpoint mappers answer within a millisecond on a LAN, calls time out in seconds.
LATENCY_BUCKETS: Final = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_AGE_BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Families:
    """The metric families, in a registry of the caller's; what they count is `Metrics`'s."""

    def __init__(self, registry: CollectorRegistry) -> None:
        # Without this every counter carries a second series with its birthday.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry
        self._declare_findings()
        self._declare_outcomes()
        self._declare_kernel()
        self._declare_sinks()
        self._declare_config()
        self._declare_process()

    def _declare_findings(self) -> None:
        """Declare what comes from findings, and from the loop that makes them."""
        self.responses = self._counter(
            "responses", "Answers by verdict, unanswered requests included.", "interface", "verdict"
        )
        self.mismatches = self._counter(
            "mismatches",
            "Answers that offer another server address than the client asked, outside of every declared pool.",
            "interface",
            "vip",
            "service",
        )
        self.vip_responses = self._counter(
            "vip_responses",
            "Answers by asked address (a declared VIP, an address with a mismatch, or `other`) and verdict.",
            "interface",
            "vip",
            "verdict",
        )
        self.service_responses = self._counter(
            "service_responses",
            "Answers by VIP and service; the denominator of mismatches_total.",
            "interface",
            "vip",
            "service",
        )
        self.anomalies = self._counter(
            "anomalies", "Anomalies by reason: data that could not be decoded, or only with doubt.", "reason"
        )
        self.overflow = self._counter(
            "label_overflow", "Events counted under the label value `other`, by label.", "label"
        )
        self.latency = self._histogram(
            "response_latency_seconds", "Time from a request to its answer.", LATENCY_BUCKETS
        )
        self.connections = self._gauge("tracked_connections", "Connections in the tables of the decoder.")
        self.last_round = self._gauge(
            "last_round_timestamp_seconds", "Time of the last iteration of the main loop, which reads the rings."
        )

    def _declare_outcomes(self) -> None:
        """Declare what answers led to: findings of follow-ups, deliveries and connections to the mapper's port."""
        self.follow_ups = self._counter(
            "follow_ups",
            "Connections of clients to offered endpoints, by outcome; and answers that no connection followed"
            " (not_followed).",
            "interface",
            "vip",
            "service",
            "outcome",
        )
        self.undelivered = self._counter(
            "answers_undelivered", "Answers that did not reach the client.", "interface", "vip"
        )
        self.late = self._counter(
            "answers_late",
            "Answers to questions which had been counted as unanswered before; they are no further responses.",
            "interface",
            "vip",
        )
        self.mapper_failures = self._counter(
            "connections",
            "Failed connections to the endpoint mapper's own port, by outcome.",
            "interface",
            "vip",
            "outcome",
        )
        self.causes = self._counter(
            "causes",
            "Outcomes that hurt a client, by cause (`unknown`: no evidence for a cause).",
            "interface",
            "vip",
            "cause",
        )
        self.connect_latency = self._histogram(
            "connect_latency_seconds",
            "Time from the first SYN of a follow-up to the SYN-ACK.",
            LATENCY_BUCKETS,
        )

    def _declare_kernel(self) -> None:
        """Declare what comes from the kernel program and its rings."""
        self.packets = self._counter(
            "packets", "TCP packets to and from the ports of the endpoint mapper.", "interface", "direction"
        )
        self.matched = self._counter(
            "packets_matched", "Packets with payload, SYN, FIN or RST; equals records submitted plus lost."
        )
        self.submitted = self._counter("ring_submitted", "Records that the kernel program put into the rings.")
        self.lost = self._counter("ring_lost", "Matched packets without a record, by reason.", "reason")
        self.consumed = self._counter("records_consumed", "Records read from the rings.")
        self.attach_failures = self._counter(
            "attach_failures", "Failed attempts to attach the kernel program.", "interface", "reason"
        )
        self.attachments_lost = self._counter(
            "attachments_lost", "Losses of the kernel program on an interface, by reason.", "interface", "reason"
        )
        self.reattachments = self._counter("reattachments", "Times the kernel program was attached again.", "interface")
        self.program_attached = self._gauge(
            "program_attached",
            "1 while the kernel program is attached with this hook and mode, else 0.",
            "interface",
            "hook",
            "mode",
        )
        self.ring_used = self._gauge("ring_used_bytes", "Unread bytes in the rings.")
        self.ring_size = self._gauge("ring_size_bytes", "Capacity of the rings in bytes.")
        self.map_entries = self._gauge(
            "follow_up_map_entries", "Entries in a map of the kernel program for follow-ups.", "map"
        )
        self.map_evictions = self._counter(
            "follow_up_map_evictions",
            "Entries evicted from such a map while it was nearly full (an estimate).",
            "map",
        )
        self.last_record = self._gauge("last_record_timestamp_seconds", "Time of the newest record.")
        self.age = self._histogram(
            "record_age_seconds", "Age of the newest record of each batch when it is read.", _AGE_BUCKETS
        )

    def _declare_sinks(self) -> None:
        """Declare what comes from the places where findings and evidence go."""
        self.findings_lost = self._counter(
            "findings_lost",
            "Findings that could not be written, by sink and reason (sink `capture`: packets).",
            "sink",
            "reason",
        )
        self.evidence_files = self._counter("evidence_files", "Evidence files written, one for each conversation.")
        self.evidence_left_out = self._counter(
            "evidence_left_out", "Mismatches without an evidence file, by reason.", "reason"
        )
        self.evidence_one_of = self._gauge(
            "evidence_sampling", "Evidence sampling: packets of 1 in N connections are held (0: of none)."
        )

    def _declare_config(self) -> None:
        """Declare what Prometheus' own programs tell of their configuration, under the same names."""
        self.config_successful = self._gauge(
            "config_last_reload_successful", "1 if the last attempt to read the configuration succeeded, else 0."
        )
        self.config_time = self._gauge(
            "config_last_reload_success_timestamp_seconds",
            "Time at which the configuration was last read successfully.",
        )

    def _declare_process(self) -> None:
        """Declare what this process is: its versions, and what every exporter tells of itself under the same names."""
        Info(
            "epm_inspector_build", "Versions of the inspector and of Python; decoder in use.", registry=self._registry
        ).info({"version": __version__, "python_version": platform.python_version(), "decoder": implementation()})
        # CPU, memory, descriptors, the start.
        ProcessCollector(registry=self._registry)

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(f"epm_inspector_{name}", documentation, labels, registry=self._registry)

    def _gauge(self, name: str, documentation: str, *labels: str) -> Gauge:
        return Gauge(f"epm_inspector_{name}", documentation, labels, registry=self._registry)

    def _histogram(self, name: str, documentation: str, buckets: tuple[float, ...]) -> BulkHistogram:
        return BulkHistogram(f"epm_inspector_{name}", documentation, registry=self._registry, buckets=buckets)
