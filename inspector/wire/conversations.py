"""All connections at once: segments in, observations out, within the limits.

The table is ordered by last activity. Time is that of the segments (and of
`advance`, which a live source calls when nothing arrives); the clock of the
machine is never read.
"""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict
from collections.abc import Generator, Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from inspector.errors import Anomaly
from inspector.model import Segment
from inspector.protocols import ACK, SYN
from inspector.record import LATEST_TIME_NS, Attribute
from inspector.wire.connection import Connection
from inspector.wire.datagrams import Datagrams
from inspector.wire.exchange import Flow, Observed
from inspector.wire.limits import Limits

# Plain integers: the operators of an enum's members are slow, and this is asked of every segment.
_FIRST_FRAGMENT = int(Attribute.FIRST_FRAGMENT)
_UDP = int(Attribute.UDP)

_TIMED_OUT = "no answer came in time"
_SILENT = "the connection fell silent before an answer came"
_REPLACED = "another connection took the ports before an answer came"
_EVICTED = "the connection was dropped from the full table before an answer came"


class _Deadline(NamedTuple):
    """A moment at which a connection must be looked at again; it may be gone by then, or have been served.

    Of equal moments the order is that of the connections: which path asked first must not matter.
    """

    time_ns: int
    flow: Flow
    is_gap: bool


NEVER: Final = (1 << 63) - 1
"""A time, or number of a record, that does not come."""


class Companion(Protocol):
    """Another path which holds connections too, as `inspector.decode`; it keeps the limit on all together."""

    def dropped(self, flow: Flow) -> None:
        """Note that a connection was dropped here."""


def flow_of(segment: Segment) -> Flow:
    """Return the connection of a segment, seen from the client."""
    if segment.from_server:
        return Flow(segment.destination_address, segment.destination_port, segment.source_address, segment.source_port)
    return Flow(segment.source_address, segment.source_port, segment.destination_address, segment.destination_port)


def within_time(segment: Segment) -> Segment:
    """Return a segment whose time is LATEST_TIME_NS at most: a damaged clock costs neither packet nor process."""
    return segment if segment.time_ns <= LATEST_TIME_NS else segment._replace(time_ns=LATEST_TIME_NS)


class Conversations:
    """The decoder: `feed` segments, `advance` time, `flush` at the end; `anomalies` counts what could not be read.

    Connections that ended stay in the table until they are idle for as long as any
    other, so that a retransmission is not taken for a new connection.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.anomalies: Counter[Anomaly] = Counter()
        self.now_ns = 0
        self.buffered = 0
        self._table: OrderedDict[Flow, Connection] = OrderedDict()
        self._deadlines: list[_Deadline] = []
        self._datagrams = Datagrams(self.limits, self.anomalies)
        self.companion: Companion | None = None
        # Whether records are being lost upstream; missing bytes are not waited for then.
        self.losing = False
        self.fed = 0
        self.buffered_elsewhere = 0

    def __len__(self) -> int:
        return len(self._table) + len(self._datagrams)

    def change_limits(self, limits: Limits) -> None:
        """Wait for other times from now on, also for what waits already; limits on memory must be the same."""
        self.limits = limits
        self._datagrams.limits = limits
        self._deadlines.clear()
        for connection in self._table.values():
            connection.gap_due_ns = connection.question_due_ns = None
            self._schedule(connection)

    def recount(self) -> int:
        """Return what `buffered` must be: the sum over all connections."""
        return sum(connection.buffered for connection in self._table.values())

    def feed(self, segment: Segment) -> Iterator[Observed]:
        """Take one segment; yield what has run out of time before it, then what it completes."""
        self.fed += 1
        segment = within_time(segment)
        if segment.time_ns > self.now_ns:
            yield from self.advance(segment.time_ns)
        if segment.attributes & _FIRST_FRAGMENT:
            self.anomalies[Anomaly.IP_FRAGMENT] += 1
        flow = flow_of(segment)
        if segment.attributes & _UDP:
            yield from self._datagrams.feed(flow, segment)
            return
        connection = self._table.get(flow)
        opened_by: Segment | None = None
        if connection is not None and connection.restarted_by(segment):
            opened_by = connection.other_syn if segment.tcp_flags & (SYN | ACK) != SYN else None
            yield from self._drop(flow, _REPLACED)
            connection = None
        if connection is None:
            if not segment.payload and not segment.tcp_flags & SYN:
                return  # the end of a connection of which nothing else is known
            connection = yield from self._open(flow, segment)
        self._touch(connection)
        if opened_by is not None:
            yield from self._feed(connection, opened_by)
        yield from self._feed(connection, segment)

    def _touch(self, connection: Connection) -> None:
        connection.last_ns = self.now_ns
        connection.touched = self.fed
        self._table.move_to_end(connection.flow)

    def _open(self, flow: Flow, segment: Segment) -> Generator[Observed, None, Connection]:
        yield from self._make_room()
        connection = self._table[flow] = Connection(flow, segment, self.limits, self.anomalies)
        return connection

    def _make_room(self) -> Iterator[Observed]:
        if self.companion is None and len(self._table) >= self.limits.connections:
            yield from self.evict()

    def adopt(self, connections: Sequence[Connection], *, read_now: bool = False) -> None:
        """Add connections of the companion, sorted in by the time of their last activity.

        `read_now` says that they are touched next, by the record which is being read, so that they go to the end.
        """
        for connection in connections:
            self.buffered += connection.buffered
            self._schedule(connection)
        if read_now:
            self._table.update((connection.flow, connection) for connection in connections)
        elif len(connections) == 1:
            self._insert(connections[0])
        elif connections:
            self._insert_many(connections)

    def _insert(self, connection: Connection) -> None:
        """Put a connection in its place; the search goes from both ends, since it is near one of them mostly."""
        table, older, newer = self._table, list[Flow](), list[Flow]()
        for first, last in zip(table.values(), reversed(table.values()), strict=True):
            if last.touched < connection.touched:
                break
            newer.append(last.flow)
            if first.touched >= connection.touched:
                table[connection.flow] = connection
                for flow in (connection.flow, *reversed(older)):
                    table.move_to_end(flow, last=False)
                return
            older.append(first.flow)
        table[connection.flow] = connection
        for flow in reversed(newer):
            table.move_to_end(flow)

    def _insert_many(self, connections: Sequence[Connection]) -> None:
        moved = list(connections)
        oldest = min(connection.touched for connection in moved)
        for held in reversed(self._table.values()):
            if held.touched < oldest:
                break
            moved.append(held)
        for connection in sorted(moved, key=lambda one: one.touched):
            self._table[connection.flow] = connection
            self._table.move_to_end(connection.flow)

    def release(self, flow: Flow) -> None:
        """Remove a connection that the companion takes back."""
        self.buffered -= self._table.pop(flow).buffered

    def get(self, flow: Flow) -> Connection | None:
        """Return a connection of the table."""
        return self._table.get(flow)

    def flows(self) -> Iterator[Flow]:
        """Yield the connections of the table, the one that was touched first first."""
        yield from self._table

    def standing(self) -> tuple[int, int, int]:
        """Return the number of connections, the record that touched the oldest last, and when `advance` is due.

        The latter two are NEVER where there is nothing. The companion asks after each record that it gives here.
        """
        oldest, due = NEVER, self._deadlines[0].time_ns if self._deadlines else NEVER
        for connection in self._table.values():
            oldest, due = connection.touched, min(due, connection.last_ns + self.limits.idle_ns)
            break
        if len(self._datagrams):
            due = min(due, self._datagrams.due_ns())
        return len(self._table), oldest, due

    def evict(self) -> Iterator[Observed]:
        """Drop the connection that was silent for longest; there must be one."""
        oldest = next(iter(self._table))
        self.anomalies[Anomaly.CONNECTION_EVICTED] += not self._table[oldest].closed
        yield from self._drop(oldest, _EVICTED)

    def _feed(self, connection: Connection, segment: Segment) -> Iterator[Observed]:
        before = connection.buffered
        yield from connection.feed(segment)
        if self.losing and connection.blocked_since_ns is not None:
            yield from connection.force()
        self.buffered += connection.buffered - before
        if self.buffered + self.buffered_elsewhere > self.limits.buffered_bytes:
            # The one that grows when there is no room left is the one that pays.
            self.anomalies[Anomaly.STREAM_OVERFLOW] += 1
            before = connection.buffered
            yield from connection.finish(_EVICTED, segment.time_ns)
            self.buffered += connection.buffered - before
        self._schedule(connection)

    def _schedule(self, connection: Connection) -> None:
        if (since_ns := connection.waits_since_ns) is not None:
            due_ns = since_ns + self.limits.gap_ns
            # Earlier than one before it where the clock was set back.
            if connection.gap_due_ns is None or due_ns < connection.gap_due_ns:
                connection.gap_due_ns = due_ns
                self._push(due_ns, connection.flow, is_gap=True)
        if connection.waiting:
            due_ns = connection.oldest_question_ns() + self.limits.unanswered_ns
            if connection.question_due_ns is None or due_ns < connection.question_due_ns:
                connection.question_due_ns = due_ns
                self._push(due_ns, connection.flow, is_gap=False)

    def _push(self, time_ns: int, flow: Flow, *, is_gap: bool) -> None:
        heapq.heappush(self._deadlines, _Deadline(time_ns, flow, is_gap))

    def advance(self, now_ns: int) -> Iterator[Observed]:
        """Move time forward: give up what waited too long, forget connections which fell silent."""
        self.now_ns = max(self.now_ns, now_ns)
        while self._deadlines and self._deadlines[0].time_ns <= self.now_ns:
            yield from self._meet(heapq.heappop(self._deadlines))
        while self._table:
            flow, connection = next(iter(self._table.items()))
            if connection.last_ns + self.limits.idle_ns > self.now_ns:
                break
            yield from self._drop(flow, _SILENT)
        yield from self._datagrams.advance(self.now_ns)

    def _meet(self, deadline: _Deadline) -> Iterator[Observed]:
        connection = self._table.get(deadline.flow)
        if connection is None:
            return
        before = connection.buffered
        if deadline.is_gap and deadline.time_ns == connection.gap_due_ns:
            connection.gap_due_ns = None
            yield from connection.settle(deadline.time_ns - self.limits.gap_ns)
        elif not deadline.is_gap and deadline.time_ns == connection.question_due_ns:
            connection.question_due_ns = None
            asked_until_ns = deadline.time_ns - self.limits.unanswered_ns
            yield from connection.give_up_waiting(_TIMED_OUT, deadline.time_ns, asked_until_ns)
        self.buffered += connection.buffered - before
        self._schedule(connection)

    def _drop(self, flow: Flow, detail: str) -> Iterator[Observed]:
        connection = self._table.pop(flow)
        if self.companion is not None:
            self.companion.dropped(flow)
        before = connection.buffered
        if not connection.closed:
            yield from connection.finish(detail, self.now_ns)
        self.buffered -= before

    def flush(self) -> Iterator[Observed]:
        """Deliver what waits for bytes that will not come any more: the input has ended.

        A question without answer is not called unanswered, unless the connection has ended: its time was not over.
        """
        for connection in self._table.values():
            before = connection.buffered
            yield from connection.force()
            yield from connection.settle(self.now_ns)
            self.buffered += connection.buffered - before
