"""One direction of a TCP connection: how far it was sent, seen and acknowledged. Sequence numbers are 32 bits."""

from __future__ import annotations

from typing import Final

_MODULUS: Final = 1 << 32
_HALF: Final = 1 << 31
# A forged number far ahead must not make the true ones look old.
_WINDOW: Final = 1 << 21
_EARLY: Final = 16


def after(one: int, other: int) -> bool:
    """Return whether a sequence number comes after another (RFC 9293 section 3.4)."""
    return 0 < (one - other) % _MODULUS < _HALF


class Stream:
    """`contiguous` is where the first missing byte is, `highest` where the last seen one ends; None before any.

    `acknowledged` is how far the other end has it. `seen` says that a packet of this direction came, `payload` that one
    with data did, `fin_ns` when it was closed. `stalled` counts acknowledgments which stop at a missing part.
    """

    __slots__ = ("_early", "acknowledged", "contiguous", "fin_ns", "highest", "payload", "seen", "stalled")

    def __init__(self) -> None:
        self.contiguous: int | None = None
        self.highest: int | None = None
        self.acknowledged: int | None = None
        self.seen = False
        self.payload = False
        self.stalled = 0
        self.fin_ns: int | None = None
        self._early: list[tuple[int, int]] = []

    @property
    def has_hole(self) -> bool:
        """Whether a later part was seen, and an earlier one neither seen nor acknowledged."""
        return self.contiguous != self.highest

    def begin(self, sequence: int) -> None:
        """Take the sequence number behind a SYN."""
        self.contiguous = self.highest = sequence
        self.acknowledged = None
        self.stalled = 0
        self._early.clear()

    def take(self, start: int, length: int) -> bool:
        """Take payload; return whether any of it is new."""
        self.payload = True
        end = (start + length) % _MODULUS
        if self.contiguous is None or self.highest is None:
            self.contiguous = self.highest = end
            return True
        if after(end, (self.highest + _WINDOW) % _MODULUS):
            return False
        new = after(end, self.highest)
        if new:
            self.highest = end
        if after(start, self.contiguous):
            if len(self._early) < _EARLY:
                self._early.append((start, end))
        elif after(end, self.contiguous):
            self._go_on(end)
        return new

    def _go_on(self, contiguous: int) -> None:
        """Move `contiguous`, over what came early."""
        for start, end in sorted(self._early, key=lambda span: (span[0] - contiguous) % _MODULUS):
            if not after(start, contiguous) and after(end, contiguous):
                contiguous = end
        self.contiguous = contiguous
        self.stalled = 0
        self._early = [span for span in self._early if after(span[1], contiguous)]

    def acknowledge(self, number: int) -> None:
        """Take an acknowledgment of the other end: what it has was no loss, only not seen here."""
        if number == self.highest == self.contiguous == self.acknowledged:
            return
        if self.highest is not None and after(number, (self.highest + _WINDOW) % _MODULUS):
            return
        self.stalled += self.has_hole and number == self.contiguous
        if self.acknowledged is None or after(number, self.acknowledged):
            self.acknowledged = number
        if self.contiguous is not None and self.highest is not None and after(number, self.contiguous):
            if after(number, self.highest):
                self.highest = number
            self._go_on(number)

    def lacks(self, number: int) -> bool:
        """Return whether an acknowledgment is for bytes that were never seen; a FIN, which counts as one, is none."""
        if self.highest is None or after(number, (self.highest + _WINDOW) % _MODULUS):
            return False
        return after(number, (self.highest + 1) % _MODULUS)

    def acknowledged_of(self, end: int, length: int) -> int:
        """Return how many bytes of a segment the other end acknowledges where that is a part of it, else 0."""
        if self.acknowledged is None or self.is_acknowledged(end):
            return 0
        rest = (end - self.acknowledged) % _MODULUS
        return length - rest if rest < length else 0

    def is_acknowledged(self, end: int) -> bool:
        """Return whether the other end has everything before a sequence number."""
        return self.acknowledged is not None and not after(end, self.acknowledged)
