"""Rows of several rings in the order of time: the same records as addresses and as blocks, whole and in parts."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from inspector.decode.batch import singly
from inspector.judge.policy import Policy
from inspector.live.rings.merge import Lanes
from inspector.ordered import OrderedRows, count_rows, divided, newest_ns
from inspector.pipeline import Pipeline
from inspector.record import pack_record, record_of
from tests.bench.memory_source import MemoryRing
from tests.build.blocks import block_of
from tests.build.windows import windows_traffic

_END = (1 << 63) - 1


def rows_of(random: Random) -> tuple[OrderedRows, list[bytes]]:
    """Return the records of Windows traffic as two rings have them, read at once, and as they were captured."""
    segments = windows_traffic(random, 60, cut=0.3)
    segments = [one._replace(time_ns=1000 + number) for number, one in enumerate(segments) if len(one.payload) < 1500]
    records = [pack_record(one) for one in segments]
    rings = [
        MemoryRing(
            block_of([record for record, one in zip(records, segments, strict=True) if chosen(len(one.payload))])
        )
        for chosen in (lambda length: length <= 184, lambda length: length > 184)
    ]
    for ring in rings:
        ring.until_ns = _END
    read = Lanes(rings, lambda: _END).read()  # type: ignore[arg-type]  # they stand for the kernel's
    assert isinstance(read, OrderedRows)
    return read, records


@pytest.mark.parametrize("seed", range(5))
def test_blocks_and_addresses_are_the_same_records(seed: int) -> None:
    """In the order of time, with the bytes and times of each."""
    read, records = rows_of(Random(seed))  # noqa: S311  # traffic for a test
    assert count_rows(read) == len(records)
    of_blocks = [row for block in read for row in block]
    assert [row.ctypes.data for row in of_blocks] == read.addresses.tolist()
    assert [row.nbytes for row in of_blocks] == read.widths.tolist()
    assert all(bytes(record_of(row)).startswith(record) for row, record in zip(of_blocks, records, strict=True))
    assert newest_ns(read) == newest_ns(read.blocks) == read.times[-1]


@pytest.mark.parametrize("most", [1, 7, 100_000])
def test_parts_are_the_same_records(most: int) -> None:
    """Of a reading that is divided, and of its blocks; none is empty, none longer than it may be."""
    read, records = rows_of(Random(1))  # noqa: S311  # traffic for a test
    for blocks in (read, read.blocks):
        parts = list(divided(blocks, most))
        assert [count_rows(part) for part in parts[:-1]] == [min(most, len(records))] * (len(parts) - 1)
        rows = [row.ctypes.data for part in parts for block in part for row in block]
        assert rows == read.addresses.tolist()
        assert all(part[-1][-1][1] == newest_ns(part) for part in parts)
    assert list(divided([], 5)) == []


def test_the_decoder_finds_the_same_in_rows_and_in_blocks() -> None:
    """Also where single records come between two readings."""
    read, _ = rows_of(Random(2))  # noqa: S311  # traffic for a test
    found, expected = [], []
    engine, scalar = Pipeline(Policy(), str, engine=True), Pipeline(Policy(), str)
    record = bytes(record_of(read[0][0]))
    for part in divided(read, 50):
        for batches in (part, [record]):
            found += list(singly(engine.feed(batches)))
            expected += list(singly(scalar.feed(batches)))
    assert found == expected != []
    assert engine.records == scalar.records


def test_addresses_follow_runs_of_any_size() -> None:
    """An entry's address is where its block has it, whatever entries lie before it."""
    read, _ = rows_of(Random(3))  # noqa: S311  # traffic for a test
    assert np.all(np.diff(read.times) > 0)
    assert len(set(read.widths.tolist())) == 2
