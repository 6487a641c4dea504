"""One TCP connection of an endpoint mapper: two streams, their PDUs, one association.

Which segments are the connection's is `inspector.wire.acceptance`'s to say, in which order
they are read `inspector.wire.delivery`'s. Here is how a connection begins and ends, and what
shows that it did not: an end, or another beginning, is believed until both ends talk on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from inspector.errors import Anomaly
from inspector.model import Direction, Segment
from inspector.protocols import ACK, FIN, RST, SYN
from inspector.record import Attribute
from inspector.wire.acceptance import (
    Side,
    acknowledged_by,
    moved_to,
    start_of,
    takes,
    takes_reset,
    takes_syn,
)
from inspector.wire.association import Association, Contexts
from inspector.wire.delivery import Delivery
from inspector.wire.exchange import Flow, Observed
from inspector.wire.limits import Limits
from inspector.wire.stream import SEQUENCE_MODULUS, Span, Stream

_FIRST_FRAGMENT: Final = int(Attribute.FIRST_FRAGMENT)

_CLOSED: Final = "the connection was closed before an answer came"
_RESET: Final = "the connection was reset before an answer came"


class End(NamedTuple):
    """How and when a connection seems to have ended."""

    detail: str
    time_ns: int


@lru_cache(maxsize=1024)
def _shared(contexts: Contexts) -> Contexts:
    """Return one object for contexts that are equal: they are those of most connections."""
    return contexts


class Connection(Delivery):
    """State of one connection; `feed` takes its segments and yields what was observed.

    `interface_index` and `tunnel` are where it was first seen; `last_ns` and `touched` say when its
    owner touched it last, and with which record.
    `ending` says that both ends closed it, or one reset it, and that something waits which nobody
    will send then: it is believed when nothing follows for a while (`waits_since_ns`). `closed` says that it is done:
    buffers are released, and contexts kept (`contexts`), since whoever goes on talking shows that it was not.
    `other_syn` is one that may open another connection between the same ports. `gap_due_ns`
    and `question_due_ns` belong to the owner as well.
    """

    __slots__ = (
        "closed",
        "contexts",
        "ending",
        "gap_due_ns",
        "initial_sequence",
        "interface_index",
        "last_ns",
        "other_syn",
        "question_due_ns",
        "touched",
        "tunnel",
    )

    def __init__(self, flow: Flow, segment: Segment, limits: Limits, anomalies: Counter[Anomaly]) -> None:
        super().__init__(flow, limits, anomalies)
        self.interface_index = segment.interface_index
        self.tunnel = segment.tunnel
        self.initial_sequence: int | None = None
        self.last_ns = segment.time_ns
        self.touched = 0
        self.ending: End | None = None
        self.closed = False
        self.contexts: Contexts = ()
        self.other_syn: Segment | None = None
        self.gap_due_ns: int | None = None
        self.question_due_ns: int | None = None

    @property
    def waits_since_ns(self) -> int | None:
        """Since when bytes wait for others, or an end for what contradicts it."""
        return self.ending.time_ns if self.ending is not None else self.blocked_since_ns

    def resume(self, association: Association, client_reads: bool, server_reads: bool) -> None:
        """Go on with an association, and with those directions of which whole PDUs were read before."""
        self.client.has_read, self.server.has_read = client_reads, server_reads
        if self.closed:
            self.contexts = tuple(association.contexts.items())
            return
        self._association = association
        for side in (self.client, self.server):
            if side.has_read:
                side.pdus()

    @property
    def undoubted(self) -> bool:
        """Whether nothing that came is in doubt, and the connection is in no tunnel."""
        return (
            self.tunnel is None
            and self.waits_since_ns is None
            and self.other_syn is None
            and not self._doubts
            and not (self._association is not None and self._association.distrusted)
        )

    @property
    def plain(self) -> bool:
        """Whether everything that came was delivered and read, and nothing is in doubt."""
        return self.undoubted and self.client.plain and self.server.plain

    def restarted_by(self, segment: Segment) -> bool:
        """Return whether a segment opens another connection between the same ports, or confirms the SYN that did.

        As long as this one has not ended, a SYN alone does not (RFC 5961 section 4).
        """
        if segment.tcp_flags & (SYN | ACK) == SYN:
            ended = self.closed or self.ending is not None
            return ended and not segment.from_server and segment.sequence != self.initial_sequence
        syn = self.other_syn
        if syn is None:
            return False
        behind = (syn.sequence + 1) % SEQUENCE_MODULUS
        if segment.from_server:
            return bool(segment.tcp_flags & SYN) and segment.acknowledgment == behind
        return segment.sequence == behind != self.client.stream.position % SEQUENCE_MODULUS

    def feed(self, segment: Segment) -> Iterator[Observed]:
        """Take one segment; yield what it completes."""
        flags = segment.tcp_flags
        if (self.closed or self.ending is not None) and (flags & RST or not segment.payload_length):
            return
        ours, theirs = self._sides(segment)
        if flags & RST:
            yield from self._reset(segment, ours, theirs)
        elif flags & SYN and not takes_syn(segment, ours, theirs):
            self._refuse_syn(segment)
        elif not (segment.payload_length or flags & FIN):
            yield from self._accept(segment, ours, theirs)
        else:
            moved = moved_to(segment, ours, theirs)
            if moved is not None:
                yield from self._move(moved, segment)
            elif takes(segment, ours, theirs):
                yield from self._accept(segment, ours, theirs)
            else:
                self._refuse(segment, ours)

    def _refuse_syn(self, segment: Segment) -> None:
        """Wait for what confirms a client's SYN between ports that are in use; any other is nobody's."""
        if segment.from_server or segment.tcp_flags & ACK:
            self._note(Anomaly.SYN_NOT_ACCEPTED)
        else:
            self.other_syn = segment

    def _refuse(self, segment: Segment, ours: Side) -> None:
        """Do not read a segment, but keep it: the next one of the other end may acknowledge it."""
        self._note(Anomaly.SEGMENT_NOT_ACCEPTED if segment.payload_length else Anomaly.FIN_NOT_ACCEPTED)
        if segment.payload and segment.tcp_flags & ACK:
            ours.candidate = segment

    def _move(self, *segments: Segment) -> Iterator[Observed]:
        """Follow the two ends to where they acknowledge each other, and read what showed it."""
        self._note(Anomaly.STREAM_MOVED)
        self.client.candidate = self.server.candidate = None
        for segment in segments:
            ours, theirs = self._sides(segment)
            ours.move_to(segment.sequence)
            if theirs.stream.visible:
                theirs.move_to(segment.acknowledgment)
            yield from self._accept(segment, ours, theirs)

    def _reset(self, segment: Segment, ours: Side, theirs: Side) -> Iterator[Observed]:
        """End the connection where the receiver did; text in a RST is no data (RFC 9293 section 3.10.7.3)."""
        if not takes_reset(segment, ours, theirs):
            self._note(Anomaly.RESET_NOT_ACCEPTED)
            return
        if not ours.stream.visible:
            ours.stream.begin(start_of(segment, ours))
        self._read_acknowledgment(segment, theirs)
        yield from self._end(_RESET, segment.time_ns)

    def _accept(self, segment: Segment, ours: Side, theirs: Side) -> Iterator[Observed]:
        """Take a segment of the connection: its data, and its FIN."""
        stream = ours.stream
        start = start_of(segment, ours)
        if segment.tcp_flags & SYN and ours.direction is Direction.TO_SERVER:
            self.initial_sequence = segment.sequence
        if not stream.visible:
            stream.begin(start)
        acknowledged = self._read_acknowledgment(segment, theirs)
        if segment.payload_length:
            self._go_on(stream, start + segment.payload_length)
        if segment.tcp_flags & FIN:
            self._read_fin(stream, start + segment.payload_length)
        if len(segment.payload) < segment.payload_length:
            self._note_cut(segment, ours)
        if segment.payload:
            span = Span(start, acknowledged, segment.time_ns, segment.interface_index, segment.payload, segment.tunnel)
            if span.start < stream.position:
                self._compare(ours, span)
            new = stream.trim(span)
            if new is not None:
                ours.candidate = None
                yield from self._take(ours, theirs, new)
        if self.client.stream.finished and self.server.stream.finished and not (self.closed or self.ending):
            yield from self._end(_CLOSED, segment.time_ns)

    def _go_on(self, stream: Stream, end: int) -> None:
        """Note data of a connection that seemed to have ended, or of a direction that did, and go on."""
        if end <= stream.position:
            return
        if self.other_syn is not None:
            self.other_syn = None
            self._note(Anomaly.SYN_NOT_ACCEPTED)
        if stream.fin is not None and end > stream.fin:
            stream.fin = None
        elif not self.closed and self.ending is None:
            return
        self._note(Anomaly.DATA_AFTER_END)
        if self.contexts:
            self._association = Association(self._limits, self._anomalies, self.contexts)
        self.closed, self.ending, self.contexts = False, None, ()

    def _read_fin(self, stream: Stream, end: int) -> None:
        """Note where a direction ends: the first place that was named, unless another is nearer."""
        if end < stream.position:
            if stream.fin != end:
                self._note(Anomaly.FIN_NOT_ACCEPTED)
        elif stream.fin is None or end <= stream.fin:
            stream.fin = end
        else:
            self._note(Anomaly.FIN_NOT_ACCEPTED)

    def _note_cut(self, segment: Segment, side: Side) -> None:
        """Count bytes which were on the wire and are in no record: cut by the capture, or in other IP fragments."""
        if not segment.attributes & _FIRST_FRAGMENT:
            self._anomalies[Anomaly.SEGMENT_CUT] += 1
        side.lost = True

    @staticmethod
    def _read_acknowledgment(segment: Segment, theirs: Side) -> int:
        """Return how far the sender had read the other direction, and note it there."""
        acknowledged = acknowledged_by(segment, theirs)
        if acknowledged and theirs.stream.may_be_acknowledged(acknowledged):
            theirs.stream.acknowledged = max(theirs.stream.acknowledged, acknowledged)
        return acknowledged

    def give_up_waiting(self, detail: str, time_ns: int, asked_until_ns: int | None = None) -> Iterator[Observed]:
        """Yield `unanswered` for open questions (those not asked later), if everything the server said was seen."""
        if self._association is None:
            return
        stream = self.server.stream
        all_seen = stream.visible and not (
            self.server.lost or self._association.answer_lost or self._association.distrusted or stream.incomplete
        )
        for exchange in self._association.unanswered(detail, time_ns if asked_until_ns is None else asked_until_ns):
            if all_seen:
                given_up = exchange._replace(time_ns=time_ns)
                yield self._observed(Direction.TO_SERVER, given_up, self.interface_index, self.tunnel)
            else:
                self._anomalies[Anomaly.RESPONSE_NOT_VISIBLE] += 1

    def oldest_question_ns(self) -> int:
        """Return the time of the oldest bind or request without answer; only while `waiting`."""
        return self._association.oldest_question_ns() if self._association else self.last_ns

    def _end(self, detail: str, time_ns: int) -> Iterator[Observed]:
        """End the connection, at once where nothing is left to be said of it."""
        self.ending = End(detail, time_ns)
        if not self.waiting and not self.buffered:
            yield from self.finish(detail, time_ns)

    def settle(self, until_ns: int) -> Iterator[Observed]:
        """Believe an end, or a gap, which has waited since then for what would contradict it."""
        since_ns = self.waits_since_ns
        if since_ns is None or since_ns > until_ns:
            return
        if self.ending is not None:
            yield from self.finish(*self.ending)
        else:
            yield from self.force()

    def finish(self, detail: str, time_ns: int) -> Iterator[Observed]:
        """Deliver waiting bytes, yield unanswered requests, and drop all buffers."""
        if self.ending is not None:
            detail, time_ns = self.ending
        yield from self.force()
        yield from self.give_up_waiting(detail, time_ns)
        self.ending, self.closed = None, True
        self.other_syn, self._doubts = None, ()
        if self._association is not None:
            trusted = () if self._association.distrusted else tuple(self._association.contexts.items())
            self.contexts = _shared(trusted)
            self.server.lost |= self._association.answer_lost
        self._association = None
        self.client.let_go()
        self.server.let_go()
