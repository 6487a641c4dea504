"""A BPF ring buffer, read through its mapped pages (kernel/bpf/ringbuf.c, Documentation/bpf/ringbuf.rst).

The first page holds the consumer's position and is writable; the second holds the producer's position, and the
data follow it, mapped twice in a row so that no record is ever split. Each entry is a header of 8 bytes, whose
first word is the length with two flag bits, and the record, rounded up to 8 bytes.

Nothing is copied: blocks are views of the ring's own pages, each of entries of one size, valid until `give_back`.

Memory order: the kernel publishes the position before the header loses its BUSY bit, and the bit after the
record is complete. So: position, fence, headers, fence, records, fence, own position. The processor keeps that
order by itself on x86-64; elsewhere `inspector.live.rings.libbpf` is used.
"""

from __future__ import annotations

import contextlib
import mmap
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from inspector.decode import is_compiled
from inspector.live.rings import scan

if TYPE_CHECKING:
    import numpy.typing as npt

    Block = npt.NDArray[np.uint64]
    Times = npt.NDArray[np.int64]

ENTRY_HEADER: Final = 8
BUSY: Final = 1 << 31
DISCARD: Final = 1 << 30
_LENGTH: Final = DISCARD - 1
_PAGE: Final = mmap.PAGESIZE
_WORD: Final = 8
_TIME_WORD: Final = 1
_FIRST_WINDOW: Final = 64


class Run(NamedTuple):
    """Consecutive entries of one size.

    `offset`: bytes after the consumer's position; `word`: index of the first word in the mapped pages; `entries`: how
    many; `size`: bytes of each.
    """

    offset: int
    word: int
    entries: int
    size: int


class Entries:
    """Complete records of a ring, in its order.

    `times`: int64[n], nanoseconds. `addresses`: int64[n], of each entry in memory. `widths`: int32[n], bytes of each.
    `complete`: the ring had no further entry, finished or not. `words`: the ring's pages; the entries take `used` bytes
    of them, discarded ones included.
    """

    def __init__(self, words: Block, runs: list[Run], used: int, *, complete: bool) -> None:
        self._words = words
        self._runs = runs
        self._used = used
        self.complete = complete
        _, first, entries, sizes = np.array(runs, np.int64).reshape(-1, 4).T
        self.widths = np.repeat(sizes, entries).astype(np.int32)
        # Of each entry the place within its run.
        number = np.arange(len(self.widths)) - np.repeat(np.cumsum(entries) - entries, entries)
        starts = np.repeat(first, entries) + number * (self.widths // _WORD)
        self.addresses: npt.NDArray[np.int64] = words.ctypes.data + _WORD * starts
        self.times: Times = words[starts + _TIME_WORD].view(np.int64)

    def __len__(self) -> int:
        return len(self.times)

    @property
    def width(self) -> int | None:
        """The bytes of an entry, None where they differ (or where there is none)."""
        sizes = {run.size for run in self._runs}
        return sizes.pop() if len(sizes) == 1 else None

    def blocks(self, first: int = 0, end: int | None = None) -> list[Block]:
        """Return the entries from number `first` up to `end` as uint64[n, words] of the ring's own pages."""
        end = sum(run.entries for run in self._runs) if end is None else end
        found, number = [], 0
        for run in self._runs:
            low, high = max(first - number, 0), min(end - number, run.entries)
            if low < high:
                width = run.size // _WORD
                found.append(self._words[run.word + low * width : run.word + high * width].reshape(high - low, width))
            number += run.entries
        return found

    def bytes_before(self, number: int) -> int:
        """Return the bytes of the ring before entry `number`, or all bytes if `number` is the count of entries."""
        for run in self._runs:
            if number < run.entries:
                return run.offset + number * run.size
            number -= run.entries
        return self._used


def count_like(words: Block, header: int, word: int, width: int, most: int) -> int:
    """Return how many entries in a row, up to `most`, have this very header, the first being at `word`.

    A header is the lower half of an entry's first word; entries have `width` words.
    """
    if is_compiled():
        return scan.count_like(words, header, word, width, most)
    headers = words.view(np.uint32)[2 * word : 2 * (word + most * width) : 2 * width]
    count, window = 1, _FIRST_WINDOW
    while count < most:
        differs = headers[count : count + window] != header
        if differs.any():
            return count + int(differs.argmax())
        count, window = count + len(differs), window * 8
    return count


class Ring:
    """One ring, by its map's descriptor (kept by the caller, and needed for waiting) and its size in bytes."""

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.size = size
        self._mask = size - 1
        # Used as a memory barrier only, and held all the time.
        self._lock = threading.Lock()
        self._lock.acquire()
        self._consumer_page = mmap.mmap(fd, _PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._producer_pages = mmap.mmap(fd, _PAGE + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=_PAGE)
        self._consumer = memoryview(self._consumer_page)[:8].cast("Q")
        self._producer = memoryview(self._producer_pages)[:8].cast("Q")
        self._words = np.frombuffer(self._producer_pages, np.uint64, offset=_PAGE)
        self._headers = self._words.view(np.uint32)[::2]

    def _fence(self) -> None:
        """Order memory accesses: none moves across this call in either direction."""
        # Earlier accesses stay before the release, later ones behind the acquisition.
        self._lock.release()
        self._lock.acquire()

    def used(self) -> int:
        """Return the bytes between the positions of consumer and producer."""
        # The consumer's position first: it never passes the producer's.
        consumer = self._consumer[0]
        self._fence()
        return self._producer[0] - consumer

    def look(self) -> Entries:
        """Return the complete records; they stay in the ring until `give_back`."""
        consumer = self._consumer[0]
        producer = self._producer[0]
        self._fence()
        start, available = (consumer & self._mask) // _WORD, producer - consumer
        at, runs = 0, []
        while at < available:
            header = int(self._headers[start + at // _WORD])
            if header & BUSY:
                break
            size = ((header & _LENGTH) + ENTRY_HEADER + 7) & ~7
            count = 1
            if not header & DISCARD:
                word = start + at // _WORD
                count = count_like(self._words, header, word, size // _WORD, (available - at) // size)
                runs.append(Run(at, word, count, size))
            at += count * size
        self._fence()
        return Entries(self._words, runs, at, complete=at == available)

    def give_back(self, count: int) -> None:
        """Free the next `count` bytes of the ring; they must end with an entry (see `Entries.bytes_before`)."""
        self._fence()
        self._consumer[0] += count

    def skip(self) -> None:
        """Free all entries unread; only while the kernel program does not run."""
        self._consumer[0] = self._producer[0]

    def close(self) -> None:
        """Unmap the pages; pages under numpy views that still exist are unmapped with the views."""
        self._consumer.release()
        self._producer.release()
        del self._words, self._headers
        self._consumer_page.close()
        with contextlib.suppress(BufferError):
            self._producer_pages.close()
