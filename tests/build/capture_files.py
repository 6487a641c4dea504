"""Capture files built byte by byte, in either byte order (`<` or `>`)."""

from __future__ import annotations

import struct


def pcap(order: str, packets: list[tuple[int, int, bytes]], *, nano: bool = False, link_type: int = 1) -> bytes:
    """Return a classic capture; packets are seconds, fraction and frame."""
    magic = 0xA1B23C4D if nano else 0xA1B2C3D4
    return struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, link_type) + b"".join(
        struct.pack(f"{order}IIII", seconds, fraction, len(frame), len(frame) + 1) + frame
        for seconds, fraction, frame in packets
    )


def block(order: str, kind: int, body: bytes) -> bytes:
    """Return one pcapng block."""
    body += bytes(-len(body) % 4)
    return struct.pack(f"{order}II", kind, len(body) + 12) + body + struct.pack(f"{order}I", len(body) + 12)


def section(order: str) -> bytes:
    """Return a section header block."""
    return block(order, 0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1))


def interface(order: str, link_type: int = 1, snap_length: int = 0, **options: bytes) -> bytes:
    """Return an interface description block with `tsresol` and `tsoffset` as given."""
    codes = {"tsresol": 9, "tsoffset": 14}
    body = struct.pack(f"{order}HHI", link_type, 0, snap_length)
    for name, value in options.items():
        body += struct.pack(f"{order}HH", codes[name], len(value)) + value + bytes(-len(value) % 4)
    return block(order, 1, body + (bytes(4) if options else b""))


def enhanced(order: str, number: int, timestamp: int, frame: bytes) -> bytes:
    """Return an enhanced packet block."""
    head = struct.pack(f"{order}IIIII", number, timestamp >> 32, timestamp & 0xFFFFFFFF, len(frame), len(frame) + 1)
    return block(order, 6, head + frame)
