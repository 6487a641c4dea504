"""Rows of causes: what DCOM's bindings lead to. Unlike clients of the endpoint mapper, DCOM clients follow them."""

# ruff: noqa: D401  # a row's docstring says when it holds: it describes a state, not a deed
from __future__ import annotations

from typing import Final

from inspector.consequence import Cause, FindingKind, Outcome
from inspector.judge.cause_follow_up import balancer_facts, multihomed, what_happened
from inspector.judge.diagnosis import UNAVAILABLE, Diagnosis, Row, listed
from inspector.judge.evidence import Evidence
from inspector.model import Verdict

_NO_NAT: Final = (
    "DCOM does not work through address translation: route the server's own address to these clients (VPN), use "
    "WinRM instead of WMI over DCOM, OPC UA or a tunneller instead of OPC Classic; or let the names in the bindings "
    "resolve to the asked address and give the application a static endpoint that is published"
)
_NO_BALANCER: Final = (
    "let DCOM clients ask the server itself, not the load balancer, and route or allow its address: they connect to "
    "the address of the binding"
)


def _binding_facts(evidence: Evidence) -> tuple[str, ...]:
    names = f" and the names {', '.join(evidence.names[:4])}" if evidence.names else ""
    return (f"DCOM's bindings name {listed(evidence.offered)}{names}; {evidence.asked} was asked",)


def followed_binding(evidence: Evidence) -> Diagnosis | None:
    """A client went to the address of a binding, which is not the one it asked, and got no connection."""
    attempt = evidence.attempt
    if not evidence.dcom or evidence.kind is not FindingKind.FOLLOW_UP or attempt is None:
        return None
    failed = evidence.outcome in (Outcome.REFUSED, Outcome.TIMED_OUT, Outcome.UNREACHABLE)
    if not failed or attempt.address == evidence.asked:
        return None
    facts = what_happened(evidence, attempt)
    if evidence.asked in evidence.offered:
        return multihomed(evidence, facts)
    if evidence.pooled or evidence.learned:
        return Diagnosis(Cause.LOAD_BALANCER, f"{_NO_BALANCER}; {UNAVAILABLE}", (*facts, *balancer_facts(evidence)))
    return Diagnosis(Cause.DESTINATION_NAT, f"{_NO_NAT}; {UNAVAILABLE}", (*facts, *_binding_facts(evidence)))


def bindings_elsewhere(evidence: Evidence) -> Diagnosis | None:
    """No binding has the asked address, and some have another one: the server does not know its asked address."""
    if not evidence.dcom or evidence.kind is not FindingKind.ANSWER or evidence.verdict not in _ELSEWHERE:
        return None
    if evidence.pooled or evidence.learned:
        return Diagnosis(Cause.LOAD_BALANCER, _NO_BALANCER, (*_binding_facts(evidence), *balancer_facts(evidence)))
    return Diagnosis(Cause.DESTINATION_NAT, f"{_NO_NAT}; {UNAVAILABLE}", _binding_facts(evidence))


def bare_names(evidence: Evidence) -> Diagnosis | None:
    """The answer offers names without a domain, and no address."""
    if not evidence.dcom or evidence.kind is not FindingKind.ANSWER or evidence.offered or not evidence.names:
        return None
    if evidence.verdict is not Verdict.NO_ADDRESS or any("." in name for name in evidence.names):
        return None
    return Diagnosis(
        Cause.BARE_NAMES,
        f"let the clients resolve the name to {evidence.asked}: DNS suffix, WINS or HOSTS; {UNAVAILABLE}",
        (f"every binding is a name without a domain: {', '.join(evidence.names[:4])}",),
    )


def homes_of_tower(evidence: Evidence) -> Diagnosis | None:
    """A DCOM answer of the same address listed the tower's address as one of the server's own."""
    homes = evidence.siblings.homes
    if evidence.dcom or evidence.kind is not FindingKind.ANSWER or not evidence.translated or evidence.pooled:
        return None
    if not homes or any(address not in homes for address in evidence.offered if not address.is_unspecified):
        return None
    facts = (f"DCOM at {evidence.asked} lists {listed(homes)} as addresses of one server",)
    if evidence.asked in homes:
        return multihomed(evidence, facts)
    if evidence.learned:
        return None
    remedy = f"none, where no client is hurt: {evidence.asked} is translated to an address of this server"
    return Diagnosis(Cause.DESTINATION_NAT, remedy, facts)


_ELSEWHERE: Final = frozenset({Verdict.MISMATCH, Verdict.POOLED, Verdict.UNROUTABLE})
DCOM_FOLLOW_UP_ROWS: Final[tuple[Row, ...]] = (followed_binding,)
DCOM_ANSWER_ROWS: Final[tuple[Row, ...]] = (bindings_elsewhere, bare_names, homes_of_tower)
