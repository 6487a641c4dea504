# cython: boundscheck=True, wraparound=False, initializedcheck=False
"""The course of one connection, segment by segment, in compiled code: whether it still is plainly healthy."""

from __future__ import annotations

import cython

from inspector.capture import layout
from inspector.capture.sights import Sights


def is_after(one: int, other: int) -> bool:
    """Return whether a sequence number comes after another."""
    return one != other and ((one - other) & layout.LOW) < layout.HALF


class Course(Sights):
    """`ports` says which ports are endpoint mappers'. A connection is where it begins in `entries`, its `base`."""

    def is_unacknowledged(self, base: int) -> bool:
        """Return whether the client has not acknowledged all that the server sent."""
        return is_after(self.entries[base + layout.FLOW_NEXT + 1], self.entries[base + layout.FLOW_ACKNOWLEDGED + 1])

    def begin(self, base: int) -> bool:
        """Begin a connection with a client's SYN; return whether it is one."""
        if self.tcp_flags & (layout.SYN | layout.ACK | layout.RST | layout.FIN) != layout.SYN or self.payload_length:
            return False
        for word in range(layout.FLOW_STATE, layout.FLOW_WORDS):
            self.entries[base + word] = 0
        self.entries[base + layout.FLOW_INITIAL] = self.sequence
        self.entries[base + layout.FLOW_NEXT] = (self.sequence + 1) & layout.LOW
        self.entries[base + layout.FLOW_FIRST] = self.time
        self.entries[base + layout.FLOW_LAST] = self.time
        return True

    def follow(self, entry: int, from_server: int) -> bool:
        """Take a segment of a healthy connection; return whether it still is."""
        base = entry * layout.FLOW_WORDS
        state = self.entries[base + layout.FLOW_STATE]
        last = cython.cast(cython.longlong, self.entries[base + layout.FLOW_LAST])
        waited = cython.cast(cython.longlong, self.time) - last
        mapper = 1 if self.ports[self.entries[base + layout.FLOW_PORTS] >> 16] else 0
        if waited > layout.SOON and not self.may_wait(base, state, waited, mapper):
            return False
        self.entries[base + layout.FLOW_LAST] = self.time
        flags = self.tcp_flags
        if from_server and mapper and flags & (layout.RST | layout.FIN) and not state & layout.STATE_ENDED:  # noqa: SIM102
            if self.entries[base + layout.FLOW_NEXT] == ((self.entries[base + layout.FLOW_INITIAL] + 1) & layout.LOW):
                return False
        if flags & layout.RST:
            return self.take_reset(base, state, from_server, mapper)
        if flags & layout.SYN:
            return self.take_syn(entry, state, from_server, mapper)
        if (
            not flags & layout.ACK
            or not state & layout.STATE_ANSWERED
            or state & layout.STATE_CLIENT_RESET << from_server
        ):
            return False
        if state & layout.STATE_ANY_RESET and self.payload_length:
            return False
        if not from_server:
            self.entries[base + layout.FLOW_STATE] |= layout.STATE_CONFIRMED
        if mapper and not self.acknowledge(base, from_server):
            return False
        if self.payload_length and not self.take_payload(base, from_server, mapper):
            return False
        if flags & layout.FIN:
            if not mapper and not state & layout.STATE_BOUND:
                return False
            self.entries[base + layout.FLOW_STATE] |= layout.STATE_CLIENT_ENDED << from_server
        return True

    def may_wait(self, base: int, state: int, waited: int, mapper: int) -> bool:
        """Return whether a connection may be silent for more than a moment, as it is."""
        if not mapper:
            return state & layout.STATE_BOUND != 0
        if not state & layout.STATE_CONFIRMED:
            return False
        waits = state & layout.STATE_PENDING or self.entries[base + layout.FLOW_AGAIN]
        if waits and waited > layout.PATIENCE:
            return False
        return not (state & layout.STATE_ENDED and (state & layout.STATE_PENDING or self.is_unacknowledged(base)))

    def take_reset(self, base: int, state: int, from_server: int, mapper: int) -> bool:
        """Take a reset: of a connection where nothing is awaited it is an end like others."""
        if not state & layout.STATE_ANSWERED:
            return False
        if not from_server and mapper and self.tcp_flags & layout.ACK and not self.acknowledge(base, from_server):
            return False
        self.entries[base + layout.FLOW_STATE] |= layout.STATE_CLIENT_RESET << from_server
        if state & layout.STATE_PENDING:
            return not mapper and not from_server and state & layout.STATE_BOUND != 0
        if mapper:
            return not self.is_unacknowledged(base)
        return state & layout.STATE_BOUND != 0

    def take_syn(self, entry: int, state: int, from_server: int, mapper: int) -> bool:
        """Take a SYN-ACK, or the SYN of the next connection between the same ports."""
        base = entry * layout.FLOW_WORDS
        if not from_server:
            if not state and self.is_copy(self.entries[base + layout.FLOW_FIRST]):
                return self.sequence == self.entries[base + layout.FLOW_INITIAL]
            if not state & layout.STATE_ENDED or self.sequence == self.entries[base + layout.FLOW_INITIAL]:
                return False
            if mapper and (state & layout.STATE_PENDING or self.is_unacknowledged(base)):
                return False
            if not mapper and not state & layout.STATE_BOUND:
                return False
            if not self.begin(base):
                return False
            if not mapper:
                self.emit(layout.EVENT_OPENED, base)
            return True
        following = (self.sequence + 1) & layout.LOW
        if state == layout.STATE_ANSWERED and self.is_copy(self.entries[base + layout.FLOW_OPENED]):
            return self.entries[base + layout.FLOW_NEXT + 1] == following
        first = cython.cast(cython.longlong, self.entries[base + layout.FLOW_FIRST])
        waited = cython.cast(cython.longlong, self.time) - first
        if (
            state & layout.STATE_ANSWERED
            or not self.tcp_flags & layout.ACK
            or self.payload_length
            or self.acknowledgment != self.entries[base + layout.FLOW_NEXT]
            or waited < 0
            or waited > layout.SOON
        ):
            return False
        self.entries[base + layout.FLOW_STATE] |= layout.STATE_ANSWERED
        self.entries[base + layout.FLOW_ACKNOWLEDGED] = self.entries[base + layout.FLOW_NEXT]
        self.entries[base + layout.FLOW_NEXT + 1] = following
        self.entries[base + layout.FLOW_ACKNOWLEDGED + 1] = following
        self.entries[base + layout.FLOW_OPENED] = self.time
        self.entries[base + layout.FLOW_HOP_LIMIT] = self.hop_limit
        return True

    def is_copy(self, time_ns: int) -> bool:
        """Return whether a packet that is the same as one of that time is a copy (`inspector.outcomes.connection`)."""
        waited = cython.cast(cython.longlong, self.time) - cython.cast(cython.longlong, time_ns)
        return waited >= 0 and waited < layout.COPY

    def acknowledge(self, base: int, from_server: int) -> bool:
        """Take an acknowledgment; what was not seen is not healthy."""
        theirs = 1 - from_server
        known = self.entries[base + layout.FLOW_ACKNOWLEDGED + theirs]
        number = self.acknowledgment
        if not is_after(number, known):
            return True
        limit = self.entries[base + layout.FLOW_NEXT + theirs]
        if self.entries[base + layout.FLOW_STATE] & layout.STATE_CLIENT_ENDED << theirs:
            limit = (limit + 1) & layout.LOW
        if is_after(number, limit):
            return False
        self.entries[base + layout.FLOW_ACKNOWLEDGED + theirs] = number
        if theirs:
            self.entries[base + layout.FLOW_AGAIN] = 0
        return True

    def take_payload(self, base: int, from_server: int, mapper: int) -> bool:
        """Take payload: new bytes are a question, or its answer."""
        state = self.entries[base + layout.FLOW_STATE]
        following = self.entries[base + layout.FLOW_NEXT + from_server]
        end = (self.sequence + self.payload_length) & layout.LOW
        if not is_after(end, following):
            return self.take_again(base, from_server, mapper)
        if state & layout.STATE_ENDED and (mapper or state & layout.STATE_CLIENT_ENDED << from_server):
            return False
        # Of a follow-up, bytes may come out of order once it is open.
        is_open = 1 if not mapper and state & layout.STATE_BOUND else 0
        if self.sequence != following and not (is_open and ((end - following) & layout.LOW) <= layout.JUMP):
            return False
        if mapper and self.captured != self.payload_length:
            return False
        self.entries[base + layout.FLOW_NEXT + from_server] = end
        if not from_server:
            self.entries[base + layout.FLOW_STATE] |= layout.STATE_PENDING
            return self.read_question(base, mapper)
        answers = 1 if state & layout.STATE_PENDING else 0
        self.entries[base + layout.FLOW_STATE] = state & (layout.LOW - layout.STATE_PENDING)
        if not mapper:
            self.entries[base + layout.FLOW_AGAIN] = 0
        return self.read_answer(base, mapper, answers)

    def take_again(self, base: int, from_server: int, mapper: int) -> bool:
        """Take bytes that came before; few times are no harm where they get an answer, or are acknowledged."""
        state = self.entries[base + layout.FLOW_STATE]
        if mapper:
            if not from_server or not self.is_unacknowledged(base):
                return True
        elif from_server or not state & layout.STATE_PENDING:
            return True
        self.entries[base + layout.FLOW_AGAIN] += 1
        return self.entries[base + layout.FLOW_AGAIN] < 2
