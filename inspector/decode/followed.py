# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""Which connections are followed to their outcome: a bounded number, chosen before a record is read in Python.

A followed record costs some microseconds, others some nanoseconds. A connection is followed whole or not at all, since
a packet that was left out would look like silence. So its first packet decides, by three quotas: of all connections
that a SYN opens, of those that were not taken by then and talk, and of follow-ups; and each client has its own. What is
not followed is counted in `refused`, once a connection.

A packet that crosses two interfaces, untranslated, comes twice: each direction of a connection is taken where it was
first seen, and from elsewhere only what is new.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import cython
import numpy as np

from inspector.decode import hints, layout
from inspector.decode.buckets import Buckets
from inspector.ordered import count_rows, places_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Block = npt.NDArray[np.uint64]
    Numbers = npt.NDArray[np.int64]

CONNECTIONS: Final = 32_768
"""Entries of the table: connections of the last minute, followed or not."""

RATE: Final = 1_000
"""Connections a second, of each of the three quotas."""

RATE_OF_CLIENT: Final = 200

RECORDS: Final = 6_000
"""Records a second: with what they lead to, they take about a fifth of a processor."""

_MARKS: Final = 1 << 20
_MARKED_NS: Final = 60_000_000_000
_SECOND: Final = 10**9
_BURST: Final = _SECOND // 10
"""How much of their rate the quotas of all clients allow at once: the rings hold what comes meanwhile."""


class Followed(Buckets):
    """The table of connections, by client, its port and server, and the quotas.

    `is_open` is whether more connections may be taken: not while records get lost, or wait in the rings. With
    `with_copies` packets that were seen on another interface before are chosen, too.
    """

    def __init__(self, rate: int = RATE, rate_of_client: int = RATE_OF_CLIENT, records: int = RECORDS) -> None:
        self.entries = np.zeros(CONNECTIONS * layout.FOLLOWED_WORDS, np.int64).data
        self.halves = np.asarray(self.entries).view(np.uint32).data
        self.clients = np.zeros(layout.FOLLOWED_CLIENTS, np.uint64).data
        self.client_times = np.zeros(layout.FOLLOWED_CLIENTS, np.int64).data
        # Of clients, then of all.
        super().__init__(layout.FOLLOWED_BUCKETS + 4)
        self.secret = int.from_bytes(os.urandom(8), "little")
        self.multiplier = int.from_bytes(os.urandom(8), "little") | 1
        self.mask = CONNECTIONS - 1
        # Of connections that were followed within the last two minutes, by client and port: the generation, 1 or 2.
        self.marks = np.zeros(_MARKS, np.uint8).data
        self.marks_mask = _MARKS - 1
        self.marks_until = 0
        self.generation = 1
        self.burst = _BURST
        self.cost = _SECOND // rate
        self.cost_of_client = _SECOND // rate_of_client
        self.cost_of_record = _SECOND // records
        self.chosen = np.zeros(0, np.int64).data
        self.keys = np.zeros(layout.TAGS, np.int64).data
        self.addresses = np.zeros(0, np.int64).data
        self.widths = np.zeros(0, np.int32).data
        self.opened: list[tuple[memoryview, memoryview]] = []
        self.count = self.refused = 0
        self.is_open = True
        self.with_copies = False

    def clear(self) -> None:
        """Forget all connections and clients."""
        np.asarray(self.entries)[...] = 0
        np.asarray(self.clients)[...] = 0

    def select(self, batches: Sequence[Block]) -> Numbers:
        """Return the numbers of the rows that are followed, in order.

        ~number stands for a row whose connection is no longer followed, number + FOLLOWED_COPY for a copy.
        """
        count = count_rows(batches)
        if len(self.chosen) < count:
            self.chosen = np.zeros(2 * count, np.int64).data
        if cython.compiled:
            addresses, widths = places_of(batches)
            self.addresses = addresses.data
            self.widths = widths.data
        else:
            rows = [row for block in batches for row in np.asarray(block)]
            self.opened = [(row.view(np.int64).data, row.view(np.uint32).data) for row in rows]
        self.count = 0
        self.loop(count)
        if self.time >= self.marks_until or self.time < self.marks_until - 2 * _MARKED_NS:
            self.generation = 3 - self.generation
            marks = np.asarray(self.marks)
            marks[marks == self.generation] = 0
            self.marks_until = self.time + _MARKED_NS
        return np.asarray(self.chosen)[: self.count].copy()

    def record_of(self, number: int) -> bytes:
        """Return the record in a row of the batches that were selected from last, while these are valid."""
        if cython.compiled:
            data = cython.cast(cython.p_char, self.addresses[number])
            width = cython.cast(cython.longlong, self.widths[number])
            flags = cython.cast(cython.p_uint, self.addresses[number])[layout.ROW_FLAGS]
            # With the header of a tunnel, where there is one.
            used = cython.cast(cython.longlong, 8 * layout.ROW_PAYLOAD + layout.TUNNEL_BYTES + (flags & 0xFFFF))
            return data[8 : min(used, width)]
        return self.opened[number][0].tobytes()[8:]

    def may_be_followed(self, clients: npt.NDArray[np.uint64], ports: Numbers) -> npt.NDArray[np.bool_]:
        """Return which connections may be followed, by addresses, uint64[n, 2], and ports of clients: most are not."""
        found = np.zeros(len(ports), np.uint8)
        self.find_marks(clients, ports, found.data)
        return found.view(np.bool_)

    def find_marks(self, clients: npt.NDArray[np.uint64], ports: Numbers, found: memoryview) -> None:
        """Write 1 for each connection that may be followed."""
        for number in range(len(ports)):
            at = self.mark_of(
                cython.cast(cython.longlong, clients[number, 0]),
                cython.cast(cython.longlong, clients[number, 1]),
                ports[number],
            )
            if self.marks[at]:
                found[number] = 1

    def are_followed(
        self, clients: npt.NDArray[np.uint64], ports: Numbers, servers: npt.NDArray[np.uint64]
    ) -> npt.NDArray[np.bool_]:
        """Return which connections are followed, by addresses, uint64[n, 2], and ports of clients."""
        found = np.zeros(len(ports), np.uint8)
        self.mark(clients, ports, servers, found.data)
        return found.view(np.bool_)

    def mark(
        self, clients: npt.NDArray[np.uint64], ports: Numbers, servers: npt.NDArray[np.uint64], found: memoryview
    ) -> None:
        """Write 1 for each connection that is followed."""
        for number in range(len(ports)):
            at = self.find(
                self.key_of(
                    cython.cast(cython.longlong, clients[number, 0]),
                    cython.cast(cython.longlong, clients[number, 1]),
                    ports[number],
                    cython.cast(cython.longlong, servers[number, 0]),
                    cython.cast(cython.longlong, servers[number, 1]),
                )
            )
            if at >= 0 and self.entries[at + layout.FOLLOWED_STATE] & layout.FOLLOWED:
                found[number] = 1

    def loop(self, count: int) -> None:
        """Choose rows."""
        for number in range(min(layout.AHEAD, count)):
            self.prepare(number)
        for number in range(count):
            if cython.compiled and number + layout.ROW_AHEAD < count:
                hints.fetch_row(cython.cast(cython.p_uchar, self.addresses[number + layout.ROW_AHEAD]))
            if number + layout.AHEAD < count:
                self.prepare(number + layout.AHEAD)
            self.load(number)
            code = self.choose(self.keys[number & (layout.TAGS - 1)])
            if code:
                self.chosen[self.count] = ~number if code < 0 else number + (layout.FOLLOWED_COPY if code == 2 else 0)
                self.count += 1

    def load(self, number: int) -> None:
        """Point to a row."""
        if cython.compiled:
            self.rows = cython.cast(cython.p_longlong, self.addresses[number])
            self.row_halves = cython.cast(cython.p_uint, self.addresses[number])
        else:
            self.rows, self.row_halves = self.opened[number]

    def prepare(self, number: int) -> None:
        """Hash the client and port of a row that is chosen some rows later, and fetch the entry."""
        self.load(number)
        side = self.row_halves[layout.ROW_FLAGS] >> 24 & layout.FROM_SERVER
        client = layout.ROW_DESTINATION if side else layout.ROW_SOURCE
        server = layout.ROW_SOURCE if side else layout.ROW_DESTINATION
        port = self.row_halves[layout.ROW_PORTS] >> (16 if side else 0) & 0xFFFF
        key = self.key_of(self.rows[client], self.rows[client + 1], port, self.rows[server], self.rows[server + 1])
        self.keys[number & (layout.TAGS - 1)] = key
        if cython.compiled:
            hints.fetch(cython.address(self.entries[((key >> 24) & self.mask) * layout.FOLLOWED_WORDS]))

    def choose(self, key: int) -> int:
        """Return 1 for a row that is followed, 2 for its copy, 0 for another, -1 if its connection no longer is."""
        attributes = self.row_halves[layout.ROW_FLAGS] >> 24
        if attributes & (layout.UDP | layout.ICMP):
            return 1 if attributes & layout.ICMP else 0
        flags = self.row_halves[layout.ROW_FLAGS] >> 16 & 0xFF
        side = attributes & layout.FROM_SERVER
        self.time = self.rows[layout.ROW_TIME]
        if self.time < 0 or self.time > layout.LATEST_TIME:
            self.time = layout.LATEST_TIME
        at = self.find(key)
        unfollowed = cython.cast(cython.int, 0)
        if at >= 0 and self.entries[at + layout.FOLLOWED_STATE] & layout.FOLLOWED:
            unfollowed = -1
        if at < 0 or self.is_undecided(at, flags, side):
            at = self.decide(at, key, flags, side, attributes)
            if at < 0:
                return unfollowed
        state = self.entries[at + layout.FOLLOWED_STATE]
        self.entries[at + layout.FOLLOWED_TIME] = self.time
        if not state & layout.FOLLOWED:
            return unfollowed
        copies = cython.cast(cython.int, 0)
        if not self.is_new(at, flags, side):
            if not self.with_copies:
                return 0
            copies = 1
        if not self.take(layout.FOLLOWED_BUCKETS + 3, self.cost_of_record, self.burst):
            self.refused += 1
            self.entries[at + layout.FOLLOWED_STATE] &= ~layout.FOLLOWED
            return -1
        # A mark lasts for a minute or two, a conversation with a mapper perhaps for hours.
        self.set_mark(side)
        return 1 + copies

    def is_undecided(self, at: int, flags: int, side: int) -> int:
        """Return whether a packet begins another connection in an entry, or one that was not taken by its SYN talks."""
        state = self.entries[at + layout.FOLLOWED_STATE]
        if side:
            return 0
        if flags & (layout.SYN | layout.ACK) == layout.SYN:
            if state & layout.FOLLOWED:
                return 1 if state & layout.FOLLOWED_CLOSED else 0
            return self.time - self.entries[at + layout.FOLLOWED_TIME] > layout.FOLLOWED_LINGER
        if state & layout.FOLLOWED_SYN:
            return 1 if self.row_halves[layout.ROW_LENGTH] else 0
        return 0

    def decide(self, at: int, key: int, flags: int, side: int, attributes: int) -> int:
        """Take or refuse a connection; return its entry, or -1 where it has none."""
        opens = cython.cast(cython.int, 0)
        if side == 0 and flags & (layout.SYN | layout.ACK) == layout.SYN:
            opens = 1
        hashed = self.hash_of_client(side)
        if attributes & layout.ENDPOINT:
            if not flags & layout.SYN or not self.knows(hashed):
                return -1
            quota = layout.FOLLOWED_BUCKETS + 2
        elif opens:
            quota = layout.FOLLOWED_BUCKETS
        elif flags & layout.SYN or self.row_halves[layout.ROW_LENGTH]:
            quota = layout.FOLLOWED_BUCKETS + 1
        else:
            return -1
        if at < 0:
            at = self.place_of(key)
            if at < 0:
                self.refused += 1
                return -1
        else:
            # It was counted when its SYN was refused.
            if self.entries[at + layout.FOLLOWED_STATE] & layout.FOLLOWED_SYN:
                self.refused -= 1
        of_client = cython.cast(cython.longlong, hashed & (layout.FOLLOWED_BUCKETS - 1))
        self.entries[at] = key
        self.entries[at + layout.FOLLOWED_TIME] = self.time
        if (
            self.is_open
            and self.has_room(layout.FOLLOWED_BUCKETS + 3, self.burst // 2)
            and self.has_room(quota, self.burst)
            and self.has_room(of_client, layout.SECOND)
        ):
            self.take(quota, self.cost, self.burst)
            self.take(of_client, self.cost_of_client, layout.SECOND)
            self.entries[at + layout.FOLLOWED_STATE] = layout.FOLLOWED
            self.set_mark(side)
            if not attributes & layout.ENDPOINT:
                self.note_client(hashed)
        else:
            self.entries[at + layout.FOLLOWED_STATE] = layout.FOLLOWED_SYN if opens else 0
            self.refused += 1
        return at

    def is_new(self, at: int, flags: int, side: int) -> bool:
        """Return whether a packet of a followed connection was not seen on another interface; note it."""
        state = self.entries[at + layout.FOLLOWED_STATE]
        half = 2 * at + cython.cast(cython.longlong, layout.FOLLOWED_HALVES) + side
        interface = self.row_halves[layout.ROW_INTERFACE]
        end = cython.cast(cython.longlong, self.row_halves[layout.ROW_SEQUENCE]) + self.row_halves[layout.ROW_LENGTH]
        # A SYN and a FIN count like a byte; bit 1 is SYN's, bit 0 is FIN's.
        end = (end + (flags & layout.FIN) + ((flags & layout.SYN) >> 1)) & layout.LOW
        seen = state >> side & layout.FOLLOWED_SEEN
        ahead = (end - self.halves[half + 2]) & layout.LOW
        if seen == 0:
            self.halves[half] = interface
            self.halves[half + 2] = cython.cast(cython.uint, end)
        elif self.halves[half] != interface:
            if flags & layout.RST:
                if state >> side & layout.FOLLOWED_RESET:
                    return False
            elif ahead == 0 or ahead > layout.HALF:
                return False
        if (ahead != 0 and ahead <= layout.HALF) or flags & layout.SYN:
            self.halves[half + 2] = cython.cast(cython.uint, end)
        state |= layout.FOLLOWED_SEEN << side
        if flags & layout.RST:
            state |= layout.FOLLOWED_RESET << side
        if flags & (layout.RST | layout.FIN):
            state |= layout.FOLLOWED_CLOSED
        self.entries[at + layout.FOLLOWED_STATE] = state
        return True

    def set_mark(self, side: int) -> None:
        """Note that the connection of the row is followed."""
        client = layout.ROW_DESTINATION if side else layout.ROW_SOURCE
        port = self.row_halves[layout.ROW_PORTS] >> (16 if side else 0) & 0xFFFF
        self.marks[self.mark_of(self.rows[client], self.rows[client + 1], port)] = self.generation

    def mark_of(self, high: int, low: int, port: int) -> int:
        """Return where the mark of a client's port is."""
        value = hints.mix(hints.mix(self.secret, high, self.multiplier), low, self.multiplier)
        return cython.cast(cython.longlong, hints.mix(value, port, self.multiplier) >> 40) & self.marks_mask

    def key_of(self, high: int, low: int, port: int, server_high: int, server_low: int) -> int:
        """Return the hash of a client's address and port and of a server's address, never 0."""
        value = hints.mix(hints.mix(self.secret, high, self.multiplier), low, self.multiplier)
        value = hints.mix(hints.mix(value, server_high, self.multiplier), server_low, self.multiplier)
        # As the signed number that an entry holds.
        value = hints.mix(value, port, self.multiplier) >> 1
        return cython.cast(cython.longlong, value | 1)

    def hash_of_client(self, side: int) -> int:
        """Return the hash of a client; the addresses of one IPv6 /64 are one client, since its owner has them all."""
        client = layout.ROW_DESTINATION if side else layout.ROW_SOURCE
        value = hints.mix(self.secret, self.rows[client], self.multiplier)
        if self.rows[client] == 0:
            value = hints.mix(value, self.rows[client + 1], self.multiplier)
        return hints.mix(value, 1, self.multiplier)

    def find(self, key: int) -> int:
        """Return where the entry of a connection starts, or -1."""
        first = key >> 24
        for probe in range(layout.FOLLOWED_PROBES):
            at = ((first + probe) & self.mask) * layout.FOLLOWED_WORDS
            if self.entries[at] == key:
                return at
        return -1

    def place_of(self, key: int) -> int:
        """Return where a connection may have its entry, or -1: one that is followed keeps its own while it may talk."""
        first = key >> 24
        found = cython.cast(cython.longlong, -1)
        oldest = self.time + 1
        for probe in range(layout.FOLLOWED_PROBES):
            at = ((first + probe) & self.mask) * layout.FOLLOWED_WORDS
            if self.entries[at] == 0:
                return at
            state = self.entries[at + layout.FOLLOWED_STATE]
            time = self.entries[at + layout.FOLLOWED_TIME]
            if state & layout.FOLLOWED:
                kept = layout.FOLLOWED_LINGER if state & layout.FOLLOWED_CLOSED else layout.FOLLOWED_IDLE
                if time <= self.time and self.time - time <= kept:
                    continue
            if found < 0 or time < oldest:
                found = at
                oldest = time
        return found

    def knows(self, hashed: int) -> bool:
        """Return whether a client has a connection that was followed."""
        first = hashed >> 20 & (layout.FOLLOWED_CLIENTS - 4)
        for way in range(4):  # noqa: SIM110 - in C
            if self.clients[first + way] == hashed:
                return True
        return False

    def note_client(self, hashed: int) -> None:
        """Note a client, in the place of the one of its set that was noted first."""
        first = cython.cast(cython.longlong, hashed >> 20 & (layout.FOLLOWED_CLIENTS - 4))
        found = first
        for way in range(4):
            if self.clients[first + way] == hashed:
                found = first + way
                break
            if self.client_times[first + way] < self.client_times[found]:
                found = first + way
        self.clients[found] = hashed
        self.client_times[found] = self.time
