"""From a joined response stub to an exchange: which operation, which transfer syntax, and how sure.

With the bind and the request seen, both are known. Without, they are inferred:
a reading counts only when it is strict (every count agrees, nothing is left over)
and says something no other interface's stub says by chance, a readable tower or
the endpoint mapper's own status. What was inferred is said as an anomaly.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from inspector.errors import Anomaly, DecodeError
from inspector.wire.body import NDR20, NDR64, Syntax
from inspector.wire.epm import (
    EPT_LOOKUP,
    EPT_LOOKUP_HANDLE_FREE,
    EPT_MAP,
    OPERATIONS,
    STATUS_NOT_REGISTERED,
    LookupRequest,
    MapRequest,
    TowersResponse,
    is_strict,
    read_lookup_request,
    read_lookup_response,
    read_map_request,
    read_map_response,
    read_status_response,
)
from inspector.wire.exchange import Exchange, Outcome
from inspector.wire.status import epm_status_text, fault_status_text

_RESPONSES: Final = {EPT_MAP: read_map_response, EPT_LOOKUP: read_lookup_response}
_REQUESTS: Final[dict[int, Callable[..., MapRequest | LookupRequest]]] = {
    EPT_MAP: read_map_request,
    EPT_LOOKUP: read_lookup_request,
}
_HANDLE_AND_STATUS_SIZE: Final = 24
_NULL_HANDLE: Final = bytes(20)


class Call(NamedTuple):
    """A request that waits for its answer; `stub` is joined.

    `level` and `service` are authentication level and service of the request, or of its context's bind; 0 for none.
    """

    time_ns: int
    context_id: int
    opnum: int
    stub: bytes
    little_endian: bool
    sealed: bool
    level: int = 0
    service: int = 0


class Answer(NamedTuple):
    """A joined response. `transfer_syntax` is None, and `known` false, as far as the bind was not seen."""

    time_ns: int
    call_id: int
    stub: bytes
    little_endian: bool
    sealed: bool
    transfer_syntax: str | None
    known: bool


def _syntaxes(transfer_syntax: str | None) -> tuple[str, ...]:
    return (transfer_syntax,) if transfer_syntax else (NDR20, NDR64)


def _read_request(call: Call | None, transfer_syntax: str | None) -> MapRequest | LookupRequest | None:
    """Return the request's parameters, or None when it was not seen, not understood or sealed."""
    if call is None or call.sealed or call.opnum not in _REQUESTS:
        return None
    for syntax in _syntaxes(transfer_syntax):
        try:
            return _REQUESTS[call.opnum](call.stub, syntax, little_endian=call.little_endian)
        except DecodeError:
            continue
    return None


def is_epm_request(call: Call) -> bool:
    """Return whether a request of an unknown context reads like ept_map or ept_lookup, to the last byte."""
    request = _read_request(call, None)
    if isinstance(request, MapRequest):
        return request.tower is not None and request.tower.interface is not None and not request.tower.doubts
    return request is not None and request.inquiry_type <= 3 and request.max_entries > 0


def _requested(request: MapRequest | LookupRequest | None) -> Syntax | None:
    if isinstance(request, MapRequest):
        return request.tower.interface if request.tower else None
    return request.interface if request else None


def _requested_address(request: MapRequest | LookupRequest | None) -> IPv4Address | None:
    """Return the target which Windows clients write into the tower they ask with; others write 0.0.0.0."""
    if not isinstance(request, MapRequest) or request.tower is None or request.tower.address is None:
        return None
    return None if request.tower.address.is_unspecified else request.tower.address


def _describe(exchange: Exchange, call: Call | None, transfer_syntax: str | None) -> Exchange:
    """Return the exchange with what its request says."""
    if call is None:
        return exchange
    request = _read_request(call, transfer_syntax)
    return exchange._replace(
        operation=OPERATIONS.get(call.opnum, f"opnum {call.opnum}"),
        transfer_syntax=transfer_syntax,
        request_time_ns=call.time_ns,
        requested=_requested(request),
        requested_address=_requested_address(request),
        continued=request is not None and request.handle != _NULL_HANDLE,
    )


def unanswered(call_id: int, call: Call, transfer_syntax: str | None, detail: str) -> Exchange:
    """Return the exchange of a request that got no answer."""
    return _describe(Exchange(Outcome.UNANSWERED, call.time_ns, call_id, detail=detail), call, transfer_syntax)


def fault(time_ns: int, call_id: int, status: int, call: Call | None, transfer_syntax: str | None) -> Exchange:
    """Return the exchange of a call which ended in a fault PDU."""
    exchange = Exchange(Outcome.FAULT, time_ns, call_id, status=status, detail=fault_status_text(status))
    return _describe(exchange, call, transfer_syntax)


def read_answer(answer: Answer, call: Call | None) -> Exchange | None:
    """Return the exchange of a response, or None when nothing says that it is the endpoint mapper's."""
    if not answer.known and (answer.sealed or (call is not None and not is_epm_request(call))):
        return None
    if answer.sealed:
        return _describe(Exchange(Outcome.SEALED, answer.time_ns, answer.call_id), call, answer.transfer_syntax)
    if answer.known and call is not None and answer.transfer_syntax:
        return _read_known(answer, call, answer.transfer_syntax)
    return _infer(answer, call)


def _read_known(answer: Answer, call: Call, transfer_syntax: str) -> Exchange:
    exchange = _describe(Exchange(Outcome.ANSWERED, answer.time_ns, answer.call_id), call, transfer_syntax)
    try:
        if call.opnum not in _RESPONSES:
            status = read_status_response(answer.stub, little_endian=answer.little_endian).status
            return exchange._replace(status=status, detail=epm_status_text(status))
        response = _RESPONSES[call.opnum](answer.stub, transfer_syntax, little_endian=answer.little_endian)
    except DecodeError as error:
        return exchange._replace(outcome=Outcome.MALFORMED, detail=error.detail, anomalies=(error.anomaly,))
    return _with_towers(exchange, response, ())


def _with_towers(exchange: Exchange, response: TowersResponse, doubts: tuple[Anomaly, ...]) -> Exchange:
    return exchange._replace(
        status=response.status,
        detail=epm_status_text(response.status),
        towers=response.towers,
        anomalies=(*doubts, *response.anomalies),
    )


def _infer(answer: Answer, call: Call | None) -> Exchange | None:
    """Return what strict structure says when bind or request were not seen."""
    doubts = (() if answer.known else (Anomaly.BIND_NOT_SEEN,)) + (() if call else (Anomaly.REQUEST_NOT_SEEN,))
    exchange = Exchange(Outcome.ANSWERED, answer.time_ns, answer.call_id, anomalies=doubts)
    for opnum in (call.opnum,) if call else (EPT_MAP, EPT_LOOKUP):
        for syntax in _syntaxes(answer.transfer_syntax):
            response = _read_strictly(answer, opnum, syntax)
            if response is not None:
                exchange = exchange._replace(operation=OPERATIONS[opnum], transfer_syntax=syntax)
                return _with_towers(_describe(exchange, call, syntax), response, doubts)
    if not answer.known:
        return None
    return _infer_other(answer, call, exchange)


def _read_strictly(answer: Answer, opnum: int, syntax: str) -> TowersResponse | None:
    if opnum not in _RESPONSES:
        return None
    try:
        response = _RESPONSES[opnum](answer.stub, syntax, little_endian=answer.little_endian)
    except DecodeError:
        return None
    telling = any(offered.tower for offered in response.towers) or response.status == STATUS_NOT_REGISTERED
    return response if is_strict(response) and (telling or answer.known) else None


def _infer_other(answer: Answer, call: Call | None, exchange: Exchange) -> Exchange:
    """Return the exchange of a response that is known to be the endpoint mapper's and offers nothing readable."""
    exchange = _describe(exchange, call, answer.transfer_syntax)
    if call is None and len(answer.stub) == _HANDLE_AND_STATUS_SIZE:
        status = read_status_response(answer.stub, little_endian=answer.little_endian).status
        return exchange._replace(
            operation=OPERATIONS[EPT_LOOKUP_HANDLE_FREE], status=status, detail=epm_status_text(status)
        )
    return exchange._replace(
        outcome=Outcome.MALFORMED,
        detail="no reading of the stub is consistent",
        anomalies=(*exchange.anomalies, Anomaly.STUB_MALFORMED),
    )
