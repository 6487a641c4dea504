"""Two rings become one stream in time order, whatever moment the reading hits. No kernel needed: rings are lists."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, cast

import numpy as np
import pytest

from inspector.live.rings.merge import Lanes
from inspector.live.rings.ringbuf import Entries, Run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from inspector.live.rings.ringbuf import Block, Ring

ENTRY: Final = 16


class FakeRing:
    """A ring of records which have a time and nothing else; `busy` hides everything from that place on."""

    def __init__(self, on_look: Callable[[], None] = lambda: None) -> None:
        self.waiting: list[int] = []
        self.busy: int | None = None
        self.on_look = on_look

    def look(self) -> Entries:
        """Return what can be read, and whether that was all."""
        end = len(self.waiting) if self.busy is None else self.busy
        words = np.array([[0, time_ns] for time_ns in self.waiting[:end]], np.uint64).reshape(-1)
        runs = [Run(0, 0, end, ENTRY)] if end else []
        entries = Entries(words, runs, end * ENTRY, complete=self.busy is None)
        self.on_look()
        return entries

    def give_back(self, count: int) -> None:
        """Forget the first records."""
        del self.waiting[: count // ENTRY]


def lanes_of(*rings: FakeRing, now: Callable[[], int]) -> Lanes:
    """Return the lanes of fake rings."""
    return Lanes(cast("list[Ring]", list(rings)), now)


def times(blocks: Sequence[Block]) -> list[int]:
    """Return the times of the records of blocks."""
    return [int(row[1]) for block in blocks for row in block]


def test_lanes_are_merged_by_time() -> None:
    """Records of both lanes come out in the order of their times."""
    first, second = FakeRing(), FakeRing()
    first.waiting = [1, 4, 5]
    second.waiting = [2, 3, 6]
    assert times(lanes_of(first, second, now=lambda: 10).read()) == [1, 2, 3, 4, 5, 6]


def test_cause_in_a_lane_already_read_comes_before_its_effect() -> None:
    """A request lands in the first lane just after that was read, its answer in the second: the answer waits."""
    first, second = FakeRing(), FakeRing()

    def traffic_goes_on() -> None:
        if not second.waiting and not first.waiting:
            first.waiting = [11]
            second.waiting = [12]

    first.on_look = traffic_goes_on
    lanes = lanes_of(first, second, now=lambda: 10)
    assert times(lanes.read()) == []
    assert lanes.held == 1
    first.on_look = lambda: None
    assert times(lanes.read()) == [11, 12]
    assert lanes.held == 0


def test_record_being_written_holds_back_what_came_after() -> None:
    """While a record is half written, nothing newer than the last full reading is handed out of the other lane."""
    first, second = FakeRing(), FakeRing()
    clock = [10]
    lanes = lanes_of(first, second, now=lambda: clock[0])
    assert lanes.read() == []
    first.waiting, first.busy = [12], 0
    second.waiting = [9, 13]
    clock[0] = 20
    assert times(lanes.read()) == [9]
    first.busy = None
    assert times(lanes.read()) == [12, 13]


def test_clock_set_back_holds_nothing_for_long() -> None:
    """Records stamped before the clock was set back go with the next full reading."""
    ring = FakeRing()
    ring.waiting = [1000, 1001]
    lanes = lanes_of(ring, FakeRing(), now=lambda: 10)
    assert lanes.read() == []
    assert times(lanes.read()) == [1000, 1001]


def test_lane_keeps_its_own_order() -> None:
    """Two processors may stamp in one order and reserve in the other: the ring's order stands."""
    ring = FakeRing()
    ring.waiting = [5, 4, 6]
    assert times(lanes_of(ring, FakeRing(), now=lambda: 10).read()) == [5, 4, 6]


def test_rest_is_everything() -> None:
    """At the end all records come, also those held back."""
    first, second = FakeRing(), FakeRing()
    first.waiting = [100]
    lanes = lanes_of(first, second, now=lambda: 10)
    assert lanes.read() == []
    second.waiting = [99, 200]
    assert times(lanes.read_rest()) == [99, 100, 200]
    assert lanes.held == 0


@pytest.mark.parametrize("seed", range(20))
def test_every_interleaving_comes_out_in_order(seed: int) -> None:
    """One processor submits to either lane between any two steps of the reader: all come, in order, once."""
    choose = random.Random(seed)  # noqa: S311 - reproducible, not secret
    first, second = FakeRing(), FakeRing()
    clock = [0]

    def traffic() -> None:
        for _ in range(choose.randrange(4)):
            clock[0] += 1
            choose.choice((first, second)).waiting.append(clock[0])

    first.on_look = second.on_look = traffic
    lanes = lanes_of(first, second, now=lambda: clock[0])
    seen: list[int] = []
    for _ in range(300):
        seen += times(lanes.read())
    first.on_look = second.on_look = lambda: None
    seen += times(lanes.read_rest())
    assert seen == list(range(1, clock[0] + 1))
