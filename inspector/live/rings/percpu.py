"""The compact ring on machines that keep the order of stores: a lane for each processor (bpf/epm_lanes.h).

A lane is an array of entries of one size, which only its processor fills, and two counters: `reserved` is the
processor's, `consumed` the reader's. Nothing is copied: what is handed out are the entries themselves, and stays valid
until it is given back.

Memory order: a processor writes a record, then its mark; the reader reads marks, then records, then gives them
back. x86-64 keeps the order of each of these by itself; the compiled loops here have no reason to change theirs.
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
    """One processor's, with the methods of `inspector.live.rings.ringbuf.Ring`; made by `open_lanes`."""

    def __init__(self, state: memoryview, pages: mmap.mmap, number: int, size: int) -> None:
        self.size = size
        self._state = state
        self._pages = pages
        self._entries = size // ENTRY_BYTES
        self._words = np.frombuffer(pages, np.uint64, size // 8, number * size)

    def used(self) -> int:
        """Return the bytes which the reader has not given back."""
        # The consumer's counter first: it never passes the producer's.
        consumed = self._state[_CONSUMED]
        return (self._state[_RESERVED] - consumed) * ENTRY_BYTES

    def look(self) -> Entries:
        """Return the complete records which are there; they stay in the lane until `give_back`."""
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
        """Free the next `count` bytes of the lane, up to where an entry ends (see `Entries.bytes_before`)."""
        self._state[_CONSUMED] += count // ENTRY_BYTES

    def skip(self) -> None:
        """Give everything back unread; only while nobody submits."""
        self._state[_CONSUMED] = self._state[_RESERVED]

    def set_waiting(self, *, waiting: bool) -> None:
        """Ask the processor for a wake-up with its next record, or take that back."""
        self._state[_WAITING] = int(waiting)

    def close(self) -> None:
        """Let the pages go; those of blocks which somebody still holds when these are let go."""
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
