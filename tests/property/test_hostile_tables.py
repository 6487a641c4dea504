"""The tables of connections under traffic that was made to slow them down."""

from __future__ import annotations

import struct
import sys
import tracemalloc
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.decode import layout
from inspector.decode.decoder import Decoder
from inspector.decode.table import Table
from inspector.judge.policy import Policy
from inspector.judge.verdict import judge
from inspector.model import Segment
from inspector.protocols import ACK, SYN
from inspector.record import pack_record
from inspector.wire.connection import Connection
from inspector.wire.conversations import Conversations, flow_of
from inspector.wire.limits import Limits
from tests.build.blocks import block_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import FrameType

CLIENT, SERVER = bytes(10) + b"\xff\xff", bytes(10) + b"\xff\xff" + bytes((10, 11, 2, 2))
SIX = bytes.fromhex("20010db800000000")


def segment(number: int, payload: bytes = b"", flags: int = SYN, *, sequence: int = 0) -> Segment:
    """Return a segment of the connection of that number."""
    client = CLIENT + struct.pack(">I", number)
    return Segment(1, client, SERVER, sequence, 0, 40000, 135, len(payload), flags, 0, 1, payload)


def held(numbers: Sequence[int]) -> Conversations:
    """Return conversations which hold connections that were touched in this order."""
    conversations = Conversations()
    for number in numbers:
        connection = Connection(flow_of(segment(number)), segment(number), Limits(), Counter())
        connection.touched = number
        conversations.adopt([connection])
    return conversations


@given(st.lists(st.integers(0, 50), unique=True), st.lists(st.integers(100, 150), unique=True, max_size=4))
def test_connections_are_adopted_in_the_order_of_last_touch(numbers: list[int], more: list[int]) -> None:
    """One by one or many at once, wherever their place is; what is read now is the newest."""
    conversations = held(numbers)
    assert [conversations.get(flow).touched for flow in conversations.flows()] == sorted(numbers)  # type: ignore[union-attr]
    others = [Connection(flow_of(segment(number)), segment(number), Limits(), Counter()) for number in more]
    for connection, touched in zip(others, (25.5, -1, 99, 7.5), strict=False):
        connection.touched = touched  # type: ignore[assignment]  # between the others
    conversations.adopt(others)
    order = [conversations.get(flow).touched for flow in conversations.flows()]  # type: ignore[union-attr]
    assert order == sorted([*numbers, *(connection.touched for connection in others)])
    late = Connection(flow_of(segment(200)), segment(200), Limits(), Counter())
    conversations.adopt([late], read_now=True)
    assert list(conversations.flows())[-1] == late.flow


@contextmanager
def counted_work() -> Iterator[Counter[str]]:
    """Count the lines of Python and the calls into C that are run in the block, and the most memory taken at once."""
    work: Counter[str] = Counter()

    def count_lines(_frame: FrameType, event: str, _: object) -> Any:
        work["lines"] += event == "line"
        return count_lines

    def count_calls(_frame: FrameType, event: str, _: object) -> None:
        work["calls"] += event == "c_call"

    before = sys.getprofile(), sys.gettrace()
    tracemalloc.start()
    sys.setprofile(count_calls)
    sys.settrace(count_lines)
    try:
        yield work
    finally:
        sys.setprofile(before[0])
        sys.settrace(before[1])
        work["bytes"] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


def work_to_hand_over(connections: int, count: int) -> Counter[str]:
    """Return what noise on so many of so many half-open connections costs; all of it goes to the scalar decoder."""
    decoder = Decoder(Conversations(), lambda observed: judge(observed, Policy(), ""))

    def feed(segments: Iterable[Segment]) -> None:
        list(decoder.feed([block_of([pack_record(one) for one in segments])]))

    feed(segment(number) for number in range(connections))
    # The greeting of ncacn_http starts with this letter: only the scalar decoder reads on.
    feed(segment(number, b"n" + struct.pack(">I", number) * 5, ACK, sequence=1) for number in range(connections))
    feed(segment(connections + number) for number in range(count))
    # Touched long ago, with many others touched since.
    numbers = range(0, connections, connections // count)
    feed(segment(number, b"\xff" * 20, ACK, sequence=22) for number in numbers)
    before = decoder.handed_over
    noise = [segment(connections + number, b"n" + b"\xfe" * 19, ACK, sequence=1) for number in range(count)]
    with counted_work() as work:
        feed(noise)
    assert decoder.handed_over - before == count
    return work


def test_noise_costs_the_same_however_many_connections_there_are() -> None:
    """Each connection that leaves the compiled decoder costs as much among many thousands as among few."""
    few, many = (work_to_hand_over(connections, 400) for connections in (1000, 16000))
    assert few["lines"] > 400
    for kind in ("lines", "calls", "bytes"):
        assert many[kind] < 1.5 * few[kind], kind


@pytest.mark.parametrize("kind", ["xor", "xor of both halves", "low bits", "ports"])
def test_chosen_connections_do_not_share_a_place(kind: str) -> None:
    """Without the secret nobody can choose addresses and ports that all go to one place."""
    table = Table(20_000)
    halves = table.arrays["slots"].view(np.uint32)
    places: Counter[int] = Counter()
    for number in range(20_000):
        four = struct.unpack("<q", b"\0\0\xff\xff" + struct.pack(">I", number * 2654435761 & 0xFFFFFFFF))[0]
        wide = struct.unpack("<q", struct.pack(">Q", number * 0x9E3779B97F4A7C15 & (1 << 64) - 1))[0]
        key = {
            "xor": (0, four, 0, four ^ 0x1234567800000000, 40000 | 135 << 16),
            "xor of both halves": (wide, four, wide ^ 77, four ^ 0x1234567800000000, 40000 | 135 << 16),
            "low bits": (0, number << 32, 0, 0, 40000 | 135 << 16),
            "ports": (0, number >> 16, 0, 0, number & 0xFFFF | 135 << 16),
        }[kind]
        places[int(halves[table.insert(key, 0), layout.HALF_TAG]) & 0xFFFF] += 1
    assert max(places.values()) < 12


def test_every_table_has_its_own_secret() -> None:
    """Drawn when it is made."""
    secrets = {(table.secret, table.multiplier) for table in (Table(1), Table(1), Table(1))}
    assert len(secrets) == 3
