"""Records of several rings in the order of time, where they are: no copies, and no short blocks for compiled code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, overload

import numpy as np

from inspector.record import record_of, record_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Block = npt.NDArray[np.uint64]
    Batch = Block | bytes | memoryview


class OrderedRows(Sequence["Block"]):
    """Rows by their addresses, int64[n], with the bytes and the time of each, int32[n] and int64[n].

    As a sequence it is the same rows as blocks, uint64[n, words], which `make_blocks` makes when they are asked for:
    where records of two rings take turns, these are short. All of it is valid as long as the rings' memory is.
    """

    def __init__(
        self,
        addresses: npt.NDArray[np.int64],
        widths: npt.NDArray[np.int32],
        times: npt.NDArray[np.int64],
        make_blocks: Callable[[], list[Block]],
    ) -> None:
        self.addresses = addresses
        self.widths = widths
        self.times = times
        self._make_blocks = make_blocks
        self._blocks: list[Block] | None = None

    @property
    def blocks(self) -> list[Block]:
        """The rows as blocks."""
        if self._blocks is None:
            self._blocks = self._make_blocks()
        return self._blocks

    def __bool__(self) -> bool:
        return len(self.addresses) > 0

    def __len__(self) -> int:
        return len(self.blocks)

    def __iter__(self) -> Iterator[Block]:
        return iter(self.blocks)

    @overload
    def __getitem__(self, part: int) -> Block: ...

    @overload
    def __getitem__(self, part: slice) -> list[Block]: ...

    def __getitem__(self, part: int | slice) -> Block | list[Block]:
        return self.blocks[part]

    def part(self, start: int, stop: int) -> OrderedRows:
        """Return the rows from one number up to another."""
        rows = slice(start, stop)
        return OrderedRows(
            self.addresses[rows], self.widths[rows], self.times[rows], lambda: _cut(self.blocks, start, stop)
        )


def _cut(blocks: Sequence[Block], start: int, stop: int) -> list[Block]:
    found, number = [], 0
    for block in blocks:
        low, high = max(start - number, 0), min(stop - number, len(block))
        if low < high:
            found.append(block[low:high])
        number += len(block)
    return found


def count_rows(batches: Sequence[Batch]) -> int:
    """Return how many records batches have."""
    if isinstance(batches, OrderedRows):
        return len(batches.addresses)
    return sum(1 if isinstance(batch, bytes | memoryview) else len(batch) for batch in batches)


def places_of(batches: Sequence[Block]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Return where the rows of blocks are, and the bytes of each."""
    if isinstance(batches, OrderedRows):
        return batches.addresses, batches.widths
    starts = [block.ctypes.data + np.arange(len(block), dtype=np.int64) * block.strides[0] for block in batches]
    widths = [np.full(len(block), block.strides[0], np.int32) for block in batches]
    return np.concatenate([np.zeros(0, np.int64), *starts]), np.concatenate([np.zeros(0, np.int32), *widths])


def newest_ns(blocks: Sequence[Block]) -> int:
    """Return the time of the last row."""
    return int(blocks.times[-1]) if isinstance(blocks, OrderedRows) else record_time(record_of(blocks[-1][-1]))


def divided(blocks: Sequence[Block], most: int) -> Iterator[Sequence[Block]]:
    """Yield the rows of blocks, in order, in groups of at most so many."""
    if isinstance(blocks, OrderedRows):
        count = count_rows(blocks)
        for start in range(0, count, most):
            yield blocks if count <= most else blocks.part(start, min(start + most, count))
        return
    count = count_rows(blocks)
    for start in range(0, count, most):
        yield _cut(blocks, start, min(start + most, count))
