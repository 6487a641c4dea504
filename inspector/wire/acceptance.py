"""Which segments an end of a connection can have accepted, as far as an observer knows.

The rules are those of RFC 9293 section 3.10.7 and RFC 5961.

Anybody who knows addresses and ports can send a segment that looks like one of a connection; the ends drop what is
not in their windows. An observer has no windows, and has not seen everything: it judges by sequence numbers and
acknowledgments. What it does not accept is not read, and may still turn out to be the connection: where the two ends
acknowledge each other's segments elsewhere (`moved_to`), they are right and the observer was wrong.

Checksums of TCP are not looked at: where the sender's device computes them, they are wrong in every capture taken
there. A segment which the ends drop for its checksum is read, and what is sent again in its place conflicts with it.
"""

from __future__ import annotations

from inspector.model import Direction, Segment
from inspector.protocols import ACK, SYN
from inspector.wire.pdu import PduReader
from inspector.wire.stream import SEQUENCE_MODULUS, Stream


class Side:
    """One direction: its stream, and the reader of its PDUs, made when there is something to read.

    `lost` says that some of its bytes were not seen, or could not be read; `has_read` that there were PDUs of which
    the reader is gone; `candidate` is the last segment that was not accepted, if it may be the connection's.
    """

    __slots__ = ("candidate", "direction", "has_read", "lost", "reader", "stream")

    def __init__(self, direction: Direction) -> None:
        self.direction = direction
        self.lost = False
        self.has_read = False
        self.stream = Stream()
        self.reader: PduReader | None = None
        self.candidate: Segment | None = None

    @property
    def buffered(self) -> int:
        """Payload bytes held: early segments, the start of a PDU, and a segment that was not accepted."""
        candidate = len(self.candidate.payload) if self.candidate else 0
        return self.stream.buffered + (self.reader.buffered if self.reader else 0) + candidate

    @property
    def caught_up(self) -> bool:
        """Whether everything that came was delivered: no segment waits, none is known to be missing."""
        stream = self.stream
        return (
            not stream.early
            and self.candidate is None
            and (stream.fin is None or stream.finished)
            and (stream.last is None or stream.last.end == stream.position)
        )

    @property
    def plain(self) -> bool:
        """Whether everything that came was delivered and read: no bytes wait, none are known to be missing."""
        return self.caught_up and (self.reader is None or self.reader.between_pdus)

    def pdus(self) -> PduReader:
        """Return the reader of this direction's PDUs."""
        if self.reader is None:
            self.reader = PduReader(continued=self.has_read)
        return self.reader

    def let_go(self) -> None:
        """Release everything but what is known of the stream: the connection has ended."""
        if self.reader is not None:
            self.lost |= bool(self.reader.buffered)
            self.has_read = True
        self.reader = self.candidate = None

    def move_to(self, sequence: int) -> None:
        """Go on at another sequence number, unless it is in the stream's window."""
        stream = self.stream
        if stream.has_place_for(stream.unwrap(sequence)):
            return
        self.lost = True
        self.has_read |= self.reader is not None
        self.reader = None
        stream.begin(sequence + SEQUENCE_MODULUS)


def start_of(segment: Segment, side: Side) -> int:
    """Return the position of the first payload byte; a SYN takes one number itself."""
    return side.stream.unwrap(segment.sequence) + bool(segment.tcp_flags & SYN)


def acknowledged_by(segment: Segment, theirs: Side) -> int:
    """Return how far the sender had read the other direction; 0 where it does not say."""
    if not segment.tcp_flags & ACK or not theirs.stream.visible:
        return 0
    return theirs.stream.unwrap(segment.acknowledgment)


def takes_syn(segment: Segment, ours: Side, theirs: Side) -> bool:
    """Return whether a SYN is the connection's own, once more or late; or the first, and answers what was seen."""
    stream, other = ours.stream, theirs.stream
    if stream.visible:
        return start_of(segment, ours) == stream.origin
    is_answer = bool(segment.tcp_flags & ACK)
    if not other.visible:
        return True
    if is_answer is not (ours.direction is Direction.FROM_SERVER):
        return not is_answer and ours.direction is Direction.TO_SERVER
    return not is_answer or other.origin <= acknowledged_by(segment, theirs) <= other.position + other.finished


def takes_reset(segment: Segment, ours: Side, theirs: Side) -> bool:
    """Return whether a RST ends the connection; the first segment of its direction must acknowledge what was sent."""
    if ours.stream.visible or not theirs.stream.visible or not segment.tcp_flags & ACK:
        return ours.stream.may_end_at(start_of(segment, ours))
    return theirs.stream.may_end_at(acknowledged_by(segment, theirs))


def takes(segment: Segment, ours: Side, theirs: Side) -> bool:
    """Return whether data or a FIN is in the window, and acknowledges something that can have been sent."""
    if not segment.tcp_flags & (ACK | SYN):
        return False
    if not ours.stream.has_place_for(start_of(segment, ours)):
        return False
    return not segment.tcp_flags & ACK or theirs.stream.may_be_acknowledged(acknowledged_by(segment, theirs))


def moved_to(segment: Segment, ours: Side, theirs: Side) -> Segment | None:
    """Return the segment, not accepted when it came, which this one shows to be the connection's.

    Each acknowledges the other; or, where nothing of the other direction was ever seen, one continues the other.
    """
    before = theirs.candidate
    if before is not None and segment.tcp_flags & ACK and segment.acknowledgment == _next_of(before):
        return before if before.acknowledgment == segment.sequence else None
    before = ours.candidate
    if before is not None and not theirs.stream.visible and segment.sequence == _next_of(before):
        return before
    return None


def _next_of(segment: Segment) -> int:
    """Return the sequence number behind a segment's data."""
    return (segment.sequence + segment.payload_length) % SEQUENCE_MODULUS
