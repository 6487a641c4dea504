"""NDR20 and NDR64: alignment, counts and referents of a stub (C706 chapter 14, MS-RPCE section 2.2.5)."""

from __future__ import annotations

import struct

from inspector.errors import Anomaly
from inspector.wire.body import NDR64
from inspector.wire.cursor import Cursor


class NdrReader(Cursor):
    """A cursor that knows the transfer syntax: counts and referents are 4 bytes in NDR20 and 8 in NDR64."""

    __slots__ = ("_wide",)

    def __init__(self, stub: bytes, transfer_syntax: str, *, little_endian: bool) -> None:
        super().__init__(stub, Anomaly.STUB_MALFORMED, little_endian=little_endian)
        self._wide = transfer_syntax == NDR64

    def count(self) -> int:
        """Read a conformance, offset, length or referent, aligned."""
        self.align(8 if self._wide else 4)
        return self.hyper() if self._wide else self.long()

    def counts(self, number: int) -> tuple[int, ...]:
        """Read so many of them, one behind the other."""
        size = 8 if self._wide else 4
        self.align(size)
        layout = f"{'<' if self.little_endian else '>'}{number}{'Q' if self._wide else 'I'}"
        return struct.unpack(layout, self.take(number * size))

    def longs(self, number: int) -> tuple[int, ...]:
        """Read so many integers of 32 bits."""
        self.align(4)
        return struct.unpack(f"{'<' if self.little_endian else '>'}{number}I", self.take(4 * number))

    def shorts(self, number: int) -> tuple[int, ...]:
        """Read so many integers of 16 bits."""
        self.align(2)
        return struct.unpack(f"{'<' if self.little_endian else '>'}{number}H", self.take(2 * number))

    def aligned_long(self) -> int:
        """Read 32 bits at their natural alignment."""
        self.align(4)
        return self.long()

    @property
    def has_trailing_bytes(self) -> bool:
        """Whether more is left than padding to a multiple of eight."""
        return self.left > 7 or any(self.data[self.position :])

    def finish(self) -> None:
        """Raise DecodeError where anything but padding is left: it was not the structure it was read as."""
        if self.has_trailing_bytes:
            raise self.fail(f"{self.left} bytes left")
