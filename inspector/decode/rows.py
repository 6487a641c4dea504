# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""Where the records of several batches are: the loop goes through them by number, without copies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cython
import numpy as np

from inspector.decode import hints, layout
from inspector.decode.streams import Streams
from inspector.ordered import OrderedRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Batch = npt.NDArray[np.uint64] | bytes | memoryview


class Rows(Streams):
    """The rows of the opened batches, and the one that is selected."""

    def __init__(self, connections: int) -> None:
        Streams.__init__(self, connections)
        self.opened: list[tuple[memoryview, memoryview, memoryview, int]] = []
        self.opened_rows = 0
        # Those of the batches which bring none with them.
        self.own_addresses = self.addresses = np.zeros(4096, np.int64).data
        self.own_widths = self.widths = np.zeros(4096, np.int32).data

    def open(self, batches: Sequence[Batch]) -> int:
        """Note where the rows of batches are, and return how many there are; the batches must stay as they are.

        A batch is a block, uint64[n, words], or one record, whose length is a multiple of eight or more than the bytes
        it captured.
        """
        self.opened_rows = 0
        if not cython.compiled:
            self.opened = []
        elif isinstance(batches, OrderedRows):
            self.addresses = batches.addresses.data
            self.widths = batches.widths.data
            self.opened_rows = len(batches.addresses)
            return self.opened_rows
        else:
            self.addresses = self.own_addresses
            self.widths = self.own_widths
        for batch in batches:
            self.open_batch(batch)
        return self.opened_rows

    def open_batch(self, batch: Batch) -> int:
        """Note where the rows of one batch are."""
        if cython.compiled:
            hints.view_of(batch, cython.address(self.view))
            address = cython.cast(cython.longlong, self.view.buf)
            count = cython.cast(cython.longlong, 1)
            if self.view.ndim == 1:
                # A row has one more word before the record, which is never read.
                address -= 8
                stride = cython.cast(cython.longlong, self.view.len + 8)
            else:
                count = self.view.shape[0]
                stride = 8 * self.view.shape[1]
            hints.close_view(cython.address(self.view))
            if self.opened_rows + count > len(self.addresses):
                self._grow(self.opened_rows + count)
            for row in range(count):
                self.addresses[self.opened_rows + row] = address + row * stride
                self.widths[self.opened_rows + row] = stride
            self.opened_rows += count
        else:
            rows = (
                [bytes(8) + bytes(batch)] if isinstance(batch, bytes | memoryview) else [row.tobytes() for row in batch]
            )
            for octets in rows:
                flat = np.frombuffer(octets + bytes(-len(octets) % 8), np.uint8)
                views = flat.view(np.int64).data, flat.view(np.uint32).data, flat.data
                self.opened.append((*views, len(octets)))
            self.opened_rows += len(rows)
        return 0

    def _grow(self, count: int) -> None:
        addresses = np.zeros(2 * count, np.int64)
        widths = np.zeros(2 * count, np.int32)
        addresses[: len(self.addresses)] = self.addresses
        widths[: len(self.widths)] = self.widths
        self.own_addresses = self.addresses = addresses.data
        self.own_widths = self.widths = widths.data

    def select(self, number: int) -> None:
        """Point to a row."""
        if cython.compiled:
            self.data = cython.cast(cython.p_uchar, self.addresses[number])
            self.rows = cython.cast(cython.p_longlong, self.addresses[number])
            self.row_halves = cython.cast(cython.p_uint, self.addresses[number])
            self.capacity = self.widths[number] - 8 * layout.ROW_PAYLOAD
        else:
            self.rows, self.row_halves, self.data, width = self.opened[number]
            self.capacity = width - 8 * layout.ROW_PAYLOAD

    def record_of(self, number: int) -> bytes:
        """Return the record in a row."""
        if cython.compiled:
            width = cython.cast(cython.longlong, self.widths[number])
            return cython.cast(cython.p_char, self.addresses[number])[8:width]
        _, _, data, width = self.opened[number]
        return bytes(data[8:width])
