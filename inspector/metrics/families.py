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
            "responses", "Answers judged, by verdict (unanswered requests included).", "interface", "verdict"
        )
        self.mismatches = self._counter(
            "mismatches",
            "Answers that offer another server address than the one that was asked, and no declared pool explains it.",
            "interface",
            "vip",
            "service",
        )
        self.vip_responses = self._counter(
            "vip_responses",
            "Answers judged, by the address that was asked: a declared VIP, one which a mismatch named, or `other`.",
            "interface",
            "vip",
            "verdict",
        )
        self.service_responses = self._counter(
            "service_responses",
            "Answers judged, by VIP and service: what the mismatches are a part of.",
            "interface",
            "vip",
            "service",
        )
        self.anomalies = self._counter("anomalies", "Things that could not be read, or only with doubt.", "reason")
        self.overflow = self._counter(
            "label_overflow", "Events counted under the label value `other`, having none of their own.", "label"
        )
        self.latency = self._histogram(
            "response_latency_seconds", "Time between a request and its answer, both seen here.", LATENCY_BUCKETS
        )
        self.connections = self._gauge("tracked_connections", "Connections whose state is held.")
        self.last_round = self._gauge(
            "last_round_timestamp_seconds", "When the main loop, which reads the rings, went round the last time."
        )

    def _declare_outcomes(self) -> None:
        """Declare what answers led to: findings of follow-ups, deliveries and connections to the mapper's port."""
        self.follow_ups = self._counter(
            "follow_ups",
            "Connections which clients made to endpoints that they were offered, by what became of them.",
            "interface",
            "vip",
            "service",
            "outcome",
        )
        self.undelivered = self._counter(
            "answers_undelivered", "Answers which never reached the client.", "interface", "vip"
        )
        self.mapper_failures = self._counter(
            "connections",
            "Connections to the endpoint mapper's own port that failed, by what became of them.",
            "interface",
            "vip",
            "outcome",
        )
        self.causes = self._counter(
            "causes",
            "Outcomes which hurt a client, by their cause (`unknown` where nothing was seen that tells it).",
            "interface",
            "vip",
            "cause",
        )
        self.connect_latency = self._histogram(
            "connect_latency_seconds",
            "Time from the first SYN of a follow-up to the SYN-ACK, both seen here.",
            LATENCY_BUCKETS,
        )

    def _declare_kernel(self) -> None:
        """Declare what comes from the kernel program and its rings."""
        self.packets = self._counter(
            "packets", "TCP packets to and from the ports of the endpoint mapper.", "interface", "direction"
        )
        self.matched = self._counter("packets_matched", "Packets with payload, SYN, FIN or RST: submitted or lost.")
        self.submitted = self._counter("ring_submitted", "Records put into a ring by the kernel program.")
        self.lost = self._counter("ring_lost", "Matched packets of which no record could be made.", "reason")
        self.consumed = self._counter("records_consumed", "Records taken out of the rings.")
        self.attach_failures = self._counter(
            "attach_failures", "Attempts to attach the program that failed.", "interface", "reason"
        )
        self.attachments_lost = self._counter(
            "attachments_lost", "How often the program went from an interface while it ran.", "interface", "reason"
        )
        self.reattachments = self._counter(
            "reattachments", "How often the program was put on an interface again.", "interface"
        )
        self.program_attached = self._gauge(
            "program_attached", "1 while the program is attached there in that mode.", "interface", "hook", "mode"
        )
        self.ring_used = self._gauge("ring_used_bytes", "Bytes in the rings which are not read yet.")
        self.ring_size = self._gauge("ring_size_bytes", "Bytes which the rings can hold.")
        self.map_entries = self._gauge(
            "follow_up_map_entries", "Entries of a map of the kernel program by which answers are followed.", "map"
        )
        self.map_evictions = self._counter(
            "follow_up_map_evictions",
            "Entries which such a map has forgotten: added and not there any more, while it is nearly full.",
            "map",
        )
        self.last_record = self._gauge("last_record_timestamp_seconds", "When the newest record was made.")
        self.age = self._histogram(
            "record_age_seconds", "Age of the newest record of each batch when it was read.", _AGE_BUCKETS
        )

    def _declare_sinks(self) -> None:
        """Declare what comes from the places where findings and evidence go."""
        self.findings_lost = self._counter(
            "findings_lost",
            "Findings (of the sink capture: packets) that could not be taken to a place where they should go.",
            "sink",
            "reason",
        )
        self.evidence_files = self._counter("evidence_files", "Conversations written to files of their own.")
        self.evidence_left_out = self._counter(
            "evidence_left_out", "Mismatches whose conversation was not written.", "reason"
        )
        self.evidence_one_of = self._gauge(
            "evidence_sampling", "Of so many connections the packets of one are held for evidence; 0: of none."
        )

    def _declare_config(self) -> None:
        """Declare what Prometheus' own programs tell of their configuration, under the same names."""
        self.config_successful = self._gauge(
            "config_last_reload_successful", "Whether the last attempt to read the configuration succeeded."
        )
        self.config_time = self._gauge(
            "config_last_reload_success_timestamp_seconds",
            "When the configuration was read successfully the last time.",
        )

    def _declare_process(self) -> None:
        """Declare what this process is: its versions, and what every exporter tells of itself under the same names."""
        Info(
            "epm_inspector_build", "Version of the inspector and of Python; which decoder.", registry=self._registry
        ).info({"version": __version__, "python_version": platform.python_version(), "decoder": implementation()})
        # CPU, memory, descriptors, the start.
        ProcessCollector(registry=self._registry)

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(f"epm_inspector_{name}", documentation, labels, registry=self._registry)

    def _gauge(self, name: str, documentation: str, *labels: str) -> Gauge:
        return Gauge(f"epm_inspector_{name}", documentation, labels, registry=self._registry)

    def _histogram(self, name: str, documentation: str, buckets: tuple[float, ...]) -> BulkHistogram:
        return BulkHistogram(f"epm_inspector_{name}", documentation, registry=self._registry, buckets=buckets)
