"""Rows of causes: what an answer says, how long it took, and whether it arrived."""

# ruff: noqa: D401  # a row's docstring says when it holds: it describes a state, not a deed
from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Final

from inspector.consequence import Cause, FindingKind, Outcome
from inspector.judge.addresses import undeclared_nat64
from inspector.judge.cause_connection import LARGE_SEGMENT, MTU_REMEDY
from inspector.judge.cause_follow_up import balancer_facts, hardening, is_hardening, multihomed
from inspector.judge.dcom import ACCESS_DENIED
from inspector.judge.diagnosis import Diagnosis, Row, clock, listed, seconds, sender_of, service_of, times
from inspector.judge.evidence import Delivery, Evidence
from inspector.model import IPAddress, Verdict

SLOW_NS: Final = 500_000_000
_STRICT: Final = (
    "relax the RPC filter: 'Enforce strict RPC compliance' off for this rule (ISA, TMG, UAG), 'skeletons only if the "
    "address is the server's' off (Stormshield), or let the servers answer with the address that clients ask"
)
_STRICT_CLIENTS: Final = "clients report error 1722 (0x800706BA) or 1727 (0x6BF) after a long wait"
_OWN_OPERATIONS: Final = frozenset({"ept_map", "ept_lookup", "bind"})


def dropped_here(evidence: Evidence) -> Diagnosis | None:
    """The answer came in on one side of this gateway and did not leave on the other."""
    side = evidence.other_side
    if side is None or not side.dropped:
        return None
    client = side.client or evidence.client
    if side.here == side.there:
        facts = [f"the answer came to {evidence.client} and did not reach {client}: dropped in between"]
    else:
        facts = [f"the answer came in at {side.there} and did not reach {client} at {side.here}: dropped here"]
    if side.replaced_by is not None:
        after = f" {seconds(side.after_ns)} later" if side.after_ns is not None else ""
        facts.append(f"{client} got a {side.replaced_by}{after} instead: the gateway refused this answer")
    if evidence.offered:
        facts.append(f"the answer names {listed(evidence.offered)}, {evidence.asked} was asked")
    if not evidence.names_other and side.replaced_by is None:
        return None
    if evidence.asked_over_nat64 is not None:
        facts.append(_through_nat64(evidence.asked_over_nat64, evidence.asked))
    return Diagnosis(Cause.STRICT_RPC_FILTER, f"{_STRICT}; {_STRICT_CLIENTS}", tuple(facts))


def _lost(evidence: Evidence) -> Delivery | None:
    return evidence.delivery if evidence.outcome is Outcome.UNDELIVERED else None


def _delivery_facts(evidence: Evidence, delivery: Delivery) -> tuple[str, ...]:
    span = f" in {seconds(delivery.span_ns)}" if delivery.sent > 1 else ""
    facts = [f"{evidence.client} never acknowledged this answer: sent {times(delivery.sent)}{span}"]
    if delivery.acknowledged_part:
        part = f"{delivery.acknowledged_part} bytes of its last segment"
        facts.append(f"{evidence.client} acknowledges {part}: it got something else")
    if delivery.reset is not None:
        name = evidence.asked if delivery.reset.from_server else evidence.client
        facts.append(sender_of(delivery.reset, str(name)))
    return tuple(facts)


def path_mtu(evidence: Evidence) -> Diagnosis | None:
    """A large segment of the answer is lost on its way, each time."""
    delivery = _lost(evidence)
    if delivery is None or (delivery.largest_segment < LARGE_SEGMENT and not delivery.client_hole):
        return None
    if evidence.names_other and not evidence.siblings.small_answers and not delivery.client_hole:
        return None
    facts = [*_delivery_facts(evidence, delivery), f"its largest segment has {delivery.largest_segment} bytes"]
    if delivery.client_hole:
        facts.append("the client has the part before the lost one: not a hole of the capture")
    if evidence.siblings.small_answers:
        facts.append(f"small answers of {evidence.asked} do arrive")
    return Diagnosis(Cause.PATH_MTU, MTU_REMEDY, tuple(facts))


def strict_filter_beyond(evidence: Evidence) -> Diagnosis | None:
    """An answer that names another address than the asked one is lost between here and the client."""
    delivery = _lost(evidence)
    if delivery is None or not evidence.names_other:
        return None
    names = f"the answer names {listed(evidence.offered)}, {evidence.asked} was asked: strict RPC filters drop it"
    return Diagnosis(
        Cause.STRICT_RPC_FILTER, f"{_STRICT}; {_STRICT_CLIENTS}", (*_delivery_facts(evidence, delivery), names)
    )


def refused_beyond(evidence: Evidence) -> Diagnosis | None:
    """A device refuses an answer that names another address: it resets in the client's name, or replaces the answer."""
    delivery = _lost(evidence)
    if delivery is None or not evidence.names_other:
        return None
    reset = delivery.reset
    if not delivery.acknowledged_part and (reset is None or reset.from_server or not reset.by_device):
        return None
    facts = _delivery_facts(evidence, delivery)
    names = f"the answer names {listed(evidence.offered)}, {evidence.asked} was asked: strict RPC filters refuse it"
    return Diagnosis(Cause.STRICT_RPC_FILTER, f"{_STRICT}; {_STRICT_CLIENTS}", (*facts, names))


def call_rejected(evidence: Evidence) -> Diagnosis | None:
    """A bind_nak answers a request: an endpoint mapper rejects binds only, so a filter has replaced its answer."""
    if not evidence.call_rejected:
        return None
    return Diagnosis(
        Cause.STRICT_RPC_FILTER,
        f"{_STRICT}; {_STRICT_CLIENTS}",
        (
            f"{evidence.asked} accepted the bind, and a bind_nak of {evidence.call_rejected} bytes answers the request",
            "no endpoint mapper does so: a filter on the way has replaced its answer",
        ),
    )


def lost_before(evidence: Evidence) -> Diagnosis | None:
    """The server has sent an answer, by its sequence numbers, which did not come as far as here."""
    question = evidence.question
    if question is None or not question.missing:
        return None
    seen = (
        f"the server has sent {question.missing} bytes that did not come here, by its later sequence numbers: its "
        f"answer is dropped between server and here"
    )
    if question.missing >= LARGE_SEGMENT:
        return Diagnosis(Cause.PATH_MTU, MTU_REMEDY, (seen,))
    return Diagnosis(Cause.STRICT_RPC_FILTER, f"{_STRICT}; {_STRICT_CLIENTS}", (seen,))


def access_denied(evidence: Evidence) -> Diagnosis | None:
    """The call was answered with fault 5."""
    if evidence.verdict is not Verdict.FAULT or evidence.status not in ACCESS_DENIED:
        return None
    status = "5" if evidence.status == 5 else f"{evidence.status:#x}"
    facts = (f"{evidence.asked} answered the {evidence.operation or 'call'} with status {status} (access denied)",)
    if is_hardening(evidence, evidence.status):
        return hardening(evidence, facts)
    if evidence.dcom:
        return Diagnosis(
            Cause.ACCESS_POLICY,
            "check the account, and the launch and activation permissions of the class on the server (dcomcnfg); "
            "clients report HRESULT 0x80070005 (access denied), the server logs event 10016 or 10027",
            facts,
        )
    if evidence.operation not in _OWN_OPERATIONS:
        return None
    if evidence.authentication_level > 1:
        return Diagnosis(
            Cause.ACCESS_POLICY,
            "check the rights of the client's account on the server; clients report error 5 (access denied)",
            (*facts, f"{evidence.client} was authenticated (level {evidence.authentication_level})"),
        )
    return Diagnosis(
        Cause.ACCESS_POLICY,
        "the policy 'Restrictions for unauthenticated RPC clients' denies it (RestrictRemoteClients=2): set it to 1 on "
        "the server, or EnableAuthEpResolution=1 on the clients; clients report error 5 (access denied) or 1722",
        (*facts, f"{evidence.client} was not authenticated"),
    )


def wrong_version(evidence: Evidence) -> Diagnosis | None:
    """The interface is registered, in another version."""
    versions = dict(evidence.siblings.versions)
    if evidence.verdict is not Verdict.NOT_REGISTERED or not versions or evidence.version in versions:
        return None
    seen = " and ".join(f"{version} (seen at {clock(time_ns)})" for version, time_ns in versions.items())
    return Diagnosis(
        Cause.WRONG_VERSION,
        "client and server releases do not fit: the major version must be the same, the minor at least as high; "
        "clients report error 1753 (0x6D9, EPT_S_NOT_REGISTERED)",
        (
            f"{service_of(evidence)} is not registered at {evidence.asked}",
            f"registered there: version {seen}: the versions differ",
        ),
    )


def pool_member_differs(evidence: Evidence) -> Diagnosis | None:
    """Other answers of the same address name an endpoint for the same interface."""
    lately = evidence.siblings
    if evidence.verdict is not Verdict.NOT_REGISTERED or not lately.named:
        return None
    without = lately.answers - lately.named
    naming = (
        f"in the last minute name an endpoint, {without} {'does' if without == 1 else 'do'} not: one server behind it "
        f"is unlike the others"
    )
    return Diagnosis(
        Cause.POOL_MEMBER_DIFFERS,
        "take the server without the service out of the pool, or start the service there; its clients report error "
        "1753 (0x6D9, EPT_S_NOT_REGISTERED)",
        (f"{lately.named} of {lately.answers} answers of {evidence.asked} about {service_of(evidence)} {naming}",),
    )


def service_not_registered(evidence: Evidence) -> Diagnosis | None:
    """The endpoint mapper answered that it does not know the interface."""
    if evidence.verdict is not Verdict.NOT_REGISTERED:
        return None
    what = service_of(evidence) if evidence.service else "such service"
    status = f" (error 1753, status {evidence.status:#x})" if evidence.status else ""
    return Diagnosis(
        Cause.SERVICE_NOT_REGISTERED,
        "start the service; check DNS and HOSTS: perhaps another server was meant. No firewall: the answer came. "
        "Clients report error 1753 (0x6D9, EPT_S_NOT_REGISTERED)",
        (f"no {what} is registered at {evidence.asked}{status}",),
    )


def slow_server(evidence: Evidence) -> Diagnosis | None:
    """The answer took longer than half a second."""
    if evidence.kind is not FindingKind.ANSWER or evidence.latency_ns is None or evidence.latency_ns < SLOW_NS:
        return None
    if evidence.dcom:  # an activation may start a process first
        return None
    return Diagnosis(
        Cause.SLOW_SERVER,
        "look at the load of the server and of its service RpcEptMapper; clients give up after some seconds, and "
        "report error 1722 (0x800706BA)",
        (f"{evidence.asked} answered after {seconds(evidence.latency_ns)}",),
    )


def nat64_prefix_undeclared(evidence: Evidence) -> Diagnosis | None:
    """Clients ask through a NAT64 whose prefix is not declared: an offered address, or the other side, tells it."""
    asked, inner = evidence.asked_over_nat64, evidence.asked
    if asked is not None:
        seen = _through_nat64(asked, inner)
    elif isinstance(evidence.asked, IPv6Address):
        asked = evidence.asked
        inner = next((one for one in evidence.offered if undeclared_nat64(asked, one) is not None), asked)
        seen = f"{inner} is offered, and is in {asked}, which was asked"
    prefix = undeclared_nat64(asked, inner) if asked is not None else None
    if prefix is None:
        return None
    return Diagnosis(Cause.NAT64_PREFIX_UNDECLARED, f'declare the NAT64 prefix: nat64_prefixes = ["{prefix}"]', (seen,))


def _through_nat64(asked: IPv6Address, inner: IPAddress) -> str:
    prefix = undeclared_nat64(asked, inner)
    return f"{asked} was asked on the clients' side and {inner} here: a NAT64 with the prefix {prefix}, undeclared"


def other_address_family(evidence: Evidence) -> Diagnosis | None:
    """The server was asked over IPv6 and offers an IPv4 address."""
    named = tuple(address for address in evidence.offered if not address.is_unspecified)
    if not isinstance(evidence.asked, IPv6Address) or not named or evidence.dcom:
        return None
    seen = f"{evidence.asked} was asked, {listed(named)} is offered: no tower can carry an IPv6 address, and "
    return Diagnosis(
        Cause.OTHER_ADDRESS_FAMILY,
        f'declare that both addresses are one server: address = ["{evidence.asked}", "{named[0]}"] under [[vip]]',
        (f"{seen}{listed(named)} is presumably the same server",),
    )


def multihomed_server(evidence: Evidence) -> Diagnosis | None:
    """One answer offers the asked address and another one."""
    # Both families of one network are no several networks.
    others = [
        address
        for address in evidence.offered
        if address != evidence.asked and not address.is_unspecified and address.version == evidence.asked.version
    ]
    if evidence.kind is not FindingKind.ANSWER or evidence.asked not in evidence.offered or not others:
        return None
    return multihomed(evidence, ())


def destination_nat(evidence: Evidence) -> Diagnosis | None:
    """The client's own request names another target than the packet that carried it."""
    target = evidence.requested_address
    if evidence.kind is not FindingKind.ANSWER or target is None or target.is_unspecified or target == evidence.asked:
        return None
    if not isinstance(evidence.asked, IPv4Address):
        return None
    return Diagnosis(
        Cause.DESTINATION_NAT,
        f"compare the answer with {target}: that is the address which {evidence.client} asked; inspect on its side of "
        f"the translation",
        (f"the request of {evidence.client} names {target}, its packets go to {evidence.asked}: translated before",),
    )


def load_balancer(evidence: Evidence) -> Diagnosis | None:
    """Several servers are known behind the asked address."""
    if evidence.kind is not FindingKind.ANSWER or not evidence.translated or not evidence.several_servers:
        return None
    return Diagnosis(
        Cause.LOAD_BALANCER,
        f"nothing where no client is hurt; declare the pool of {evidence.asked} to know its servers",
        balancer_facts(evidence),
    )


REFUSAL_ROWS: Final[tuple[Row, ...]] = (refused_beyond, call_rejected)
LOSS_ROWS: Final[tuple[Row, ...]] = (path_mtu, strict_filter_beyond, lost_before)
ANSWER_ROWS: Final[tuple[Row, ...]] = (
    access_denied,
    wrong_version,
    pool_member_differs,
    service_not_registered,
    slow_server,
    nat64_prefix_undeclared,
    other_address_family,
    multihomed_server,
    destination_nat,
    load_balancer,
)
