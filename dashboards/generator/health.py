"""The inspectors' own health: attached, reading in time, losing nothing, and what they cost."""

from __future__ import annotations

from dashboards.generator.alerting import HEALTH_DASHBOARD, SERVICE_DASHBOARD
from dashboards.generator.panels import (
    INSTANCE,
    INTERFACE,
    JOB,
    PER_MINUTE,
    PORT,
    RATE,
    SCOPE,
    Dashboard,
    Panel,
    Query,
    Row,
    State,
)


def health() -> Dashboard:
    """Return the description of the health dashboard."""
    return Dashboard(
        uid=HEALTH_DASHBOARD,
        title="epm-inspector / health",
        description="The inspectors themselves: attached, reading in time, losing nothing, and what they cost.",
        other=SERVICE_DASHBOARD,
        variables=(JOB, INSTANCE, INTERFACE),
        rows=(
            Row(100, "Running and attached", _attached()),
            Row(101, "Loss: is everything read that should be?", _loss()),
            Row(102, "Delay: is it read in time?", _delay()),
            Row(103, "Cost", _cost()),
            Row(104, "State, and bounds that were reached", _bounds()),
        ),
    )


def _attached() -> tuple[Panel, ...]:
    return (
        Panel(
            10,
            "state-timeline",
            "Scraped",
            "Whether Prometheus gets the metrics of each inspector.",
            "none",
            (Query(f"max by (job, instance) (up{{{SCOPE}}})", "{{instance}}"),),
            height=7,
            states={0: State("down", "red"), 1: State("up", "green")},
            runbook="EpmInspectorDown",
        ),
        Panel(
            11,
            "state-timeline",
            "Attached, by interface, hook and mode",
            "Where the program is attached, and how: xdp native, xdp generic, or tc. A change of mode is two lines.",
            "none",
            (
                Query(
                    f"max by (instance, interface, hook, mode) (epm_inspector_program_attached{{{PORT}}})",
                    "{{instance}} {{interface}} {{hook}} {{mode}}",
                ),
            ),
            height=7,
            states={0: State("not attached", "red"), 1: State("attached", "green")},
            runbook="EpmInspectorNotAttached",
        ),
        *_fleet(),
    )


def _fleet() -> tuple[Panel, ...]:
    return (
        Panel(
            12,
            "table",
            "Versions",
            "Which version runs where: after an upgrade of a fleet, the ones that were forgotten.",
            "short",
            (Query(f"max by (instance, version, python_version) (epm_inspector_build_info{{{SCOPE}}})", ""),),
            width=8,
            height=7,
            columns={"instance": "Inspector", "version": "Version", "python_version": "Python", "A": "Running"},
        ),
        *_attaching(),
        *_configuration(),
    )


def _attaching() -> tuple[Panel, ...]:
    return (
        Panel(
            13,
            "timeseries",
            "Failures to attach, per minute, by reason",
            "`hook_taken`: another program holds the hook; `refused`: the kernel or the driver would not;"
            " `no_such_interface`: it is gone; `privilege`: capabilities are missing.",
            "cpm",
            (
                Query(
                    "sum by (instance, interface, reason)"
                    f" (rate(epm_inspector_attach_failures_total{{{PORT}}}[{RATE}]))"
                    f" * {PER_MINUTE}",
                    "{{instance}} {{interface}} {{reason}}",
                ),
            ),
            width=8,
            height=7,
            runbook="EpmInspectorNotAttached",
        ),
        Panel(
            15,
            "timeseries",
            "Program lost and put back, per minute",
            "How often the program went from an interface against the inspector's will, by reason, and how often it was"
            " put back.",
            "cpm",
            (
                Query(
                    "sum by (instance, interface, reason)"
                    f" (rate(epm_inspector_attachments_lost_total{{{PORT}}}[{RATE}])) * {PER_MINUTE}",
                    "{{instance}} {{interface}} lost: {{reason}}",
                ),
                Query(
                    "sum by (instance, interface)"
                    f" (rate(epm_inspector_reattachments_total{{{PORT}}}[{RATE}])) * {PER_MINUTE}",
                    "{{instance}} {{interface}} put back",
                ),
            ),
            width=8,
            height=7,
            runbook="EpmInspectorAttachmentUnstable",
        ),
    )


def _configuration() -> tuple[Panel, ...]:
    read = f"epm_inspector_config_last_reload_success_timestamp_seconds{{{SCOPE}}}"
    return (
        Panel(
            14,
            "state-timeline",
            "Configuration in force",
            "Whether the last reload (SIGHUP) was accepted. After a refused one the old configuration stays in force.",
            "none",
            (
                Query(
                    f"min by (job, instance) (epm_inspector_config_last_reload_successful{{{SCOPE}}})", "{{instance}}"
                ),
            ),
            height=7,
            states={0: State("refused", "red"), 1: State("accepted", "green")},
            runbook="EpmInspectorConfigReloadFailed",
        ),
        Panel(
            16,
            "timeseries",
            "Age of the configuration",
            "Time since the configuration in force was read. One inspector that is older than the others has missed a"
            " change.",
            "s",
            (Query(f"time() - max by (instance) ({read})", "{{instance}}"),),
            height=7,
        ),
    )


def _loss() -> tuple[Panel, ...]:
    return (
        Panel(
            20,
            "timeseries",
            "Fill of the rings",
            "How much of the rings between kernel and inspector is not read yet. At 100% packets are lost.",
            "percentunit",
            (
                Query(
                    f"sum by (instance) (epm_inspector_ring_used_bytes{{{SCOPE}}})\n/\n"
                    f"sum by (instance) (epm_inspector_ring_size_bytes{{{SCOPE}}})",
                    "{{instance}}",
                ),
            ),
            width=8,
            highest=1,
            steps=((None, "green"), (0.5, "yellow"), (0.9, "red")),
            runbook="EpmInspectorRingLoss",
        ),
        Panel(
            21,
            "timeseries",
            "Lost packets per minute, by reason",
            "Packets of which no record could be made: a ring was full (`compact_full`, `bulk_full`), or the payload"
            " could not be copied (`copy`). Traffic itself is never held up.",
            "cpm",
            (
                Query(
                    f"sum by (instance, reason) (rate(epm_inspector_ring_lost_total{{{SCOPE}}}[{RATE}]))"
                    f" * {PER_MINUTE}",
                    "{{instance}} {{reason}}",
                ),
            ),
            width=8,
            steps=((None, "green"), (1, "red")),
            runbook="EpmInspectorRingLoss",
        ),
        Panel(
            22,
            "timeseries",
            "Packets per second: seen, matched, read",
            "Of the packets on the ports, those with payload, SYN, FIN or RST are matched; each becomes a record, or is"
            " counted as lost. Matched and read run together.",
            "pps",
            (
                Query(f"sum(rate(epm_inspector_packets_total{{{PORT}}}[{RATE}]))", "seen"),
                Query(f"sum(rate(epm_inspector_packets_matched_total{{{SCOPE}}}[{RATE}]))", "matched"),
                Query(f"sum(rate(epm_inspector_ring_submitted_total{{{SCOPE}}}[{RATE}]))", "submitted"),
                Query(f"sum(rate(epm_inspector_records_consumed_total{{{SCOPE}}}[{RATE}]))", "read"),
            ),
            width=8,
        ),
    )


def _delay() -> tuple[Panel, ...]:
    buckets = f"rate(epm_inspector_record_age_seconds_bucket{{{SCOPE}}}[{RATE}])"
    last = f"epm_inspector_last_record_timestamp_seconds{{{SCOPE}}}"
    return (
        Panel(
            30,
            "timeseries",
            "Age of records when they are read",
            "From the packet to the inspector's own reading, for half and for 99 of 100 batches. Growing age comes"
            " before loss.",
            "s",
            (
                Query(f"histogram_quantile(0.5, sum by (instance, le) ({buckets}))", "{{instance}} half"),
                Query(f"histogram_quantile(0.99, sum by (instance, le) ({buckets}))", "{{instance}} 99 of 100"),
            ),
            runbook="EpmInspectorRingLoss",
        ),
        Panel(
            31,
            "timeseries",
            "Time since the newest record",
            "How long ago the last packet was read that mattered. Grows where no endpoint mapper is asked.",
            "s",
            (Query(f"time() - max by (instance) ({last} > 0)", "{{instance}}"),),
            width=6,
            runbook="EpmInspectorNoAnswers",
        ),
        Panel(
            32,
            "timeseries",
            "Time since the main loop went round",
            "Half a second at most while all is well. Where it grows the inspector hangs, and all other figures stand"
            " still.",
            "s",
            (
                Query(
                    f"time() - max by (instance) (epm_inspector_last_round_timestamp_seconds{{{SCOPE}}})",
                    "{{instance}}",
                ),
            ),
            width=6,
            runbook="EpmInspectorStalled",
        ),
    )


def _cost() -> tuple[Panel, ...]:
    return (
        Panel(
            40,
            "timeseries",
            "CPU of the inspector",
            "Of one core. The kernel's part, some tens of nanoseconds a packet, is counted with the network stack.",
            "percentunit",
            (Query(f"sum by (instance) (rate(process_cpu_seconds_total{{{SCOPE}}}[{RATE}]))", "{{instance}}"),),
            width=8,
        ),
        Panel(
            41,
            "timeseries",
            "Memory of the inspector",
            "Resident memory. It is bounded by the limits of the configuration, and flat in the long run.",
            "bytes",
            (Query(f"sum by (instance) (process_resident_memory_bytes{{{SCOPE}}})", "{{instance}}"),),
            width=8,
        ),
        Panel(
            42,
            "timeseries",
            "Open file descriptors",
            "Flat, whatever the traffic: a line that climbs is a leak, and a defect to report.",
            "short",
            (Query(f"sum by (instance) (process_open_fds{{{SCOPE}}})", "{{instance}}"),),
            width=8,
        ),
    )


def _bounds() -> tuple[Panel, ...]:
    return (
        Panel(
            50,
            "timeseries",
            "Connections tracked",
            "Connections whose state is held, up to `limits.connections`.",
            "short",
            (Query(f"sum by (instance) (epm_inspector_tracked_connections{{{SCOPE}}})", "{{instance}}"),),
            width=8,
        ),
        Panel(
            51,
            "timeseries",
            "Counted under `other`, per minute, by label",
            "Events whose VIP, service or interface has no label value of its own. VIPs: declare them, or raise"
            " `learned_vips`.",
            "cpm",
            (
                Query(
                    f"sum by (instance, label) (rate(epm_inspector_label_overflow_total{{{SCOPE}}}[{RATE}]))"
                    f" * {PER_MINUTE}",
                    "{{instance}} {{label}}",
                ),
            ),
            width=8,
        ),
        Panel(
            52,
            "timeseries",
            "Running since",
            "Time since the inspector was started. A drop is a restart.",
            "s",
            (Query(f"time() - max by (instance) (process_start_time_seconds{{{SCOPE}}})", "{{instance}}"),),
            width=8,
        ),
    )
