"""What the kernel's maps of follow-ups say, and how far they can be trusted: they forget what is not used."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from inspector.record import ENDPOINTS, FLOWS, SERVERS, KernelCounter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from inspector.live.bpf.followups import FollowUpMaps
    from inspector.live.session import Session
    from inspector.outcomes.connection import Flow

_REFRESH_S: Final = 5.0
_PORTS_EVERY: Final = 6
"""Port bits are cleared at every so many refreshes."""

_TRUSTED_S: Final = 60.0
"""Acknowledgments are complete again so long after their map was nearly full."""

_NEARLY_FULL: Final = 0.75
# An endpoint is noted with its first SYN, by a clock that is some milliseconds behind.
_SLACK_NS: Final = 500_000_000

_MAPS: Final = {
    "servers": (KernelCounter.SERVERS_NOTED, SERVERS),
    "endpoints": (KernelCounter.ENDPOINTS_NOTED, ENDPOINTS),
    "acknowledgments": (KernelCounter.FLOWS_NOTED, FLOWS),
}


class KernelView:
    """`Live` of the tracker.

    `used` has the entries of each map, `evicted` how many were forgotten: what was noted and is not there any more. A
    SYN forgets an acknowledgment too, so these count as evicted only while their map is nearly full. `added` is how
    many endpoints were given to the kernel that it did not have.
    """

    def __init__(self, session: Session, maps: FollowUpMaps) -> None:
        self._session = session
        self._maps = maps
        self._due = self._refreshes = 0.0
        self._noted: Mapping[str, int] = {}
        self._full_until = 0.0
        self.added = self._added = 0
        self.used: Mapping[str, int] = dict.fromkeys(_MAPS, 0)
        self.evicted: Counter[str] = Counter(dict.fromkeys(_MAPS, 0))
        self.refresh()

    def name_of(self, interface: int) -> str:
        """Return the name of an interface."""
        return self._session.interface_names.get(interface, str(interface))

    @property
    def has_sides(self) -> bool:
        """Whether there are several interfaces."""
        return len(self._session.interface_names) > 1

    def acknowledged(self, flow: Flow) -> int | None:
        """Return the highest acknowledgment that a client has sent without payload, None where none is kept."""
        found = self._maps.acknowledged((flow.client, flow.client_port), (flow.server, flow.server_port))
        return None if found is None else found[0]

    @property
    def keeps_all(self) -> bool:
        """Whether no acknowledgment was forgotten lately."""
        if time.monotonic() < self._full_until:
            return False
        noted = sum(one[KernelCounter.FLOWS_NOTED] for one in self._session.counters().values())
        most = self.used["acknowledgments"] + noted - self._noted["acknowledgments"]
        return most < FLOWS * _NEARLY_FULL

    def has_recorded(self, address: bytes, port: int, since_ns: int) -> bool:
        """Return whether connections to an endpoint were recorded all the time since then."""
        noted_ns = self._maps.noted_at(address, port)
        return noted_ns is not None and noted_ns <= since_ns + _SLACK_NS

    def refresh(self) -> None:
        """Count the entries, now and then, and clear the bits of ports without an endpoint."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + _REFRESH_S
        self._refreshes += 1
        if self._refreshes % _PORTS_EVERY == 0:
            self._maps.refresh_ports()
        counters = self._session.counters().values()
        noted = {name: sum(one[counter] for one in counters) for name, (counter, _) in _MAPS.items()}
        used = dict(zip(_MAPS, self._maps.used(), strict=True))
        if self._noted:
            self._count(noted, used)
        full = used["acknowledgments"] > FLOWS * _NEARLY_FULL
        self._full_until = now + _TRUSTED_S if full else self._full_until
        self._noted, self.used, self._added = noted, used, self.added

    def _count(self, noted: Mapping[str, int], used: Mapping[str, int]) -> None:
        """Count what was forgotten since the last time."""
        for name, (_, size) in _MAPS.items():
            new = noted[name] - self._noted[name] + (self.added - self._added if name == "endpoints" else 0)
            gone = new - (used[name] - self.used[name])
            if gone > 0 and used[name] > size * _NEARLY_FULL:
                self.evicted[name] += gone
