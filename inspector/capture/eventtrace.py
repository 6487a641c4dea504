"""Windows event traces (.etl): buffers, and the events in them, in the order of their times.

A trace is buffers, each with the events of one processor; in a circular file they are in no order. Sources:
TRACE_LOGFILE_HEADER, EVENT_HEADER and WNODE_HEADER of the Windows SDK (evntrace.h, evntcons.h, wmistr.h); of the
buffer's header, which no header file has, public descriptions of WMI_BUFFER_HEADER. All numbers are little-endian.
"""

from __future__ import annotations

import heapq
import os
import struct
from operator import attrgetter
from typing import IO, TYPE_CHECKING, Final, NamedTuple

from inspector.capture.packet import clamp_time
from inspector.errors import CaptureError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

BUFFER_HEADER: Final = 72
COMPRESSED: Final = 0x40

# Size, time stamp, sequence number, processor; bytes that are filled, flags.
_BUFFER: Final = struct.Struct("<I12xQq8xH6xIH18x")
_LARGEST: Final = 16 << 20
_HELD: Final = 256 << 20
"""Bytes of buffers in memory at once: one of each processor."""

# Size, event header's type and flags.
_MARKER: Final = struct.Struct("<HBB")
_HEADER_FLAGS: Final = 0xC0
_MESSAGE_FLAGS: Final = 0x90
# Types whose size is behind a version: events of the system, compact ones, and those of performance.
_SYSTEM: Final = frozenset({0x01, 0x02, 0x03, 0x04, 0x10, 0x11})
_EVENT_32: Final = 0x12
_EVENT_64: Final = 0x13
# EVENT_HEADER: size, flags, thread, process, time, provider, identifier, version, keywords.
_EVENT: Final = struct.Struct("<H2xH2xIIq16sHB5xQ24x")
_EXTENDED: Final = 1
_ITEM: Final = struct.Struct("<H4xH")

_SYSTEM_HEADER: Final = 32
_HEADER_TIME_AT: Final = 16
# TRACE_LOGFILE_HEADER by size of a pointer: PerfFreq, StartTime and ReservedFlags, the kind of clock.
_CLOCK_AT: Final = {8: 0x100, 4: 0xF8}
_CLOCK: Final = struct.Struct("<qqI")
_MEGAHERTZ_AT: Final = 0x34
_BY_PERFORMANCE_COUNTER: Final = 1
_BY_PROCESSOR: Final = 3
_FILETIME: Final = 10_000_000
_EPOCH: Final = 116_444_736_000_000_000
"""1970 in units of 100 ns since 1601."""


class Event(NamedTuple):
    """An event of a provider (bytes as in a GUID in memory); `pointer` is the size of one in `data`."""

    time_ns: int
    provider: bytes
    id: int
    version: int
    keywords: int
    process: int
    thread: int
    pointer: int
    data: bytes


class _Clock(NamedTuple):
    """Times of events: `start_ns` is that of `zero`, and a tick is `numerator` / `denominator` nanoseconds."""

    start_ns: int
    zero: int
    numerator: int
    denominator: int

    def time_ns(self, ticks: int) -> int:
        return clamp_time(self.start_ns + (ticks - self.zero) * self.numerator // self.denominator)


class _Buffer(NamedTuple):
    sequence: int
    at: int
    length: int


def is_event_trace(head: bytes) -> bool:
    """Return whether the first bytes are those of a trace: a buffer whose first event is the log file's header."""
    return len(head) >= BUFFER_HEADER + 8 and head[74:76] in (b"\x01\xc0", b"\x02\xc0") and head[78:80] == b"\0\0"


class EventTrace:
    """A trace in a file that can be read at any place; `compressed` and `damaged` count buffers that were not read."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file = file
        self._name = name
        self.compressed = self.damaged = 0
        file.seek(0)
        self._clock = _read_clock(file.read(BUFFER_HEADER + _SYSTEM_HEADER + 0x118), name)
        self._buffers = self._index()

    def events(self, providers: Collection[bytes]) -> Iterator[Event]:
        """Yield the events of these providers in the order of their times. Raises CaptureError."""
        streams = [self._events_of(buffers, providers) for buffers in self._buffers.values()]
        yield from heapq.merge(*streams, key=attrgetter("time_ns"))

    def _index(self) -> dict[int, list[_Buffer]]:
        """Return the buffers by processor, in the order in which they were filled."""
        found: dict[int, list[_Buffer]] = {}
        end = self._file.seek(0, os.SEEK_END)
        at = largest = 0
        while at + BUFFER_HEADER <= end:
            self._file.seek(at)
            size, _, sequence, processor, filled, flags = _BUFFER.unpack(self._file.read(BUFFER_HEADER))
            if not BUFFER_HEADER <= size <= _LARGEST:
                self.damaged += 1
                break
            if flags & COMPRESSED:
                self.compressed += 1
            else:
                length = min(size, filled, end - at)
                largest = max(largest, length)
                found.setdefault(processor, []).append(_Buffer(sequence, at, length))
            at += size
        if len(found) * largest > _HELD:
            raise CaptureError(f"{self._name}: damaged: buffers of {len(found)} processors, {largest} bytes each")
        for buffers in found.values():
            buffers.sort()
        return found

    def _events_of(self, buffers: list[_Buffer], providers: Collection[bytes]) -> Iterator[Event]:
        for buffer in buffers:
            self._file.seek(buffer.at)
            yield from self._events_in(self._file.read(buffer.length), providers)

    def _events_in(self, buffer: bytes, providers: Collection[bytes]) -> Iterator[Event]:
        """Yield the events of a buffer, up to what is no event."""
        at = BUFFER_HEADER
        while at + 8 <= len(buffer):
            size, kind, flags = _MARKER.unpack_from(buffer, at)
            if size == 0xFFFF and flags == 0xFF:
                return
            if flags == _HEADER_FLAGS and kind in _SYSTEM:
                (size,) = struct.unpack_from("<H", buffer, at + 4)
            if flags not in (_HEADER_FLAGS, _MESSAGE_FLAGS) or size < 8 or at + size > len(buffer):
                self.damaged += 1
                return
            if flags == _HEADER_FLAGS and kind in (_EVENT_32, _EVENT_64) and size >= _EVENT.size:
                event = self._event(buffer, at, size, 8 if kind == _EVENT_64 else 4, providers)
                if event is not None:
                    yield event
            at += size + 7 & ~7

    def _event(self, buffer: bytes, at: int, size: int, pointer: int, providers: Collection[bytes]) -> Event | None:
        _, flags, thread, process, ticks, provider, number, version, keywords = _EVENT.unpack_from(buffer, at)
        if provider not in providers:
            return None
        start, end = at + _EVENT.size, at + size
        while flags & _EXTENDED and start + 8 <= end:
            length, linkage = _ITEM.unpack_from(buffer, start)[0], buffer[start + 4] & 1
            if length < 8 or start + length > end:
                return None
            start += length
            if not linkage:
                break
        time_ns = self._clock.time_ns(ticks)
        return Event(time_ns, provider, number, version, keywords, process, thread, pointer, buffer[start:end])


def _read_clock(start: bytes, name: str) -> _Clock:
    """Read the log file's header, the first event of the first buffer."""
    if not is_event_trace(start):
        raise CaptureError(f"{name}: is no Windows event trace: its first event is not the log file's header")
    at = BUFFER_HEADER + _SYSTEM_HEADER
    pointer = 8 if start[74] == 2 else 4
    if len(start) < at + _CLOCK_AT[pointer] + _CLOCK.size:
        raise CaptureError(f"{name}: the Windows event trace ends within its header")
    frequency, started, kind = _CLOCK.unpack_from(start, at + _CLOCK_AT[pointer])
    (megahertz,) = struct.unpack_from("<I", start, at + _MEGAHERTZ_AT)
    (zero,) = struct.unpack_from("<q", start, BUFFER_HEADER + _HEADER_TIME_AT)
    start_ns = (started - _EPOCH) * 100
    if kind == _BY_PERFORMANCE_COUNTER and frequency > 0:
        return _Clock(start_ns, zero, 1_000_000_000, frequency)
    if kind == _BY_PROCESSOR and megahertz:
        return _Clock(start_ns, zero, 1000, megahertz)
    return _Clock(start_ns, zero, 1_000_000_000, _FILETIME)
