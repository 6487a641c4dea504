"""The overview: who is hurt, where, since when, why; then what endpoint mappers answer."""

from __future__ import annotations

from typing import Final

from dashboards.generator.alerting import HEALTH_DASHBOARD, SERVICE_DASHBOARD
from dashboards.generator.hurt import SHOWN, hurt
from dashboards.generator.panels import (
    ADDRESSED,
    INSTANCE,
    INTERFACE,
    JOB,
    PER_MINUTE,
    PORT,
    RATE,
    SCOPE,
    VIP,
    Colour,
    Dashboard,
    Panel,
    Query,
    Row,
    State,
    number_panel,
)
from dashboards.generator.promql import Window, total
from inspector.model import Verdict

_LATELY: Final = Window(RATE, "300")
_OF_A_SERVICE: Final = ("instance", "vip", "service")
_NONE_IS_GOOD: Final[tuple[tuple[float | None, Colour], ...]] = ((None, "green"), (1, "red"))
_WORTH_KNOWING: Final[tuple[tuple[float | None, Colour], ...]] = ((None, "green"), (1, "light-blue"))
_LATENCY: Final = "epm_inspector_response_latency_seconds_bucket"
_CONNECT: Final = "epm_inspector_connect_latency_seconds"

VERDICT_COLOURS: Final[dict[Verdict, Colour]] = {
    Verdict.MATCH: "green",
    Verdict.MISMATCH: "light-blue",
    Verdict.POOLED: "blue",
    Verdict.OTHER_FAMILY: "blue",
    Verdict.UNSPECIFIED: "green",
    Verdict.UNROUTABLE: "orange",
    Verdict.NO_ADDRESS: "text",
    Verdict.NOT_REGISTERED: "yellow",
    Verdict.REJECTED: "purple",
    Verdict.FAULT: "orange",
    Verdict.UNANSWERED: "semi-dark-red",
    Verdict.OPEN: "text",
    Verdict.SEALED: "text",
    Verdict.MALFORMED: "purple",
    Verdict.ONE_WAY: "text",
}


def overview() -> Dashboard:
    """Return the description of the overview."""
    return Dashboard(
        uid=SERVICE_DASHBOARD,
        title="epm-inspector / overview",
        description="Who is hurt, where, since when, why; and what endpoint mappers answer.",
        other=HEALTH_DASHBOARD,
        variables=(JOB, INSTANCE, INTERFACE, VIP),
        rows=(
            Row(105, "Who is hurt, where, since when, why", hurt()),
            Row(100, "Answers at a glance", _at_a_glance()),
            Row(102, "All answers", _answers()),
            Row(103, "Latency", _latency()),
            Row(
                101, "Mismatches, which hurt nobody by themselves: which VIP, which service, since when", _mismatches()
            ),
            Row(104, "Traffic, and what could not be read", _traffic()),
        ),
    )


def _at_a_glance() -> tuple[Panel, ...]:
    firing = f'ALERTS{{alertname=~"EpmInspector.+", alertstate="firing", {SCOPE}}}'
    attached = f"max by (job, instance, interface) (epm_inspector_program_attached{{{PORT}}})"
    return (
        number_panel(
            1,
            "Alerts firing",
            "Alerts of epm-inspector which Prometheus has firing now, about the chosen inspectors.",
            f"count({firing}) or vector(0)",
            _NONE_IS_GOOD,
        ),
        number_panel(
            2,
            "Mismatches in the time shown",
            "Answers that name another server than the one that was asked, without a declared pool that explains it."
            " That hurts nobody by itself.",
            f"sum({_total('epm_inspector_mismatches_total', ADDRESSED)}) or vector(0)",
            _WORTH_KNOWING,
            runbook="EpmInspectorMismatches",
        ),
        _share_stat(
            3,
            "Share of mismatches",
            "that are mismatches",
            "mismatch",
            ((0.001, "light-blue"), (0.05, "blue")),
            "EpmInspectorMismatches",
        ),
        _share_stat(
            4,
            "Share unanswered",
            "without an answer",
            "unanswered",
            ((0.01, "yellow"), (0.1, "red")),
            "EpmInspectorCallsUnanswered",
        ),
        _share_stat(
            5,
            "Share rejected",
            "refused or faulting",
            "rejected|fault",
            ((0.02, "yellow"), (0.2, "red")),
            "EpmInspectorCallsRejected",
        ),
        number_panel(
            6,
            "Interfaces inspected",
            "Interfaces to which a program is attached now. Fewer than expected: see the health dashboard.",
            f"sum({attached})",
            ((None, "red"), (1, "green")),
            runbook="EpmInspectorNotAttached",
        ),
    )


def _share_stat(
    number: int, title: str, description: str, verdicts: str, steps: tuple[tuple[float, Colour], ...], runbook: str
) -> Panel:
    """Return a small panel with the share which some verdicts have in the time shown."""
    metric = "epm_inspector_vip_responses_total"
    some, every = _total(metric, f'{ADDRESSED}, verdict=~"{verdicts}"'), _total(metric, ADDRESSED)
    return number_panel(
        number,
        title,
        f"Of all calls in the time shown, the share {description}.",
        f"sum({some})\n/\n(sum({every}) > 0)",
        ((None, "green"), *steps),
        unit="percentunit",
        runbook=runbook,
    )


def _mismatches() -> tuple[Panel, ...]:
    mismatches = f"sum by (instance, vip, service) (rate(epm_inspector_mismatches_total{{{ADDRESSED}}}[{RATE}]))"
    answers = f"sum by (instance, vip, service) (rate(epm_inspector_service_responses_total{{{ADDRESSED}}}[{RATE}]))"
    legend = "{{vip}} {{service}} ({{instance}})"
    now = total("epm_inspector_mismatches_total", _LATELY, _OF_A_SERVICE, ADDRESSED)
    return (
        Panel(
            10,
            "state-timeline",
            "Mismatching, by VIP and service",
            "Blue while answers about that service at that VIP name another server. Shows since when, and whether it"
            " comes and goes.",
            "none",
            (Query(f"{now} > bool 0", legend),),
            width=24,
            states={0: State("as asked", "green"), 1: State("another server", "light-blue")},
            runbook="EpmInspectorNewMismatchingVip",
        ),
        Panel(
            11,
            "timeseries",
            "Share of mismatches, by VIP and service",
            "Of the answers about a service at a VIP, the share that name another server. All of them: the pool is not"
            " declared, or a load balancer is new. Some: one server behind the VIP differs from the others.",
            "percentunit",
            (Query(f"{mismatches}\n/\n({answers} > 0)", legend),),
            highest=1,
            steps=((None, "green"), (0.05, "light-blue")),
            runbook="EpmInspectorMismatches",
        ),
        Panel(
            12,
            "timeseries",
            "Mismatches per minute, by VIP and service",
            "How many answers name another server than the one that was asked.",
            "cpm",
            (Query(f"{mismatches} * {PER_MINUTE}", legend),),
            runbook="EpmInspectorMismatches",
        ),
        _mismatch_table(),
    )


def _mismatch_table() -> Panel:
    return Panel(
        13,
        "table",
        "Mismatches by inspector, VIP and service",
        "In the time shown, every combination of inspector, VIP and service that was seen; worst first. `other`"
        " stands for VIPs and services without a label of their own; the findings name them.",
        "short",
        (
            Query(total("epm_inspector_mismatches_total", SHOWN, _OF_A_SERVICE, ADDRESSED), ""),
            Query(total("epm_inspector_service_responses_total", SHOWN, _OF_A_SERVICE, ADDRESSED), ""),
        ),
        width=24,
        columns={
            "instance": "Inspector",
            "vip": "VIP",
            "service": "Service",
            "A": "Mismatches",
            "B": "Answers",
        },
        runbook="EpmInspectorMismatches",
    )


def _answers() -> tuple[Panel, ...]:
    by_verdict = f"sum by (verdict) (rate(epm_inspector_responses_total{{{PORT}}}[{RATE}]))"
    return (
        Panel(
            20,
            "timeseries",
            "Answers per minute, by verdict",
            "Everything that was judged. `match`, `unspecified`, `pooled` and `other_family` are as they should be.",
            "cpm",
            (Query(f"{by_verdict} * {PER_MINUTE}", "{{verdict}}"),),
            width=24,
            stacked=True,
            colours={str(verdict): colour for verdict, colour in VERDICT_COLOURS.items()},
        ),
        Panel(
            21,
            "timeseries",
            "Not registered, per minute, by VIP",
            "Clients ask for an interface which the server does not have: a service that has not started, or clients"
            " sent to a server of another role.",
            "cpm",
            (Query(_by_vip("not_registered"), "{{vip}}"),),
            width=8,
        ),
        Panel(
            22,
            "timeseries",
            "Rejected or faulting, per minute, by VIP",
            "The bind was refused (bind_nak), or the call failed (fault).",
            "cpm",
            (Query(_by_vip("rejected|fault"), "{{vip}} {{verdict}}"),),
            width=8,
            runbook="EpmInspectorCallsRejected",
        ),
        Panel(
            23,
            "timeseries",
            "Unanswered, per minute, by VIP",
            "Calls without an answer in time, or whose connection ended before it. Said only where everything the"
            " server said could be seen.",
            "cpm",
            (Query(_by_vip("unanswered"), "{{vip}}"),),
            width=8,
            runbook="EpmInspectorCallsUnanswered",
        ),
    )


def _latency() -> tuple[Panel, ...]:
    buckets = f"rate({_LATENCY}{{{SCOPE}}}[{RATE}])"
    quantiles = {"half": 0.5, "19 of 20": 0.95, "99 of 100": 0.99}
    return (
        Panel(
            30,
            "timeseries",
            "Latency quantiles",
            "Within which time half, 19 of 20 and 99 of 100 answers came, over all chosen inspectors. Both packets"
            " were seen there, so the network to the client is not part of it.",
            "s",
            tuple(
                Query(f"histogram_quantile({quantile}, sum by (le) ({buckets}))", name)
                for name, quantile in quantiles.items()
            ),
            width=8,
            runbook="EpmInspectorLatency",
        ),
        Panel(
            31,
            "timeseries",
            "Latency of 19 in 20 answers, by inspector",
            "The same by inspector: whether all servers are slow, or those behind one gateway.",
            "s",
            (Query(f"histogram_quantile(0.95, sum by (instance, le) ({buckets}))", "{{instance}}"),),
            width=8,
            steps=((None, "green"), (0.5, "red")),
            runbook="EpmInspectorLatency",
        ),
        Panel(
            32,
            "heatmap",
            "Latency distribution",
            "How many answers took how long; two bands are two kinds of servers, or of ways to them.",
            "s",
            (Query(f"sum by (le) (increase({_LATENCY}{{{SCOPE}}}[{RATE}]))", "{{le}}"),),
            width=8,
        ),
        Panel(
            33,
            "heatmap",
            "Time to connect to endpoints",
            "How many connections to endpoints took how long from the client's first SYN to the SYN-ACK. Whole seconds:"
            " SYNs were lost and sent again.",
            "s",
            (Query(f"sum by (le) (increase({_CONNECT}_bucket{{{SCOPE}}}[{RATE}]))", "{{le}}"),),
        ),
        Panel(
            34,
            "timeseries",
            "Slow connects per minute, by inspector",
            "Connections to endpoints whose SYN-ACK came more than a second after the client's first SYN.",
            "cpm",
            (
                Query(
                    f"(sum by (instance) (rate({_CONNECT}_count{{{SCOPE}}}[{RATE}]))"
                    f' - sum by (instance) (rate({_CONNECT}_bucket{{{SCOPE}, le="1.0"}}[{RATE}]))) * {PER_MINUTE}',
                    "{{instance}}",
                ),
            ),
            runbook="EpmInspectorClientsFail",
        ),
    )


def _traffic() -> tuple[Panel, ...]:
    return (
        Panel(
            40,
            "timeseries",
            "Anomalies per minute, by reason",
            "What could not be read, or only with doubt; the ten most frequent reasons. Many `stream_gap`s or"
            " `bind_not_seen`s: only one direction passes here, or records are lost.",
            "cpm",
            (
                Query(
                    f"topk(10, sum by (reason) (rate(epm_inspector_anomalies_total{{{SCOPE}}}[{RATE}])))"
                    f" * {PER_MINUTE}",
                    "{{reason}}",
                ),
            ),
        ),
        Panel(
            41,
            "timeseries",
            "Packets per second, by direction",
            "Packets to and from the ports of endpoint mappers. One direction alone: attach to the gateway's other port"
            " as well, or use mode tc.",
            "pps",
            (
                Query(
                    f"sum by (interface, direction) (rate(epm_inspector_packets_total{{{PORT}}}[{RATE}]))",
                    "{{interface}} {{direction}}",
                ),
            ),
            runbook="EpmInspectorNoAnswers",
        ),
    )


def _total(metric: str, matchers: str) -> str:
    return total(metric, SHOWN, ("instance",), matchers)


def _by_vip(verdicts: str) -> str:
    selector = f'epm_inspector_vip_responses_total{{{ADDRESSED}, verdict=~"{verdicts}"}}'
    return f"sum by (vip, verdict) (rate({selector}[{RATE}])) * {PER_MINUTE}"
