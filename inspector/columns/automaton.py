"""What a payload does to an association, found out once by the scalar decoder and kept.

A state is all that an association can hold in the column path: its contexts, and at most one open question (a
bind or a request). Call ids and times are left out: nothing hangs on their values, and the connection's slot has
them. So the association is put together with call ids and times that stand for "the question's" and "the
payload's", the payload is fed to it, and what comes out says what becomes of both.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

from inspector.errors import Anomaly, DecodeError
from inspector.model import Direction
from inspector.wire.answers import Call
from inspector.wire.association import Association, Context, Proposal
from inspector.wire.exchange import Exchange
from inspector.wire.limits import Limits
from inspector.wire.pdu import Pdu, split_pdu

# Stand-ins, told apart from each other and from "nothing".
_ASKED_CALL: Final = 1
_OTHER_CALL: Final = 2
_ASKED_NS: Final = 1
_NOW_NS: Final = 2

_CALL_ID: Final = slice(12, 16)
_FILLERS: Final = (b"\x01\x00\x00\x00", b"\xa0\x5b\x33\x7f")
_REQUEST_REFERENTS: Final = {156: ((24, 4), (44, 4)), 168: ((24, 8), (48, 8))}
_RESPONSE_REFERENTS: Final = {
    152: ((60, 4),),
    240: ((60, 4), (64, 4)),
    172: ((72, 8),),
    268: ((72, 8), (80, 8)),
}


class State(NamedTuple):
    """What an association holds; `question` has stand-ins for its time and is None where nothing is open."""

    contexts: tuple[tuple[int, Context], ...]
    question: Proposal | Call | None

    @property
    def buffered(self) -> int:
        """Bytes which are held."""
        if self.question is None:
            return 0
        return len(self.question.stub) if isinstance(self.question, Call) else self.question.size


EMPTY: Final = State((), None)


class Step(NamedTuple):
    """What a payload does: the state after it, whether it is the open question now, and what it ends in.

    Times and call id of the exchange are stand-ins; `answers` says that it has the question's time.
    """

    state: State
    asks: bool
    exchange: Exchange | None
    answers: bool
    anomalies: tuple[tuple[Anomaly, int], ...]


def read_whole(payload: bytes) -> Pdu | None:
    """Return the PDU which a payload is, or None where it is not exactly one."""
    try:
        pdu = split_pdu(payload)
    except DecodeError:
        return None
    return pdu if pdu is not None and pdu.frag_length == len(payload) else None


def step(
    state: State, direction: Direction, payload: bytes, *, answers_question: bool, masked: bool, limits: Limits
) -> Step | None:
    """Return what a payload does in a state, or None where that is more than the column path can follow.

    `answers_question` says that its call id is the open question's; of a `masked` payload the bytes that were
    masked may be any, and must not matter.
    """
    call_id = (_ASKED_CALL if answers_question else _OTHER_CALL).to_bytes(4, "little" if payload[4] & 0x10 else "big")
    payload = payload[: _CALL_ID.start] + call_id + payload[_CALL_ID.stop :]
    found = _feed(state, direction, payload, limits)
    if masked and found is not None:
        for filler in _FILLERS:
            other = _feed(state, direction, _fill(direction, payload, filler), limits)
            if other is None or _without_stub(other) != _without_stub(found):
                return None
    return found


def restore(state: State, call_id: int, asked_ns: int, limits: Limits, anomalies: Counter[Anomaly]) -> Association:
    """Return the association of a state, with the question's call id and time."""
    association = Association(limits, anomalies)
    association.contexts.update(state.contexts)
    if isinstance(state.question, Call):
        association.calls[call_id] = state.question._replace(time_ns=asked_ns)
    elif state.question is not None:
        association.proposals[call_id] = state.question._replace(time_ns=asked_ns)
    association.buffered = state.buffered
    return association


def state_of(association: Association) -> tuple[State, int, int] | None:
    """Return what an association holds, with the question's call id and time (0 without one); None if it is more."""
    questions: list[tuple[int, Proposal | Call]] = [*association.proposals.items(), *association.calls.items()]
    if association.partials or len(questions) > 1:
        return None
    contexts = tuple(association.contexts.items())
    if not questions:
        return State(contexts, None), 0, 0
    ((call_id, question),) = questions
    return State(contexts, question._replace(time_ns=_ASKED_NS)), call_id, question.time_ns


def _fill(direction: Direction, payload: bytes, filler: bytes) -> bytes:
    """Return a masked payload with other bytes where it was masked: allocation hint and referents."""
    table = _REQUEST_REFERENTS if direction is Direction.TO_SERVER else _RESPONSE_REFERENTS
    changed = bytearray(payload)
    changed[16:20] = filler
    for number, (start, size) in enumerate(table[len(payload)]):
        changed[start : start + size] = (int.from_bytes(filler, "little") + number * 8).to_bytes(size, "little")
    return bytes(changed)


def _without_stub(found: Step) -> Step:
    """Return a step without the bytes of an open request, which only answers look at."""
    question = found.state.question
    if not isinstance(question, Call):
        return found
    return found._replace(state=found.state._replace(question=question._replace(stub=bytes(len(question.stub)))))


def _feed(state: State, direction: Direction, payload: bytes, limits: Limits) -> Step | None:
    anomalies: Counter[Anomaly] = Counter()
    association = restore(state, _ASKED_CALL, _ASKED_NS, limits, anomalies)
    pdu = read_whole(payload)
    if pdu is None:
        return None
    exchanges = list(association.feed(direction, pdu, _NOW_NS))
    after = state_of(association)
    if association.answer_lost or after is None or len(exchanges) > 1:
        return None
    exchange = exchanges[0] if exchanges else None
    if exchange is not None and not _is_understood(exchange, pdu.call_id):
        return None
    state_after, question_call, question_ns = after
    asks = question_ns == _NOW_NS
    if state_after.question and question_call != (pdu.call_id if asks else _ASKED_CALL):
        return None
    return Step(
        state_after,
        asks,
        exchange,
        exchange is not None and exchange.request_time_ns is not None,
        tuple(anomalies.items()),
    )


def _is_understood(exchange: Exchange, call_id: int) -> bool:
    """Whether times and call id of an exchange are the ones that the stand-ins stand for."""
    return exchange.time_ns == _NOW_NS and exchange.call_id == call_id and exchange.request_time_ns in (None, _ASKED_NS)
