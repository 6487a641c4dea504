"""Associations, contexts and calls: which PDUs belong together (C706 sections 12.6 and 9.3, MS-RPCE section 3.3).

An association takes the PDUs of both directions of one connection in the order in
which the two ends can have seen them, and gives an exchange for every answer that
concerns the endpoint mapper. A response PDU names neither interface nor operation:
the context of the bind does, or the request with its call id; when neither was
seen, strict structure decides and the exchange says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple
from uuid import UUID

from inspector.errors import Anomaly, DecodeError
from inspector.model import Direction
from inspector.wire import answers
from inspector.wire.body import (
    ACCEPTANCE,
    ContextElement,
    Syntax,
    read_bind,
    read_bind_ack,
    read_bind_nak,
    read_fault,
    read_request,
    read_response,
)
from inspector.wire.exchange import Exchange, Outcome
from inspector.wire.limits import Limits
from inspector.wire.pdu import Pdu, PduType

EPM_UUID: Final = UUID("e1af8308-5d1f-11c9-91a4-08002b14a0fa")

# Bytes which a proposed context takes in memory, roughly; of 24 on the wire.
_ELEMENT_BYTES: Final = 256

_MOST_REASONS: Final = 4
_NO_RESULT: Final = "no result for the context"

# A response does not say which operation it answers.
_NO_OPNUM: Final = -1


class Context(NamedTuple):
    """An accepted presentation context; `abstract` is None where the bind was not seen."""

    abstract: Syntax | None
    transfer_syntax: str | None


Contexts = tuple[tuple[int, Context], ...]
"""Contexts by their numbers, in the order in which they came."""


class Proposal(NamedTuple):
    """A bind or alter_context that waits for its answer; of the elements, transfer syntaxes are not kept."""

    time_ns: int
    elements: tuple[ContextElement, ...]

    @property
    def size(self) -> int:
        """Bytes which it takes in memory, roughly."""
        return len(self.elements) * _ELEMENT_BYTES

    @property
    def wants_epm(self) -> bool:
        """Whether any proposed context is the endpoint mapper's."""
        return any(element.abstract.uuid == EPM_UUID for element in self.elements)


class Partial:
    """The stubs of a multi-fragment request or response, joined so far."""

    __slots__ = ("opnum", "pieces", "sealed", "size")

    def __init__(self, opnum: int, *, sealed: bool) -> None:
        self.opnum = opnum
        self.sealed = sealed
        self.pieces: list[bytes] = []
        self.size = 0


class Association:
    """The DCE/RPC state of one connection, bounded by `Limits`; anomalies are counted into `anomalies`.

    `buffered` is the number of bytes which wait for their answer or for more fragments;
    `answer_lost` says that something of the server could not be read: it may have been an answer;
    `distrusted` that somebody else has written to the connection, perhaps its bind: then structure decides.
    """

    __slots__ = (
        "_anomalies",
        "_limits",
        "answer_lost",
        "buffered",
        "calls",
        "contexts",
        "distrusted",
        "partials",
        "proposals",
    )

    def __init__(self, limits: Limits, anomalies: Counter[Anomaly], contexts: Contexts = ()) -> None:
        self._limits = limits
        self._anomalies = anomalies
        self.answer_lost = False
        self.distrusted = False
        self.buffered = 0
        self.contexts: dict[int, Context] = dict(contexts)
        self.proposals: dict[int, Proposal] = {}
        self.calls: dict[int, answers.Call] = {}
        self.partials: dict[tuple[Direction, int], Partial] = {}

    def feed(self, direction: Direction, pdu: Pdu, time_ns: int) -> Iterator[Exchange]:
        """Take one PDU; yield the exchanges it ends."""
        handlers = _TO_SERVER if direction is Direction.TO_SERVER else _FROM_SERVER
        handler = handlers.get(pdu.type)
        if handler is None:
            return
        try:
            yield from handler(self, pdu, time_ns)
        except DecodeError as error:
            self._lose(direction, error.anomaly)

    def _lose(self, direction: Direction, anomaly: Anomaly) -> None:
        self._anomalies[anomaly] += 1
        self.answer_lost |= direction is Direction.FROM_SERVER

    @property
    def waiting(self) -> bool:
        """Whether a bind or a request has no answer yet."""
        return bool(self.calls or self.proposals)

    def oldest_question_ns(self) -> int:
        """Return the time of the oldest bind or request without answer; there must be one."""
        times = [proposal.time_ns for proposal in self.proposals.values()]
        return min(times + [call.time_ns for call in self.calls.values()])

    def unanswered(self, detail: str, asked_until_ns: int) -> Iterator[Exchange]:
        """Yield an exchange for every bind and request to the endpoint mapper which got no answer, and forget them.

        Questions asked later than `asked_until_ns` stay.
        """
        for call_id, proposal in tuple(self.proposals.items()):
            if proposal.time_ns <= asked_until_ns:
                self._bound(call_id)
                if proposal.wants_epm:
                    exchange = Exchange(Outcome.UNANSWERED, proposal.time_ns, call_id, "bind", detail=detail)
                    yield exchange._replace(request_time_ns=proposal.time_ns)
        for call_id, call in tuple(self.calls.items()):
            if call.time_ns <= asked_until_ns:
                self._answered(call_id)
                if self._is_epm(call.context_id) or answers.is_epm_request(call):
                    yield answers.unanswered(call_id, call, self._transfer_syntax(call.context_id), detail)

    def _transfer_syntax(self, context_id: int) -> str | None:
        context = self.contexts.get(context_id)
        return context.transfer_syntax if context else None

    def _on_bind(self, pdu: Pdu, time_ns: int) -> Iterator[Exchange]:
        if len(self.proposals) >= self._limits.calls_per_connection:
            self._anomalies[Anomaly.TOO_MANY_CALLS] += 1
            return
        elements = tuple(element._replace(transfers=()) for element in read_bind(pdu))
        self._bound(pdu.call_id)
        proposal = self.proposals[pdu.call_id] = Proposal(time_ns, elements)
        self.buffered += proposal.size
        yield from ()

    def _bound(self, call_id: int) -> Proposal | None:
        """Forget the bind or alter_context of a call id, and return it if there was one."""
        proposal = self.proposals.pop(call_id, None)
        if proposal is not None:
            self.buffered -= proposal.size
        return proposal

    def _on_bind_ack(self, pdu: Pdu, time_ns: int) -> Iterator[Exchange]:
        results = read_bind_ack(pdu)
        proposal = self._bound(pdu.call_id)
        elements = proposal.elements if proposal else ()
        rejected = []
        for position, result in enumerate(results):
            # Without the bind, contexts are taken to be numbered as every known client numbers them: from 0.
            element = elements[position] if position < len(elements) else None
            if result.result == ACCEPTANCE:
                context_id = element.context_id if element else position
                self._add_context(context_id, element.abstract if element else None, result.transfer.transfer_name)
            elif element and element.abstract.uuid == EPM_UUID:
                rejected.append(result)
        if self.distrusted or proposal is None or not proposal.wants_epm:
            return
        if not any(self._is_epm(element.context_id) for element in elements):
            detail = _reasons([result.reason_text for result in rejected])
            yield Exchange(
                Outcome.REJECTED, time_ns, pdu.call_id, "bind", detail=detail, request_time_ns=proposal.time_ns
            )

    def _add_context(self, context_id: int, abstract: Syntax | None, transfer_syntax: str | None) -> None:
        if context_id not in self.contexts and len(self.contexts) >= self._limits.contexts_per_connection:
            self._anomalies[Anomaly.TOO_MANY_CONTEXTS] += 1
            return
        self.contexts[context_id] = Context(abstract, transfer_syntax)

    def _abstract_of(self, context_id: int) -> Syntax | None:
        """Return the interface of a context, where that can be known."""
        context = self.contexts.get(context_id)
        return context.abstract if context is not None and not self.distrusted else None

    def _is_epm(self, context_id: int) -> bool:
        abstract = self._abstract_of(context_id)
        return abstract is not None and abstract.uuid == EPM_UUID

    def _is_other(self, context_id: int) -> bool:
        """Whether a context is known to be another interface, as DCOM's activation on the same port."""
        abstract = self._abstract_of(context_id)
        return abstract is not None and abstract.uuid != EPM_UUID

    def _on_bind_nak(self, pdu: Pdu, time_ns: int) -> Iterator[Exchange]:
        nak = read_bind_nak(pdu)
        proposal = self._bound(pdu.call_id)
        if proposal is not None and not proposal.wants_epm:
            return
        doubts = () if proposal else (Anomaly.BIND_NOT_SEEN,)
        self._anomalies.update(doubts)
        yield Exchange(
            Outcome.REJECTED,
            time_ns,
            pdu.call_id,
            "bind",
            status=nak.reason,
            detail=nak.reason_text,
            request_time_ns=proposal.time_ns if proposal else None,
            anomalies=doubts,
        )

    def _join(self, direction: Direction, pdu: Pdu, opnum: int, stub: bytes) -> Partial | None:
        """Add one fragment's stub; return the whole when this was the last fragment.

        NT 4.0 and Windows 9x send a request of one PDU with flags 0 (KB 291000).
        """
        key = (direction, pdu.call_id)
        unflagged = direction is Direction.TO_SERVER and not (pdu.first or pdu.last) and key not in self.partials
        if pdu.first or unflagged:
            if self._forget(key):
                self._lose(direction, Anomaly.FRAGMENT_ORDER)
            if len(self.partials) >= self._limits.calls_per_connection:
                self._lose(direction, Anomaly.TOO_MANY_CALLS)
                return None
            self.partials[key] = Partial(opnum, sealed=pdu.sealed)
        partial = self.partials.get(key)
        if partial is None:
            self._lose(direction, Anomaly.FRAGMENT_ORDER)
            return None
        partial.pieces.append(stub)
        partial.size += len(stub)
        partial.sealed |= pdu.sealed
        self.buffered += len(stub)
        if partial.size > self._limits.stub_bytes:
            self._lose(direction, Anomaly.FRAGMENTS_TOO_LARGE)
            self._forget(key)
            return None
        return self._forget(key) if pdu.last or unflagged else None

    def _forget(self, key: tuple[Direction, int]) -> Partial | None:
        partial = self.partials.pop(key, None)
        if partial is not None:
            self.buffered -= partial.size
        return partial

    def _on_request(self, pdu: Pdu, time_ns: int) -> Iterator[Exchange]:
        request = read_request(pdu)
        whole = self._join(Direction.TO_SERVER, pdu, request.opnum, request.stub)
        if whole is None or self._is_other(request.context_id):
            return
        if self._answered(pdu.call_id):
            self._anomalies[Anomaly.CALL_ID_REUSED] += 1
        if len(self.calls) >= self._limits.calls_per_connection:
            self._anomalies[Anomaly.TOO_MANY_CALLS] += 1
            return
        if whole.size > self._limits.request_stub_bytes:
            self._anomalies[Anomaly.FRAGMENTS_TOO_LARGE] += 1
            return
        stub = b"".join(whole.pieces)
        self.calls[pdu.call_id] = answers.Call(
            time_ns, request.context_id, whole.opnum, stub, pdu.little_endian, whole.sealed
        )
        self.buffered += len(stub)
        yield from ()

    def _answered(self, call_id: int) -> answers.Call | None:
        call = self.calls.pop(call_id, None)
        if call is not None:
            self.buffered -= len(call.stub)
        return call

    def _on_response(self, pdu: Pdu, time_ns: int) -> Iterator[Exchange]:
        response = read_response(pdu)
        whole = self._join(Direction.FROM_SERVER, pdu, _NO_OPNUM, response.stub)
        if whole is None:
            return
        call = self._answered(pdu.call_id)
        if self._is_other(response.context_id):
            return
        known = self._is_epm(response.context_id)
        answer = answers.Answer(
            time_ns, pdu.call_id, b"".join(whole.pieces), pdu.little_endian, whole.sealed,
            self._transfer_syntax(response.context_id), known,
        )  # fmt: skip
        exchange = answers.read_answer(answer, call)
        if exchange is None:
            self._anomalies[Anomaly.RESPONSE_UNIDENTIFIED] += 1
            return
        self._anomalies.update(exchange.anomalies)
        yield exchange

    def _on_fault(self, pdu: Pdu, time_ns: int) -> Iterator[Exchange]:
        fault = read_fault(pdu)
        self._forget((Direction.FROM_SERVER, pdu.call_id))
        call = self._answered(pdu.call_id)
        if self._is_other(fault.context_id):
            return
        if not self._is_epm(fault.context_id) and not (call and answers.is_epm_request(call)):
            self._anomalies[Anomaly.RESPONSE_UNIDENTIFIED] += 1
            return
        yield answers.fault(time_ns, pdu.call_id, fault.status, call, self._transfer_syntax(fault.context_id))

    def _on_orphaned(self, pdu: Pdu, _time_ns: int) -> Iterator[Exchange]:
        """Forget a call which the client gave up: its answer may or may not come (C706 section 12.6.4.8)."""
        self._forget((Direction.TO_SERVER, pdu.call_id))
        yield from ()


def _reasons(texts: list[str]) -> str:
    """Return the reasons for which contexts were rejected, the first few of those that differ."""
    different = list(dict.fromkeys(texts))
    more = len(different) - _MOST_REASONS
    return ", ".join(different[:_MOST_REASONS] + ([f"and {more} others"] if more > 0 else [])) or _NO_RESULT


_TO_SERVER: Final = {
    PduType.BIND: Association._on_bind,
    PduType.ALTER_CONTEXT: Association._on_bind,
    PduType.REQUEST: Association._on_request,
    PduType.ORPHANED: Association._on_orphaned,
}
_FROM_SERVER: Final = {
    PduType.BIND_ACK: Association._on_bind_ack,
    PduType.ALTER_CONTEXT_RESPONSE: Association._on_bind_ack,
    PduType.BIND_NAK: Association._on_bind_nak,
    PduType.RESPONSE: Association._on_response,
    PduType.FAULT: Association._on_fault,
}
