"""The alerts of harm: clients that are hurt, by what became of answers and connections. All are critical."""

from __future__ import annotations

from typing import Final

from dashboards.generator.alerting import A_SERVICE, A_VIP, SERVICE_DASHBOARD, Alert, Comparison, Condition, summed
from dashboards.generator.pace import MINUTE
from dashboards.generator.promql import grouped
from dashboards.generator.recordings import Quantities, ratio
from inspector.consequence import Outcome

FAILED: Final = "refused|timed_out|unreachable|wrong_server|denied|broken"
"""Outcomes of a follow-up that hurt, as a regular expression."""

NO_CONNECTION: Final = "refused|timed_out|unreachable"
_EVENTS: Final = 5
_HOLD_SECONDS: Final = 5 * MINUTE


def alerts_of_harm(quantities: Quantities) -> tuple[Alert, ...]:
    """Return the alerts, the one that speaks of all services first."""
    return (
        _clients_fail(quantities),
        _affinity_broken(quantities),
        _answers_undelivered(quantities),
        _mapper_down(quantities),
    )


def _alert(name: str, some: str, share: str, threshold: float, *, panel: int, summary: str, description: str) -> Alert:
    """Return an alert on a share, of five events at least."""
    return Alert(
        name=name,
        severity="critical",
        judged=Comparison(share, ">", threshold),
        conditions=(Condition("and", Comparison(some, ">=", _EVENTS)),),
        hold_seconds=_HOLD_SECONDS,
        summary=summary,
        description=description,
        dashboard=SERVICE_DASHBOARD,
        panel=panel,
    )


def _share_of_follow_ups(some: str, quantities: Quantities) -> str:
    """Return the share of some follow-ups in all of a service: 0 where nobody followed, as an unused service has it."""
    made = quantities.follow_ups(f'outcome!="{Outcome.NOT_FOLLOWED}"')
    return f"{grouped(some)}\n/\nclamp_min({summed(made, A_SERVICE)}, 1)"


def _clients_fail(quantities: Quantities) -> Alert:
    some = summed(quantities.follow_ups(f'outcome=~"{FAILED}"'), A_SERVICE)
    return _alert(
        "EpmInspectorClientsFail",
        some,
        _share_of_follow_ups(some, quantities),
        0.1,
        panel=55,
        summary="Clients of {service} at {vip} do not get through (seen by {instance})",
        description="{percent} of the connections which clients made to {service} at {vip} in the last {window}, where"
        " the endpoint mapper had sent them, were refused, not answered, broken off or denied, or reached a server that"
        " does not know the service.",
    )


def _affinity_broken(quantities: Quantities) -> Alert:
    some = summed(quantities.follow_ups('outcome="wrong_server"'), A_SERVICE)
    return _alert(
        "EpmInspectorAffinityBroken",
        some,
        _share_of_follow_ups(some, quantities),
        0.05,
        panel=55,
        summary="Clients of {service} at {vip} reach the wrong server (seen by {instance})",
        description="{percent} of the connections which clients made to {service} at {vip} in the last {window} reached"
        " a server that does not know the service at that port. The load balancer sends port 135 and the service's port"
        " to different servers, or a registration is stale.",
    )


def _answers_undelivered(quantities: Quantities) -> Alert:
    some = summed(quantities.undelivered, A_VIP)
    return _alert(
        "EpmInspectorAnswersUndelivered",
        some,
        ratio(some, summed(quantities.vip_responses(""), A_VIP)),
        0.05,
        panel=58,
        summary="Answers of the endpoint mapper at {vip} do not reach the clients (seen by {instance})",
        description="{percent} of the answers of the endpoint mapper at {vip} in the last {window} never reached the"
        " client. Something on the way swallows them: a strict RPC filter, or a path that loses large packets. Clients"
        " hang and report that the RPC server is unavailable.",
    )


def _mapper_down(quantities: Quantities) -> Alert:
    # Of an address without a label nobody knows whether it is an endpoint mapper: a scan of the network asks thousands.
    some = summed(quantities.connections(f'outcome=~"{NO_CONNECTION}", vip!="other"'), A_VIP)
    every = f"{grouped(some)}\n+\n{grouped(summed(quantities.vip_responses(''), A_VIP))}"
    return _alert(
        "EpmInspectorMapperDown",
        some,
        ratio(some, every),
        0.2,
        panel=58,
        summary="The endpoint mapper at {vip} does not accept connections (seen by {instance})",
        description="{percent} of the connections to port 135 of {vip} in the last {window} were refused or not"
        " answered. Clients report that the RPC server is unavailable, whatever service they want.",
    )
