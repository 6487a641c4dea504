"""One packet of a capture file, whatever the file's format."""

from __future__ import annotations

from typing import Final, NamedTuple

LONGEST_TIME_NS: Final = 2**64 - 1
"""The latest time a record can say: nanoseconds since 1970 in 64 bits, the year 2554."""


class Packet(NamedTuple):
    """A captured frame: `original_length` is its length on the wire, `interface` counts from 0 within the file."""

    time_ns: int
    link_type: int
    data: bytes | memoryview
    original_length: int
    interface: int


def clamp_time(time_ns: int) -> int:
    """Return the nearest time that a record can say: a damaged clock must not cost the packet."""
    return min(max(time_ns, 0), LONGEST_TIME_NS)
