"""A BPF ring buffer, read through its mapped pages (kernel/bpf/ringbuf.c, Documentation/bpf/ringbuf.rst).

The first page holds the consumer's position and is writable; the second holds the producer's position, and the
data follow it, mapped twice in a row so that no record is ever split. Each entry is a header of 8 bytes, whose
first word is the length with two flag bits, and the record, rounded up to 8 bytes.

Memory order: the kernel publishes the position before the header loses its BUSY bit, and the bit after the
record is complete. So: position, fence, headers, fence, records, fence, own position. The processor keeps that
order by itself on x86-64; a lock's hand-over makes it so on the others.
"""

from __future__ import annotations

import mmap
import struct
import threading
from typing import Final

ENTRY_HEADER: Final = 8
_BUSY: Final = 1 << 31
_DISCARD: Final = 1 << 30
_LENGTH: Final = _DISCARD - 1
_PAGE: Final = mmap.PAGESIZE
_WORD: Final = struct.Struct("=I")


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
        self._data = memoryview(self._producer_pages)[_PAGE:]

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

    def _walk(self) -> tuple[int, int, list[tuple[int, int]], bool]:
        """Return start, end, the records between them and whether the end is the producer's position.

        A record is its offset from the start, and its length.
        """
        consumer = self._consumer[0]
        producer = self._producer[0]
        self._fence()
        data, start = self._data, consumer & self._mask
        at, available = 0, producer - consumer
        records = []
        while at < available:
            (word,) = _WORD.unpack_from(data, start + at)
            if word & _BUSY:
                break
            length = word & _LENGTH
            if not word & _DISCARD:
                records.append((at + ENTRY_HEADER, length))
            at += (length + ENTRY_HEADER + 7) & ~7
        self._fence()
        return consumer, consumer + at, records, at == available

    def count(self) -> int:
        """Return how many complete records are waiting, without taking them."""
        return len(self._walk()[2])

    def read(self) -> tuple[list[memoryview], bool]:
        """Take all complete records; say whether nothing was left at the moment when reading began.

        The records are copies, in the ring's order; their room in the ring is free again.
        """
        start, end, records, complete = self._walk()
        if start == end:
            return [], complete
        at = start & self._mask
        block = memoryview(bytes(self._data[at : at + end - start]))
        self._fence()
        self._consumer[0] = end
        return [block[offset : offset + length] for offset, length in records], complete

    def skip(self) -> None:
        """Give everything back unread; only while nobody submits."""
        self._consumer[0] = self._producer[0]

    def close(self) -> None:
        """Unmap the pages."""
        for view in (self._consumer, self._producer, self._data):
            view.release()
        self._consumer_page.close()
        self._producer_pages.close()
