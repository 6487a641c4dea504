"""From an exchange to a finding: asked against offered, in the words of an operator.

A conforming client ignores the address of floor 5 and connects to the address it
asked (MS-RPCE section 3.1.3.5.3), so a mismatch does not prove harm; the finding
says who is hurt by it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from ipaddress import IPv4Address
from typing import Final

from inspector.judge.addresses import address_of, judge_address, unmap
from inspector.judge.dcom import call_of, hardening_words, judge_dcom, server_address_of
from inspector.judge.policy import Policy
from inspector.model import (
    Finding,
    FindingTunnel,
    IPAddress,
    OfferedEndpoint,
    RpcInterface,
    Verdict,
    known_address,
)
from inspector.wire.body import Syntax
from inspector.wire.epm import STATUS_NOT_REGISTERED, STATUS_OK, WINDOWS_NOT_REGISTERED, OfferedTower
from inspector.wire.exchange import Exchange, Observed, Outcome
from inspector.wire.uuids import name_of

# The verdict of a response is that of the mapping which is first in this order.
WORST_FIRST: Final = (
    Verdict.MISMATCH,
    Verdict.UNROUTABLE,
    Verdict.MALFORMED,
    Verdict.POOLED,
    Verdict.OTHER_FAMILY,
    Verdict.UNSPECIFIED,
    Verdict.MATCH,
    Verdict.NO_ADDRESS,
)

_OUTCOME_VERDICTS: Final = {
    Outcome.REJECTED: Verdict.REJECTED,
    Outcome.FAULT: Verdict.FAULT,
    Outcome.UNANSWERED: Verdict.UNANSWERED,
    Outcome.SEALED: Verdict.SEALED,
    Outcome.MALFORMED: Verdict.MALFORMED,
}
_NOT_REGISTERED: Final = frozenset({STATUS_NOT_REGISTERED, WINDOWS_NOT_REGISTERED})
_OFFERING: Final = frozenset({"ept_map", "ept_lookup"})


@lru_cache(maxsize=4096)
def interface_of(syntax: Syntax | None) -> RpcInterface | None:
    """Return the interface of a syntax with its well-known name; cached, as few differ."""
    if syntax is None:
        return None
    return RpcInterface(syntax.uuid, syntax.major, syntax.minor, name_of(syntax.uuid))


def explain(verdict: Verdict, asked: IPAddress, offered: IPv4Address | None, port: int | None) -> str:
    """Return who is hurt, and by what, in one or two sentences."""
    # An answer has up to 500 towers, and the text of an address takes 2 us: each is made once.
    vip, dip = str(asked), str(offered)
    target = f"{vip} port {port}" if port is not None else vip
    if verdict is Verdict.MISMATCH:
        family = "" if asked.version == 4 else " (asked over IPv6, which no tower can carry)"
        return (
            f"{vip} was asked, the tower says {dip}{family}: a strict RPC filter drops this answer, a firewall "
            f"opens its pinhole to {dip}; conforming clients connect to {target}"
        )
    if verdict is Verdict.OTHER_FAMILY:
        return (
            f"{vip} was asked, and no tower can carry an IPv6 address: the tower says {dip}, presumably the same "
            f"server; conforming clients connect to {target}"
        )
    if verdict is Verdict.POOLED:
        return f"{dip} is a declared server of {vip}: expected behind a load balancer, still breaks strict filters"
    if verdict is Verdict.UNROUTABLE:
        return f"the tower says {dip}, where no other host can connect; conforming clients connect to {target}"
    if verdict is Verdict.UNSPECIFIED:
        return f"0.0.0.0 stands for the address that was asked: connect to {target}"
    if verdict is Verdict.MATCH:
        return f"the tower says what was asked: connect to {target}"
    return "this tower carries no IPv4 address"


def _translated_from(exchange: Exchange, asked: IPAddress) -> IPv4Address | None:
    """Return the address that the client asked, where its own request names another one than its packets.

    Clients write the address that they ask, or 0.0.0.0. Another one proves that packets are translated before they are
    seen: on the servers' side of a gateway that balances, each answer would match.
    """
    named = exchange.requested_address
    if named is None or named.is_unspecified or named == asked:
        return None
    return named


def _judge_tower(
    offered: OfferedTower, asked: IPAddress, shown: IPAddress, policy: Policy, translated_from: IPv4Address | None
) -> OfferedEndpoint:
    tower = offered.tower
    if tower is None:
        why = f"the tower cannot be read ({offered.anomaly})"
        return OfferedEndpoint(
            None, "unknown", None, None, None, Verdict.MALFORMED, why, offered.annotation, offered.references
        )
    verdict = judge_address(asked, tower.address, policy)
    why = explain(verdict, shown, tower.address, tower.port)
    mapping = OfferedEndpoint(
        interface_of(tower.interface),
        tower.protocol_sequence,
        tower.address,
        tower.port,
        tower.endpoint,
        verdict,
        why,
        offered.annotation,
        offered.references,
    )
    return mapping if translated_from is None else _translated(mapping, asked, translated_from, policy)


def rejudge(finding: Finding, named: IPv4Address | None, policy: Policy) -> Finding:
    """Return the finding of an answer whose request, which names this address, was not known when it was judged."""
    if named is None or named.is_unspecified or finding.dcom is not None:
        return finding
    if named == finding.asked or not finding.mappings:
        return replace(finding, requested_address=named)
    mappings = tuple(_translated(mapping, finding.server, named, policy) for mapping in finding.mappings)
    worst = _worst(mappings)
    return replace(finding, requested_address=named, verdict=worst.verdict, why=worst.why, mappings=mappings)


def _worst(mappings: tuple[OfferedEndpoint, ...]) -> OfferedEndpoint:
    return min(mappings, key=lambda mapping: WORST_FIRST.index(mapping.verdict))


def _translated(mapping: OfferedEndpoint, shown: IPAddress, named: IPv4Address, policy: Policy) -> OfferedEndpoint:
    """Return a mapping that matches, judged by the address that the request names instead."""
    if mapping.verdict is not Verdict.MATCH or not isinstance(mapping.address, IPv4Address):
        return mapping
    verdict = judge_address(named, mapping.address, policy)
    why = explain(verdict, named, mapping.address, mapping.port)
    why += f" (the request names {named}, its packets go to {shown}: translated before they are seen here)"
    return replace(mapping, verdict=verdict, why=why)


def _judge_without_towers(exchange: Exchange) -> tuple[Verdict, str]:
    """Return verdict and reason of an answer which offers nothing."""
    if exchange.operation not in _OFFERING and exchange.status == STATUS_OK:
        return Verdict.NO_ADDRESS, "the operation offers no endpoint"
    if exchange.status in _NOT_REGISTERED and exchange.continued:
        return Verdict.NO_ADDRESS, "the end of a listing"
    if exchange.status == STATUS_OK or exchange.status in _NOT_REGISTERED:
        return Verdict.NOT_REGISTERED, "no such interface is registered with this endpoint mapper"
    return Verdict.FAULT, f"the endpoint mapper answered: {exchange.detail}"


def _explain_outcome(exchange: Exchange) -> str:
    if exchange.outcome is Outcome.REJECTED:
        return f"the server rejected the bind: {exchange.detail}"
    if exchange.outcome is Outcome.FAULT:
        return f"the call failed: {exchange.detail}{hardening_words(exchange)}"
    if exchange.outcome is Outcome.SEALED:
        return "the answer is encrypted (packet privacy) and cannot be read"
    if exchange.outcome is Outcome.MALFORMED:
        return f"the answer cannot be read: {exchange.detail}"
    return f"{exchange.operation or 'the call'}: {exchange.detail}"


def _judge_exchange(
    exchange: Exchange, asked: IPAddress, asked_raw: IPAddress, shown: IPAddress, policy: Policy
) -> tuple[Verdict, str, tuple[OfferedEndpoint, ...]]:
    if exchange.outcome is not Outcome.ANSWERED:
        return _OUTCOME_VERDICTS[exchange.outcome], _explain_outcome(exchange), ()
    if exchange.dcom is not None:
        return judge_dcom(exchange, exchange.dcom, asked, asked_raw, policy)
    named = _translated_from(exchange, asked)
    mappings = tuple(_judge_tower(offered, asked, shown, policy, named) for offered in exchange.towers)
    if not mappings:
        return *_judge_without_towers(exchange), ()
    worst = _worst(mappings)
    return worst.verdict, worst.why, mappings


def _latency_ns(exchange: Exchange) -> int | None:
    """Return the time from request to answer; None where one is missing, or where packets were captured out of order.

    A request may reach the capture after its answer, as when the two are seen on different interfaces.
    """
    if exchange.outcome is Outcome.UNANSWERED or exchange.request_time_ns is None:
        return None
    latency_ns = exchange.time_ns - exchange.request_time_ns
    return latency_ns if latency_ns >= 0 else None


def _tunnel_of(observed: Observed) -> FindingTunnel | None:
    if observed.tunnel is None:
        return None
    kind, source, destination, _ = observed.tunnel
    return FindingTunnel(kind.label, address_of(source), address_of(destination))


def judge(observed: Observed, policy: Policy, source: str) -> Finding:
    """Return the finding of one observed exchange; `source` is the name of the interface or file."""
    flow, exchange = observed.flow, observed.exchange
    asked_raw = address_of(flow.server_address)
    asked = unmap(asked_raw, policy.nat64_prefixes)
    shown = known_address(asked_raw, asked)
    verdict, why, mappings = _judge_exchange(exchange, asked, asked_raw, shown, policy)
    return Finding(
        time_ns=exchange.time_ns,
        source=source,
        direction=observed.direction,
        client=address_of(flow.client_address),
        client_port=flow.client_port,
        asked=asked,
        asked_raw=asked_raw,
        server_port=flow.server_port,
        operation=exchange.operation,
        call_id=exchange.call_id,
        transfer_syntax=exchange.transfer_syntax,
        status=exchange.status,
        verdict=verdict,
        why=why,
        tunnel=_tunnel_of(observed),
        requested=interface_of(exchange.requested),
        requested_address=exchange.requested_address or server_address_of(exchange),
        latency_ns=_latency_ns(exchange),
        mappings=mappings,
        anomalies=tuple(str(anomaly) for anomaly in exchange.anomalies),
        dcom=call_of(exchange.dcom) if exchange.dcom is not None else None,
    )
