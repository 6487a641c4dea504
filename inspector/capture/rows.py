# cython: boundscheck=True, wraparound=False, initializedcheck=False
"""The rows that the compiled loop writes: records for the decoder, and packets for the tracker.

Both have the words of `struct epm_record` behind the number of the packet in the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cython

from inspector.capture import layout
from inspector.capture.octets import Octets
from inspector.decode import hints

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Rows(Octets):
    """Writes records to `rows` from `count` on; `frame` is the number of the packet before the one that is read.

    After `keep_followed` packets for the tracker are written to `followed_rows`, of which `followed_count` are in use.
    """

    def __init__(self) -> None:
        self.count = self.frame = 0
        self.due = layout.NEVER
        self.followed_count = 0
        self.followed_limit = 1
        self.followed_rows: npt.NDArray[np.uint64] | None = None

    def joined(self, low: int, high: int) -> int:
        """Return a 64-bit number of its halves."""
        return cython.cast(cython.ulonglong, low) | cython.cast(cython.ulonglong, high) << 32

    def keep_followed(self, rows: npt.NDArray[np.uint64]) -> None:
        """Keep packets for the tracker in rows, as wide as those of blocks."""
        self.followed_rows = rows
        self.followed = rows.data
        self.followed_octets = rows.view("u1").data
        self.followed_limit = len(rows)

    def write_followed(self, length: int, captured: int, time_ns: int) -> int:
        """Copy the row that was written last for the tracker, which must have it soon; `length` is the frame's."""
        number = self.followed_count
        for word in range(layout.ROW_PAYLOAD):
            self.followed[number, word] = self.rows[self.count, word]
        self.followed[number, layout.ROW_HOP_LIMIT] |= cython.cast(cython.ulonglong, length) << 32
        start = 8 * layout.ROW_PAYLOAD
        if captured:
            self.followed_octets[number, start + captured - 1] = self.octets[self.count, start + captured - 1]
            if cython.compiled:
                hints.copy(
                    cython.address(self.followed_octets[number, start]),
                    cython.address(self.octets[self.count, start]),
                    captured - 1,
                )
            else:
                for offset in range(start, start + captured - 1):
                    self.followed_octets[number, offset] = self.octets[self.count, offset]
        if not number:
            self.due = min(self.due, time_ns + layout.FOLLOWED_TIME)
        self.followed_count = number + 1
        return 0

    def write_row(
        self,
        network: int,
        transport: int,
        payload: int,
        payload_length: int,
        captured: int,
        attributes: int,
        interface: int,
        time_ns: int,
    ) -> int:
        """Write a record: header and payload."""
        number = self.count
        self.rows[number, layout.ROW_FRAME] = self.frame + 1
        self.rows[number, layout.ROW_TIME] = time_ns
        if attributes & layout.OF_IPV6:
            for word in range(4):
                self.rows[number, layout.ROW_SOURCE + word] = self.read_64(network + 8 + 8 * word)
        else:
            self.rows[number, layout.ROW_SOURCE] = 0
            self.rows[number, layout.ROW_SOURCE + 1] = self.joined(layout.MAPPED, self.read_32(network + 12))
            self.rows[number, layout.ROW_DESTINATION] = 0
            self.rows[number, layout.ROW_DESTINATION + 1] = self.joined(layout.MAPPED, self.read_32(network + 16))
        sequence = self.read_32_big(transport + 4)
        self.rows[number, layout.ROW_SEQUENCES] = self.joined(sequence, self.read_32_big(transport + 8))
        ports = self.read_16_big(transport) | self.read_16_big(transport + 2) << 16
        self.rows[number, layout.ROW_PORTS] = self.joined(ports, payload_length)
        flags = captured | self.read_8(transport + 13) << 16 | attributes << 24
        self.rows[number, layout.ROW_LENGTHS] = self.joined(flags, interface)
        self.rows[number, layout.ROW_HOP_LIMIT] = self.read_8(network + (7 if attributes & layout.OF_IPV6 else 8))
        if captured:
            self.copy(number, payload, captured)
        return 0

    def copy(self, number: int, at: int, count: int) -> int:
        """Copy bytes from `at` on to the payload of a row. Copying the last one first checks both ends."""
        start = 8 * layout.ROW_PAYLOAD
        self.octets[number, start + count - 1] = self.data[at + count - 1]
        if cython.compiled:
            hints.copy(cython.address(self.octets[number, start]), cython.address(self.data[at]), count - 1)
        else:
            for offset in range(count - 1):
                self.octets[number, start + offset] = self.data[at + offset]
        return 0
