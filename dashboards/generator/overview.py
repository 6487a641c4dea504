"""The overview: is mapping broken, for which VIP and service, since when."""

from __future__ import annotations

from typing import Final

from dashboards.generator.alerts import HEALTH_DASHBOARD, SERVICE_DASHBOARD
from dashboards.generator.panels import (
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
)
from dashboards.generator.promql import Window, total
from inspector.model import Verdict

_ADDRESSED: Final = f'{PORT}, vip=~"$vip"'
_SHOWN: Final = Window("$__range", "$__range_s")
_LATELY: Final = Window(RATE, "300")
_OF_A_SERVICE: Final = ("instance", "vip", "service")
_NONE_IS_GOOD: Final[tuple[tuple[float | None, Colour], ...]] = ((None, "green"), (1, "red"))
_LATENCY: Final = "epm_inspector_response_latency_seconds_bucket"

VERDICT_COLOURS: Final[dict[Verdict, Colour]] = {
    Verdict.MATCH: "green",
    Verdict.MISMATCH: "red",
    Verdict.POOLED: "blue",
    Verdict.UNSPECIFIED: "green",
    Verdict.UNROUTABLE: "orange",
    Verdict.NO_ADDRESS: "text",
    Verdict.NOT_REGISTERED: "yellow",
    Verdict.REJECTED: "purple",
    Verdict.FAULT: "orange",
    Verdict.UNANSWERED: "semi-dark-red",
    Verdict.SEALED: "text",
    Verdict.MALFORMED: "purple",
}


def overview() -> Dashboard:
    """Return the description of the overview."""
    return Dashboard(
        uid=SERVICE_DASHBOARD,
        title="epm-inspector / overview",
        description="What endpoint mappers answer: whether at all, and whether they name the server that was asked.",
        other=HEALTH_DASHBOARD,
        variables=(JOB, INSTANCE, INTERFACE, VIP),
        rows=(
            Row(100, "Is mapping broken?", _at_a_glance()),
            Row(101, "Mismatches: which VIP, which service, since when", _mismatches()),
            Row(102, "All answers", _answers()),
            Row(103, "Latency", _latency()),
            Row(104, "Traffic, and what could not be read", _traffic()),
        ),
    )


def _at_a_glance() -> tuple[Panel, ...]:
    firing = f'ALERTS{{alertname=~"EpmInspector.+", alertstate="firing", {SCOPE}}}'
    attached = f"max by (job, instance, interface) (epm_inspector_program_attached{{{PORT}}})"
    return (
        _stat(
            1,
            "Alerts firing",
            "Alerts of epm-inspector which Prometheus has firing now, about the chosen inspectors.",
            f"count({firing}) or vector(0)",
            _NONE_IS_GOOD,
        ),
        _stat(
            2,
            "Mismatches in the time shown",
            "Answers that name another server than the one that was asked, without a declared pool that explains it.",
            f"sum({_total('epm_inspector_mismatches_total', _ADDRESSED)}) or vector(0)",
            _NONE_IS_GOOD,
            runbook="EpmInspectorMismatches",
        ),
        _share_stat(
            3, "Share of mismatches", "that are mismatches", "mismatch", (0.001, 0.05), "EpmInspectorMismatches"
        ),
        _share_stat(
            4, "Share unanswered", "without an answer", "unanswered", (0.01, 0.1), "EpmInspectorCallsUnanswered"
        ),
        _share_stat(
            5, "Share rejected", "refused or faulting", "rejected|fault", (0.02, 0.2), "EpmInspectorCallsRejected"
        ),
        _stat(
            6,
            "Interfaces inspected",
            "Interfaces to which a program is attached now. Fewer than expected: see the health dashboard.",
            f"sum({attached})",
            ((None, "red"), (1, "green")),
            runbook="EpmInspectorNotAttached",
        ),
    )


def _stat(
    number: int,
    title: str,
    description: str,
    expression: str,
    steps: tuple[tuple[float | None, Colour], ...],
    *,
    unit: str = "short",
    runbook: str | None = None,
) -> Panel:
    """Return a small panel with one number."""
    queries = (Query(expression, ""),)
    return Panel(number, "stat", title, description, unit, queries, width=4, height=4, steps=steps, runbook=runbook)


def _share_stat(
    number: int, title: str, description: str, verdicts: str, steps: tuple[float, float], runbook: str
) -> Panel:
    """Return a small panel with the share which some verdicts have in the time shown."""
    metric = "epm_inspector_vip_responses_total"
    some, every = _total(metric, f'{_ADDRESSED}, verdict=~"{verdicts}"'), _total(metric, _ADDRESSED)
    return _stat(
        number,
        title,
        f"Of all calls in the time shown, the share {description}.",
        f"sum({some})\n/\n(sum({every}) > 0)",
        ((None, "green"), (steps[0], "yellow"), (steps[1], "red")),
        unit="percentunit",
        runbook=runbook,
    )


def _mismatches() -> tuple[Panel, ...]:
    mismatches = f"sum by (instance, vip, service) (rate(epm_inspector_mismatches_total{{{_ADDRESSED}}}[{RATE}]))"
    answers = f"sum by (instance, vip, service) (rate(epm_inspector_service_responses_total{{{_ADDRESSED}}}[{RATE}]))"
    legend = "{{vip}} {{service}} ({{instance}})"
    now = total("epm_inspector_mismatches_total", _LATELY, _OF_A_SERVICE, _ADDRESSED)
    return (
        Panel(
            10,
            "state-timeline",
            "Mismatching, by VIP and service",
            "Red while answers about that service at that VIP name another server. Shows since when, and whether it"
            " comes and goes.",
            "none",
            (Query(f"{now} > bool 0", legend),),
            width=24,
            states={0: State("as asked", "green"), 1: State("another server", "red")},
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
            steps=((None, "green"), (0.05, "red")),
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
            Query(total("epm_inspector_mismatches_total", _SHOWN, _OF_A_SERVICE, _ADDRESSED), ""),
            Query(total("epm_inspector_service_responses_total", _SHOWN, _OF_A_SERVICE, _ADDRESSED), ""),
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
            "Everything that was judged. `match`, `unspecified` and `pooled` are as they should be.",
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
    return total(metric, _SHOWN, ("instance",), matchers)


def _by_vip(verdicts: str) -> str:
    selector = f'epm_inspector_vip_responses_total{{{_ADDRESSED}, verdict=~"{verdicts}"}}'
    return f"sum by (vip, verdict) (rate({selector}[{RATE}])) * {PER_MINUTE}"
