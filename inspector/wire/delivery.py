"""The two directions of a connection, read in an order in which its ends can have seen them.

Packets of the two directions may be seen on different interfaces and so in either
order, but TCP says what each end had read when it wrote: a segment acknowledges.
Bytes are therefore handed on in an order in which the ends can have seen them (a
request before its response, a bind_ack before the request that relies on it): a
segment waits until the other direction has been read as far as it acknowledges.
A direction that was never seen is not waited for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from inspector.errors import Anomaly, DecodeError
from inspector.model import Direction, Segment, Tunnel
from inspector.wire.acceptance import Side
from inspector.wire.association import Association
from inspector.wire.exchange import Exchange, Flow, Observed
from inspector.wire.limits import Limits
from inspector.wire.stream import Span


class Delivery:
    """Takes spans of both directions, delivers what is due to the association, and yields what that observes.

    `blocked_since_ns` is when bytes began to wait for others which have not come, or None.
    """

    __slots__ = ("_anomalies", "_association", "_doubts", "_limits", "blocked_since_ns", "client", "flow", "server")

    def __init__(self, flow: Flow, limits: Limits, anomalies: Counter[Anomaly]) -> None:
        self.flow = flow
        self.client = Side(Direction.TO_SERVER)
        self.server = Side(Direction.FROM_SERVER)
        self.blocked_since_ns: int | None = None
        self._limits = limits
        self._anomalies = anomalies
        # Of what was not accepted since the last finding.
        self._doubts: tuple[Anomaly, ...] = ()
        # Made with the first PDU: a flood of half-open connections must be cheap.
        self._association: Association | None = None

    @property
    def buffered(self) -> int:
        """Payload bytes which this connection holds."""
        stubs = self._association.buffered if self._association else 0
        return stubs + self.client.buffered + self.server.buffered

    @property
    def waiting(self) -> bool:
        """Whether a bind or a request has no answer yet."""
        return self._association is not None and self._association.waiting

    @property
    def association(self) -> Association | None:
        """What the PDUs have led to; None before the first, and after the end."""
        return self._association

    def _sides(self, segment: Segment) -> tuple[Side, Side]:
        if segment.from_server:
            return self.server, self.client
        return self.client, self.server

    def _note(self, anomaly: Anomaly) -> None:
        """Count an anomaly of this connection; the next finding names it."""
        self._anomalies[anomaly] += 1
        if anomaly not in self._doubts:
            self._doubts += (anomaly,)

    def _conflict(self, side: Side) -> None:
        """Note that a third party writes to the connection; the bind may be theirs and not the client's."""
        self._note(Anomaly.STREAM_CONFLICT)
        # What this end said instead is not known.
        side.lost = True
        if side.direction is Direction.TO_SERVER:
            if self._association is None:
                self._association = Association(self._limits, self._anomalies)
            self._association.distrusted = True

    def _compare(self, side: Side, span: Span) -> None:
        """Name a repetition that has other bytes than those which were read, or of which that cannot be known."""
        found = side.stream.repetition(span, side.reader.held if side.reader is not None else b"")
        if found.conflicts:
            self._conflict(side)
        if found.unknown:
            self._note(Anomaly.REPETITION_NOT_COMPARED)

    def _take(self, ours: Side, theirs: Side, span: Span) -> Iterator[Observed]:
        stream = ours.stream
        if not stream.early and span.start == stream.position and self._may_follow(span, theirs):
            # The common case: nothing waits, and this is next.
            yield from self._deliver(ours, span)
            if not theirs.stream.early:
                return
        else:
            stream.hold(span)
            for _ in range(stream.conflicts):
                self._conflict(ours)
            stream.conflicts = 0
        yield from self._deliver_all_due()
        if stream.buffered > self._limits.stream_bytes or len(stream.early) > self._limits.stream_segments:
            self._anomalies[Anomaly.STREAM_OVERFLOW] += 1
            yield from self.force()
        self._note_blocked(span.time_ns)

    def _note_blocked(self, time_ns: int) -> None:
        if not (self.client.stream.early or self.server.stream.early):
            self.blocked_since_ns = None
        elif self.blocked_since_ns is None:
            self.blocked_since_ns = time_ns

    @staticmethod
    def _may_follow(span: Span, theirs: Side) -> bool:
        stream = theirs.stream
        # FIN takes a number itself, after the last byte.
        return not stream.visible or span.acknowledged <= stream.position + stream.finished

    def _deliver_all_due(self) -> Iterator[Observed]:
        progress = True
        while progress:
            progress = False
            for ours, theirs in ((self.client, self.server), (self.server, self.client)):
                if not ours.stream.early:
                    continue
                span = ours.stream.due()
                if span is not None and self._may_follow(span, theirs):
                    yield from self._deliver(ours, span)
                    progress = True

    def _deliver(self, side: Side, span: Span) -> Iterator[Observed]:
        reader = side.pdus()
        # Whole PDUs are remembered; not copied anew with each of their bytes.
        before = reader.held if reader.completes(span.payload) else b""
        side.stream.delivered(span)
        for item in reader.feed(span.payload):
            if isinstance(item, DecodeError):
                self._anomalies[item.anomaly] += 1
                side.lost = True
                continue
            if self._association is None:
                self._association = Association(self._limits, self._anomalies)
            for exchange in self._association.feed(side.direction, item, span.time_ns):
                yield self._observed(side.direction, exchange, span.interface_index, span.tunnel)
        self._remember(side, before + span.payload if before else span.payload, span.end)

    @staticmethod
    def _remember(side: Side, data: bytes, end: int) -> None:
        """Remember the whole PDUs of the last bytes, which end at a position; of what is no PDU, nothing."""
        reader = side.pdus()
        if reader.is_lost:
            side.stream.last = None
        elif len(data) > reader.buffered:
            side.stream.remember(data[: len(data) - reader.buffered], end - reader.buffered)

    def _observed(
        self, direction: Direction, exchange: Exchange, interface_index: int, tunnel: Tunnel | None
    ) -> Observed:
        """Return what was observed, with the doubts since the last time."""
        if self._doubts:
            exchange = exchange._replace(anomalies=exchange.anomalies + self._doubts)
            self._doubts = ()
        return Observed(self.flow, interface_index, direction, exchange, tunnel)

    def force(self) -> Iterator[Observed]:
        """Deliver everything that waits: what is missing was lost, or is not to be seen from here."""
        yield from self._deliver_all_due()
        while self.client.stream.early or self.server.stream.early:
            side = self._earliest_waiting()
            lost = side.stream.skip_gap()
            if lost:
                self._anomalies[Anomaly.STREAM_GAP] += 1
                side.lost = True
                side.pdus().lost(lost)
            span = side.stream.due()
            if span is not None:
                yield from self._deliver(side, span)
            yield from self._deliver_all_due()
        self.blocked_since_ns = None

    def _earliest_waiting(self) -> Side:
        waiting = [side for side in (self.client, self.server) if side.stream.early]
        return min(waiting, key=lambda side: side.stream.early[0].time_ns)
