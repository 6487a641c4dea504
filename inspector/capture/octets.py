# cython: boundscheck=True, wraparound=False, initializedcheck=False
"""The bytes of a capture file, read by offset: every access is checked, at the price of a comparison."""

from __future__ import annotations

import cython

from inspector.decode import hints


class Octets:
    """`data` ends so that eight bytes are there at each of its offsets."""

    def read_8(self, at: int) -> int:
        """Return the 8-bit number at an offset."""
        return self.data[at]

    def read_16_big(self, at: int) -> int:
        """Return the big-endian 16-bit number at an offset."""
        if cython.compiled:
            value = hints.short_at(cython.address(self.data[at]), 0)
            return (value & 0xFF) << 8 | value >> 8
        return self.read_32_big(at) >> 16

    def read_16(self, at: int) -> int:
        """Return the little-endian 16-bit number at an offset."""
        return self.read_32(at) & 0xFFFF

    def read_32(self, at: int) -> int:
        """Return the little-endian 32-bit number at an offset."""
        if cython.compiled:
            return hints.long_at(cython.address(self.data[at]), 0)
        return self.read_64(at) & 0xFFFFFFFF

    def read_32_big(self, at: int) -> int:
        """Return the big-endian 32-bit number at an offset."""
        value = cython.cast(cython.uint, self.read_32(at))
        return (value & 0xFF) << 24 | (value >> 8 & 0xFF) << 16 | (value >> 16 & 0xFF) << 8 | value >> 24

    def read_64(self, at: int) -> int:
        """Return the little-endian 64-bit number at an offset."""
        if cython.compiled:
            return hints.hyper_at(cython.address(self.data[at]), 0)
        else:  # noqa: RET505 - compiled code has no second branch
            if not 0 <= at < len(self.data):
                raise IndexError(at)
            return hints.hyper_at(self.whole, at)
