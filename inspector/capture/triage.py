# cython: boundscheck=True, wraparound=False, initializedcheck=False
"""Which connections are plainly healthy, in compiled code: what came of those needs no tracker to be told.

A file is surveyed first. A client all of whose connections are healthy is followed here when the file is read; the
others go to `inspector.outcomes`, which alone decides. Healthy at an endpoint mapper: opened at once, each question
answered, each answer acknowledged. Healthy at an offered port: opened at once, and a bind accepted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cython
import numpy as np

from inspector.capture import layout
from inspector.capture.sights import Sights

if TYPE_CHECKING:
    import numpy.typing as npt


def is_after(one: int, other: int) -> bool:
    """Return whether a sequence number comes after another."""
    return one != other and ((one - other) & layout.LOW) < layout.HALF


class Triage(Sights):
    """`inspector.capture.scan` reads the segments.

    `everything`: there was no survey, all is for Python. `watched_only`: nothing is but connections given to `watch`.
    `latest` is the latest time so far. What is behind `known_frames` was not surveyed.
    """

    def __init__(self, flows: int, clients: npt.NDArray[np.uint8] | None, secret: int) -> None:
        Sights.__init__(self, flows, clients, secret)
        self.early_clients = np.zeros(layout.EARLY, np.uint64)
        self.early = self.early_clients.data
        self.latest = 0
        self.known_frames = layout.NEVER
        self.everything = self.watched_only = False

    def watch(self, high: int, low: int, server_high: int, server_low: int, ports: int) -> None:
        """Leave a connection of a client, which Python has read the first packet of, to Python."""
        known = self.lookup(high, low, server_high, server_low, ports)
        entry = known or self.enter(high, low, server_high, server_low, ports)
        self.entries[entry * layout.FLOW_WORDS + layout.FLOW_STATE] |= layout.STATE_PYTHON

    def finish(self) -> None:
        """End the survey: connections that are open are judged as they are."""
        for entry in range(1, self.used + 1):
            self.judge_end(entry)
        for number in np.flatnonzero(self.early_clients).tolist():
            key = int(self.early_clients[number])
            if self.offered[key & 0xFFFF]:
                self.clients[(key >> 16) - 1] |= layout.CLIENT_PYTHON

    def enter(self, high: int, low: int, server_high: int, server_low: int, ports: int) -> int:
        """Return a new entry; where there is no room another goes, as if the file ended for it."""
        if self.used >= self.most and not self.removed:
            entry = self.choose()
            if self.survey:
                self.judge_end(entry)
            self.remove_oldest()
        entry = self.take(high, low, server_high, server_low, ports)
        base = entry * layout.FLOW_WORDS
        if self.everything or self.clients[self.client_of(high, low)] & layout.CLIENT_PYTHON:
            self.entries[base + layout.FLOW_STATE] = layout.STATE_PYTHON
        return entry

    def condemn(self, entry: int) -> int:
        """Leave a connection that is not healthy to Python, with its client where an answer may have led to it."""
        base = entry * layout.FLOW_WORDS
        client = self.client_of(self.entries[base + layout.FLOW_CLIENT], self.entries[base + layout.FLOW_CLIENT + 1])
        port = self.entries[base + layout.FLOW_PORTS] >> 16
        self.entries[base + layout.FLOW_STATE] |= layout.STATE_PYTHON
        if self.ports[port] or self.may_be_offered(client, port):
            self.clients[client] |= layout.CLIENT_PYTHON
            return 0
        self.entries[base + layout.FLOW_STATE] |= layout.STATE_IGNORED
        key = (cython.cast(cython.ulonglong, client) + 1) << 16 | port
        place = (client ^ port << 6) & (layout.EARLY - 1)
        if self.early[place] and self.early[place] != key:
            self.clients[client] |= layout.CLIENT_PYTHON
        else:
            self.early[place] = key
        return 0

    def may_be_offered(self, client: int, port: int) -> bool:
        """Return whether an answer may have offered a port to a client."""
        return self.offered[port] != 0 or (port >= 1024 and self.clients[client] & layout.CLIENT_SEALED != 0)

    def judge_end(self, entry: int) -> int:
        """Judge a connection of which no more is seen."""
        base = entry * layout.FLOW_WORDS
        state = self.entries[base + layout.FLOW_STATE]
        if state & layout.STATE_PYTHON:
            return 0
        if not self.ports[self.entries[base + layout.FLOW_PORTS] >> 16]:
            if not state & layout.STATE_BOUND:
                self.condemn(entry)
            return 0
        if (
            state & layout.STATE_PENDING
            or not state & layout.STATE_CONFIRMED
            or (self.is_unacknowledged(base) and (state & layout.STATE_ENDED or self.entries[base + layout.FLOW_AGAIN]))
        ):
            self.condemn(entry)
        return 0

    def is_unacknowledged(self, base: int) -> bool:
        """Return whether the client has not acknowledged all that the server sent."""
        return is_after(self.entries[base + layout.FLOW_NEXT + 1], self.entries[base + layout.FLOW_ACKNOWLEDGED + 1])

    def classify(self) -> int:
        """Take a TCP segment: OF_OTHERS, FOR_PYTHON, or HEALTHY."""
        if self.ports[self.destination_port]:
            return self.of_mapper(0)
        if self.ports[self.source_port]:
            return self.of_mapper(1)
        return self.of_endpoint()

    def find(self, from_server: int) -> int:
        """Return the entry of the segment's connection, or 0."""
        if from_server:
            return self.lookup(
                self.destination_high, self.destination_low, self.source_high, self.source_low,
                self.destination_port | self.source_port << 16,
            )  # fmt: skip
        return self.lookup(
            self.source_high, self.source_low, self.destination_high, self.destination_low,
            self.source_port | self.destination_port << 16,
        )  # fmt: skip

    def open(self, from_server: int) -> int:
        """Return a new entry for the segment's connection."""
        if from_server:
            return self.enter(
                self.destination_high, self.destination_low, self.source_high, self.source_low,
                self.destination_port | self.source_port << 16,
            )  # fmt: skip
        return self.enter(
            self.source_high, self.source_low, self.destination_high, self.destination_low,
            self.source_port | self.destination_port << 16,
        )  # fmt: skip

    def of_mapper(self, from_server: int) -> int:
        """Take a segment of an endpoint mapper's connection: the survey has told which are healthy."""
        if self.survey:
            self.survey_mapper(from_server)
            return layout.OF_OTHERS
        if self.watched_only:
            return layout.FOR_PYTHON if self.find(from_server) else layout.OF_OTHERS
        if from_server:
            client = self.client_of(self.destination_high, self.destination_low)
        else:
            client = self.client_of(self.source_high, self.source_low)
        flags = self.clients[client]
        self.clients[client] = flags | layout.CLIENT_KNOWN
        if self.everything or flags & layout.CLIENT_PYTHON:
            return layout.FOR_PYTHON
        if self.payload_length or self.tcp_flags & layout.SYN:
            self.compare_facts(from_server)
        return layout.HEALTHY

    def survey_mapper(self, from_server: int) -> int:
        """Take a segment of an endpoint mapper's connection in the survey."""
        entry = self.find(from_server)
        if not entry:
            entry = self.open(from_server)
            base = entry * layout.FLOW_WORDS
            low = self.entries[base + layout.FLOW_CLIENT + 1]
            self.clients[self.client_of(self.entries[base + layout.FLOW_CLIENT], low)] |= layout.CLIENT_KNOWN
            if not self.entries[base + layout.FLOW_STATE] & layout.STATE_PYTHON and not (
                not from_server and self.begin(base)
            ):
                self.condemn(entry)
        else:
            base = entry * layout.FLOW_WORDS
            self.entries[base + layout.FLOW_TOUCHED] = 1
            if not self.entries[base + layout.FLOW_STATE] & layout.STATE_PYTHON and not self.follow(entry, from_server):
                self.condemn(entry)
        self.sight(base, from_server)
        if from_server and self.captured:
            self.note_offers(base)
        return 0

    def of_endpoint(self) -> int:
        """Take a segment that is not of an endpoint mapper."""
        from_server = cython.cast(cython.longlong, 0)
        opens = 1 if self.tcp_flags & (layout.SYN | layout.ACK) == layout.SYN else 0
        entry = self.find(0)
        if not entry and not opens:
            entry = self.find(1)
            from_server = 1
        if not entry:
            return self.of_new_endpoint() if opens else layout.OF_OTHERS
        base = entry * layout.FLOW_WORDS
        self.entries[base + layout.FLOW_TOUCHED] = 1
        state = self.entries[base + layout.FLOW_STATE]
        if not state & layout.STATE_PYTHON:
            if self.follow(entry, from_server):
                return layout.OF_OTHERS
            self.condemn(entry)
            state = self.entries[base + layout.FLOW_STATE]
        return layout.OF_OTHERS if state & layout.STATE_IGNORED else layout.FOR_PYTHON

    def of_new_endpoint(self) -> int:
        """Take the SYN of a connection which may follow an answer: its client has talked to an endpoint mapper."""
        client = self.client_of(self.source_high, self.source_low)
        flags = self.clients[client]
        if not flags & layout.CLIENT_KNOWN:
            return layout.OF_OTHERS
        port = self.destination_port
        offered = self.may_be_offered(client, port)
        if not self.everything:
            if port < 1024 and not offered:
                return layout.OF_OTHERS
            if flags & layout.CLIENT_PYTHON:
                if self.survey:
                    return layout.OF_OTHERS
            elif not offered and not self.survey:
                return layout.OF_OTHERS
        entry = self.open(0)
        base = entry * layout.FLOW_WORDS
        if self.entries[base + layout.FLOW_STATE] & layout.STATE_PYTHON:
            return layout.FOR_PYTHON
        if not self.begin(base):
            self.condemn(entry)
            return layout.FOR_PYTHON
        self.clients[client] |= layout.CLIENT_FOLLOWS
        self.emit(layout.EVENT_OPENED, base)
        return layout.OF_OTHERS

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
