"""Two rings, one stream: records of both lanes in time order.

The program stamps a record, then reserves its place; a packet that was caused by another is stamped after that
one's record was complete. So when both rings have been read to the end, every record stamped before the moment
at which reading began is followed only by records it can precede; the newer ones wait for the next reading.
Where a ring could not be read to its end (a record is just being written), the moment of the last full reading
counts instead. No record waits for longer than one full reading: a clock that is set back holds nothing.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final

from inspector.record import record_time

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from inspector.live.ring import Ring

# A record is being written for well under a microsecond, unless its CPU was taken away meanwhile.
_ATTEMPTS: Final = 8


class Lanes:
    """Reads several rings and hands out their records in time order.

    `now` returns the time in the clock of the records, or earlier.
    """

    def __init__(self, rings: Sequence[Ring], now: Callable[[], int]) -> None:
        self._rings = rings
        self._now = now
        self._held: list[list[memoryview]] = [[] for _ in rings]
        self._limit = 0

    @property
    def held(self) -> int:
        """How many records have been read and not yet handed out."""
        return sum(map(len, self._held))

    def read(self) -> list[memoryview]:
        """Return the records that can be handed out now."""
        limit = self._now()
        lanes = []
        complete = True
        for number, ring in enumerate(self._rings):
            records, lane_complete = self._read_ring(ring)
            complete &= lane_complete
            lanes.append((self._held[number], records))
        if complete:
            self._limit = limit
        return self._hand_out(lanes, self._limit, everything_held=complete)

    def read_rest(self) -> list[memoryview]:
        """Return all records there are: for the end, when nothing is submitted any more."""
        lanes = [(held, self._read_ring(ring)[0]) for held, ring in zip(self._held, self._rings, strict=True)]
        return self._hand_out(lanes, (1 << 64) - 1, everything_held=True)

    @staticmethod
    def _read_ring(ring: Ring) -> tuple[list[memoryview], bool]:
        """Read one ring up to where its producer was at the beginning, if a few attempts are enough for that."""
        records, complete = ring.read()
        for _ in range(_ATTEMPTS):
            if complete:
                break
            more, complete = ring.read()
            records += more
        return records, complete

    def _hand_out(
        self, lanes: list[tuple[list[memoryview], list[memoryview]]], limit: int, *, everything_held: bool
    ) -> list[memoryview]:
        if everything_held:
            # Matters only after the clock was set back: what is older than a held record goes before it.
            limit = max([limit, *(record_time(held[-1]) for held, _ in lanes if held)])
        ready = []
        for number, (held, fresh) in enumerate(lanes):
            if everything_held:
                cut = _first_newer(fresh, limit)
                ready.append(held + fresh[:cut])
                self._held[number] = fresh[cut:]
            else:
                records = held + fresh
                cut = _first_newer(records, limit)
                ready.append(records[:cut])
                self._held[number] = records[cut:]
        busy = [records for records in ready if records]
        if len(busy) < 2:
            return busy[0] if busy else []
        return list(heapq.merge(*busy, key=record_time))


def _first_newer(records: list[memoryview], limit: int) -> int:
    """Return where the first record newer than `limit` is; those behind it wait too, to keep the lane's order."""
    for index, record in enumerate(records):
        if record_time(record) > limit:
            return index
    return len(records)
