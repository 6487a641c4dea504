"""A BPF ring buffer, read through its mapped pages (kernel/bpf/ringbuf.c, Documentation/bpf/ringbuf.rst).

The first page holds the consumer's position and is writable; the second holds the producer's position, and the
data follow it, mapped twice in a row so that no record is ever split. Each entry is a header of 8 bytes, whose
first word is the length with two flag bits, and the record, rounded up to 8 bytes.

Nothing is copied: what is handed out are the ring's own pages, as blocks of entries of one size, and stays valid
until it is given back.

Memory order: the kernel publishes the position before the header loses its BUSY bit, and the bit after the
record is complete. So: position, fence, headers, fence, records, fence, own position. The processor keeps that
order by itself on x86-64; elsewhere `inspector.live.libbpf` is used.
"""

from __future__ import annotations

import contextlib
import mmap
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from inspector import codecache

if TYPE_CHECKING:
    import numpy.typing as npt

    Block = npt.NDArray[np.uint64]
    Times = npt.NDArray[np.int64]

ENTRY_HEADER: Final = 8
_BUSY: Final = 1 << 31
_DISCARD: Final = 1 << 30
_LENGTH: Final = _DISCARD - 1
_PAGE: Final = mmap.PAGESIZE
_WORD: Final = 8
_TIME_WORD: Final = 1
_FIRST_WINDOW: Final = 64
# Entries from which on compiled code is worth being loaded.
_MANY: Final = 256


class Run(NamedTuple):
    """Entries of one size in a row: where they begin (bytes after the consumer's position), how many, their size."""

    offset: int
    entries: int
    size: int


class Entries:
    """Complete records of a ring, in its order; `times` are theirs, int64[n] in nanoseconds.

    `complete` says that nothing more was there when they were looked up. `runs` and `used` are in bytes after the
    consumer's position, which is word `start` of the ring's `words`.
    """

    def __init__(self, words: Block, start: int, runs: list[Run], used: int, *, complete: bool) -> None:
        self._words = words
        self._start = start
        self._runs = runs
        self._used = used
        self.complete = complete
        self.times: Times = np.concatenate([block[:, _TIME_WORD] for block in self.blocks()] or [words[:0]]).view(
            np.int64
        )

    def __len__(self) -> int:
        return len(self.times)

    def blocks(self, first: int = 0, end: int | None = None) -> list[Block]:
        """Return the entries from number `first` up to `end` as uint64[n, words] of the ring's own pages."""
        end = sum(run.entries for run in self._runs) if end is None else end
        found, number = [], 0
        for run in self._runs:
            low, high = max(first - number, 0), min(end - number, run.entries)
            if low < high:
                width = run.size // _WORD
                at = self._start + run.offset // _WORD
                found.append(self._words[at + low * width : at + high * width].reshape(high - low, width))
            number += run.entries
        return found

    def bytes_before(self, number: int) -> int:
        """Return how many bytes of the ring lie before entry `number`; all, if it is the number of entries."""
        for run in self._runs:
            if number < run.entries:
                return run.offset + number * run.size
            number -= run.entries
        return self._used


class Ring:
    """One ring, by its map's descriptor (kept by the caller, and needed for waiting) and its size in bytes."""

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.size = size
        self._mask = size - 1
        # Held all the time: a fence hands it over to itself.
        self._lock = threading.Lock()
        self._lock.acquire()
        self._consumer_page = mmap.mmap(fd, _PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._producer_pages = mmap.mmap(fd, _PAGE + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=_PAGE)
        self._consumer = memoryview(self._consumer_page)[:8].cast("Q")
        self._producer = memoryview(self._producer_pages)[:8].cast("Q")
        self._words = np.frombuffer(self._producer_pages, np.uint64, offset=_PAGE)
        self._headers = self._words.view(np.uint32)[::2]

    def _fence(self) -> None:
        """Let nothing that comes after be read or written before what came before."""
        # What came before stays before the release, what follows stays behind the acquisition.
        self._lock.release()
        self._lock.acquire()

    def used(self) -> int:
        """Return the bytes which the reader has not given back."""
        # The consumer's position first: it never passes the producer's.
        consumer = self._consumer[0]
        self._fence()
        return self._producer[0] - consumer

    def look(self) -> Entries:
        """Return the complete records which are there; they stay in the ring until `give_back`."""
        consumer = self._consumer[0]
        producer = self._producer[0]
        self._fence()
        start, available = (consumer & self._mask) // _WORD, producer - consumer
        at, runs = 0, []
        while at < available:
            header = int(self._headers[start + at // _WORD])
            if header & _BUSY:
                break
            size = ((header & _LENGTH) + ENTRY_HEADER + 7) & ~7
            count = 1
            if not header & _DISCARD:
                count = self._count_like(header, start + at // _WORD, size // _WORD, (available - at) // size)
                runs.append(Run(at, count, size))
            at += count * size
        self._fence()
        return Entries(self._words, start, runs, at, complete=at == available)

    def _count_like(self, header: int, word: int, width: int, most: int) -> int:
        """Return how many entries in a row, up to `most`, have this very header, the first being at `word`."""
        if most >= _MANY and codecache.has_compiler():
            # Loaded by traffic that is worth it.
            from inspector.live.scan import count_like

            return count_like(self._words, header, word, width, most)
        count, window = 1, _FIRST_WINDOW
        while count < most:
            end = min(count + window, most)
            differs = self._headers[word + count * width : word + end * width : width] != header
            if differs.any():
                return count + int(differs.argmax())
            count, window = end, window * 8
        return count

    def give_back(self, count: int) -> None:
        """Free the next `count` bytes of the ring, up to where an entry ends (see `Entries.bytes_before`)."""
        self._fence()
        self._consumer[0] += count

    def take(self) -> tuple[list[memoryview], bool]:
        """Take all complete records, as copies; say whether nothing was left at the moment when reading began."""
        entries = self.look()
        records = [row.tobytes()[ENTRY_HEADER:] for block in entries.blocks() for row in block]
        self.give_back(entries.bytes_before(len(entries)))
        return [memoryview(record) for record in records], entries.complete

    def skip(self) -> None:
        """Give everything back unread; only while nobody submits."""
        self._consumer[0] = self._producer[0]

    def close(self) -> None:
        """Unmap the pages; those of blocks which somebody still holds when these are let go."""
        self._consumer.release()
        self._producer.release()
        del self._words, self._headers
        self._consumer_page.close()
        with contextlib.suppress(BufferError):
            self._producer_pages.close()
