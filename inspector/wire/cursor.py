"""A reader over bytes with the bounds check in one place.

Every short read is a `DecodeError` under the anomaly which the reader of that
structure chose: once a PDU is complete, missing bytes inside it are malformed,
never "need more".
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final
from uuid import UUID

from inspector.errors import Anomaly, DecodeError

_SHORT = {True: struct.Struct("<H"), False: struct.Struct(">H")}
_LONG = {True: struct.Struct("<I"), False: struct.Struct(">I")}
_HYPER = {True: struct.Struct("<Q"), False: struct.Struct(">Q")}
NIL_UUID: Final = UUID(int=0)


@lru_cache(maxsize=4096)
def uuid_of(data: bytes, little_endian: bool) -> UUID:
    """Return the UUID of 16 bytes in the given integer representation (C706 appendix A); cached, as few differ."""
    return UUID(bytes_le=data) if little_endian else UUID(bytes=data)


class Cursor:
    """A position in bytes; integers in the byte order of the data representation (C706 section 14.1)."""

    __slots__ = ("_anomaly", "_hyper", "_long", "_short", "data", "end", "little_endian", "position")

    def __init__(self, data: bytes, anomaly: Anomaly, *, little_endian: bool = True) -> None:
        self.data = data
        self.position = 0
        self.end = len(data)
        self.little_endian = little_endian
        self._anomaly = anomaly
        self._short = _SHORT[little_endian]
        self._long = _LONG[little_endian]
        self._hyper = _HYPER[little_endian]

    def _advance(self, count: int) -> int:
        position = self.position
        if count > self.end - position:
            raise DecodeError(self._anomaly, f"{count} bytes wanted at offset {position} of {self.end}")
        self.position = position + count
        return position

    def fail(self, detail: str) -> DecodeError:
        """Return the error for bytes which are there and contradict the specification."""
        return DecodeError(self._anomaly, f"{detail} before offset {self.position}")

    def octet(self) -> int:
        """Read one byte."""
        return self.data[self._advance(1)]

    def short(self) -> int:
        """Read an unsigned integer of 16 bits."""
        value: int = self._short.unpack_from(self.data, self._advance(2))[0]
        return value

    def long(self) -> int:
        """Read an unsigned integer of 32 bits."""
        value: int = self._long.unpack_from(self.data, self._advance(4))[0]
        return value

    def hyper(self) -> int:
        """Read an unsigned integer of 64 bits."""
        value: int = self._hyper.unpack_from(self.data, self._advance(8))[0]
        return value

    def uuid(self) -> UUID:
        """Read a UUID, its integers in the byte order of the data representation."""
        return uuid_of(self.take(16), self.little_endian)

    def take(self, count: int) -> bytes:
        """Read `count` bytes."""
        position = self._advance(count)
        return bytes(self.data[position : position + count])

    def align(self, to: int) -> None:
        """Skip to a multiple of `to`, counted from the first byte (NDR: from the start of the stub)."""
        self._advance(-self.position % to)

    @property
    def left(self) -> int:
        """Bytes which have not been read."""
        return self.end - self.position
