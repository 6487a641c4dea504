"""Windows event traces, byte by byte: a buffer with the log file's header, and buffers of events."""

from __future__ import annotations

import struct
import uuid
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

NDIS: Final = uuid.UUID("2ed6006e-4729-4609-b423-3ee7bcd678ef")
PKTMON: Final = uuid.UUID("4d4f80d9-c8bd-4d73-bb5b-19c90402c5ac")
TCPIP: Final = uuid.UUID("2f07e2ee-15db-40f1-90ef-9d7ba282188a")
OTHER: Final = uuid.UUID("11111111-2222-3333-4444-555555555555")

FREQUENCY: Final = 2_500_000
START_NS: Final = 1_767_261_600_000_000_000
"""2026-01-01 10:00:00."""
_ZERO: Final = 5_000_000
"""What the counter was at the start."""
START_KEYWORD: Final = 0x40000000
END_KEYWORD: Final = 0x80000000
WHOLE: Final = START_KEYWORD | END_KEYWORD | 1


class Made(NamedTuple):
    """An event, so many nanoseconds after the start."""

    after_ns: int
    provider: uuid.UUID
    number: int
    data: bytes
    keywords: int = 0
    thread: int = 7
    extended: bytes = b""


def event(one: Made, *, pointer: int = 8, frequency: int = FREQUENCY) -> bytes:
    """Return an EVENT_HEADER of 80 bytes, extended items, and the data, aligned to 8."""
    ticks = _ZERO + one.after_ns * frequency // 10**9
    size = 80 + len(one.extended) + len(one.data)
    head = struct.pack(
        "<HBBHHIIq", size, 0x13 if pointer == 8 else 0x12, 0xC0, bool(one.extended), 0, one.thread, 4, ticks
    )
    head += one.provider.bytes_le + struct.pack("<HBBBBHQQ16x", one.number, 0, 16, 4, 0, 0, one.keywords, 0)
    return head + one.extended + one.data + bytes(-size % 8)


def header(*, pointer: int = 8, frequency: int = FREQUENCY, clock: int = 1, buffers: int = 2) -> bytes:
    """Return the first event: a system header of 32 bytes, and TRACE_LOGFILE_HEADER with two names."""
    filetime = START_NS // 100 + 116_444_736_000_000_000
    body = struct.pack("<IIIIqIIIIIIII", 4096, 0x0501000A, 19041, 4, 0, 156250, 0, 1, buffers, 1, pointer, 0, 2400)
    body += bytes(2 * pointer) + bytes(172)
    body += bytes(-len(body) % 8)
    body += struct.pack("<qqqII", 0, frequency, filetime, clock, 0)
    assert len(body) == (0x118 if pointer == 8 else 0x110)
    body += "NetTrace\0".encode("utf-16-le") + "C:\\t.etl\0".encode("utf-16-le")
    size = 32 + len(body)
    head = struct.pack("<HBBHBBIIqq", 2, 2 if pointer == 8 else 1, 0xC0, size, 0, 0, 8, 4, _ZERO, 0)
    return head + body + bytes(-size % 8)


def buffer(content: bytes, *, processor: int = 0, sequence: int = 0, flags: int = 0, kind: int = 0) -> bytes:
    """Return a buffer of 4096 bytes, or more; what is not filled is 0xff."""
    filled = 72 + len(content)
    size = max(4096, filled + -filled % 1024)
    head = struct.pack("<IIIIQqQ", size, filled, filled, 0, 0, sequence, 0)
    head += struct.pack("<HHIIHH16x", processor, 1, 0, filled, flags, kind)
    return head + content + b"\xff" * (size - filled)


def trace(
    *streams: Sequence[Made], pointer: int = 8, frequency: int = FREQUENCY, clock: int = 1, each: int = 4
) -> bytes:
    """Return a trace with the events of each processor, a few to a buffer."""
    made = []
    for processor, events in enumerate(streams):
        for at in range(0, len(events), each):
            content = b"".join(event(one, pointer=pointer, frequency=frequency) for one in events[at : at + each])
            made.append(buffer(content, processor=processor, sequence=at + 1))
    first = buffer(header(pointer=pointer, frequency=frequency, clock=clock, buffers=len(made) + 1), kind=4)
    return first + b"".join(made)


def of_ndis(after_ns: int, frame: bytes, *, keywords: int = WHOLE, interface: int = 12, thread: int = 7) -> Made:
    """Return ndiscap's event 1001: interface of the card, of the layer, length, and the frame."""
    data = struct.pack("<III", 11, interface, len(frame)) + frame
    return Made(after_ns, NDIS, 1001, data, keywords, thread)


def of_switch(after_ns: int, frame: bytes, destinations: int = 1) -> Made:
    """Return ndiscap's event 1003, of a virtual switch."""
    names = b"".join(f"{name}\0".encode("utf-16-le") for name in ("port", "nic", "type"))
    data = struct.pack("<III", 11, 12, 3) + names + struct.pack("<I", destinations)
    data += (struct.pack("<I", 4) + names) * destinations + struct.pack("<I", len(frame)) + frame + bytes(8)
    return Made(after_ns, NDIS, 1003, data, WHOLE | 0x1000000)


def of_pktmon(after_ns: int, frame: bytes, *, group: int, number: int = 1, seen: int = 1, original: int = 0) -> Made:
    """Return pktmon's event 160 as it comes where a packet passes a component."""
    head = struct.pack("<Q7HIIHH", group, number, seen, 2, 1, seen, 1, 1, 0, 0, original or len(frame), len(frame))
    return Made(after_ns, PKTMON, 160, head + frame, 0x10)


def address(text: str, port: int) -> bytes:
    """Return a length and a socket address."""
    parsed = ip_address(text)
    if parsed.version == 4:
        packed = struct.pack("<H", 2) + port.to_bytes(2, "big") + parsed.packed + bytes(8)
    else:
        packed = struct.pack("<H", 23) + port.to_bytes(2, "big") + bytes(4) + parsed.packed + bytes(4)
    return struct.pack("<I", len(packed)) + packed


def of_tcp(after_ns: int, number: int, data: bytes) -> Made:
    """Return an event of Microsoft-Windows-TCPIP."""
    return Made(after_ns, TCPIP, number, data)
