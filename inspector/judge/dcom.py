"""From a DCOM exchange to verdict, words and bindings: each binding against the asked address.

DCOM clients connect to the addresses of the bindings, one after the other until one works (MS-DCOM section
3.2.4.1.2.1). So one that leads to the asked address makes the answer a `match`; where none does, clients go elsewhere.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final
from uuid import UUID

from inspector.dcom import INTEGRITY, Binding, DcomCall, Named, Reach, Role
from inspector.judge.addresses import is_unroutable, judge_address, unmap
from inspector.model import IPAddress, OfferedEndpoint, Verdict, known_address
from inspector.wire.bindings import StringBinding, binding_of, service_name
from inspector.wire.dcom import ACTIVATIONS, OBJECT_EXPORTER
from inspector.wire.exchange import DcomExchange, Exchange, Outcome
from inspector.wire.uuids import class_name_of, name_of

if TYPE_CHECKING:
    from inspector.judge.policy import Policy

_PRINCIPALS: Final = 4
_SERVICES: Final = 16
_LISTED: Final = 4
_SHOWN: Final = 48
_USABLE: Final = frozenset({Verdict.MATCH, Verdict.UNSPECIFIED})
ACCESS_DENIED: Final = frozenset({5, 0x80070005})
"""Access denied, as the status of a fault and as an HRESULT."""
# The verdict of an answer without a usable binding is that of the binding which is first in this order.
_WORST_FIRST: Final = (Verdict.MISMATCH, Verdict.UNROUTABLE, Verdict.POOLED, Verdict.NO_ADDRESS)


def judge_binding(asked: IPAddress, asked_raw: IPAddress, binding: StringBinding, policy: Policy) -> Verdict:
    """Return the verdict on one binding; `asked` is unmapped already."""
    address = binding.address
    if isinstance(address, IPv6Address):
        if address in (asked, asked_raw) or unmap(address, policy.nat64_prefixes) == asked:
            return Verdict.MATCH
        if address.is_unspecified:
            return Verdict.UNSPECIFIED
        return Verdict.UNROUTABLE if is_unroutable(address) else Verdict.MISMATCH
    verdict = judge_address(asked, address, policy)
    # Unlike a tower, a binding can name an IPv6 address.
    return Verdict.MISMATCH if verdict is Verdict.OTHER_FAMILY else verdict


def _reach_of(verdict: Verdict) -> Reach:
    if verdict is Verdict.NO_ADDRESS:
        return Reach.NAME_ONLY
    return Reach.ASKED_ADDRESS if verdict in _USABLE else Reach.OTHER_ADDRESS


@lru_cache(maxsize=1024)
def _explain_binding(asked: IPAddress, binding: StringBinding, verdict: Verdict) -> str:
    """Return who is hurt by a binding, and how."""
    at = f", port {binding.port}" if binding.port is not None else ""
    if verdict is Verdict.NO_ADDRESS:
        kind = "a name" if "." in binding.host else "a bare name"
        return f"{kind}{at}: clients have to resolve it to {asked}"
    if verdict in _USABLE:
        return f"the binding says what was asked: clients connect to {asked}{at}"
    address = binding.address
    if verdict is Verdict.UNROUTABLE:
        return f"the binding says {address}, where no other host can connect"
    if verdict is Verdict.POOLED:
        return f"{address} is a declared server of {asked}: DCOM clients connect to it, past the load balancer{at}"
    return f"{asked} was asked, the binding says {address}: DCOM clients connect there{at}"


def judge_dcom(
    exchange: Exchange, call: DcomExchange, asked: IPAddress, asked_raw: IPAddress, policy: Policy
) -> tuple[Verdict, str, tuple[OfferedEndpoint, ...]]:
    """Return verdict, reason and bindings of an answer to a DCOM call."""
    response = call.response
    if response is None or exchange.outcome is not Outcome.ANSWERED:
        raise ValueError("a DCOM call without an answer")
    if call.failed:
        return Verdict.FAULT, f"the call failed: {exchange.detail}{hardening_words(exchange)}", ()
    bindings = [(Role.EXPORTER, one) for one in response.strings]
    if call.interface == OBJECT_EXPORTER and response.oxid is None and response.ipid is None:
        bindings = [(Role.RESOLVER, one) for one in response.strings]
    bindings += [(Role.RESOLVER, one) for one in response.resolvers]
    mappings = tuple(_mapping_of(role, one, asked, asked_raw, policy) for role, one in bindings)
    if not mappings:
        return Verdict.NO_ADDRESS, f"the answer offers no binding{_level_words(exchange)}", ()
    # Where the objects are matters, if the answer says it.
    first = [one for one in mappings if one.binding is not None and one.binding.role is bindings[0][0]]
    usable = [one for one in first if one.verdict in _USABLE]
    worst = usable[0] if usable else min(first, key=lambda one: _WORST_FIRST.index(one.verdict))
    words = _summary(exchange, known_address(asked_raw, asked), first, is_usable=bool(usable))
    return worst.verdict, f"{worst.why}{words}{_level_words(exchange)}", mappings


def _mapping_of(
    role: Role, one: StringBinding, asked: IPAddress, asked_raw: IPAddress, policy: Policy
) -> OfferedEndpoint:
    verdict = judge_binding(asked, asked_raw, one, policy)
    return OfferedEndpoint(
        None,
        one.protocol,
        one.address,
        one.port,
        one.endpoint if one.port is None else None,
        verdict,
        _explain_binding(known_address(asked_raw, asked), one, verdict),
        references=one.references,
        binding=Binding(role, _reach_of(verdict), one.host if one.address is None else None),
    )


def _text_of(mapping: OfferedEndpoint) -> str:
    if mapping.address is not None or mapping.binding is None:
        return str(mapping.address)
    host = mapping.host or ""
    return host if len(host) <= _SHOWN else f"{host[:_SHOWN]}\u2026"


def _summary(exchange: Exchange, asked: IPAddress, mappings: list[OfferedEndpoint], *, is_usable: bool) -> str:
    """Return what all bindings say, and which class or object they are for."""
    texts = list(dict.fromkeys(_text_of(one) for one in mappings))
    ports = {one.port for one in mappings if one.port is not None}
    listed = ", ".join(texts[:_LISTED]) + (f" and {len(texts) - _LISTED} more" if len(texts) > _LISTED else "")
    port = f" (port {next(iter(ports))})" if len(ports) == 1 else ""
    subject = subject_of(exchange)
    what = f" for {subject}" if subject else ""
    if is_usable and len(texts) == 1:
        return f"; {exchange.operation or 'DCOM'}{what}"
    ending = "" if is_usable else f": none of them is {asked}, so clients do not come back to it"
    if all(one.verdict is Verdict.NO_ADDRESS for one in mappings):
        ending = ": names only"
    return f"; {exchange.operation or 'DCOM'}{what} says {listed}{port}{ending}"


def subject_of(exchange: Exchange) -> str | None:
    """Return the class or object that a call is about, in words."""
    call = exchange.dcom
    if call is None:
        return None
    if call.request.class_id is not None:
        return class_name_of(call.request.class_id) or f"class {call.request.class_id}"
    oxid = call.request.oxid
    return f"OXID {oxid:#018x}" if oxid is not None else None


def is_weak(operation: str | None, level: int) -> bool:
    """Return whether an activation is below the authentication level that hardened servers require (KB5004442)."""
    return operation in ACTIVATIONS and 0 < level < INTEGRITY


def _is_weak(exchange: Exchange) -> bool:
    return exchange.dcom is not None and is_weak(exchange.operation, exchange.dcom.level)


def _level_words(exchange: Exchange) -> str:
    """Return the warning about a level that a hardened server refuses, said before it fails."""
    if not _is_weak(exchange):
        return ""
    return (
        f"; activated with authentication level {_level_of(exchange)}: a hardened server refuses less than packet "
        f"integrity (KB5004442)"
    )


def hardening_words(exchange: Exchange) -> str:
    """Return the words for an activation that was refused for its authentication level; empty for all others."""
    if exchange.status not in ACCESS_DENIED or not _is_weak(exchange):
        return ""
    return (
        f"; activated with authentication level {_level_of(exchange)}, hardened servers require packet integrity "
        f"(KB5004442, event 10036)"
    )


def _level_of(exchange: Exchange) -> str:
    level = exchange.dcom.level if exchange.dcom is not None else 0
    return f"{level} ({DcomCall(level).level_name})"


def server_address_of(exchange: Exchange) -> IPv4Address | None:
    """Return the address by which a client calls the server in its own request, where it is one."""
    name = exchange.dcom.request.server_name if exchange.dcom is not None else None
    address = binding_of(0, name).address if name else None
    return address if isinstance(address, IPv4Address) else None


def call_of(call: DcomExchange) -> DcomCall:
    """Return what the finding says of the call."""
    request, response = call.request, call.response
    interfaces = [Named(uuid, name_of(uuid)) for uuid in request.interfaces]
    if response is not None and response.results:
        interfaces = [Named(uuid, name_of(uuid), status) for uuid, status in response.results]
    securities = response.securities if response is not None else ()
    principals = dict.fromkeys(one.principal for one in securities if one.principal)
    oxid = response.oxid if response is not None and response.oxid is not None else request.oxid
    return DcomCall(
        level=call.level,
        service=service_name(call.service) if call.level else None,
        class_=_class_of(request.class_id),
        interfaces=tuple(interfaces),
        server_name=request.server_name,
        oxid=oxid,
        ipid=response.ipid if response is not None else None,
        version=response.version if response is not None else None,
        services=tuple(dict.fromkeys(one.service_name for one in securities))[:_SERVICES],
        principals=tuple(principals)[:_PRINCIPALS],
    )


def _class_of(class_id: UUID | None) -> Named | None:
    return Named(class_id, class_name_of(class_id)) if class_id is not None else None
