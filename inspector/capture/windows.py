"""What a Windows event trace, or a listing of one, says beside its packets."""

from __future__ import annotations

import io
from contextlib import ExitStack, suppress
from typing import IO, TYPE_CHECKING, Final, Protocol

from inspector.capture.archive import is_member, open_source
from inspector.capture.eventtrace import EventTrace
from inspector.capture.foreign import plain_source
from inspector.capture.kinds import EVENT_TRACE, HEAD, LISTING, kind_of
from inspector.capture.stackevents import LONGEST_LINE, TCPIP, StackEvent, read_event, read_line
from inspector.capture.stored import EndOfFileError
from inspector.capture.tracepackets import PACKET_PROVIDERS, TracePackets
from inspector.errors import CaptureError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from inspector.capture.eventtrace import Event

_SUFFIXES: Final = frozenset({".etl", ".txt", ".log"})
_WIDE: Final = (b"\xff\xfe", b"\xfe\xff")


class _Taker(Protocol):
    """What takes events of connections."""

    def take(self, event: StackEvent) -> None:
        """Take one."""


def read_windows(path: Path, taker: _Taker) -> list[str]:
    """Give a file's events of connections to `taker`; return notes on what was not read; nothing of other files."""
    # Each look into an archive reads it from its start.
    if is_member(path) and path.suffix.lower() not in _SUFFIXES:
        return []
    with suppress(CaptureError, EndOfFileError), ExitStack() as stack:
        pieces = stack.enter_context(open_source(path))
        head = bytes(pieces.look(HEAD))
        kind = kind_of(head, path)
        if kind not in (EVENT_TRACE, LISTING):
            return []
        pieces.take(4)
        source = plain_source(path, pieces, head, stack, copy=True)
        assert source is not None  # noqa: S101 - a copy was asked for
        return _read_trace(source, pieces.name, taker) if kind == EVENT_TRACE else _read_listing(source, head, taker)
    return []


def _read_trace(source: IO[bytes], name: str, taker: _Taker) -> list[str]:
    trace, packets = EventTrace(source, name), TracePackets()
    told = 0

    def of_packets() -> Iterator[Event]:
        nonlocal told
        for event in trace.events(PACKET_PROVIDERS | {TCPIP}):
            if event.provider != TCPIP:
                yield event
                continue
            for one in read_event(event):
                told += 1
                taker.take(one)

    count = sum(1 for _ in packets.frames(of_packets()))
    counts = {
        "buffers that are compressed": trace.compressed,
        "damaged buffers": trace.damaged,
        "packets of which parts are missing": packets.incomplete,
    }
    notes = [f"not read: {what}: {number}" for what, number in counts.items() if number]
    if packets.dropped:
        notes.append(f"packets that Windows itself dropped (pktmon): {packets.dropped}")
    if not count and not told:
        notes.append("no packets are in this trace: record it with netsh trace start capture=yes, or pktmon start -c")
    return notes


def _read_listing(source: IO[bytes], head: bytes, taker: _Taker) -> list[str]:
    wide = head.startswith(_WIDE) or head[1:2] == b"\0"
    encoding = "utf-16" if head.startswith(_WIDE) else "utf-16-le" if wide else "utf-8-sig"
    source.seek(0)
    lines = io.TextIOWrapper(io.BufferedReader(source), encoding, errors="replace")  # type: ignore[type-var]  # a file
    told = 0
    try:
        while line := lines.readline(LONGEST_LINE):
            event = read_line(line)
            if event is not None:
                told += 1
                taker.take(event)
    finally:
        lines.detach()
    return [] if told else ["no events of TCP connections are in this listing"]
