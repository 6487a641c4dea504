"""Rows of causes: what became of the connection to an endpoint that an answer named."""

# ruff: noqa: D401  # a row's docstring says when it holds: it describes a state, not a deed
from __future__ import annotations

from ipaddress import IPv4Address
from typing import Final

from inspector.consequence import Cause, FindingKind, Outcome, Target
from inspector.judge.dcom import ACCESS_DENIED, is_weak
from inspector.judge.diagnosis import (
    DYNAMIC_PORTS,
    UNAVAILABLE,
    Diagnosis,
    Row,
    icmp_words,
    is_too_big,
    listed,
    sender_of,
    service_of,
    syns_sent,
    times,
)
from inspector.judge.evidence import Attempt, Evidence
from inspector.model import Verdict

_PUBLISH: Final = (
    f"publish the servers' dynamic ports {DYNAMIC_PORTS}, or give the service a static port on every server and "
    f"publish that"
)
_DYNAMIC: Final = (range(49152, 65536), range(1025, 5001))
_BUSY: Final = frozenset({0x6BB, 0x1C010014})
_OVERLOADED: Final = frozenset({"local limit exceeded", "temporary congestion"})


def _allow(attempt: Attempt) -> str:
    """Return how to let a port pass: with the dynamic range, or alone where it is a static one."""
    if not any(attempt.port in ports for ports in _DYNAMIC):
        return f"allow TCP {attempt.port} from these clients (for other services, {DYNAMIC_PORTS})"
    return (
        f"allow TCP {DYNAMIC_PORTS} from these clients, restrict RPC's ports "
        f"(HKLM\\SOFTWARE\\Microsoft\\Rpc\\Internet), or pin the service to one port (KB 224196)"
    )


def is_hardening(evidence: Evidence, status: int | None) -> bool:
    """Return whether an activation below packet integrity was denied (KB5004442)."""
    return status in ACCESS_DENIED and is_weak(evidence.operation, evidence.authentication_level)


def _failed(evidence: Evidence) -> Attempt | None:
    """Return the attempt that got no connection."""
    if evidence.outcome in (Outcome.REFUSED, Outcome.TIMED_OUT, Outcome.UNREACHABLE):
        return evidence.attempt
    return None


def what_happened(evidence: Evidence, attempt: Attempt) -> tuple[str, ...]:
    """Return the facts of an attempt that got no connection."""
    facts = [syns_sent(attempt, evidence.client)]
    if attempt.reset is not None:
        facts.append(f"refused {times(attempt.reset.count)}, {sender_of(attempt.reset, str(attempt.address))}")
    elif attempt.icmp is not None:
        facts.append(icmp_words(attempt.icmp))
    else:
        facts[0] += ", no answer"
    return tuple(facts)


def _source(evidence: Evidence) -> str:
    """Return what named the port."""
    return "DCOM's answer" if evidence.dcom else "the endpoint mapper"


def _named(evidence: Evidence) -> str:
    return f"the answer of {evidence.asked} names {listed(evidence.offered)}"


def wrong_server(evidence: Evidence) -> Diagnosis | None:
    """The endpoint rejects the interface that it was named for: another server of the VIP, or a stale port."""
    attempt = evidence.attempt
    if evidence.outcome is not Outcome.WRONG_SERVER or attempt is None:
        return None
    reason = attempt.rejection or "unknown interface"
    who = "DCOM" if evidence.dcom else "the mapper"
    facts = [f"{attempt}, which {who} named for {service_of(evidence)}, rejects it: {reason}"]
    if evidence.verdict is Verdict.SEALED:
        facts.append(f"the answer is encrypted: that it named port {attempt.port} is presumed")
    else:
        facts.append(_named(evidence))
    if evidence.target is Target.ASKED and (evidence.translated or evidence.several_servers):
        facts.append("the connection reached another server than the mapper's, where this port is another service's")
        remedy = (
            "use affinity by the client's address over port 135 and the service's ports together, or static ports that "
            "are the same on all servers"
        )
        return Diagnosis(Cause.NO_AFFINITY, f"{remedy}; clients report error 1717 (0x6B5)", tuple(facts))
    remedy = "restart the service, or RpcEptMapper, on the server: the port belongs to another service now"
    return Diagnosis(Cause.STALE_REGISTRATION, f"{remedy}; clients report error 1717 (0x6B5)", tuple(facts))


def denied(evidence: Evidence) -> Diagnosis | None:
    """The endpoint refused the client's bind or call for its credentials."""
    attempt = evidence.attempt
    if evidence.outcome is not Outcome.DENIED or attempt is None or evidence.kind is FindingKind.CONNECTION:
        return None
    reason = attempt.rejection or (f"fault {attempt.fault:#x}" if attempt.fault is not None else "access denied")
    facts = (f"{attempt} denied {evidence.client}: {reason}",)
    if reason in _OVERLOADED or attempt.fault in _BUSY:
        return Diagnosis(
            Cause.UNKNOWN, "the server is out of resources: look at its load; clients report error 1723 (0x6BB)", facts
        )
    if is_hardening(evidence, attempt.fault):
        return hardening(evidence, facts)
    return Diagnosis(
        Cause.ACCESS_POLICY,
        "check the client's account, the service's access rules and the authentication level that it requires; "
        "clients report error 5 (HRESULT 0x80070005, access denied)",
        facts,
    )


def hardening(evidence: Evidence, facts: tuple[str, ...]) -> Diagnosis:
    """Return the diagnosis of an activation that a hardened server denies."""
    level = f"the client binds with authentication level {evidence.authentication_level}, hardened servers require 5"
    return Diagnosis(
        Cause.DCOM_HARDENING,
        "update the client so that it activates with packet integrity (level 5, KB5004442); clients report error 5 "
        "(HRESULT 0x80070005), the server logs event 10036",
        (*facts, level),
    )


def stale_registration(evidence: Evidence) -> Diagnosis | None:
    """The server itself refuses the port that its own endpoint mapper names."""
    attempt = _failed(evidence)
    if attempt is None or attempt.reset is None or attempt.reset.by_device:
        return None
    if evidence.target is not Target.ASKED or evidence.translated or evidence.several_servers:
        return None
    facts = what_happened(evidence, attempt)
    if evidence.verdict is Verdict.SEALED:
        facts += (f"the answer is encrypted: that it named port {attempt.port} is presumed, as the client went there",)
    if evidence.siblings.refusals > 1:
        facts += (f"{evidence.siblings.refusals} connections to {attempt} were refused lately",)
    return Diagnosis(
        Cause.STALE_REGISTRATION,
        f"restart the service that registered the port, or RpcEptMapper: {_source(evidence)} names port {attempt.port} "
        f"for {service_of(evidence)} and nothing listens there; {UNAVAILABLE}",
        facts,
    )


def member_down(evidence: Evidence) -> Diagnosis | None:
    """Other connections to the same port got through: one of its servers is down, or lacks the service."""
    attempt = _failed(evidence)
    if attempt is None or attempt.icmp is not None or evidence.target is not Target.ASKED:
        return None
    if not evidence.siblings.port_reached or not (evidence.several_servers or evidence.translated):
        return None
    return Diagnosis(
        Cause.POOL_MEMBER_DIFFERS,
        f"take the server that does not accept port {attempt.port} out of the pool, or start the service there; have "
        f"the load balancer check this port, not 135 alone; {UNAVAILABLE}",
        (
            *what_happened(evidence, attempt),
            f"other connections to {attempt} got through: one server behind it is unlike the others",
        ),
    )


def other_member(evidence: Evidence) -> Diagnosis | None:
    """A server refuses the port that another server of the same address named; other ports of it are published."""
    attempt = _failed(evidence)
    if attempt is None or attempt.reset is None or attempt.reset.by_device or evidence.target is not Target.ASKED:
        return None
    if not evidence.siblings.other_ports_reached or not evidence.several_servers:
        return None
    where = f"the connection went to a server where port {attempt.port} is closed"
    return Diagnosis(
        Cause.NO_AFFINITY,
        f"use affinity by the client's address over port 135 and the service's ports together, or static ports that "
        f"are the same on all servers; {UNAVAILABLE}",
        (
            *what_happened(evidence, attempt),
            f"{_named(evidence)}; other ports of {evidence.asked} are reached: {where}",
        ),
    )


def session_helper(evidence: Evidence) -> Diagnosis | None:
    """The answer came in several RPC fragments, and the port that it names stays silent."""
    attempt = _failed(evidence)
    if attempt is None or evidence.fragments < 2 or attempt.reset is not None or attempt.icmp is not None:
        return None
    return Diagnosis(
        Cause.PORTS_FILTERED,
        f"a session helper that does not join RPC fragments (FortiOS) opens no pinhole for such an answer: update it, "
        f"or {_allow(attempt)}; {UNAVAILABLE}",
        (f"the answer came in {evidence.fragments} RPC fragments", *what_happened(evidence, attempt)),
    )


def _offered_elsewhere(evidence: Evidence) -> Diagnosis | None:
    """Return the cause where a client went to the address of the tower, and failed."""
    attempt = _failed(evidence)
    if attempt is None or evidence.target is not Target.OFFERED or attempt.address == evidence.asked:
        return None
    went = f"{evidence.client} asked {evidence.asked} and went to the tower's address: it does not conform"
    return Diagnosis(Cause.UNKNOWN, UNAVAILABLE, (*what_happened(evidence, attempt), went))


def offered_by_multihomed(evidence: Evidence) -> Diagnosis | None:
    """A client went to another network's address of the same server."""
    found = _offered_elsewhere(evidence)
    if found is None or evidence.asked not in evidence.offered:
        return None
    return multihomed(evidence, found.evidence_seen)


def offered_by_balancer(evidence: Evidence) -> Diagnosis | None:
    """A client went to the address of a server behind a load balancer."""
    found = _offered_elsewhere(evidence)
    if found is None or not evidence.several_servers:
        return None
    return Diagnosis(
        Cause.LOAD_BALANCER,
        f"route or allow the servers' addresses for these clients, or make the load balancer transparent; "
        f"{found.remedy}",
        (*found.evidence_seen, *balancer_facts(evidence)),
    )


def offered_by_nat(evidence: Evidence) -> Diagnosis | None:
    """A client went to the address of a server behind a destination NAT."""
    found = _offered_elsewhere(evidence)
    if found is None or evidence.requested_address in (None, evidence.asked, IPv4Address(0)):
        return None
    return Diagnosis(
        Cause.DESTINATION_NAT,
        f"route the server's own address to these clients without translation; {found.remedy}",
        (*found.evidence_seen, f"the client's request names {evidence.requested_address}"),
    )


def offered_otherwise(evidence: Evidence) -> Diagnosis | None:
    """A client went to the address of the tower, which is not the asked one: a load balancer or NAT lies between."""
    found = _offered_elsewhere(evidence)
    if found is None:
        return None
    if evidence.asked.version == 6:
        return Diagnosis(
            Cause.OTHER_ADDRESS_FAMILY,
            f"give these clients a way to the server's IPv4 address, or let them ask over IPv4; {found.remedy}",
            (*found.evidence_seen, f"{_named(evidence)}: no tower can carry an IPv6 address"),
        )
    return Diagnosis(
        Cause.LOAD_BALANCER,
        f"route or allow the servers' own addresses for these clients, or make the load balancer (or NAT) transparent; "
        f"{found.remedy}",
        (*found.evidence_seen, f"{_named(evidence)}: {evidence.asked} is a load balancer or NAT in front of it"),
    )


def balancer_facts(evidence: Evidence) -> tuple[str, ...]:
    """Return how the servers behind the asked address are known."""
    if evidence.pooled:
        return (f"a declared pool of {evidence.asked} holds {listed(evidence.offered)}",)
    if evidence.learned:
        return (f"both sides were seen: {listed(evidence.learned)} answer for {evidence.asked} (learned)",)
    others = tuple(address for address in evidence.siblings.addresses if address != evidence.asked)
    return (f"answers of {evidence.asked} name {len(others)} servers: {listed(others)}",)


def multihomed(evidence: Evidence, facts: tuple[str, ...]) -> Diagnosis:
    """Return the diagnosis of a server which offers several networks in one answer."""
    both = "both" if len(evidence.offered) == 2 else "all"
    return Diagnosis(
        Cause.MULTIHOMED_SERVER,
        "bind RPC to the network that clients use (rpccfg, KB 896003: RPC selective binding), or put that interface "
        "first in the server's binding order",
        (*facts, f"{listed(evidence.offered)} are {both} offered in one answer: a server with several networks"),
    )


def not_published(evidence: Evidence) -> Diagnosis | None:
    """An address that is translated publishes port 135 and not the port that was named."""
    attempt = _failed(evidence)
    if attempt is None or attempt.icmp is not None or evidence.target is not Target.ASKED:
        return None
    if not evidence.translated and not evidence.several_servers:
        return None
    return Diagnosis(
        Cause.PORTS_NOT_PUBLISHED,
        f"{_PUBLISH}; {UNAVAILABLE}",
        (*what_happened(evidence, attempt), f"{_named(evidence)}: port {attempt.port} is not published there"),
    )


def filtered(evidence: Evidence) -> Diagnosis | None:
    """A firewall drops or rejects the port that was named."""
    attempt = _failed(evidence)
    if attempt is None or (attempt.icmp is not None and is_too_big(attempt.icmp)):
        return None
    where = f"at {attempt.icmp.reporter}: " if attempt.icmp is not None else ""
    port = f"{_source(evidence)} named port {attempt.port} for {service_of(evidence)}"
    if evidence.verdict is Verdict.SEALED:
        port = f"the answer is encrypted: that it named port {attempt.port} is presumed, as the client went there next"
    return Diagnosis(
        Cause.PORTS_FILTERED, f"{where}{_allow(attempt)}; {UNAVAILABLE}", (*what_happened(evidence, attempt), port)
    )


FOLLOW_UP_ROWS: Final[tuple[Row, ...]] = (
    wrong_server,
    denied,
    offered_by_multihomed,
    offered_by_balancer,
    offered_by_nat,
    offered_otherwise,
    stale_registration,
    member_down,
    other_member,
    session_helper,
    not_published,
    filtered,
)
