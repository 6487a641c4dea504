# cython: boundscheck=True, wraparound=False, initializedcheck=False
"""What tells conversations with endpoint mappers apart, in compiled code: enough to find two sides of one.

A row has what `inspector.outcomes.sides` compares first: the client's port and first sequence number, hashes of its
first two segments, and when the server answered. `inspector.outcomes.sightings` reads whole conversations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cython
import numpy as np

from inspector.capture import layout
from inspector.capture.associations import Associations
from inspector.decode import hints

if TYPE_CHECKING:
    import numpy.typing as npt

    from inspector.wire.headers import Header


class Sights(Associations):
    """`sight_rows` has the last `layout.SIGHTS` conversations of the survey, of `sight_count`."""

    def __init__(self, flows: int, clients: npt.NDArray[np.uint8] | None, secret: int) -> None:
        Associations.__init__(self, flows, clients, secret)
        self.sight_rows = np.zeros((layout.SIGHTS, layout.SIGHT_WORDS), np.uint64)
        self.sights = self.sight_rows.data
        self.sight_count = 0

    def sight_header(self, flow: tuple[int, int, int, int, int], header: Header, *, from_server: bool) -> None:
        """Take a packet that Python has read, of a connection in the table; `flow` is as for `lookup`."""
        self.time = header.time_ns
        self.sequence = header.sequence
        self.tcp_flags = header.flags
        self.payload_length = header.payload_length
        self.captured = len(header.payload)
        self.payload_at = 0
        data = bytes(header.payload) + bytes(layout.SLACK)
        self.data = data[: len(header.payload) + 1]
        if not cython.compiled:
            self.whole = data
        try:
            self.sight(self.lookup(flow[0], flow[1], flow[2], flow[3], flow[4]) * layout.FLOW_WORDS, from_server)
        finally:
            self.data = None

    def sight(self, base: int, from_server: int) -> int:
        """Take a segment of a conversation, in the way of `inspector.outcomes.sightings`."""
        row = self.sight_of(base, from_server)
        if row < 0:
            return 0
        known = layout.SIGHT_CLIENT_KNOWN << from_server
        if self.tcp_flags & layout.SYN:
            self.sights[row, layout.SIGHT_STATE] |= known
            if not from_server:
                self.sights[row, layout.SIGHT_START] = (self.sequence + 1) & layout.LOW
        elif not self.sights[row, layout.SIGHT_STATE] & known and not self.tcp_flags & layout.RST:
            self.sights[row, layout.SIGHT_STATE] |= known
            if not from_server:
                self.sights[row, layout.SIGHT_START] = self.sequence
        if self.payload_length and self.sights[row, layout.SIGHT_STATE] & known:
            if not from_server:
                return self.sight_question(row)
            if not self.sights[row, layout.SIGHT_STATE] & layout.SIGHT_REPLIED:
                self.sights[row, layout.SIGHT_STATE] |= layout.SIGHT_REPLIED
                self.sights[row, layout.SIGHT_REPLY_TIME] = self.time
        return 0

    def sight_of(self, base: int, from_server: int) -> int:
        """Return the row of a conversation, -1 where that was overwritten; a SYN of another number begins one."""
        serial = self.entries[base + layout.FLOW_SIGHT]
        row = cython.cast(cython.longlong, serial & (layout.SIGHTS - 1))
        if serial and self.sights[row, layout.SIGHT_SERIAL] != serial:
            row = -1
        if serial and (
            from_server
            or self.tcp_flags & (layout.SYN | layout.ACK) != layout.SYN
            or self.begins_at(row, (self.sequence + 1) & layout.LOW)
        ):
            return row
        self.sight_count += 1
        row = self.sight_count & (layout.SIGHTS - 1)
        for word in range(layout.SIGHT_WORDS):
            self.sights[row, word] = 0
        for word in range(5):
            self.sights[row, layout.SIGHT_CLIENT + word] = self.entries[base + layout.FLOW_CLIENT + word]
        self.sights[row, layout.SIGHT_SERIAL] = self.sight_count
        self.sights[row, layout.SIGHT_FIRST] = self.time
        self.entries[base + layout.FLOW_SIGHT] = self.sight_count
        return row

    def begins_at(self, row: int, start: int) -> bool:
        """Return whether a row's client is known to begin with a sequence number."""
        if row < 0 or not self.sights[row, layout.SIGHT_STATE] & layout.SIGHT_CLIENT_KNOWN:
            return False
        return self.sights[row, layout.SIGHT_START] == start

    def sight_question(self, row: int) -> int:
        """Take a segment of the client: the first, or the first other one."""
        state = self.sights[row, layout.SIGHT_STATE]
        if state & layout.SIGHT_ASKED:
            return 0
        digest = self.digest()
        if not state & layout.SIGHT_WROTE:
            if self.is_bind():
                state |= layout.SIGHT_BOUND
            self.sights[row, layout.SIGHT_STATE] = state | layout.SIGHT_WROTE
            self.sights[row, layout.SIGHT_BIND] = digest
            self.sights[row, layout.SIGHT_BIND_AT] = self.sequence
            self.sights[row, layout.SIGHT_BIND_TIME] = self.time
        elif digest != self.sights[row, layout.SIGHT_BIND] or self.sequence != self.sights[row, layout.SIGHT_BIND_AT]:
            self.sights[row, layout.SIGHT_STATE] = state | layout.SIGHT_ASKED
            self.sights[row, layout.SIGHT_QUESTION] = digest
        return 0

    def is_bind(self) -> bool:
        """Return whether the segment begins with a bind."""
        if self.captured < layout.PDU_HEADER or self.read_8(self.payload_at) != 5:
            return False
        return self.read_8(self.payload_at + 2) == layout.PDU_BIND

    def digest(self) -> int:
        """Return a keyed hash of the segment's payload, as far as it is captured."""
        value = hints.mix(self.secret, self.captured, self.secret)
        at = self.payload_at
        left = self.captured
        while left >= 8:
            value = hints.mix(value, self.read_64(at), self.secret)
            at += 8
            left -= 8
        last = cython.cast(cython.ulonglong, 0)
        for offset in range(left):
            last = last << 8 | self.read_8(at + offset)
        return hints.mix(hints.mix(value, last, self.secret), 0, self.secret)
