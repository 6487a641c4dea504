"""Records of a mix as `attach` reads them, without a kernel: the rings' pages in memory, merged by the same code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from inspector.live.rings.merge import Lanes
from inspector.live.rings.ringbuf import Entries, Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inspector.live.rings.ringbuf import Block
    from inspector.record import KernelCounter
    from tests.bench.mix import Mix

_WORD: Final = 8
_LEAST_TURNS: Final = 20
_TIME_WORD: Final = 1
TURN: Final = 10_000
"""Records of one reading: what comes within the 2 ms for which a session lets them gather, at 5 million a second."""


class MemoryRing:
    """Pages of entries of one size, uint64[n, words], with what a reader uses of `inspector.live.rings.ringbuf.Ring`.

    Only records up to the time `until_ns` are visible.
    """

    def __init__(self, rows: Block) -> None:
        self.size = rows.nbytes
        self.until_ns = 0
        self._words = rows.reshape(-1)
        self._width = rows.shape[1]
        self._times = np.ascontiguousarray(rows[:, _TIME_WORD])
        self._consumed = 0

    def look(self) -> Entries:
        """Return the visible entries which have not been given back."""
        # A Python integer would make floats of all times.
        count = int(np.searchsorted(self._times, np.uint64(self.until_ns), side="right")) - self._consumed
        entry = self._width * _WORD
        runs = [Run(0, self._consumed * self._width, count, entry)] if count else []
        return Entries(self._words, runs, count * entry, complete=True)

    def give_back(self, count: int) -> None:
        """Free so many bytes."""
        self._consumed += count // (self._width * _WORD)


class MemorySource:
    """A source for `tests.bench.consumer.Consumer`: each `poll` brings the next `TURN` records of a mix.

    Of a small mix it brings a twentieth. For `together` see `Mix.rings`.
    """

    losing = False

    def __init__(self, mix: Mix, *, together: bool = False) -> None:
        self._rings = [MemoryRing(rows) for rows in mix.rings(together=together)]
        times = np.sort(np.concatenate([ring._times for ring in self._rings]))
        turn = min(TURN, -(-len(times) // _LEAST_TURNS))
        self._turns = [*times[turn - 1 :: turn].tolist(), int(times[-1])]
        self.restart()

    def restart(self) -> None:
        """Begin with the first record again."""
        for ring in self._rings:
            ring.until_ns = ring._consumed = 0
        # They stand for the kernel's.
        self._lanes = Lanes(self._rings, lambda: self._rings[0].until_ns)  # type: ignore[arg-type]
        self._next = 0

    def poll(self, _timeout_s: float = 0) -> Sequence[Block]:
        """Return the records of the next turn, none at the end; valid until the next call."""
        if self._next == len(self._turns):
            return []
        for ring in self._rings:
            ring.until_ns = self._turns[self._next]
        self._next += 1
        return self._lanes.read()

    def drain(self) -> list[Block]:
        """Return nothing: all records come with `poll`."""
        return []

    def counters(self) -> dict[str, dict[KernelCounter, int]]:
        """Return no counters: there is no kernel program."""
        return {}

    def ring_usage(self) -> tuple[int, int]:
        """Return used bytes and size of the rings."""
        return 0, sum(ring.size for ring in self._rings)
