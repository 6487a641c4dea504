"""The same ring read by libbpf's own consumer, for machines on which mapped pages cannot be read safely from Python.

libbpf knows each processor's memory order. It hands over one record at a time, which is copied: slower by far
(see the benchmark), but no less exact. The library is the one that the BPF Compiler Collection brings: libbpf
itself, or inside libbcc_bpf; bcc's own callbacks would load its compiler into this process.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from typing import Any, Final

import numpy as np

from inspector.errors import ToolchainError
from inspector.live.rings.ringbuf import ENTRY_HEADER, Entries, Run

_LIBRARIES: Final = ("libbpf.so.1", "libbcc_bpf.so.0", "libbpf.so.0")
_PAGE: Final = mmap.PAGESIZE
# int (*ring_buffer_sample_fn)(void *context, void *data, size_t size)
_CALLBACK: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


def _load_library() -> Any:
    for name in _LIBRARIES:
        try:
            library = ctypes.CDLL(name, use_errno=True)
        except OSError:
            continue
        library.ring_buffer__new.restype = ctypes.c_void_p
        library.ring_buffer__new.argtypes = [ctypes.c_int, _CALLBACK, ctypes.c_void_p, ctypes.c_void_p]
        library.ring_buffer__consume.argtypes = [ctypes.c_void_p]
        library.ring_buffer__free.argtypes = [ctypes.c_void_p]
        return library
    raise ToolchainError(f"none of {', '.join(_LIBRARIES)} is installed: one comes with bcc (Debian: libbpfcc)")


class LibbpfRing:
    """A ring with the methods of `inspector.live.rings.ringbuf.Ring`; records are copied when they are looked at."""

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.size = size
        self._library = _load_library()
        self._taken = bytearray()
        self._runs: list[Run] = []
        # The library calls it for as long as the ring is open.
        self._callback = _CALLBACK(self._on_record)
        self._ring = self._library.ring_buffer__new(fd, self._callback, None, None)
        if not self._ring:
            raise OSError(ctypes.get_errno(), "the ring cannot be opened by libbpf")
        self._pages = (
            mmap.mmap(fd, _PAGE, mmap.MAP_SHARED, mmap.PROT_READ),
            mmap.mmap(fd, _PAGE, mmap.MAP_SHARED, mmap.PROT_READ, offset=_PAGE),
        )

    def _positions(self) -> tuple[int, int]:
        """Return the positions of consumer and producer."""
        consumer, producer = (int.from_bytes(page[:8], sys.byteorder) for page in self._pages)
        return consumer, producer

    def _on_record(self, _context: int | None, data: int, length: int) -> int:
        size = (length + ENTRY_HEADER + 7) & ~7
        offset = len(self._taken)
        self._taken += bytes(ENTRY_HEADER) + ctypes.string_at(data, length) + bytes(size - length - ENTRY_HEADER)
        last = self._runs[-1] if self._runs else None
        if last is not None and last.size == size:
            self._runs[-1] = last._replace(entries=last.entries + 1)
        else:
            self._runs.append(Run(offset, offset // 8, 1, size))
        return 0

    def used(self) -> int:
        """Return the bytes which the reader has not given back."""
        consumer, producer = self._positions()
        return producer - consumer + len(self._taken)

    def look(self) -> Entries:
        """Return the complete records which are there; they are kept until `give_back`."""
        _, producer = self._positions()
        if self._library.ring_buffer__consume(self._ring) < 0:
            raise OSError(ctypes.get_errno(), "libbpf cannot read the ring")
        consumer, _ = self._positions()
        words = np.frombuffer(bytes(self._taken), np.uint64)
        return Entries(words, list(self._runs), len(self._taken), complete=consumer >= producer)

    def give_back(self, count: int) -> None:
        """Forget the next `count` bytes, up to where an entry ends (see `Entries.bytes_before`)."""
        del self._taken[:count]
        runs = []
        for run in self._runs:
            gone = min(max(count - run.offset, 0) // run.size, run.entries)
            if gone < run.entries:
                offset = run.offset + gone * run.size - count
                runs.append(Run(offset, offset // 8, run.entries - gone, run.size))
        self._runs = runs

    def skip(self) -> None:
        """Give everything back unread."""
        self.look()
        self.give_back(len(self._taken))

    def close(self) -> None:
        """Close the ring."""
        self._library.ring_buffer__free(self._ring)
        for page in self._pages:
            page.close()
