"""From requests and answers of DCOM to exchanges; what `inspector.wire.answers` is for the endpoint mapper.

A call is known by the context of its bind. Without the bind, structure decides: an answer counts only if it offers
bindings and is consistent to its last byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from inspector.errors import Anomaly, DecodeError
from inspector.wire import dcom
from inspector.wire.body import NDR20, NDR64, Syntax
from inspector.wire.exchange import DcomExchange, Exchange, Outcome
from inspector.wire.status import fault_status_text, hresult_text

if TYPE_CHECKING:
    from uuid import UUID

    from inspector.wire.answers import Answer, Call

_COM_VERSION: Final = b"\x05\0"
# Where an object reference is in the answer to an activation, in NDR20 and NDR64.
_REFERENCE_AT: Final = 20
_WIDE_AT: Final = 36
_UNKNOWN_VERSION: Final = (0, 0)


def syntax_of(interface: UUID) -> Syntax:
    """Return one of the interfaces as an abstract syntax: all have version 0.0 (MS-DCOM section 2.1)."""
    return Syntax(interface, *_UNKNOWN_VERSION)


def rejected(time_ns: int, call_id: int, interface: UUID, detail: str, asked_ns: int, status: int | None) -> Exchange:
    """Return the exchange of a bind that the server rejected."""
    return Exchange(
        Outcome.REJECTED, time_ns, call_id, "bind", status=status, detail=detail, request_time_ns=asked_ns,
        requested=syntax_of(interface), dcom=DcomExchange(interface),
    )  # fmt: skip


def _read_request(interface: UUID, call: Call, transfer_syntax: str | None) -> dcom.Request:
    """Return what a request asks for; nothing where it is sealed or not understood."""
    if not call.sealed:
        for syntax in (transfer_syntax,) if transfer_syntax else (NDR20, NDR64):
            try:
                return dcom.read_request(interface, call.opnum, call.stub, syntax, little_endian=call.little_endian)
            except DecodeError:
                continue
    return dcom.Request()


def _exchange(
    outcome: Outcome, time_ns: int, call_id: int, interface: UUID, call: Call | None, transfer_syntax: str | None
) -> Exchange:
    exchange = Exchange(
        outcome, time_ns, call_id, transfer_syntax=transfer_syntax, requested=syntax_of(interface),
        dcom=DcomExchange(interface),
    )  # fmt: skip
    if call is None:
        return exchange
    request = _read_request(interface, call, transfer_syntax)
    return exchange._replace(
        operation=dcom.operation_of(interface, call.opnum),
        request_time_ns=call.time_ns,
        dcom=DcomExchange(interface, call.level, call.service, request),
    )


def unanswered(call_id: int, call: Call, interface: UUID, transfer_syntax: str | None, detail: str) -> Exchange:
    """Return the exchange of a request that got no answer."""
    exchange = _exchange(Outcome.UNANSWERED, call.time_ns, call_id, interface, call, transfer_syntax)
    return exchange._replace(detail=detail)


def fault(
    time_ns: int, call_id: int, status: int, interface: UUID, call: Call | None, transfer_syntax: str | None
) -> Exchange:
    """Return the exchange of a call which ended in a fault PDU."""
    exchange = _exchange(Outcome.FAULT, time_ns, call_id, interface, call, transfer_syntax)
    return exchange._replace(status=status, detail=fault_status_text(status))


def read_answer(answer: Answer, interface: UUID, call: Call | None) -> Exchange:
    """Return the exchange of a response in a context of DCOM."""
    syntax = answer.transfer_syntax
    if answer.sealed:
        return _exchange(Outcome.SEALED, answer.time_ns, answer.call_id, interface, call, syntax)
    if call is None or syntax is None:
        found = _infer(answer, (interface,), call)
        if found is not None:
            return found
    exchange = _exchange(Outcome.ANSWERED, answer.time_ns, answer.call_id, interface, call, syntax)
    if call is None or syntax is None:
        return _malformed(exchange, "no reading of the stub is consistent", Anomaly.REQUEST_NOT_SEEN)
    try:
        response = dcom.read_response(interface, call.opnum, answer.stub, syntax, little_endian=answer.little_endian)
    except DecodeError as error:
        return exchange._replace(outcome=Outcome.MALFORMED, detail=error.detail, anomalies=(error.anomaly,))
    return _with_response(exchange, interface, response, ())


def _malformed(exchange: Exchange, detail: str, *doubts: Anomaly) -> Exchange:
    return exchange._replace(outcome=Outcome.MALFORMED, detail=detail, anomalies=(*doubts, Anomaly.STUB_MALFORMED))


def _with_response(
    exchange: Exchange, interface: UUID, response: dcom.Response, doubts: tuple[Anomaly, ...]
) -> Exchange:
    assert exchange.dcom is not None  # noqa: S101 - each exchange of this module has it
    failed = dcom.is_failure(interface, response.status)
    return exchange._replace(
        status=response.status,
        detail=hresult_text(response.status) if failed else "",
        dcom=exchange.dcom._replace(response=response, failed=failed),
        anomalies=(*doubts, *response.anomalies),
    )


def infer(answer: Answer, call: Call | None) -> Exchange | None:
    """Return the exchange of a response whose context is not known, or None when nothing says that it is DCOM's."""
    if answer.sealed or answer.known or not may_infer(answer):
        return None
    return _infer(answer, dcom.INTERFACES, call)


def may_infer(answer: Answer) -> bool:
    """Return whether a stub begins like an answer of ServerAlive2 or to an activation, or has other byte order.

    Nothing else is looked at without a bind: the compiled decoder tells by the same few bytes.
    """
    stub = answer.stub
    if not answer.little_endian or (len(stub) >= 4 and stub[:2] == _COM_VERSION):
        return True
    return stub[_REFERENCE_AT : _REFERENCE_AT + 4] == b"MEOW" or stub[_WIDE_AT : _WIDE_AT + 4] == b"MEOW"


def _infer(answer: Answer, interfaces: tuple[UUID, ...], call: Call | None) -> Exchange | None:
    bound = len(interfaces) == 1
    doubts = (() if bound else (Anomaly.BIND_NOT_SEEN,)) + (() if call else (Anomaly.REQUEST_NOT_SEEN,))
    for interface, opnum in dcom.OFFERING:
        if interface not in interfaces or (call is not None and call.opnum != opnum):
            continue
        for syntax in (answer.transfer_syntax,) if answer.transfer_syntax else (NDR20, NDR64):
            try:
                response = dcom.read_response(interface, opnum, answer.stub, syntax, little_endian=answer.little_endian)
            except DecodeError:
                continue
            if dcom.is_telling(response):
                exchange = _exchange(Outcome.ANSWERED, answer.time_ns, answer.call_id, interface, call, syntax)
                return _with_response(exchange, interface, response, doubts)
    return None
