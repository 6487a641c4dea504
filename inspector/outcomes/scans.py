"""Scanners: clients that try many addresses at port 135 and find nobody there.

A client that is hurt sends its SYN again and again to the same few servers; one that sends a SYN or two to each of many
addresses looks for servers. Each of its attempts as a finding of its own would bury what hurts.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

WINDOW_NS: Final = 60_000_000_000
"""Addresses that were tried longer ago do not count."""
ADDRESSES: Final = 5
"""From so many addresses without an answer on it is a scan."""
PATIENT: Final = 3
"""A client that sent so many SYNs to one address waits for that one."""
_KEPT: Final = 64


class Scans:
    """Which addresses each client tried in vain, at most `most` clients: the one that was silent for longest goes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._clients: OrderedDict[bytes, OrderedDict[bytes, int]] = OrderedDict()
        self._told: OrderedDict[bytes, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._clients) + sum(map(len, self._clients.values())) + len(self._told)

    def try_address(self, client: bytes, server: bytes, now_ns: int) -> None:
        """Note a SYN to an address."""
        tried = self._clients.setdefault(client, OrderedDict())
        self._clients.move_to_end(client)
        tried[server] = now_ns
        tried.move_to_end(server)
        while len(tried) > _KEPT or next(iter(tried.values())) < now_ns - WINDOW_NS:
            tried.popitem(last=False)
        if len(self._clients) > self._most:
            self._clients.popitem(last=False)

    def answered(self, client: bytes, server: bytes) -> None:
        """Note that an address accepted the connection."""
        tried = self._clients.get(client)
        if tried is not None:
            tried.pop(server, None)
            if not tried:
                del self._clients[client]

    def tried(self, client: bytes) -> int:
        """Return how many addresses a scanner tried in vain lately; 0 for a client that is none."""
        count = len(self._clients.get(client, ()))
        return count if count >= ADDRESSES else 0

    def is_news(self, client: bytes) -> bool:
        """Return whether a scanner was not told of; it is from now on."""
        if client in self._told:
            return False
        self._told[client] = None
        if len(self._told) > self._most:
            self._told.popitem(last=False)
        return True
