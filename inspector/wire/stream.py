"""One direction of a TCP connection: segments in any order in, bytes in order out.

Sequence numbers are unwrapped to integers that only grow, so that wrap-around
needs no thought anywhere else: a 32-bit number means the one next to the point
up to which the stream has been delivered.

A segment is delivered when all bytes before it have been. Segments that came
early wait in `early`, ordered, within the limits; what never comes is declared
lost by the connection (`skip_gap`), which knows the time.

Of bytes that were delivered a checksum is remembered, so that a repetition with other
bytes is noticed: of two senders that write to the same place, one is not the other end.
"""

from __future__ import annotations

import bisect
from typing import Final, NamedTuple

from inspector.model import Tunnel
from inspector.wire.checksum import checksum

SEQUENCE_MODULUS: Final = 1 << 32
WINDOW: Final = 1 << 20
"""How far from what was read a segment may be, in bytes: records have no window size, so a large one is assumed."""

_HALF: Final = 1 << 31
# A keep-alive repeats one byte, which may be any (RFC 9293 section 3.8.4).
_KEEP_ALIVE: Final = 1


class Span(NamedTuple):
    """Payload bytes at an unwrapped position; `acknowledged` is how far the sender had read the other direction."""

    start: int
    acknowledged: int
    time_ns: int
    interface_index: int
    payload: bytes
    tunnel: Tunnel | None = None

    @property
    def end(self) -> int:
        """Position after the last byte."""
        return self.start + len(self.payload)


class Delivered(NamedTuple):
    """What was delivered last: whole PDUs, their place in the stream, and the checksum of their bytes."""

    start: int
    end: int
    checksum: int


class Repetition(NamedTuple):
    """Result of comparing repeated bytes: they differ from those delivered, or cannot be compared."""

    conflicts: bool
    unknown: bool


class Stream:
    """The state of one direction.

    `position` is the unwrapped number of the next byte to deliver, and negative until the
    first segment or SYN was seen; everything from `origin` to it was delivered. `fin` is the
    position of the FIN, if seen; `acknowledged` how far the other end has said that it has read.
    """

    __slots__ = ("acknowledged", "buffered", "conflicts", "early", "fin", "last", "origin", "position")

    def __init__(self) -> None:
        self.position = -1
        self.origin = -1
        self.fin: int | None = None
        self.last: Delivered | None = None
        self.acknowledged = 0
        self.early: list[Span] = []
        self.buffered = 0
        self.conflicts = 0

    def begin(self, position: int) -> None:
        """Start at a position; drops waiting segments and the known end of the stream."""
        self.position = self.origin = position
        self.acknowledged = self.buffered = 0
        self.fin = self.last = None
        self.early.clear()

    def unwrap(self, sequence: int) -> int:
        """Return the position a 32-bit sequence number means; the first one defines itself."""
        if self.position < 0:
            return sequence + SEQUENCE_MODULUS
        return self.position + (sequence - self.position + _HALF) % SEQUENCE_MODULUS - _HALF

    @property
    def visible(self) -> bool:
        """Whether anything of this direction was ever seen."""
        return self.position >= 0

    def has_place_for(self, start: int) -> bool:
        """Return whether a segment at a position is in the window, or repeats what was delivered; all is at first.

        What was given up as lost has no place: who sends it after all, as if nothing else had come, is not the
        sender of what came instead. One before the first byte is a keep-alive's.
        """
        if not self.visible:
            return True
        return max(self.origin - 1, self.position - WINDOW) <= start <= self.position + WINDOW

    def may_be_acknowledged(self, position: int) -> bool:
        """Return whether the other end can say that it has read as far (RFC 5961 section 5.2); unseen, anything."""
        return not self.visible or abs(position - self.position) <= WINDOW

    def may_end_at(self, position: int) -> bool:
        """Return whether a RST at a position ends the connection: at the next byte exactly (RFC 5961 section 3.2).

        What the receiver has read may be more than was delivered here: also up to the end of any segment
        that waits for others, or as far as it has acknowledged.
        """
        ends = {self.position + self.finished, max(self.position, self.acknowledged), self.position}
        return not self.visible or position in ends or any(position == span.end for span in self.early)

    @property
    def incomplete(self) -> bool:
        """Whether bytes are known to have been on their way which were not seen."""
        # FIN takes a number itself.
        return self.acknowledged > self.position + 1 or (self.fin is not None and self.position < self.fin)

    @property
    def finished(self) -> bool:
        """Whether everything up to the FIN has been delivered."""
        return self.fin is not None and self.position >= self.fin

    def trim(self, span: Span) -> Span | None:
        """Return the part of a span that is new, or None: retransmissions and keep-alives end here."""
        old = self.position - span.start
        if old <= 0:
            return span
        return span._replace(start=self.position, payload=span.payload[old:]) if old < len(span.payload) else None

    def remember(self, data: bytes, end: int) -> None:
        """Remember the bytes which end at a position, and were whole PDUs."""
        self.last = Delivered(end - len(data), end, checksum(data))

    def repetition(self, span: Span, unfinished: bytes) -> Repetition:
        """Compare a span with what was delivered; `unfinished` are the last bytes of that, of a PDU without end yet.

        What was neither remembered nor acknowledged is unknown.
        """
        conflicts, end = False, min(span.end, self.position)
        tail = self.position - len(unfinished)
        if end > tail:
            start = max(span.start, tail)
            conflicts = span.payload[start - span.start : end - span.start] != unfinished[start - tail : end - tail]
            end = tail
        last = self.last
        if last is not None and span.start <= last.start and last.end <= end:
            part = span.payload[last.start - span.start : last.end - span.start]
            conflicts |= checksum(part) != last.checksum
            end = last.start
        return Repetition(conflicts, end - max(span.start, self.acknowledged) > _KEEP_ALIVE)

    def hold(self, span: Span) -> None:
        """Keep a span for later, without the bytes which other early spans hold already: the first to come wins."""
        for held in list(self.early):
            if held.end <= span.start:
                continue
            if held.start >= span.end:
                break
            self._compare(held, span)
            if held.start > span.start:
                self._insert(span._replace(payload=span.payload[: held.start - span.start]))
            if held.end >= span.end:
                return
            span = span._replace(start=held.end, payload=span.payload[held.end - span.start :])
        self._insert(span)

    def _insert(self, span: Span) -> None:
        bisect.insort(self.early, span, key=lambda held: held.start)
        self.buffered += len(span.payload)

    def _compare(self, held: Span, span: Span) -> None:
        """Count spans with different bytes for the same position: a forgery, or a device that rewrites."""
        start, end = max(held.start, span.start), min(held.end, span.end)
        ours, theirs = (one.payload[start - one.start : end - one.start] for one in (held, span))
        self.conflicts += ours != theirs

    def due(self) -> Span | None:
        """Return the early span which is next, trimmed, and leave it there; None for a gap or nothing."""
        while self.early and self.early[0].start <= self.position:
            trimmed = self.trim(self.early[0])
            if trimmed is not None:
                return trimmed
            self._drop_first()
        return None

    def delivered(self, span: Span) -> None:
        """Move past a span; it leaves the early ones if it was among them."""
        self.position = span.end
        if self.early and self.early[0].start <= span.start:
            self._drop_first()

    def _drop_first(self) -> None:
        self.buffered -= len(self.early.pop(0).payload)

    def skip_gap(self) -> int:
        """Move to the first early span and return how many bytes were given up (0 when there is no gap)."""
        if not self.early or self.early[0].start <= self.position:
            return 0
        lost = self.early[0].start - self.position
        self.position = self.origin = self.early[0].start
        return lost
