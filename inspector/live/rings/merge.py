"""Several rings, one stream: records of all lanes in time order, as blocks.

The program takes the time, then reserves the entry, and lets the packet go on after the record is complete. So a
packet that another one caused has a later time, and its cause is complete by then. A reading begins at a time L. If all
rings are read to their ends, a record up to L that was not seen belongs to a packet that has caused nothing yet.
Records up to L are handed out, and later ones wait for the next reading. Where a ring could not be read to its end (a
record is being written), L of the last full reading counts. No record waits longer than one full reading, also after
the clock was set back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from inspector.live.rings.percpu import ENTRY_BYTES
from inspector.ordered import OrderedRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from inspector.live.rings.readers import Reader
    from inspector.live.rings.ringbuf import Block, Entries, Times

# Writing a record takes well under a microsecond, unless its (virtual) CPU is preempted.
_ATTEMPTS: Final = 8


class Lanes:
    """Reads several rings and hands out their records in time order.

    `now` returns the time in the clock of the records, or earlier. Of what `read` returned nothing may be used
    after the next `read` or `give_back`.
    """

    def __init__(self, rings: Sequence[Reader], now: Callable[[], int]) -> None:
        self._rings = rings
        self._now = now
        # By ring: records that a full reading saw and that were too new; bytes that were handed out.
        self._held = [0] * len(rings)
        self._given = [0] * len(rings)
        self._limit = 0

    @property
    def held(self) -> int:
        """How many records have been seen and not yet handed out."""
        return sum(self._held)

    def read(self) -> Sequence[Block]:
        """Return the records that can be handed out now: none, or an `OrderedRows`."""
        self.give_back()
        limit = self._now()
        lanes = [self._look(ring) for ring in self._rings]
        complete = all(entries.complete for entries in lanes)
        if complete:
            self._limit = limit
        return self._hand_out(lanes, self._limit, everything_held=complete)

    def read_rest(self) -> Sequence[Block]:
        """Return all remaining records; for the end, after the program was detached."""
        self.give_back()
        return self._hand_out([self._look(ring) for ring in self._rings], (1 << 63) - 1, everything_held=True)

    def give_back(self) -> None:
        """Free the room of the records that were handed out."""
        for number, ring in enumerate(self._rings):
            if self._given[number]:
                ring.give_back(self._given[number])
                self._given[number] = 0

    @staticmethod
    def _look(ring: Reader) -> Entries:
        """Return the entries of a ring; try again, a few times, while one is being written."""
        entries = ring.look()
        for _ in range(_ATTEMPTS):
            if entries.complete:
                break
            entries = ring.look()
        return entries

    def _hand_out(self, lanes: list[Entries], limit: int, *, everything_held: bool) -> Sequence[Block]:
        held = self._held if everything_held else [0] * len(lanes)
        # After the clock was set back: never hand out a record before an older one that is held.
        newest_held = [int(entries.times[count - 1]) for entries, count in zip(lanes, held, strict=True) if count]
        limit = max([limit, *newest_held])
        counts = [
            count + _first_newer(entries.times[count:], limit) for entries, count in zip(lanes, held, strict=True)
        ]
        for number, (entries, count) in enumerate(zip(lanes, counts, strict=True)):
            self._held[number] = len(entries) - count
            self._given[number] = entries.bytes_before(count)
        return _ordered([(entries, count) for entries, count in zip(lanes, counts, strict=True) if count])


def _first_newer(times: Times, limit: int) -> int:
    """Return where the first record newer than `limit` is; those behind it wait too, to keep the lane's order."""
    newer = times > limit
    return int(newer.argmax()) if newer.any() else len(times)


def _ordered(lanes: list[tuple[Entries, int]]) -> Sequence[Block]:
    """Return the first records of each lane, as many as it says, in the order of time; a lane keeps its own order."""
    if not lanes:
        return []
    addresses, widths, times = (
        np.concatenate([fields[:count] for fields, (_, count) in zip(of_lanes, lanes, strict=True)])
        for of_lanes in zip(*((entries.addresses, entries.widths, entries.times) for entries, _ in lanes), strict=True)
    )
    never_back = np.concatenate([np.maximum.accumulate(entries.times[:count]) for entries, count in lanes])
    order = np.argsort(never_back, kind="stable")
    return OrderedRows(addresses[order], widths[order], times[order], lambda: list(_merge(lanes)))


class _Stream(NamedTuple):
    """Records in order: `times`, ascending, and `blocks(first, end)`, the records of these numbers."""

    times: Times
    blocks: Callable[[int, int], list[Block]]


def _stream_of(entries: Entries, count: int) -> _Stream:
    return _Stream(np.maximum.accumulate(entries.times[:count]), entries.blocks)


def _join(streams: list[_Stream]) -> _Stream:
    """Return one stream of several whose records have all one size; they are copied."""
    times = np.concatenate([stream.times for stream in streams])
    rows = np.concatenate([block for stream in streams for block in stream.blocks(0, len(stream.times))])
    order = np.argsort(times, kind="stable")
    joined = np.take(rows, order, axis=0)
    return _Stream(times[order], lambda first, end: [joined[first:end]])


def _merge(lanes: list[tuple[Entries, int]]) -> Iterator[Block]:
    """Yield the first records of each lane, as many as it says, in the order of time; a lane keeps its own order.

    Where several lanes have records of one and the same size, these come as few blocks and not as many.
    """
    alike = [_stream_of(entries, count) for entries, count in lanes if entries.width == ENTRY_BYTES]
    streams = [_stream_of(entries, count) for entries, count in lanes if entries.width != ENTRY_BYTES]
    if alike:
        streams.append(alike[0] if len(alike) == 1 else _join(alike))
    if len(streams) < 2:
        for stream in streams:
            yield from stream.blocks(0, len(stream.times))
        return
    owners = np.repeat(np.arange(len(streams)), [len(stream.times) for stream in streams])
    owners = owners[np.argsort(np.concatenate([stream.times for stream in streams]), kind="stable")]
    starts = np.flatnonzero(np.diff(owners, prepend=-1))
    taken = [0] * len(streams)
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(owners)], strict=True):
        owner = int(owners[start])
        yield from streams[owner].blocks(taken[owner], taken[owner] + end - start)
        taken[owner] += end - start
