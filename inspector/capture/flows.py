# cython: boundscheck=True, wraparound=False, initializedcheck=False
"""A bounded table of TCP connections in compiled code, and what is known of clients.

Connections are found by an open-addressing index of (entry, hash) pairs, keyed with a secret. Where there is no room
one goes that was silent since another had to go, as far as a hand that moves over the table tells. Of clients there is
one byte for each hash of an address: two clients of one hash are treated alike, which costs time and no result.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from inspector.capture import layout
from inspector.capture.rows import Rows
from inspector.decode import hints

if TYPE_CHECKING:
    import numpy.typing as npt


class Flows(Rows):
    """Entries are `layout.FLOW_WORDS` words; entry 0 is reserved. `clients` may be those of an earlier run."""

    def __init__(self, flows: int, clients: npt.NDArray[np.uint8] | None, secret: int) -> None:
        Rows.__init__(self)
        places = 1 << (2 * (flows + 2)).bit_length()
        self.entries = np.zeros((flows + 2) * layout.FLOW_WORDS, np.uint64).data
        self.index = np.zeros(2 * places, np.uint32).data
        self.client_flags = np.zeros(layout.CLIENTS, np.uint8) if clients is None else clients
        self.clients = self.client_flags.data
        self.mask = places - 1
        self.secret = secret or int.from_bytes(os.urandom(8), "little") | 1
        self.most = flows
        self.used = self.removed = self.hand = 0

    def flags_of(self, high: int, low: int) -> int:
        """Return the flags of a client, for Python."""
        return int(self.clients[self.client_of(high, low)])

    def flags_of_clients(self, addresses: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
        """Return the flags of several clients, uint64[n, 2]."""
        flags = np.zeros(len(addresses), np.uint8)
        self.addresses = np.ascontiguousarray(addresses).data
        self.found = flags.data
        self.find_flags()
        self.addresses = self.found = None
        return flags

    def find_flags(self) -> int:
        """Do what `flags_of_clients` says."""
        for number in range(self.found.shape[0]):
            self.found[number] = self.clients[self.client_of(self.addresses[number, 0], self.addresses[number, 1])]
        return 0

    def has_flow(self, high: int, low: int, server_high: int, server_low: int, ports: int) -> bool:
        """Return whether a connection of a client is in the table."""
        return self.lookup(high, low, server_high, server_low, ports) != 0

    def mark(self, high: int, low: int, flags: int) -> None:
        """Add flags to a client."""
        self.clients[self.client_of(high, low)] |= flags

    def client_of(self, high: int, low: int) -> int:
        """Return the index of a client."""
        value = hints.mix(hints.mix(self.secret, low, self.secret), high, self.secret)
        return (hints.mix(value, 0, self.secret) >> 32) & (layout.CLIENTS - 1)

    def tag_of(self, one_high: int, one_low: int, other_high: int, other_low: int, ports: int) -> int:
        """Return the hash of a connection; `ports` are in the order of the addresses."""
        return hints.tag_of(self.secret, self.secret, one_high, one_low, other_high, other_low, ports)

    def lookup(self, high: int, low: int, server_high: int, server_low: int, ports: int) -> int:
        """Return the entry of a client's connection, 0 without; `ports` are its own and the server's << 16."""
        tag = self.tag_of(high, low, server_high, server_low, ports)
        at = tag & self.mask
        entry = self.index[2 * at]
        while entry:
            if self.index[2 * at + 1] == tag:
                base = entry * layout.FLOW_WORDS
                if (
                    self.entries[base + layout.FLOW_PORTS] == ports
                    and self.entries[base + layout.FLOW_CLIENT + 1] == low
                    and self.entries[base + layout.FLOW_SERVER + 1] == server_low
                    and self.entries[base + layout.FLOW_CLIENT] == high
                    and self.entries[base + layout.FLOW_SERVER] == server_high
                ):
                    return entry
            at = (at + 1) & self.mask
            entry = self.index[2 * at]
        return 0

    def take(self, high: int, low: int, server_high: int, server_low: int, ports: int) -> int:
        """Return a new entry for a connection; one must have been removed where there is no room."""
        if self.removed:
            entry = self.removed
            self.removed = 0
        else:
            self.used += 1
            entry = self.used
        base = entry * layout.FLOW_WORDS
        for word in range(layout.FLOW_WORDS):
            self.entries[base + word] = 0
        self.entries[base + layout.FLOW_CLIENT] = high
        self.entries[base + layout.FLOW_CLIENT + 1] = low
        self.entries[base + layout.FLOW_SERVER] = server_high
        self.entries[base + layout.FLOW_SERVER + 1] = server_low
        self.entries[base + layout.FLOW_PORTS] = ports
        tag = self.tag_of(high, low, server_high, server_low, ports)
        self.entries[base + layout.FLOW_TAG] = tag
        at = tag & self.mask
        while self.index[2 * at]:
            at = (at + 1) & self.mask
        self.index[2 * at] = entry
        self.index[2 * at + 1] = tag
        return entry

    def remove_oldest(self) -> int:
        """Take an entry that was not touched lately out of the index; `choose` has named it.

        The hole is closed with entries that were pushed past it.
        """
        entry = self.hand
        at = self.entries[entry * layout.FLOW_WORDS + layout.FLOW_TAG] & self.mask
        while self.index[2 * at] != entry:
            at = (at + 1) & self.mask
        following = (at + 1) & self.mask
        while self.index[2 * following]:
            home = self.index[2 * following + 1] & self.mask
            if ((following - home) & self.mask) >= ((following - at) & self.mask):
                self.index[2 * at] = self.index[2 * following]
                self.index[2 * at + 1] = self.index[2 * following + 1]
                at = following
            following = (following + 1) & self.mask
        self.index[2 * at] = 0
        self.removed = entry
        return entry

    def choose(self) -> int:
        """Return the entry to be removed: the next one that was not touched since the hand was there last."""
        while True:
            self.hand = 1 if self.hand >= self.used else self.hand + 1
            base = self.hand * layout.FLOW_WORDS
            if not self.entries[base + layout.FLOW_TOUCHED]:
                return self.hand
            self.entries[base + layout.FLOW_TOUCHED] = 0
