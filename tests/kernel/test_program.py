"""The kernel program as a function, by the kernel's test call: packet in; the same packet, record, counters out."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest

from inspector.live.bpf.loader import TC_PROGRAM, XDP_PROGRAM
from inspector.record import (
    BULK_LARGE_PAYLOAD,
    BULK_MEDIUM_PAYLOAD,
    BULK_SMALL_PAYLOAD,
    COMPACT_PAYLOAD,
    LOSS_REASONS,
    KernelCounter,
    unpack_record,
)
from tests.kernel import frames
from tests.kernel.frames import CLASS_BORDERS, EPM, FRAMES
from tests.kernel.harness import FOLLOW_UP_COUNTERS, GOES_ON, LOOPBACK, Harness, expected, without_time

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("bpf")]

CLASSES = (COMPACT_PAYLOAD, BULK_SMALL_PAYLOAD, BULK_MEDIUM_PAYLOAD, BULK_LARGE_PAYLOAD)
BOTH = pytest.mark.parametrize("name", [XDP_PROGRAM, TC_PROGRAM])


@pytest.fixture(scope="module")
def harness(bpf: None) -> Iterator[Harness]:  # noqa: ARG001 - asks for BPF before anything is loaded
    """Load both programs."""
    with Harness() as loaded:
        yield loaded


def check(harness: Harness, name: str, frame: bytes) -> None:
    """Run a frame and compare everything with what the Python reader says of it."""
    outcome = harness.run(name, frame)
    records, counted = expected(frame)
    assert outcome.retval == GOES_ON[name]
    assert outcome.packet == frame
    assert [without_time(record) for record in outcome.records] == records
    assert outcome.counted == counted


@BOTH
@pytest.mark.parametrize("kind", FRAMES)
def test_frames(harness: Harness, name: str, kind: str) -> None:
    """Each kind of frame: passed on unchanged, recorded and counted as the Python reader would."""
    check(harness, name, FRAMES[kind])


def test_table_reaches_every_outcome() -> None:
    """The table holds frames for each thing that can become of a frame, so that none goes untested."""
    outcomes = {frozenset(expected(frame)[1]) for frame in FRAMES.values()}
    assert {counter for outcome in outcomes for counter in outcome} >= set(KernelCounter) - FOLLOW_UP_COUNTERS - set(
        LOSS_REASONS
    )
    assert frozenset() in outcomes


@pytest.mark.parametrize(
    "kind",
    [
        "response",
        "service vlan",
        "ipv4 options",
        "tcp options",
        "ipv6 8 kinds",
        "ipv6 option then fragment",
        "udp answer",
        "udp ipv6, extensions",
    ],
)
def test_truncated_at_every_byte(harness: Harness, kind: str) -> None:
    """A frame cut anywhere (a test run takes 14 bytes at least) is read up to there, as in Python."""
    frame = FRAMES[kind]
    for length in range(14, len(frame)):
        check(harness, XDP_PROGRAM, frame[:length])


@pytest.mark.parametrize("length", CLASS_BORDERS)
def test_size_classes(harness: Harness, length: int) -> None:
    """Payloads around each border of the size classes are copied whole, also from packets of many buffers."""
    check(harness, XDP_PROGRAM, frames.sized(length))
    room = harness.run(XDP_PROGRAM, frames.sized(length)).ring_bytes
    # An entry's own header is 8 bytes, the record's 72.
    assert room == next(
        (80 + size, 0) if size == COMPACT_PAYLOAD else (0, 80 + size) for size in CLASSES if length <= size
    ) or (length, room) == (0, (0, 0))


@pytest.mark.parametrize("length", [length for length in CLASS_BORDERS if length < 3000])
def test_size_classes_on_tc(harness: Harness, length: int) -> None:
    """The same on tc, as far as the kernel's test call makes socket buffers (one page)."""
    check(harness, TC_PROGRAM, frames.sized(length))


def test_more_than_the_largest_class(harness: Harness) -> None:
    """A packet longer than the largest record is cut there, and says so."""
    frame = frames.sized(65472 + 1000)
    check(harness, XDP_PROGRAM, frame)
    outcome = harness.run(XDP_PROGRAM, frame)
    segment = unpack_record(outcome.records[0])
    assert (segment.payload_length, len(segment.payload)) == (66472, 65472)


def test_time_is_of_the_day(harness: Harness) -> None:
    """The record's time is the machine's clock plus the offset which the control plane sets."""
    from inspector.live.bpf import syscalls
    from inspector.live.session import clock_offset

    syscalls.map_update(harness.program.maps["epm_clock"], 0, clock_offset().to_bytes(8, "little"))
    before = time.time_ns()
    outcome = harness.run(XDP_PROGRAM, FRAMES["response"])
    after = time.time_ns()
    assert before - 1_000_000 <= unpack_record(outcome.records[0]).time_ns <= after + 1_000_000


def test_interface_slots(harness: Harness) -> None:
    """Packets count in the slot of their interface, whichever entry of the list it is, else in slot 0."""
    for place in (None, 0, 1, 15):
        interfaces = [100 + number for number in range(16)]
        if place is not None:
            interfaces[place] = LOOPBACK
        harness.set_interfaces(interfaces)
        before = harness.slots()
        outcome = harness.run(XDP_PROGRAM, FRAMES["response"], interface_index=LOOPBACK)
        after = harness.slots()
        risen = [slot for slot in range(17) if after[slot] != before[slot]]
        assert risen == [0 if place is None else place + 1]
        assert unpack_record(outcome.records[0]).interface_index == LOOPBACK
    harness.set_interfaces([])


@pytest.mark.parametrize("place", [0, 7, 15])
def test_each_of_sixteen_interfaces_is_counted_apart(harness: Harness, place: int) -> None:
    """Whatever the indexes of the others are, an interface has the counters of its place in the list."""
    others = random.Random(place).sample(range(2, 1 << 31), 15)  # noqa: S311 - reproducible, not secret
    harness.set_interfaces([*others[:place], LOOPBACK, *others[place:]])
    before = harness.slots()
    harness.run(XDP_PROGRAM, FRAMES["response"])
    changed = [number for number, slot in enumerate(harness.slots()) if slot != before[number]]
    harness.set_interfaces([])
    assert changed == [place + 1]


@BOTH
def test_full_rings_are_counted_exactly(name: str) -> None:
    """When rings overflow every matched packet is counted as submitted or, by ring, as lost; the submitted arrive."""
    with Harness(compact_bytes=4096, bulk_bytes=8192) as small:
        for length, lost in ((152, KernelCounter.LOST_COMPACT_FULL), (1000, KernelCounter.LOST_BULK_FULL)):
            outcome = small.run(name, frames.sized(length), repeat=1000)
            counted = outcome.counted
            assert counted[KernelCounter.MATCHED] == 1000
            assert counted[KernelCounter.MATCHED] == counted[KernelCounter.SUBMITTED] + counted[lost]
            assert 0 < len(outcome.records) == counted[KernelCounter.SUBMITTED] < 1000
            assert all(unpack_record(record).payload == frames.payload(length) for record in outcome.records)
            assert outcome.retval == GOES_ON[name]
        # Room that was given back is used again.
        assert small.run(name, frames.sized(152)).counted[KernelCounter.SUBMITTED] == 1


def test_record_larger_than_the_ring_is_lost_and_counted() -> None:
    """A size class that does not fit into the ring at all is a counted loss."""
    with Harness(compact_bytes=4096, bulk_bytes=4096) as small:
        outcome = small.run(XDP_PROGRAM, frames.sized(9000))
        assert outcome.records == []
        assert outcome.counted[KernelCounter.LOST_BULK_FULL] == 1


def test_ring_wraps(harness: Harness) -> None:
    """Records stay whole while the ring goes round many times, at every place of its end."""
    for number in range(3000):
        length = (number * 37) % 1472
        frame = frames.ethernet(
            frames.ipv4(frames.tcp(frames.payload(length), ports=(EPM, number + 1), flags=frames.FIN))
        )
        [record] = harness.run(XDP_PROGRAM, frame).records
        segment = unpack_record(record)
        assert (segment.destination_port, segment.payload) == (number + 1, frames.payload(length))
