"""The interfaces of a running inspection, compared with each other while conversations pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from inspector.outcomes.sides import Ties, tie
from inspector.outcomes.sightings import Sightings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Mapping
    from ipaddress import IPv6Network

    from inspector.outcomes.sides import Sight
    from inspector.wire.headers import Header

_EVERY_NS: Final = 400_000_000
_KEPT_NS: Final = 3_000_000_000
"""A conversation is compared for so long after its last packet."""

_CONVERSATIONS: Final = 2_048
_SERVERS: Final = 64
_TIES: Final = 8_192

_Key = TypeVar("_Key", bound="Hashable")
_Value = TypeVar("_Value")


class LiveSides:
    """Takes the packets of each interface; `ties` are kept up to date, and bounded: the oldest go first.

    They are compared again from `due_ns` on.
    """

    def __init__(
        self, ports: Collection[int], prefixes: tuple[IPv6Network, ...], name_of: Callable[[int], str]
    ) -> None:
        self._ports = ports
        self._prefixes = prefixes
        self._name_of = name_of
        self._sides: dict[str, Sightings] = {}
        self.due_ns = 0
        self._repeated: dict[Sight, None] = {}
        self.ties = Ties(repeated=self._repeated)

    def __len__(self) -> int:
        """Return how many conversations are held."""
        return sum(map(len, self._sides.values()))

    def take(self, header: Header) -> None:
        """Take a packet."""
        name = self._name_of(header.interface)
        side = self._sides.get(name)
        if side is None:
            side = self._sides[name] = Sightings(name, self._ports, _CONVERSATIONS)
        side.take(header)

    def refresh(self, now_ns: int) -> None:
        """Compare the sides, now and then."""
        if now_ns < self.due_ns or len(self._sides) < 2:
            return
        self.due_ns = now_ns + _EVERY_NS
        for side in self._sides.values():
            side.forget_before(now_ns - _KEPT_NS)
            side.last_ns = max(side.last_ns, now_ns)
        found = tie(list(self._sides.values()), self._prefixes, together=True, now_ns=now_ns)
        for asked, servers in found.learned.items():
            known = list(dict.fromkeys((*self.ties.learned.get(asked, ()), *servers)))
            _keep(self.ties.learned, {asked: tuple(known[-_SERVERS:])})
        _keep(self.ties.dropped, found.dropped)
        for sight in found.shown:
            # Before its answer was dropped it was the other side that showed more.
            self._repeated.pop(sight, None)
        _keep(self._repeated, dict.fromkeys(found.repeated))
        _keep(self.ties.over_nat64, found.over_nat64)

    def clear(self) -> None:
        """Forget all conversations: packets were lost."""
        self._sides.clear()


def _keep(table: dict[_Key, _Value], more: Mapping[_Key, _Value]) -> None:
    """Put entries at the end of a table of a fixed size."""
    for key, value in more.items():
        table.pop(key, None)
        table[key] = value
        if len(table) > _TIES:
            del table[next(iter(table))]
