"""UDP and the headers which carry one packet within another, byte by byte."""

from __future__ import annotations

import struct

IPV4, UDP, IPV6, GRE = 4, 17, 41, 47
"""IP protocol numbers."""
VXLAN_PORT, GENEVE_PORT, TEREDO_PORT = 4789, 6081, 3544
ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_ETHERNET = 0x0800, 0x86DD, 0x6558


def udp(data: bytes, ports: tuple[int, int], *, length: int | None = None) -> bytes:
    """Return a UDP datagram (RFC 768); `length` overrides the true length."""
    return struct.pack("!HHHH", *ports, 8 + len(data) if length is None else length, 0) + data


def gre(data: bytes, protocol: int = ETHERTYPE_IPV4, *, flags: int = 0, fields: int | None = None) -> bytes:
    """Return GRE (RFC 2784, RFC 2890) with the optional fields that the flags say; `fields` overrides how many."""
    count = sum(bool(flags & one) for one in (0x8000, 0x2000, 0x1000)) if fields is None else fields
    return struct.pack("!HH", flags, protocol) + bytes(range(1, 1 + 4 * count)) + data


def vxlan(frame: bytes, *, flags: int = 0x08, source_port: int = 50000) -> bytes:
    """Return VXLAN (RFC 7348) in its datagram; what it carries is an Ethernet frame."""
    return udp(struct.pack("!B3xI", flags, 42 << 8) + frame, (source_port, VXLAN_PORT))


def geneve(
    data: bytes, protocol: int = ETHERTYPE_ETHERNET, *, options: bytes = b"", version: int = 0, words: int | None = None
) -> bytes:
    """Return Geneve (RFC 8926) in its datagram; `words` overrides the options' length."""
    count = len(options) // 4 if words is None else words
    return udp(struct.pack("!BBHI", version << 6 | count, 0, protocol, 42 << 8) + options + data, (50000, GENEVE_PORT))


def teredo(
    packet: bytes,
    *,
    authentication: tuple[bytes, bytes] | None = None,
    origin: bool = False,
    ports: tuple[int, int] = (50000, TEREDO_PORT),
) -> bytes:
    """Return Teredo (RFC 4380) in its datagram; `authentication` is a client identifier and a value."""
    head = b""
    if authentication is not None:
        identifier, value = authentication
        head += struct.pack("!HBB", 1, len(identifier), len(value)) + identifier + value + bytes(range(8)) + b"\0"
    if origin:
        head += struct.pack("!HHI", 0, 0x1234, 0x55667788)
    return udp(head + packet, ports)
