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
from inspector.capture.course import Course

if TYPE_CHECKING:
    import numpy.typing as npt


class Triage(Course):
    """`inspector.capture.scan` reads the segments.

    `everything`: there was no survey, all is for Python. `watched_only`: nothing is but connections given to `watch`.
    `latest` is the latest time so far. What is behind `known_frames` was not surveyed.
    """

    def __init__(self, flows: int, clients: npt.NDArray[np.uint8] | None, secret: int) -> None:
        Course.__init__(self, flows, clients, secret)
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
