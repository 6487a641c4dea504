"""What was seen of a capture file beside its records: the time of the latest packet, and what packets were in."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(slots=True)
class Seen:
    """Packets by what was taken off them, by what cannot be read, and by tunnels which were not to be entered."""

    taken_off: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)
    tunnels: Counter[str] = field(default_factory=Counter)
    latest_ns: int = 0

    @property
    def not_looked_into(self) -> Counter[str]:
        """Packets in which there may be more than was read."""
        return self.unread + self.tunnels

    def notes(self) -> Iterator[str]:
        """Yield a line on what was not looked into."""
        if self.tunnels:
            yield f"not looked into: packets in tunnels ({_list(self.tunnels)}); read it with --tunnels"
        if self.unread:
            yield f"not looked into: packets that cannot be read ({_list(self.unread)})"


def sum_seen(seen: Iterable[Seen]) -> Seen:
    """Return the counts of several files."""
    total = Seen()
    for one in seen:
        total.taken_off.update(one.taken_off)
        total.unread.update(one.unread)
        total.tunnels.update(one.tunnels)
    return total


def _list(counts: Counter[str]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in sorted(counts.items()))
