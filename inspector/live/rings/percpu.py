"""The per-CPU rings, on machines that keep the order of stores (bpf/epm_lanes.h); "lane" is the ring of one CPU.

A lane is an array of entries of one size, and two counters. Only the program on this CPU writes entries and `reserved`;
only the reader writes `consumed`. Nothing is copied: blocks are views of the entries, valid until `give_back`.

Memory order: the program writes a record, then its mark. The reader reads marks, then records, then writes `consumed`.
x86-64 keeps each of these orders by itself; docs/architecture.md has the argument.
"""

from __future__ import annotations

import contextlib
import mmap
from typing import TYPE_CHECKING, Final

import numpy as np

from inspector.live.rings.ringbuf import Entries, Run, count_like
from inspector.record import COMPACT_ENTRY_DTYPE, DISCARDED, LANE_DTYPE, lane_offset

if TYPE_CHECKING:
    from collections.abc import Iterable

ENTRY_BYTES: Final = COMPACT_ENTRY_DTYPE.itemsize
_ENTRY_WORDS: Final = ENTRY_BYTES // 8
_LANE_WORDS: Final = LANE_DTYPE.itemsize // 8
_RESERVED, _CONSUMED, _WAITING = (lane_offset(name) // 8 for name in ("reserved", "consumed", "waiting"))


class Lane:
    """The ring of one CPU, with the methods of `inspector.live.rings.ringbuf.Ring`; made by `open_lanes`."""

    def __init__(self, state: memoryview, pages: mmap.mmap, number: int, size: int) -> None:
        self.size = size
        self._state = state
        self._pages = pages
        self._entries = size // ENTRY_BYTES
        self._words = np.frombuffer(pages, np.uint64, size // 8, number * size)

    def used(self) -> int:
        """Return the bytes of entries that are reserved and not yet freed."""
        # The consumer's counter first: it never passes the producer's.
        consumed = self._state[_CONSUMED]
        return (self._state[_RESERVED] - consumed) * ENTRY_BYTES

    def look(self) -> Entries:
        """Return the complete records; they stay in the ring until `give_back`."""
        at = first = self._state[_CONSUMED]
        end = self._state[_RESERVED]
        runs = []
        while at < end:
            place = at % self._entries
            mark = (at // self._entries + 1) % DISCARDED
            found = int(self._words[place * _ENTRY_WORDS]) & 0xFFFFFFFF
            if found == mark | DISCARDED:
                at += 1
                continue
            if found != mark:
                break
            most = min(end - at, self._entries - place)
            count = count_like(self._words, mark, place * _ENTRY_WORDS, _ENTRY_WORDS, most)
            runs.append(Run((at - first) * ENTRY_BYTES, place * _ENTRY_WORDS, count, ENTRY_BYTES))
            at += count
        return Entries(self._words, runs, (at - first) * ENTRY_BYTES, complete=at == end)

    def give_back(self, count: int) -> None:
        """Free the next `count` bytes of the ring, a multiple of an entry (see `Entries.bytes_before`)."""
        self._state[_CONSUMED] += count // ENTRY_BYTES

    def skip(self) -> None:
        """Free all entries unread; only while the kernel program does not run."""
        self._state[_CONSUMED] = self._state[_RESERVED]

    def set_waiting(self, *, waiting: bool) -> None:
        """Ask the kernel program for a wake-up at its next record on this CPU, or cancel that."""
        self._state[_WAITING] = int(waiting)

    def close(self) -> None:
        """Unmap the pages; pages under numpy views that still exist are unmapped with the views."""
        self._state.release()
        del self._words
        with contextlib.suppress(BufferError):
            self._pages.close()


def open_lanes(lanes_fd: int, entries_fd: int, count: int, size: int) -> list[Lane]:
    """Return the lanes of that many processors, of `size` bytes each; the maps' descriptors are the caller's."""
    states = memoryview(mmap.mmap(lanes_fd, count * LANE_DTYPE.itemsize)).cast("Q")
    pages = mmap.mmap(entries_fd, count * size, mmap.MAP_SHARED, mmap.PROT_READ)
    return [
        Lane(states[number * _LANE_WORDS : (number + 1) * _LANE_WORDS], pages, number, size) for number in range(count)
    ]


def set_waiting(lanes: Iterable[Lane], *, waiting: bool) -> None:
    """Do as `Lane.set_waiting` for each."""
    for lane in lanes:
        lane.set_waiting(waiting=waiting)
