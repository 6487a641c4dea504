"""The alerts, described once: those of harm, of what may become harm, and of the inspectors themselves.

Each judges a quantity over a window and not an event, holds for a while before it fires, and where it is a
share of something it asks for a minimum of events as well: no single stray packet wakes anybody up.
Times are those of production; `Pace` makes them shorter for demonstrations.
"""

from __future__ import annotations

from typing import Final

from dashboards.generator.alerting import (
    A_TARGET,
    A_VIP,
    HEALTH_DASHBOARD,
    SERVICE_DASHBOARD,
    Alert,
    Comparison,
    Condition,
    Severity,
    summed,
)
from dashboards.generator.harm import alerts_of_harm
from dashboards.generator.pace import DAY, HOUR, MINUTE, Pace
from dashboards.generator.promql import OF_A_TARGET, total
from dashboards.generator.recordings import Quantities, ratio, window_of

# The name which docs/grafana.md gives the scrape job.
_TARGETS: Final = 'up{job=~".*epm-inspector.*"}'


def alerts(pace: Pace, quantities: Quantities) -> tuple[Alert, ...]:
    """Return all alerts."""
    return (*alerts_of_harm(quantities), *_of_services(pace, quantities), *_of_inspectors(pace))


def _of_services(pace: Pace, quantities: Quantities) -> tuple[Alert, ...]:
    """Return the alerts about what the inspectors see."""
    return (
        _share_of_verdicts(
            "EpmInspectorCallsUnanswered",
            "critical",
            "unanswered",
            0.1,
            quantities,
            "Calls to the endpoint mapper at {vip} get no answer (seen by {instance})",
            "{percent} of the calls to the endpoint mapper at {vip} in the last {window} got no answer in time, or the"
            " connection ended before it. Clients hang until they give up.",
            23,
        ),
        _share_of_verdicts(
            "EpmInspectorCallsRejected",
            "warning",
            "rejected|fault",
            0.2,
            quantities,
            "The endpoint mapper at {vip} rejects calls (seen by {instance})",
            "{percent} of the answers of the endpoint mapper at {vip} in the last {window} refuse the bind or are a"
            " fault. Clients get no mapping and report that the RPC server is unavailable or denies access.",
            22,
        ),
        _latency(pace),
        _no_answers(pace),
        _mismatches(quantities),
        _new_mismatching_vip(pace),
    )


def _mismatches(quantities: Quantities) -> Alert:
    return Alert(
        name="EpmInspectorMismatches",
        severity="info",
        judged=Comparison(quantities.mismatch_ratio, ">", 0.05),
        conditions=(Condition("and", Comparison(quantities.mismatches, ">=", 5)),),
        hold_seconds=5 * MINUTE,
        summary="{vip} answers with the address of another server: {service} (seen by {instance})",
        description="{percent} of the answers about {service} at {vip} in the last {window} name another server than"
        " the one that was asked, and no declared pool explains it. That hurts nobody by itself. A strict RPC filter"
        " drops such an answer, and a firewall opens its pinhole to the wrong address: other alerts say so.",
        dashboard=SERVICE_DASHBOARD,
        panel=11,
    )


def _new_mismatching_vip(pace: Pace) -> Alert:
    name = "epm_inspector_mismatches_total"
    recent, before = pace.text(HOUR), pace.text(DAY)
    known = f"max by ({', '.join(A_VIP)}) (\n  max_over_time({name}[{before}] offset {recent})\n)"
    return Alert(
        name="EpmInspectorNewMismatchingVip",
        severity="info",
        # Three, give or take what `increase` extrapolates.
        judged=Comparison(total(name, window_of(pace, HOUR), A_VIP), ">", 2.5),
        conditions=(Condition("unless", Comparison(known, ">", 0)),),
        hold_seconds=2 * MINUTE,
        summary="{vip} has begun to answer with the address of another server (seen by {instance})",
        description="{count} answers of {vip} in the last {hour} name another server than the one that was asked, and"
        " none did so in the {day} before. Something was changed: a new load balancer, a new virtual address, a pool"
        " that is not declared yet.",
        dashboard=SERVICE_DASHBOARD,
        panel=10,
    )


def _share_of_verdicts(
    name: str,
    severity: Severity,
    verdicts: str,
    threshold: float,
    quantities: Quantities,
    summary: str,
    description: str,
    panel: int,
) -> Alert:
    """Return an alert on the share which some verdicts have in the answers of a VIP, five of them at least."""

    def by_vip(matchers: str) -> str:
        return summed(quantities.vip_responses(matchers), A_VIP)

    some = by_vip(f'verdict=~"{verdicts}"')
    return Alert(
        name=name,
        severity=severity,
        judged=Comparison(ratio(some, by_vip("")), ">", threshold),
        conditions=(Condition("and", Comparison(some, ">=", 5)),),
        hold_seconds=5 * MINUTE,
        summary=summary,
        description=description,
        dashboard=SERVICE_DASHBOARD,
        panel=panel,
    )


def _latency(pace: Pace) -> Alert:
    window = window_of(pace).text
    name = "epm_inspector_response_latency_seconds"
    quantile = f"histogram_quantile(0.95, sum by (job, instance, le) (rate({name}_bucket[{window}])))"
    return Alert(
        name="EpmInspectorLatency",
        severity="warning",
        judged=Comparison(quantile, ">", 0.5),
        conditions=(Condition("and", Comparison(_increase(f"{name}_count", window, A_TARGET), ">=", 20)),),
        hold_seconds=10 * MINUTE,
        summary="Endpoint mappers answer slowly (seen by {instance})",
        description="One in twenty answers that {instance} saw in the last {window} took longer than {seconds}. On a"
        " local network an endpoint mapper answers within milliseconds.",
        dashboard=SERVICE_DASHBOARD,
        panel=31,
    )


def _no_answers(pace: Pace) -> Alert:
    window = window_of(pace).text
    asked = _increase('epm_inspector_packets_total{direction="to_server"}', window, A_TARGET)
    answered = _increase("epm_inspector_responses_total", window, A_TARGET)
    return Alert(
        name="EpmInspectorNoAnswers",
        severity="warning",
        judged=Comparison(asked, ">", 30),
        conditions=(Condition("and", Comparison(answered, "==", 0)),),
        hold_seconds=10 * MINUTE,
        summary="{instance} sees clients ask endpoint mappers, and no answer at all",
        description="In the last {window} {instance} saw {count} packets to endpoint mappers and judged not one"
        " answer. Either no server answers, or this inspector sees one direction only and watches the wrong port.",
        dashboard=SERVICE_DASHBOARD,
        panel=41,
    )


def _of_inspectors(pace: Pace) -> tuple[Alert, ...]:
    """Return the alerts about the inspectors themselves."""
    return (
        _ring_loss(pace),
        _not_attached(),
        _attachment_unstable(pace),
        _reload_failed(),
        _stalled(),
        _down(pace),
        _absent(),
    )


def _ring_loss(pace: Pace) -> Alert:
    window = window_of(pace).text
    lost = _increase("epm_inspector_ring_lost_total", window, (*A_TARGET, "reason"))
    matched = _increase("epm_inspector_packets_matched_total", window, A_TARGET)
    return Alert(
        name="EpmInspectorRingLoss",
        severity="warning",
        judged=Comparison(f"{lost}\n/ {OF_A_TARGET} group_left ()\n({matched} > 0)", ">", 0.001),
        conditions=(Condition("and", Comparison(lost, ">=", 10)),),
        hold_seconds=5 * MINUTE,
        summary="{instance} loses packets before they are read ({reason})",
        description="{percent} of the packets which {instance} should have read in the last {window} were lost on the"
        " way from the kernel (reason: {reason}). Traffic is not disturbed, but the figures are too low and mismatches"
        " may be missed.",
        dashboard=HEALTH_DASHBOARD,
        panel=21,
    )


def _not_attached() -> Alert:
    return Alert(
        name="EpmInspectorNotAttached",
        severity="critical",
        judged=Comparison("max by (job, instance, interface) (epm_inspector_program_attached)", "<", 1),
        conditions=(),
        hold_seconds=2 * MINUTE,
        summary="{instance} is not attached to {interface}: nothing is inspected there",
        description="The inspector on {instance} runs, but its program is on no hook of {interface} any more. What"
        " goes through that interface is not seen, and no alert about it can come.",
        dashboard=HEALTH_DASHBOARD,
        panel=11,
    )


def _attachment_unstable(pace: Pace) -> Alert:
    losses = _increase("epm_inspector_attachments_lost_total", pace.text(HOUR), (*A_TARGET, "interface"))
    return Alert(
        name="EpmInspectorAttachmentUnstable",
        severity="warning",
        # Three: each of them is over too soon for the alert above.
        judged=Comparison(losses, ">", 2.5),
        conditions=(),
        hold_seconds=MINUTE,
        summary="{instance} loses its place on {interface} again and again",
        description="The program of {instance} went from {interface} {count} times in the last {hour} and was put back."
        " Packets in between were not seen. Another program attaches there, or the interface comes and goes.",
        dashboard=HEALTH_DASHBOARD,
        panel=15,
    )


def _reload_failed() -> Alert:
    return Alert(
        name="EpmInspectorConfigReloadFailed",
        severity="warning",
        judged=Comparison("min by (job, instance) (epm_inspector_config_last_reload_successful)", "<", 1),
        conditions=(),
        hold_seconds=MINUTE,
        summary="{instance} refused its new configuration and goes on with the old one",
        description="The last reload (SIGHUP) on {instance} failed: the file has a mistake. Virtual addresses and"
        " pools declared since then are not in force, and will not be there at all after a restart.",
        dashboard=HEALTH_DASHBOARD,
        panel=14,
    )


def _stalled() -> Alert:
    return Alert(
        name="EpmInspectorStalled",
        severity="critical",
        judged=Comparison("time() - max by (job, instance) (epm_inspector_last_round_timestamp_seconds)", ">", 60),
        conditions=(),
        hold_seconds=2 * MINUTE,
        summary="{instance} answers, but has stopped reading",
        description="The main loop of the inspector on {instance} has not been round for more than a minute: it hangs,"
        " or waits for something that its findings go to. Traffic is not disturbed, but nothing is read, and the other"
        " figures stand still.",
        dashboard=HEALTH_DASHBOARD,
        panel=32,
    )


def _down(pace: Pace) -> Alert:
    once = f"max_over_time(epm_inspector_build_info[{pace.text(DAY)}])"
    return Alert(
        name="EpmInspectorDown",
        severity="critical",
        judged=Comparison(f"{_TARGETS}\nor\nup and {OF_A_TARGET} {once}", "<", 1),
        conditions=(),
        hold_seconds=5 * MINUTE,
        summary="The inspector on {instance} cannot be scraped",
        description="Prometheus gets no metrics from {instance}: the inspector has ended, or the way to it is blocked."
        " Traffic is not disturbed, but nothing is inspected there.",
        dashboard=HEALTH_DASHBOARD,
        panel=10,
    )


def _absent() -> Alert:
    return Alert(
        name="EpmInspectorAbsent",
        severity="critical",
        judged=Comparison("absent(epm_inspector_build_info)", ">", 0),
        # Of a target that is there and does not answer, the alert above tells.
        conditions=(Condition("and", Comparison(f"absent({_TARGETS})", ">", 0)),),
        hold_seconds=10 * MINUTE,
        summary="No inspector is scraped at all",
        description="This Prometheus has no metrics of any inspector: none runs, or none is among its targets any"
        " more. No other alert of this group can come.",
        dashboard=HEALTH_DASHBOARD,
        panel=10,
    )


def _increase(selector: str, window: str, by: tuple[str, ...]) -> str:
    """Return the growth of a counter whose series are there from the start."""
    return f"sum by ({', '.join(by)}) (increase({selector}[{window}]))"
