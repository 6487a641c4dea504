"""One TCP connection of an endpoint mapper: two streams, their PDUs, one association.

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
from typing import Final

from inspector.errors import Anomaly, DecodeError
from inspector.model import Direction, Segment
from inspector.record import Attribute
from inspector.wire.association import Association
from inspector.wire.exchange import Flow, Observed
from inspector.wire.limits import Limits
from inspector.wire.pdu import PduReader
from inspector.wire.stream import Span, Stream

_FIRST_FRAGMENT: Final = int(Attribute.FIRST_FRAGMENT)

FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
ACK: Final = 0x10

_CLOSED: Final = "the connection was closed before an answer came"
_RESET: Final = "the connection was reset before an answer came"


class Side:
    """One direction: its stream, and the reader of its PDUs, made when there is something to read.

    `lost` says that some of its bytes were not seen, or could not be read.
    """

    __slots__ = ("direction", "lost", "reader", "stream")

    def __init__(self, direction: Direction) -> None:
        self.direction = direction
        self.lost = False
        self.stream = Stream()
        self.reader: PduReader | None = None

    @property
    def buffered(self) -> int:
        """Payload bytes held: early segments, and the start of a PDU."""
        return self.stream.buffered + (self.reader.buffered if self.reader else 0)

    def pdus(self) -> PduReader:
        """Return the reader of this direction's PDUs."""
        if self.reader is None:
            self.reader = PduReader()
        return self.reader


class Connection:
    """State of one connection; `feed` takes its segments and yields what was observed.

    `interface_index` and `tunnel` are where it was first seen; `last_ns` and `touched` say when its
    owner touched it last, and with which record;
    `blocked_since_ns` is when bytes began to wait for others which have not come, or None;
    `closed` says that both ends are done, so that only a new SYN can bring it back. `gap_due_ns`
    and `question_due_ns` belong to the owner as well.
    """

    __slots__ = (
        "_anomalies",
        "_association",
        "_limits",
        "blocked_since_ns",
        "client",
        "closed",
        "flow",
        "gap_due_ns",
        "initial_sequence",
        "interface_index",
        "last_ns",
        "question_due_ns",
        "server",
        "touched",
        "tunnel",
    )

    def __init__(self, flow: Flow, segment: Segment, limits: Limits, anomalies: Counter[Anomaly]) -> None:
        self.flow = flow
        self.interface_index = segment.interface_index
        self.tunnel = segment.tunnel
        self.initial_sequence: int | None = None
        self.client = Side(Direction.TO_SERVER)
        self.server = Side(Direction.FROM_SERVER)
        self.last_ns = segment.time_ns
        self.touched = 0
        self.blocked_since_ns: int | None = None
        self.closed = False
        self.gap_due_ns: int | None = None
        self.question_due_ns: int | None = None
        self._limits = limits
        self._anomalies = anomalies
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

    def resume(self, association: Association, client_reads: bool, server_reads: bool) -> None:
        """Go on with an association, and with those directions of which whole PDUs were read before."""
        self._association = association
        for side, reads in ((self.client, client_reads), (self.server, server_reads)):
            if reads:
                side.reader = PduReader(continued=True)

    @property
    def association(self) -> Association | None:
        """What the PDUs have led to; None before the first, and after the end."""
        return self._association

    @property
    def plain(self) -> bool:
        """Whether everything that came was delivered and read: no bytes wait, none are known to be missing."""
        return self.tunnel is None and all(
            not side.stream.early
            and not side.stream.conflicts
            and (side.stream.fin is None or side.stream.finished)
            and (side.reader is None or side.reader.between_pdus)
            for side in (self.client, self.server)
        )

    def restarted_by(self, segment: Segment) -> bool:
        """Return whether a segment opens another connection between the same ports."""
        is_syn = segment.tcp_flags & (SYN | ACK) == SYN
        return is_syn and segment.sequence != self.initial_sequence and (self.closed or self.client.stream.visible)

    def feed(self, segment: Segment) -> Iterator[Observed]:
        """Take one segment; yield what it completes."""
        if self.closed:
            return
        ours, theirs = self._sides(segment)
        stream = ours.stream
        start = self._start_of(segment, ours)
        if not stream.visible:
            stream.position = start
        if segment.tcp_flags & FIN and stream.fin is None:
            stream.fin = start + segment.payload_length
        acknowledged = self._acknowledged(segment, theirs)
        theirs.stream.acknowledged = max(theirs.stream.acknowledged, acknowledged)
        if len(segment.payload) < segment.payload_length:
            self._note_cut(segment, ours)
        if segment.payload:
            span = stream.trim(
                Span(start, acknowledged, segment.time_ns, segment.interface_index, segment.payload, segment.tunnel)
            )
            if span is not None:
                yield from self._take(ours, theirs, span)
        if segment.tcp_flags & RST:
            yield from self.finish(_RESET, segment.time_ns)
        elif self.client.stream.finished and self.server.stream.finished:
            yield from self.finish(_CLOSED, segment.time_ns)

    def _note_cut(self, segment: Segment, side: Side) -> None:
        """Count bytes which were on the wire and are in no record: cut by the capture, or in other IP fragments."""
        if not segment.attributes & _FIRST_FRAGMENT:
            self._anomalies[Anomaly.SEGMENT_CUT] += 1
        side.lost = True

    def _sides(self, segment: Segment) -> tuple[Side, Side]:
        if segment.from_server:
            return self.server, self.client
        return self.client, self.server

    def _start_of(self, segment: Segment, side: Side) -> int:
        """Return the position of the first payload byte; a SYN takes one number itself."""
        start = side.stream.unwrap(segment.sequence)
        if segment.tcp_flags & SYN:
            if side.direction is Direction.TO_SERVER:
                self.initial_sequence = segment.sequence
            start += 1
        return start

    @staticmethod
    def _acknowledged(segment: Segment, theirs: Side) -> int:
        """Return how far the sender had read the other direction; 0 where it does not say."""
        if not segment.tcp_flags & ACK or not theirs.stream.visible:
            return 0
        return theirs.stream.unwrap(segment.acknowledgment)

    def _take(self, ours: Side, theirs: Side, span: Span) -> Iterator[Observed]:
        stream = ours.stream
        if not stream.early and span.start == stream.position and self._may_follow(span, theirs):
            # The common case: nothing waits, and this is next.
            yield from self._deliver(ours, span)
            if not theirs.stream.early:
                return
        else:
            stream.hold(span)
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
        side.stream.delivered(span)
        for item in side.pdus().feed(span.payload):
            if isinstance(item, DecodeError):
                self._anomalies[item.anomaly] += 1
                side.lost = True
                continue
            if self._association is None:
                self._association = Association(self._limits, self._anomalies)
            for exchange in self._association.feed(side.direction, item, span.time_ns):
                yield Observed(self.flow, span.interface_index, side.direction, exchange, span.tunnel)

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

    def give_up_waiting(self, detail: str, time_ns: int, asked_until_ns: int | None = None) -> Iterator[Observed]:
        """Yield `unanswered` for open questions (those not asked later), if everything the server said was seen."""
        if self._association is None:
            return
        stream = self.server.stream
        all_seen = stream.visible and not (self.server.lost or self._association.answer_lost or stream.incomplete)
        for exchange in self._association.unanswered(detail, time_ns if asked_until_ns is None else asked_until_ns):
            if all_seen:
                given_up = exchange._replace(time_ns=time_ns)
                yield Observed(self.flow, self.interface_index, Direction.TO_SERVER, given_up, self.tunnel)
            else:
                self._anomalies[Anomaly.RESPONSE_NOT_VISIBLE] += 1

    def oldest_question_ns(self) -> int:
        """Return the time of the oldest bind or request without answer; only while `waiting`."""
        return self._association.oldest_question_ns() if self._association else self.last_ns

    def finish(self, detail: str, time_ns: int) -> Iterator[Observed]:
        """Deliver what waits, say what was never answered, and let go of all buffers."""
        yield from self.force()
        yield from self.give_up_waiting(detail, time_ns)
        conflicts = self.client.stream.conflicts + self.server.stream.conflicts
        if conflicts:
            self._anomalies[Anomaly.STREAM_CONFLICT] += conflicts
        self.closed = True
        self.client, self.server = Side(Direction.TO_SERVER), Side(Direction.FROM_SERVER)
        self._association = None
