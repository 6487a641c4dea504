"""The connectionless protocol on UDP: C706 section 12.5, MS-RPCE section 2.2.3.

A datagram names its interface, operation, activity and sequence number itself, so
there are no contexts and no inference: a call is the activity with its sequence
number. The transfer syntax is always NDR20. Clients repeat requests and servers
repeat answers until they are acknowledged; a call gives one exchange.
"""

from __future__ import annotations

import enum
from collections import Counter, OrderedDict
from collections.abc import Iterator
from typing import Final, NamedTuple
from uuid import UUID

from inspector.errors import Anomaly, DecodeError
from inspector.model import Direction, Segment
from inspector.wire import answers
from inspector.wire.association import EPM_UUID
from inspector.wire.body import NDR20
from inspector.wire.cursor import Cursor
from inspector.wire.exchange import Exchange, Flow, Observed
from inspector.wire.limits import Limits
from inspector.wire.pdu import AuthLevel

HEADER_SIZE: Final = 80
# What a fragment takes in memory beside its bytes, roughly.
_FRAGMENT_BYTES: Final = 64
_TIMED_OUT: Final = "no answer came in time"
_EVICTED: Final = "the call was dropped from the full table before an answer came"


class DatagramType(enum.IntEnum):
    """Connectionless PDU types that matter here (C706 section 12.5.2.1)."""

    REQUEST = 0
    RESPONSE = 2
    FAULT = 3
    REJECT = 6


class DatagramFlag(enum.IntFlag):
    """Bits of the first flags field (C706 section 12.5.2.2)."""

    LAST_FRAGMENT = 0x02
    FRAGMENT = 0x04


class Datagram(NamedTuple):
    """One connectionless PDU; `activity` and `sequence` name the call."""

    type: int
    flags: int
    little_endian: bool
    interface: UUID
    activity: UUID
    sequence: int
    opnum: int
    fragment: int
    sealed: bool
    body: bytes


def read_datagram(data: bytes) -> Datagram:
    """Return the PDU of one UDP datagram; raises DecodeError (PDU_MALFORMED)."""
    if len(data) < HEADER_SIZE or data[0] != 4 or data[4] & 0xEE:
        raise DecodeError(Anomaly.PDU_MALFORMED, f"no connectionless header in {data[:8].hex()}")
    cursor = Cursor(data, Anomaly.PDU_MALFORMED, little_endian=bool(data[4] & 0x10))
    cursor.take(8 + 16)  # up to the object
    interface, activity = cursor.uuid(), cursor.uuid()
    cursor.take(8)  # server boot time, interface version
    sequence, opnum = cursor.long(), cursor.short()
    cursor.take(4)  # hints
    length, fragment = cursor.short(), cursor.short()
    auth_protocol = cursor.octet()
    cursor.take(1)
    body = cursor.take(length)
    # The verifier begins with the protection level (C706 section 13.3.1).
    sealed = bool(auth_protocol and cursor.left and cursor.octet() == AuthLevel.PRIVACY)
    return Datagram(
        data[1], data[2], cursor.little_endian, interface, activity, sequence, opnum, fragment, sealed, body
    )


class _Key(NamedTuple):
    flow: Flow
    activity: UUID
    sequence: int


class _Half:
    """Request or response of a call, joined from its fragments."""

    __slots__ = ("count", "pieces", "size")

    def __init__(self) -> None:
        self.pieces: dict[int, bytes] = {}
        self.count: int | None = None
        self.size = 0

    def add(self, datagram: Datagram) -> bytes | None:
        """Add a fragment; return the whole stub when none is missing."""
        if not datagram.flags & DatagramFlag.FRAGMENT:
            return datagram.body
        if datagram.flags & DatagramFlag.LAST_FRAGMENT and self.count is None:
            self.count = datagram.fragment + 1
            for number in [number for number in self.pieces if number >= self.count]:
                self.size -= len(self.pieces.pop(number))
        if datagram.fragment not in self.pieces and (self.count is None or datagram.fragment < self.count):
            self.pieces[datagram.fragment] = datagram.body
            self.size += len(datagram.body)
        # None is beyond the count, so as many as that are all.
        if len(self.pieces) != self.count:
            return None
        return b"".join(self.pieces[number] for number in range(self.count))

    @property
    def memory(self) -> int:
        """Bytes which the fragments take in memory, roughly."""
        return self.size + _FRAGMENT_BYTES * len(self.pieces)


class _CallState:
    """A call on its way; `done` once its exchange was given."""

    __slots__ = ("call", "done", "interface_index", "request", "response", "time_ns", "tunnel")

    def __init__(self, segment: Segment) -> None:
        self.time_ns = segment.time_ns
        self.interface_index = segment.interface_index
        self.tunnel = segment.tunnel
        self.request = _Half()
        self.response = _Half()
        self.call: answers.Call | None = None
        self.done = False

    @property
    def size(self) -> int:
        """Bytes held, roughly."""
        return self.request.memory + self.response.memory + (len(self.call.stub) if self.call else 0)


class Datagrams:
    """Calls over UDP: segments in, observations out, bounded by the limits on pending calls and stubs."""

    def __init__(self, limits: Limits, anomalies: Counter[Anomaly]) -> None:
        self.limits = limits
        self._anomalies = anomalies
        self._calls: OrderedDict[_Key, _CallState] = OrderedDict()
        self._held = 0
        self._answers_visible = False

    def __len__(self) -> int:
        return len(self._calls)

    def feed(self, flow: Flow, segment: Segment) -> Iterator[Observed]:
        """Take one datagram; yield what it completes."""
        if len(segment.payload) < segment.payload_length:
            self._anomalies[Anomaly.SEGMENT_CUT] += 1
        try:
            datagram = read_datagram(segment.payload)
        except DecodeError as error:
            self._anomalies[error.anomaly] += 1
            return
        self._answers_visible |= segment.from_server
        if datagram.interface != EPM_UUID:
            return
        key = _Key(flow, datagram.activity, datagram.sequence)
        state = self._calls.get(key)
        if state is None:
            yield from self._make_room()
            state = self._calls[key] = _CallState(segment)
        if not state.done:
            handle = self._on_answer if segment.from_server else self._on_request
            before = state.size
            yield from handle(key, state, datagram, segment)
            self._held += state.size - before
            while self._held > self.limits.buffered_bytes:
                yield from self._evict()

    def _make_room(self) -> Iterator[Observed]:
        while len(self._calls) >= self.limits.datagram_calls:
            yield from self._evict()

    def _evict(self) -> Iterator[Observed]:
        """Give up the oldest call."""
        key, state = next(iter(self._calls.items()))
        self._forget(key)
        self._anomalies[Anomaly.TOO_MANY_CALLS] += not state.done
        yield from self._give_up(key, state, state.time_ns, _EVICTED)

    def _forget(self, key: _Key) -> None:
        self._held -= self._calls.pop(key).size

    def _join(self, half: _Half, datagram: Datagram) -> bytes | None:
        stub = half.add(datagram)
        limit = self.limits.request_stub_bytes
        if stub is None and (half.size > limit or len(half.pieces) * _FRAGMENT_BYTES > limit):
            self._anomalies[Anomaly.FRAGMENTS_TOO_LARGE] += 1
            half.pieces.clear()
            half.size = 0
        return stub

    def _on_request(self, _key: _Key, state: _CallState, datagram: Datagram, segment: Segment) -> Iterator[Observed]:
        if datagram.type == DatagramType.REQUEST and state.call is None:
            stub = self._join(state.request, datagram)
            if stub is not None:
                state.call = answers.Call(
                    segment.time_ns, 0, datagram.opnum, stub, datagram.little_endian, datagram.sealed
                )
        yield from ()

    def _on_answer(self, key: _Key, state: _CallState, datagram: Datagram, segment: Segment) -> Iterator[Observed]:
        time_ns = segment.time_ns
        if datagram.type in (DatagramType.FAULT, DatagramType.REJECT):
            order = "little" if datagram.little_endian else "big"
            status = int.from_bytes(datagram.body[:4], order)  # type: ignore[arg-type]  # a literal of two values
            exchange: Exchange | None = answers.fault(time_ns, datagram.sequence, status, state.call, NDR20)
        elif datagram.type == DatagramType.RESPONSE:
            stub = self._join(state.response, datagram)
            if stub is None:
                return
            exchange = answers.read_answer(
                answers.Answer(
                    time_ns, datagram.sequence, stub, datagram.little_endian, datagram.sealed, NDR20, known=True
                ),
                # The header repeats the operation, so a request that was not seen is not needed to know it.
                state.call or answers.Call(time_ns, 0, datagram.opnum, b"", datagram.little_endian, sealed=False),
            )
        else:
            return
        if exchange is None:
            return
        if state.call is None:
            doubts = (Anomaly.REQUEST_NOT_SEEN, *exchange.anomalies)
            exchange = exchange._replace(request_time_ns=None, anomalies=doubts)
        self._anomalies.update(exchange.anomalies)
        self._finish(state)
        yield Observed(key.flow, segment.interface_index, Direction.FROM_SERVER, exchange, segment.tunnel)

    @staticmethod
    def _finish(state: _CallState) -> None:
        state.done = True
        state.request, state.response, state.call = _Half(), _Half(), None

    def advance(self, now_ns: int) -> Iterator[Observed]:
        """Give up calls which waited too long, forget those which are done."""
        while self._calls:
            key, state = next(iter(self._calls.items()))
            deadline = state.time_ns + self.limits.unanswered_ns
            if deadline > now_ns:
                break
            self._forget(key)
            yield from self._give_up(key, state, deadline, _TIMED_OUT)

    def due_ns(self) -> int:
        """Return the earliest time at which `advance` has anything to do; there must be a call."""
        return next(iter(self._calls.values())).time_ns + self.limits.unanswered_ns

    def _give_up(self, key: _Key, state: _CallState, time_ns: int, detail: str) -> Iterator[Observed]:
        if state.done or state.call is None:
            return
        if not self._answers_visible:
            self._anomalies[Anomaly.RESPONSE_NOT_VISIBLE] += 1
            return
        exchange = answers.unanswered(key.sequence, state.call, NDR20, detail)._replace(time_ns=time_ns)
        yield Observed(key.flow, state.interface_index, Direction.TO_SERVER, exchange, state.tunnel)
