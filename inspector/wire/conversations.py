"""All connections at once: segments in, observations out, within the limits.

The table is ordered by last activity. Time is that of the segments (and of
`advance`, which a live source calls when nothing arrives); the clock of the
machine is never read.
"""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict
from collections.abc import Generator, Iterator
from typing import NamedTuple

from inspector.errors import Anomaly
from inspector.model import Segment
from inspector.record import Attribute
from inspector.wire.connection import SYN, Connection
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
    """A moment at which a connection must be looked at again; it may be gone by then, or have been served."""

    time_ns: int
    order: int
    flow: Flow
    is_gap: bool


def flow_of(segment: Segment) -> Flow:
    """Return the connection of a segment, seen from the client."""
    if segment.from_server:
        return Flow(segment.destination_address, segment.destination_port, segment.source_address, segment.source_port)
    return Flow(segment.source_address, segment.source_port, segment.destination_address, segment.destination_port)


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
        self._scheduled = 0
        self._datagrams = Datagrams(self.limits, self.anomalies)

    def __len__(self) -> int:
        return len(self._table) + len(self._datagrams)

    def recount(self) -> int:
        """Return what `buffered` must be: the sum over all connections."""
        return sum(connection.buffered for connection in self._table.values())

    def feed(self, segment: Segment) -> Iterator[Observed]:
        """Take one segment; yield what has run out of time before it, then what it completes."""
        if segment.time_ns > self.now_ns:
            yield from self.advance(segment.time_ns)
        if segment.attributes & _FIRST_FRAGMENT:
            self.anomalies[Anomaly.IP_FRAGMENT] += 1
        flow = flow_of(segment)
        if segment.attributes & _UDP:
            yield from self._datagrams.feed(flow, segment)
            return
        connection = self._table.get(flow)
        if connection is not None and connection.restarted_by(segment):
            yield from self._drop(flow, _REPLACED)
            connection = None
        if connection is None:
            if not segment.payload and not segment.tcp_flags & SYN:
                return  # the end of a connection of which nothing else is known
            connection = yield from self._open(flow, segment)
        self._table.move_to_end(flow)
        yield from self._feed(connection, segment)

    def _open(self, flow: Flow, segment: Segment) -> Generator[Observed, None, Connection]:
        if len(self._table) >= self.limits.connections:
            oldest = next(iter(self._table))
            self.anomalies[Anomaly.CONNECTION_EVICTED] += not self._table[oldest].closed
            yield from self._drop(oldest, _EVICTED)
        connection = self._table[flow] = Connection(flow, segment, self.limits, self.anomalies)
        return connection

    def _feed(self, connection: Connection, segment: Segment) -> Iterator[Observed]:
        before = connection.buffered
        yield from connection.feed(segment)
        self.buffered += connection.buffered - before
        if self.buffered > self.limits.buffered_bytes:
            # The one that grows when there is no room left is the one that pays.
            self.anomalies[Anomaly.STREAM_OVERFLOW] += 1
            before = connection.buffered
            yield from connection.finish(_EVICTED, segment.time_ns)
            self.buffered += connection.buffered - before
        self._schedule(connection)

    def _schedule(self, connection: Connection) -> None:
        if connection.blocked_since_ns is not None and not connection.gap_scheduled:
            connection.gap_scheduled = True
            self._push(connection.blocked_since_ns + self.limits.gap_ns, connection.flow, is_gap=True)
        if connection.waiting and not connection.question_scheduled:
            connection.question_scheduled = True
            self._push(connection.oldest_question_ns() + self.limits.unanswered_ns, connection.flow, is_gap=False)

    def _push(self, time_ns: int, flow: Flow, *, is_gap: bool) -> None:
        self._scheduled += 1
        heapq.heappush(self._deadlines, _Deadline(time_ns, self._scheduled, flow, is_gap))

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
        if deadline.is_gap:
            connection.gap_scheduled = False
            since = connection.blocked_since_ns
            if since is not None and since + self.limits.gap_ns <= deadline.time_ns:
                yield from connection.force()
        else:
            connection.question_scheduled = False
            asked_until_ns = deadline.time_ns - self.limits.unanswered_ns
            yield from connection.give_up_waiting(_TIMED_OUT, deadline.time_ns, asked_until_ns)
        self.buffered += connection.buffered - before
        self._schedule(connection)

    def _drop(self, flow: Flow, detail: str) -> Iterator[Observed]:
        connection = self._table.pop(flow)
        before = connection.buffered
        if not connection.closed:
            yield from connection.finish(detail, self.now_ns)
        self.buffered -= before

    def flush(self) -> Iterator[Observed]:
        """Deliver what waits for bytes that will not come any more: the input has ended.

        A question without answer is not called unanswered: its time was not over.
        """
        for connection in self._table.values():
            before = connection.buffered
            yield from connection.force()
            self.buffered += connection.buffered - before
