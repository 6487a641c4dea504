"""Rows that say the same, of different times: the first is shown, the others are counted, for a terminal only."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from inspector.model import OfferedEndpoint, Verdict

LISTED: Final = 8
"""Rows of one answer that are shown at most."""

_KNOWN: Final = 4096


class Folding:
    """Counts rows by what they say; bounded: when too many different ones were shown, they are all shown again."""

    def __init__(self) -> None:
        self._counts: dict[Hashable, int] = {}
        self._last: dict[Hashable, str] = {}

    def is_new(self, key: Hashable, time: str) -> bool:
        """Return whether a row is to be shown; count one that was."""
        count = self._counts.get(key, 0)
        if not count and len(self._counts) >= _KNOWN:
            return True
        self._counts[key] = count + 1
        self._last[key] = time
        return not count

    def take(self) -> Iterator[tuple[Hashable, int, str]]:
        """Yield what was said more than once: how often again, and when the last time; begin from nothing."""
        repeated = [(key, count - 1, self._last[key]) for key, count in self._counts.items() if count > 1]
        self._counts.clear()
        self._last.clear()
        yield from sorted(repeated, key=lambda one: -one[1])


def shown_of(mappings: Sequence[OfferedEndpoint], worst: Verdict) -> tuple[list[OfferedEndpoint], str]:
    """Return the mappings of a listing to be shown, those of its verdict first, and a line on the others."""
    if len(mappings) <= LISTED:
        return list(mappings), ""
    ordered = sorted(mappings, key=lambda one: one.verdict is not worst)
    kept = ordered[:LISTED]
    counts = Counter(str(one.verdict) for one in ordered[LISTED:])
    words = ", ".join(f"{count} {word}" for word, count in counts.most_common())
    return kept, f"... and {len(mappings) - LISTED} more of this answer: {words}"
