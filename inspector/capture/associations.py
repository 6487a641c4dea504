# cython: boundscheck=True, wraparound=False, initializedcheck=False
"""What single segments of RPC say, in compiled code: binds and their acceptance, offered ports, facts about servers.

No more is read than tells whether a connection is healthy; `inspector.decode` reads answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cython
import numpy as np

from inspector.capture import layout
from inspector.capture.flows import Flows

if TYPE_CHECKING:
    import numpy.typing as npt


class Associations(Flows):
    """Reads the segment that is selected; `events` are what the tracker in Python is told, `event_count` of them.

    `survey` is set while the file is looked through: then `offered` gets a flag for each port that an answer offers
    and there are no events.
    """

    def __init__(self, flows: int, clients: npt.NDArray[np.uint8] | None, secret: int) -> None:
        Flows.__init__(self, flows, clients, secret)
        self.offered_ports = np.zeros(65536, np.uint8)
        self.offered = self.offered_ports.data
        self.servers = np.zeros(layout.SERVERS * layout.SERVER_WORDS, np.uint64).data
        self.event_rows = np.zeros((layout.EVENTS, layout.EVENT_WORDS), np.uint64)
        self.events = self.event_rows.data
        self.event_count = 0
        self.survey = False

    def pdu_at(self, at: int, left: int) -> int:
        """Return the length of a PDU that starts at an offset, 0 where none does; `left` bytes are captured.

        The conditions are those of `inspector.wire.pdu`.
        """
        if left < layout.PDU_HEADER or self.read_8(at) != 5 or self.read_8(at + 1) > 1:
            return 0
        if self.read_8(at + 2) > layout.PDU_LAST or self.read_8(at + 4) & 0xEE or self.read_8(at + 5) > 3:
            return 0
        length = self.read_16(at + 8) if self.read_8(at + 4) & 0x10 else self.read_16_big(at + 8)
        return length if length >= layout.PDU_HEADER else 0

    def read_question(self, base: int, mapper: int) -> bool:
        """Read what a client asks: an endpoint is asked for a bind first."""
        at = self.payload_at
        left = self.captured
        for _ in range(layout.PDUS):
            length = self.pdu_at(at, left)
            if not length:
                break
            kind = self.read_8(at + 2)
            if kind in (layout.PDU_BIND, layout.PDU_ALTER):
                self.entries[base + layout.FLOW_STATE] |= layout.STATE_ASKED
                if length <= left and length > layout.PDU_HEADER + 8:
                    self.entries[base + layout.FLOW_CONTEXTS] = self.read_8(at + layout.PDU_HEADER + 8)
            at += length
            left -= length
            if left <= 0:
                break
        return mapper != 0 or self.entries[base + layout.FLOW_STATE] & layout.STATE_ASKED != 0

    def read_answer(self, base: int, mapper: int, answers: int) -> bool:
        """Read what a server says: that it accepts a bind, or of an endpoint mapper anything but that it does not."""
        at = self.payload_at
        left = self.captured
        if answers and not self.pdu_at(at, left) and (mapper or not self.is_bound(base)):
            return False
        for _ in range(layout.PDUS):
            length = self.pdu_at(at, left)
            if not length:
                break
            if not self.read_8(at + 4) & 0x10 or not self.read_reply(base, at, length, left, mapper):
                return False
            at += length
            left -= length
            if left <= 0:
                break
        return mapper != 0 or self.is_bound(base)

    def is_bound(self, base: int) -> bool:
        """Return whether the server has accepted a bind."""
        return self.entries[base + layout.FLOW_STATE] & layout.STATE_BOUND != 0

    def read_reply(self, base: int, at: int, length: int, left: int, mapper: int) -> bool:
        """Read one PDU of a server; return whether it is one of a healthy connection."""
        kind = self.read_8(at + 2)
        if kind in (layout.PDU_BIND_NAK, layout.PDU_FAULT):
            return False
        if kind == layout.PDU_RESPONSE:
            if mapper and self.survey and self.read_16(at + 10):
                client = self.client_of(
                    self.entries[base + layout.FLOW_CLIENT], self.entries[base + layout.FLOW_CLIENT + 1]
                )
                self.clients[client] |= layout.CLIENT_SEALED
            return mapper != 0 or self.is_bound(base)
        if kind not in (layout.PDU_BIND_ACK, layout.PDU_ALTER_ACK):
            return True
        if length > left or not self.is_accepted(at, length):
            return False
        if not mapper and not self.is_bound(base):
            self.entries[base + layout.FLOW_STATE] |= layout.STATE_BOUND
            self.emit(layout.EVENT_REACHED, base)
        self.entries[base + layout.FLOW_STATE] |= layout.STATE_BOUND
        return True

    def is_accepted(self, at: int, length: int) -> bool:
        """Return whether a bind_ack of `length` bytes accepts a context (C706 section 12.6.4.4)."""
        end = at + length - self.read_16(at + 10)
        if at + layout.PDU_HEADER + 10 > end:
            return False
        results = layout.PDU_HEADER + 10 + self.read_16(at + layout.PDU_HEADER + 8)
        results = at + ((results + 3) & ~3)
        if results + 4 > end:
            return False
        count = self.read_8(results)
        accepted = cython.cast(cython.longlong, 0)
        for number in range(count):
            result = results + 4 + 24 * number
            if result + 24 > at + length:
                return False
            if self.read_16(result) == 0:
                accepted = 1
        return accepted != 0

    def note_offers(self, base: int) -> int:
        """Note the ports in the towers of a server's answer: floors of TCP and HTTP (C706 appendix I).

        The bytes before, of the same stream, are kept: a floor may come in two segments.
        """
        window = self.entries[base + layout.FLOW_TAIL]
        for offset in range(self.captured):
            window = (window << 8 | self.read_8(self.payload_at + offset)) & layout.FLOOR_MASK
            floor = window >> 16
            if floor in (layout.FLOOR_TCP, layout.FLOOR_HTTP):
                self.offered[window & 0xFFFF] = 1
        self.entries[base + layout.FLOW_TAIL] = window
        return 0

    def compare_facts(self, from_server: int) -> int:
        """Tell the tracker what a healthy connection says of its server where that is new.

        That is the hop limit of its SYN-ACK, how few contexts a bind had that it accepts, that small answers arrive.
        """
        high = self.source_high if from_server else self.destination_high
        low = self.source_low if from_server else self.destination_low
        row = (self.client_of(high, low) & (layout.SERVERS - 1)) * layout.SERVER_WORDS
        if self.servers[row] != high or self.servers[row + 1] != low:
            for word in range(layout.SERVER_WORDS):
                self.servers[row + word] = 0
            self.servers[row] = high
            self.servers[row + 1] = low
        changed = cython.cast(cython.longlong, 0)
        if from_server and self.tcp_flags & layout.SYN and self.servers[row + 2] != self.hop_limit + 1:
            self.servers[row + 2] = self.hop_limit + 1
            changed = 1
        elif from_server and self.payload_length and self.payload_length <= layout.SMALL and not self.servers[row + 4]:
            self.servers[row + 4] = self.payload_length
            changed = 1
        elif (
            not from_server
            and self.pdu_at(self.payload_at, self.captured)
            and (self.read_8(self.payload_at + 2) in (layout.PDU_BIND, layout.PDU_ALTER))
        ):
            contexts = self.read_8(self.payload_at + layout.PDU_HEADER + 8)
            if contexts and (not self.servers[row + 3] or contexts < self.servers[row + 3]):
                self.servers[row + 3] = contexts
                changed = 1
        if changed:
            number = self.event_count
            self.event_count += 1
            self.events[number, layout.EVENT_KIND] = layout.EVENT_SERVER_SEEN
            self.events[number, layout.EVENT_FRAME] = self.frame + 1
            self.events[number, layout.EVENT_SERVER] = high
            self.events[number, layout.EVENT_SERVER + 1] = low
            self.events[number, layout.EVENT_HOP_LIMIT] = self.servers[row + 2]
            self.events[number, layout.EVENT_CONTEXTS] = self.servers[row + 3]
            self.events[number, layout.EVENT_SIZE] = self.servers[row + 4]
        return 0

    def emit(self, kind: int, base: int) -> int:
        """Tell the tracker of something."""
        if self.survey:
            return 0
        number = self.event_count
        self.event_count += 1
        self.events[number, layout.EVENT_KIND] = kind
        self.events[number, layout.EVENT_FRAME] = self.frame + 1
        self.events[number, layout.EVENT_TIME] = self.time
        for word in range(5):
            self.events[number, layout.EVENT_CLIENT + word] = self.entries[base + layout.FLOW_CLIENT + word]
        self.events[number, layout.EVENT_HOP_LIMIT] = self.entries[base + layout.FLOW_HOP_LIMIT]
        self.events[number, layout.EVENT_CONTEXTS] = self.entries[base + layout.FLOW_CONTEXTS]
        if kind == layout.EVENT_REACHED:
            opened = self.entries[base + layout.FLOW_OPENED]
            self.events[number, layout.EVENT_WAITED] = opened - self.entries[base + layout.FLOW_FIRST]
        return 0
