"""Segments without the values of authentication verifiers, for what is written to files.

Bytes of TCP are judged by the PDU which they are in, so a segment whose PDU began in one that has not come yet waits
for that one, and all others behind it: segments leave in the order in which they came. What waits longer than others
are worth waiting for, or begins in the middle of a PDU whose start was not seen, is blanked altogether.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final, NamedTuple

from inspector.protocols import SYN
from inspector.record import HEADER_SIZE, Attribute
from inspector.wire.stream import SEQUENCE_MODULUS
from inspector.wire.verifiers import Direction, of_datagram

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from inspector.model import Segment
    from inspector.wire.verifiers import Part

PATIENCE_NS: Final = 2_000_000_000
"""How long segments wait for others, by their own times: as long as the decoder's default for gaps."""

WAITING_BYTES: Final = 8 << 20
"""Of all segments that wait, with their headers."""

DIRECTIONS: Final = 16_384
"""Directions of connections that are followed at once; the one that was silent longest goes first."""

# Of one direction: of those that are written at once, and of a conversation that is there as a whole.
_WAITING_SEGMENTS: Final = 64
_WAITING_OF_WHOLE: Final = 256
_UDP: Final = int(Attribute.UDP)
_ICMP: Final = int(Attribute.ICMP)


class Redacted(NamedTuple):
    """A segment for a file: `blanked` bytes of verifiers, and `unknown` ones that may be of some, are 0."""

    segment: Segment
    blanked: int = 0
    unknown: int = 0

    @property
    def note(self) -> str | None:
        """What a reader of the file should know, if anything."""
        notes = []
        if self.blanked:
            notes.append(f"{self.blanked} bytes of authentication values are blanked")
        if self.unknown:
            notes.append(f"{self.unknown} bytes are blanked: which PDU they are of was not seen")
        return "; ".join(notes) or None


class _Entry:
    """A segment on its way; `redacted` once it is decided."""

    __slots__ = ("direction", "redacted", "segment")

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.direction: _Followed | None = None
        self.redacted: Redacted | None = None

    @property
    def size(self) -> int:
        return HEADER_SIZE + len(self.segment.payload)


class _Followed:
    """One direction of a connection, with the entries which wait for others of it."""

    __slots__ = ("pdus", "waiting")

    def __init__(self) -> None:
        self.pdus = Direction()
        self.waiting: list[_Entry] = []


class Redactor:
    """Takes segments, and gives them back in the same order, with the values of verifiers blanked.

    Without `patience_ns` they wait until `flush`, which is for conversations that are whole already.
    """

    def __init__(self, patience_ns: int | None = PATIENCE_NS) -> None:
        self._patience_ns = patience_ns
        self._directions: OrderedDict[tuple[bytes, bytes, int, int], _Followed] = OrderedDict()
        self._queue: deque[_Entry] = deque()
        self._queued_bytes = 0

    def feed(self, segment: Segment) -> Iterator[Redacted]:
        """Take a segment; yield those which are decided."""
        entry = _Entry(segment)
        self._decide(entry)
        if entry.redacted is not None and not self._queue:
            yield entry.redacted
            return
        self._queue.append(entry)
        self._queued_bytes += entry.size
        yield from self.advance(segment.time_ns)

    def advance(self, now_ns: int) -> Iterator[Redacted]:
        """Yield what is decided at a time, without waiting longer for what came too long before."""
        while self._queue:
            head = self._queue[0]
            if head.redacted is None:
                if self._may_wait(head, now_ns):
                    return
                self._give_up(head)
            yield self._pop()

    def _may_wait(self, head: _Entry, now_ns: int) -> bool:
        if self._patience_ns is None:
            return True
        return now_ns - head.segment.time_ns < self._patience_ns and self._queued_bytes <= WAITING_BYTES

    def flush(self) -> Iterator[Redacted]:
        """Yield all that wait."""
        while self._queue:
            self._give_up(self._queue[0])
            yield self._pop()

    def _pop(self) -> Redacted:
        entry = self._queue.popleft()
        self._queued_bytes -= entry.size
        assert entry.redacted is not None  # noqa: S101 - only such leave
        return entry.redacted

    def _decide(self, entry: _Entry) -> None:
        """Redact a segment, or let it wait; and redact those that waited for it."""
        segment = entry.segment
        if segment.attributes & _ICMP:
            # It quotes numbers only.
            entry.redacted = Redacted(segment)
            return
        if segment.attributes & _UDP:
            entry.redacted = _redacted(segment, *of_datagram(segment.payload))
            return
        if segment.tcp_flags & SYN:
            self._follow(segment).pdus.begin(segment.sequence + 1)
        if not segment.payload:
            entry.redacted = Redacted(segment)
            return
        followed = entry.direction = self._follow(segment)
        self._try(entry)
        if entry.redacted is None:
            followed.waiting.append(entry)
            if len(followed.waiting) > (_WAITING_OF_WHOLE if self._patience_ns is None else _WAITING_SEGMENTS):
                self._give_up(followed.waiting[0])
        elif followed.waiting:
            self._try_waiting(followed)

    def _follow(self, segment: Segment) -> _Followed:
        key = segment.source_address, segment.destination_address, segment.source_port, segment.destination_port
        followed = self._directions.get(key)
        if followed is None:
            followed = self._directions[key] = _Followed()
            if len(self._directions) > DIRECTIONS:
                self._directions.popitem(last=False)
        else:
            self._directions.move_to_end(key)
        return followed

    def _try(self, entry: _Entry, *, last: bool = False) -> None:
        """Redact a segment, unless another may still tell what it is."""
        segment, followed = entry.segment, entry.direction
        if followed is None or entry.redacted is not None:
            return
        # A SYN takes a sequence number itself.
        sequence = segment.sequence + bool(segment.tcp_flags & SYN)
        blank, unknown, waits = followed.pdus.take(sequence, segment.payload)
        if last or not waits:
            entry.redacted = _redacted(segment, blank, unknown)

    def _try_waiting(self, followed: _Followed) -> None:
        """Redact what waited, as long as one of them helps others."""
        before = None
        while followed.waiting and len(followed.waiting) != before:
            before = len(followed.waiting)
            reached = followed.pdus.reached()
            for entry in followed.waiting:
                sequence = entry.segment.sequence
                if any((sequence - start) % SEQUENCE_MODULUS <= length for start, length in reached):
                    self._try(entry)
            followed.waiting = [entry for entry in followed.waiting if entry.redacted is None]

    def _give_up(self, entry: _Entry) -> None:
        """Redact a segment by what is known."""
        if entry.redacted is None and entry.direction is not None:
            self._try(entry, last=True)
            entry.direction.waiting.remove(entry)


def redact(segments: Sequence[Segment]) -> list[Redacted]:
    """Return the segments of a whole conversation, in order, with the values of verifiers blanked."""
    redactor = Redactor(None)
    found = [one for segment in segments for one in redactor.feed(segment)]
    return found + list(redactor.flush())


def _redacted(segment: Segment, blank: Sequence[Part], unknown: Sequence[Part]) -> Redacted:
    """Return a segment with parts of its payload set to 0."""
    if not blank and not unknown:
        return Redacted(segment)
    payload = bytearray(segment.payload)
    for start, end in (*blank, *unknown):
        payload[start:end] = bytes(end - start)
    blanked = sum(len(range(*part)) for part in _union(blank))
    return Redacted(segment._replace(payload=bytes(payload)), blanked, sum(end - start for start, end in unknown))


def _union(parts: Sequence[Part]) -> list[tuple[int, int]]:
    """Return the same bytes as parts which do not overlap."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(parts):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((start, end))
    return found
