"""The metrics: names, values, and that nothing from the network can mint a series."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from inspector import __version__
from inspector.decode import implementation
from inspector.errors import (
    Anomaly,
    AttachError,
    AttachmentLoss,
    HookTakenError,
    LiveError,
    NoSuchInterfaceError,
    PrivilegeError,
    ToolchainError,
)
from inspector.evidence.quota import LeftOut
from inspector.losses import Loss
from inspector.metrics.labels import attach_failure_reason
from inspector.metrics.updates import CONTENT_TYPE, Metrics
from inspector.model import Direction, Verdict
from inspector.record import KernelCounter
from tests.build.blocks import batch_of
from tests.build.findings import PREFIX, UNNAMED, Scraped, finding, mapping

if TYPE_CHECKING:
    pass


@pytest.fixture
def metrics() -> Metrics:
    """Return metrics in a registry of their own, with one configured VIP."""
    return Metrics(CollectorRegistry(), vips=["10.11.2.2"], learned_vips=2)


def test_every_metric_is_there_from_the_start(metrics: Metrics) -> None:
    """The names which dashboards build on, all with the prefix, and none with a birthday."""
    text = metrics.render().decode()
    declared = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    names = """
        vip_responses_total service_responses_total
        follow_ups_total answers_undelivered_total answers_late_total connections_total causes_total
        connect_latency_seconds
        packets_total responses_total mismatches_total anomalies_total ring_submitted_total ring_lost_total
        records_consumed_total label_overflow_total attach_failures_total program_attached ring_used_bytes
        ring_size_bytes tracked_connections last_record_timestamp_seconds last_round_timestamp_seconds
        build_info response_latency_seconds record_age_seconds packets_matched_total attachments_lost_total
        reattachments_total
        config_last_reload_successful config_last_reload_success_timestamp_seconds
        findings_lost_total evidence_files_total evidence_left_out_total
        evidence_sampling follow_up_map_entries follow_up_map_evictions_total
    """
    of_the_process = "cpu_seconds_total resident_memory_bytes virtual_memory_bytes start_time_seconds open_fds max_fds"
    assert declared == {PREFIX + name for name in names.split()} | {
        f"process_{name}" for name in of_the_process.split()
    }
    assert "_created" not in text
    assert CONTENT_TYPE.startswith("text/plain")


def test_known_series_start_at_zero(metrics: Metrics) -> None:
    """A rate() sees the first event only of series that were there before it."""
    metrics.attached("eth0", "xdp", "native")
    scraped = Scraped(metrics)
    for anomaly in Anomaly:
        assert scraped("anomalies_total", reason=str(anomaly)) == 0
    for reason in ("compact_full", "bulk_full", "copy"):
        assert scraped("ring_lost_total", reason=reason) == 0
    for verdict in Verdict:
        assert scraped("responses_total", interface="eth0", verdict=str(verdict)) == 0
    for direction in Direction:
        assert scraped("packets_total", interface="eth0", direction=str(direction)) == 0
    for name in ("ring_submitted_total", "records_consumed_total", "packets_matched_total"):
        assert scraped(name) == 0
    for label in ("interface", "vip", "service"):
        assert scraped("label_overflow_total", label=label) == 0


def test_a_mismatch(metrics: Metrics) -> None:
    """One finding counts once, however many of its mappings mismatch."""
    metrics.observe(batch_of(finding(mappings=(mapping(), mapping(), mapping(Verdict.MATCH)), latency_ns=3_000_000)))
    scraped = Scraped(metrics)
    assert scraped("responses_total", interface="eth0", verdict="mismatch") == 1
    assert scraped("mismatches_total", interface="eth0", vip="10.11.2.2", service="MAPI") == 1
    assert scraped("response_latency_seconds_count") == 1
    assert scraped("response_latency_seconds_sum") == pytest.approx(0.003)
    assert scraped("response_latency_seconds_bucket", le="0.0025") == 0
    assert scraped("response_latency_seconds_bucket", le="0.005") == 1


def test_a_match_prepares_the_series_of_its_service(metrics: Metrics) -> None:
    """For configured VIPs a service that goes bad later steps up from 0; other VIPs mint nothing by matching."""
    metrics.observe(batch_of(finding(Verdict.MATCH)))
    metrics.observe(batch_of(finding(Verdict.MATCH, asked="10.9.9.9")))
    scraped = Scraped(metrics)
    assert scraped("mismatches_total", interface="eth0", vip="10.11.2.2", service="MAPI") == 0
    assert scraped.series("mismatches_total") == 1
    assert scraped("response_latency_seconds_count") == 0


def test_answers_are_counted_by_what_was_asked(metrics: Metrics) -> None:
    """A declared VIP has its verdicts and services apart, each verdict from 0 on; the rest is together."""
    metrics.observe(batch_of(finding(Verdict.MATCH)))
    metrics.observe(batch_of(finding(Verdict.NOT_REGISTERED, mappings=(), requested=UNNAMED)))
    metrics.observe(batch_of(finding(Verdict.UNANSWERED, asked="10.9.9.9", mappings=())))
    scraped = Scraped(metrics)
    vip, other = {"interface": "eth0", "vip": "10.11.2.2"}, {"interface": "eth0", "vip": "other"}
    for verdict in Verdict:
        expected = int(verdict in (Verdict.MATCH, Verdict.NOT_REGISTERED))
        assert scraped("vip_responses_total", **vip, verdict=str(verdict)) == expected
        expected = int(verdict is Verdict.UNANSWERED)
        assert scraped("vip_responses_total", **other, verdict=str(verdict)) == expected
    assert scraped("service_responses_total", **vip, service="MAPI") == 1
    assert scraped("service_responses_total", **vip, service="other") == 1
    assert scraped("service_responses_total", **other, service="MAPI") == 1
    assert scraped("label_overflow_total", label="vip") == scraped("label_overflow_total", label="service") == 0


def test_kernel_counters_are_taken_over_by_difference(metrics: Metrics) -> None:
    """Each counter of the kernel has its metric; a program loaded anew begins at 0 and goes on counting."""
    first = {counter: int(counter) + 1 for counter in KernelCounter}
    metrics.update_kernel({"eth0": first, "eth1": {KernelCounter.SUBMITTED: 10}})
    metrics.update_kernel({"eth0": {counter: value + 10 for counter, value in first.items()}})
    metrics.update_kernel({"eth0": dict.fromkeys(KernelCounter, 1)})
    scraped = Scraped(metrics)
    assert scraped("packets_total", interface="eth0", direction="to_server") == 12
    assert scraped("packets_total", interface="eth0", direction="from_server") == 13
    assert scraped("packets_total", interface="eth1", direction="to_server") == 0
    assert scraped("packets_matched_total") == 14
    assert scraped("ring_submitted_total") == 15 + 10
    assert scraped("ring_lost_total", reason="compact_full") == 16
    assert scraped("ring_lost_total", reason="bulk_full") == 17
    assert scraped("ring_lost_total", reason="copy") == 18
    assert scraped("ring_lost_total", reason="icmp_budget") == 21
    assert scraped("anomalies_total", reason="ip_fragment") == 19
    assert scraped("anomalies_total", reason="unreadable_frame") == 20


def test_anomalies(metrics: Metrics) -> None:
    """Counted by reason, one or several at a time."""
    metrics.observe_anomaly(Anomaly.STREAM_GAP)
    metrics.observe_anomaly(Anomaly.STREAM_GAP, 4)
    assert Scraped(metrics)("anomalies_total", reason="stream_gap") == 5


def test_rings_and_records(metrics: Metrics) -> None:
    """Fill and size, records, the newest one's time and age."""
    metrics.update_ring(4096, 1 << 20)
    metrics.records_consumed(100, 1_700_000_000_500_000_000, 0.002)
    metrics.records_consumed(1, 1_700_000_001_000_000_000, 0.2)
    metrics.tracked_connections(17)
    scraped = Scraped(metrics)
    assert scraped("ring_used_bytes") == 4096
    assert scraped("ring_size_bytes") == 1 << 20
    assert scraped("records_consumed_total") == 101
    assert scraped("last_record_timestamp_seconds") == 1_700_000_001
    assert scraped("record_age_seconds_count") == 2
    assert scraped("record_age_seconds_bucket", le="0.0025") == 1
    assert scraped("tracked_connections") == 17


def test_maps_of_follow_ups(metrics: Metrics) -> None:
    """How full they are, and what they have forgotten: the counter goes by what was said before."""
    for evicted in (3, 5):
        metrics.update_follow_up_maps({"endpoints": 16_000}, {"endpoints": evicted})
    scraped = Scraped(metrics)
    assert scraped("follow_up_map_entries", map="endpoints") == 16_000
    assert scraped("follow_up_map_evictions_total", map="endpoints") == 5


def test_attachment(metrics: Metrics) -> None:
    """1 while attached, 0 afterwards, so that an alert sees the difference."""
    metrics.attached("eth0", "xdp", "native")
    metrics.attached("eth0", "tc", "tcx")
    assert Scraped(metrics)("program_attached", interface="eth0", hook="xdp", mode="native") == 1
    metrics.detached("eth0")
    metrics.detached("eth1")
    scraped = Scraped(metrics)
    assert scraped("program_attached", interface="eth0", hook="xdp", mode="native") == 0
    assert scraped("program_attached", interface="eth0", hook="tc", mode="tcx") == 0
    metrics.attached("eth0", "xdp", "generic")
    assert Scraped(metrics)("program_attached", interface="eth0", hook="xdp", mode="generic") == 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NoSuchInterfaceError(), "no_such_interface"),
        (HookTakenError(), "hook_taken"),
        (PrivilegeError(), "privilege"),
        (ToolchainError(), "toolchain"),
        (AttachError(), "refused"),
        (LiveError(), "other"),
    ],
)
def test_attach_failures(metrics: Metrics, error: LiveError, reason: str) -> None:
    """By a closed set of reasons, each there before the first failure of an interface that is known."""
    metrics.attached("eth0", "xdp", "native")
    assert Scraped(metrics)("attach_failures_total", interface="eth0", reason=reason) == 0
    metrics.attach_failure("eth0", attach_failure_reason(error))
    assert Scraped(metrics)("attach_failures_total", interface="eth0", reason=reason) == 1


def test_lost_and_put_back(metrics: Metrics) -> None:
    """Each loss by its reason, each return, and both there before the first."""
    metrics.attached("eth0", "xdp", "native")
    for loss in AttachmentLoss:
        assert Scraped(metrics)("attachments_lost_total", interface="eth0", reason=str(loss)) == 0
    assert Scraped(metrics)("reattachments_total", interface="eth0") == 0
    metrics.attachment_lost("eth0", AttachmentLoss.DETACHED)
    metrics.reattached("eth0")
    assert Scraped(metrics)("attachments_lost_total", interface="eth0", reason="detached") == 1
    assert Scraped(metrics)("reattachments_total", interface="eth0") == 1


def test_build_info(metrics: Metrics) -> None:
    """Which version is running, and which decoder."""
    assert f'epm_inspector_build_info{{decoder="{implementation()}",python_version="3' in metrics.render().decode()
    assert f'version="{__version__}"' in metrics.render().decode()


def test_the_process(metrics: Metrics) -> None:
    """CPU, memory and start of the process which is running, for the dashboard of the inspector's own health."""
    scraped = Scraped(metrics)
    start = scraped("process_start_time_seconds")
    assert start is not None
    assert 0 <= time.time() - start < time.monotonic() + 60
    for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"):
        assert (scraped(name) or 0) > 0, name


def test_two_inspectors_in_one_process() -> None:
    """Registries are the caller's; nothing is global."""
    one, two = Metrics(CollectorRegistry()), Metrics(CollectorRegistry())
    one.observe_anomaly(Anomaly.STREAM_GAP)
    assert Scraped(two)("anomalies_total", reason="stream_gap") == 0


def test_losses_and_evidence_are_counted_on(metrics: Metrics) -> None:
    """Counts so far become counters that rise by the difference; every reason is there from the start."""
    scraped = Scraped(metrics)
    assert all(scraped("evidence_left_out_total", reason=str(reason)) == 0 for reason in LeftOut)
    assert all(scraped("findings_lost_total", sink=loss.value[0], reason=loss.value[1]) == 0 for loss in Loss)
    assert scraped("evidence_sampling") == 0
    for count in (3, 3, 5):
        metrics.update_losses([(Loss.FILE_FAILED, count), (Loss.JOURNAL_RATE, 2 * count)])
        metrics.update_evidence(count, {LeftOut.SAMPLED: 10 * count}, 4)
    scraped = Scraped(metrics)
    assert scraped("findings_lost_total", sink="file", reason="failed") == 5
    assert scraped("findings_lost_total", sink="journal", reason="rate") == 10
    assert scraped("evidence_files_total") == 5
    assert scraped("evidence_left_out_total", reason="sampled") == 50
    assert scraped("evidence_sampling") == 4
