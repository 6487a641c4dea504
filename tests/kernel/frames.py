"""Ethernet frames for the kernel program: each kind that it must read, count or leave alone."""

from __future__ import annotations

import struct
from typing import Any, Final

from inspector.record import BULK_LARGE_PAYLOAD, BULK_MEDIUM_PAYLOAD, BULK_SMALL_PAYLOAD, COMPACT_PAYLOAD
from tests.build.tunnels import UDP, udp

EPM: Final = 135
CLIENT: Final = 33654
FIN, SYN, RST, PUSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
MACS: Final = bytes.fromhex("020000000001020000000002")


def payload(length: int) -> bytes:
    """Return bytes which differ from their neighbours, so that a shifted copy is noticed."""
    return bytes((index * 7 + index // 251) & 255 for index in range(length))


def tcp(
    data: bytes = b"",
    *,
    ports: tuple[int, int] = (CLIENT, EPM),
    flags: int = PUSH | ACK,
    options: bytes = b"",
    offset: int | None = None,
) -> bytes:
    """Return a TCP segment (RFC 9293 section 3.1); `offset` (words) overrides the true data offset."""
    words = 5 + len(options) // 4 if offset is None else offset
    return struct.pack("!HHIIBBHHH", *ports, 0x11223344, 0x55667788, words << 4, flags, 65535, 0, 0) + options + data


def ipv4(
    data: bytes,
    *,
    options: bytes = b"",
    fragment: int = 0,
    protocol: int = 6,
    version: int = 4,
    words: int | None = None,
    total: int | None = None,
) -> bytes:
    """Return an IPv4 packet (RFC 791 section 3.1); `words` and `total` override the true lengths."""
    header_words = 5 + len(options) // 4 if words is None else words
    length = 20 + len(options) + len(data) if total is None else total
    return (
        struct.pack(
            "!BBHHHBBH4s4s",
            version << 4 | header_words,
            0,
            length,
            1,
            fragment,
            64,
            protocol,
            0,
            bytes((10, 9, 0, 2)),
            bytes((10, 9, 0, 1)),
        )
        + options
        + data
    )


def ipv6(data: bytes, *, next_header: int = 6, length: int | None = None, version: int = 6) -> bytes:
    """Return an IPv6 packet (RFC 8200 section 3); `length` overrides the true payload length."""
    source, destination = bytes.fromhex("20010db8000000000000000000000002"), bytes.fromhex("fe80" + "00" * 13 + "01")
    plen = len(data) if length is None else length
    return struct.pack("!IHBB", version << 28, plen, next_header, 64) + source + destination + data


def extension(next_header: int, length: int, unit: int = 8) -> bytes:
    """Return an extension header of `length` bytes; the authentication header counts in units of 4."""
    count = length // unit - (2 if unit == 4 else 1)
    return bytes((next_header, count)) + bytes(length - 2)


def fragment_header(next_header: int, offset: int, more: int) -> bytes:
    """Return a fragment header (RFC 8200 section 4.5); `offset` in units of 8 bytes."""
    return struct.pack("!BBHI", next_header, 0xFF, offset << 3 | more, 7)


def ethernet(data: bytes, ethertype: int = 0x0800, tags: tuple[int, ...] = ()) -> bytes:
    """Return a frame, with VLAN tags of these tag protocols, outermost first."""
    frame = MACS
    for tag in tags:
        frame += struct.pack("!HH", tag, 5)
    return frame + struct.pack("!H", ethertype) + data


def _chain(kinds: list[int], data: bytes) -> bytes:
    """Return an IPv6 packet with these extension headers of 8 bytes before TCP."""
    following = [*kinds[1:], 6]
    return ipv6(b"".join(extension(kind, 8) for kind in following) + data, next_header=kinds[0])


def _table() -> dict[str, bytes]:
    answer = tcp(payload(152), ports=(EPM, CLIENT))
    v6 = 0x86DD
    table = {
        "request": ethernet(ipv4(tcp(payload(156)))),
        "response": ethernet(ipv4(answer)),
        "both ports": ethernet(ipv4(tcp(b"x", ports=(EPM, EPM)))),
        "second port": ethernet(ipv4(tcp(b"x", ports=(CLIENT, 593)))),
        "highest port": ethernet(ipv4(tcp(b"x", ports=(65535, CLIENT)))),
        "other ports": ethernet(ipv4(tcp(b"x", ports=(443, 444)))),
        "neighbour ports": ethernet(ipv4(tcp(b"x", ports=(134, 136)))),
        "vlan": ethernet(ipv4(answer), tags=(0x8100,)),
        "service vlan": ethernet(ipv4(answer), tags=(0x88A8, 0x8100)),
        "old q-in-q": ethernet(ipv4(answer), tags=(0x9100, 0x8100)),
        "three vlan tags": ethernet(ipv4(answer), tags=(0x8100, 0x8100, 0x8100)),
        "vlan ipv6": ethernet(ipv6(answer), v6, tags=(0x8100,)),
        "arp": ethernet(bytes(28), 0x0806),
        "ethernet padding": ethernet(ipv4(tcp(flags=ACK))) + bytes(6),
        "ethernet padding behind payload": ethernet(ipv4(tcp(b"x"))) + bytes(5),
        "ipv4 options": ethernet(ipv4(answer, options=bytes(40))),
        "ipv4 header too short": ethernet(ipv4(answer, words=4)),
        "ipv4 header cut": ethernet(ipv4(b"", words=15)),
        "ipv4 other version": ethernet(ipv4(answer, version=6)),
        "ipv4 total length 0": ethernet(ipv4(answer, total=0)),
        "ipv4 total length below header": ethernet(ipv4(answer, total=19)),
        "ipv4 total length within tcp": ethernet(ipv4(answer, total=39)),
        "ipv4 total length at end of tcp": ethernet(ipv4(answer, total=40)),
        "ipv4 total length within payload": ethernet(ipv4(answer, total=100)),
        "ipv4 total length beyond frame": ethernet(ipv4(answer, total=1500)),
        "ipv4 dont fragment": ethernet(ipv4(answer, fragment=0x4000)),
        "ipv4 first fragment": ethernet(ipv4(answer, fragment=0x2000)),
        "ipv4 middle fragment": ethernet(ipv4(answer, fragment=0x2010)),
        "ipv4 last fragment": ethernet(ipv4(answer, fragment=0x0010)),
        "ipv4 fragment at 1": ethernet(ipv4(answer, fragment=0x0001)),
        "ipv4 fragment far out": ethernet(ipv4(answer, fragment=0x1000)),
        "ipv4 udp fragment": ethernet(ipv4(answer, fragment=0x0010, protocol=17)),
        "tcp options": ethernet(ipv4(tcp(payload(20), options=bytes(40)))),
        "tcp offset too small": ethernet(ipv4(tcp(b"x" * 20, offset=4))),
        "tcp offset beyond frame": ethernet(ipv4(tcp(b"x" * 20, offset=15))),
        "tcp offset beyond frame, other ports": ethernet(ipv4(tcp(b"x", ports=(1, 2), offset=15))),
        "syn": ethernet(ipv4(tcp(flags=SYN))),
        "syn ack": ethernet(ipv4(tcp(flags=SYN | ACK, ports=(EPM, CLIENT)))),
        "fin": ethernet(ipv4(tcp(flags=FIN | ACK))),
        "rst": ethernet(ipv4(tcp(flags=RST))),
        "ack to server": ethernet(ipv4(tcp(flags=ACK))),
        "ack from server": ethernet(ipv4(tcp(flags=ACK, ports=(EPM, CLIENT)))),
        "all flags and payload": ethernet(ipv4(tcp(b"x", flags=255))),
        "ipv6": ethernet(ipv6(answer), v6),
        "ipv6 payload length 0": ethernet(ipv6(answer, length=0), v6),
        "ipv6 payload length within tcp": ethernet(ipv6(answer, length=19), v6),
        "ipv6 payload length beyond frame": ethernet(ipv6(answer, length=60000), v6),
        "ipv6 other version": ethernet(ipv6(answer, version=4), v6),
        "ipv6 no next header": ethernet(ipv6(b"", next_header=59), v6),
        "ipv6 udp": ethernet(ipv6(answer, next_header=17), v6),
        "ipv6 authentication": ethernet(ipv6(extension(6, 24, 4) + answer, next_header=51), v6),
        "ipv6 authentication, shortest": ethernet(ipv6(extension(6, 8, 4) + answer, next_header=51), v6),
        "ipv6 authentication, odd words": ethernet(ipv6(extension(6, 12, 4) + answer, next_header=51), v6),
        "ipv6 long options": ethernet(ipv6(extension(6, 2048) + answer, next_header=60), v6),
        "ipv6 option cut": ethernet(ipv6(bytes((6, 200)) + bytes(30), next_header=0), v6),
        "ipv6 first fragment": ethernet(ipv6(fragment_header(6, 0, 1) + answer, next_header=44), v6),
        "ipv6 atomic fragment": ethernet(ipv6(fragment_header(6, 0, 0) + answer, next_header=44), v6),
        "ipv6 later fragment": ethernet(ipv6(fragment_header(6, 20, 1) + answer, next_header=44), v6),
        "ipv6 fragment at 1": ethernet(ipv6(fragment_header(6, 1, 0) + answer, next_header=44), v6),
        "ipv6 fragment far out": ethernet(ipv6(fragment_header(6, 0x1000, 0) + answer, next_header=44), v6),
        "ipv6 fragment, reserved bits": ethernet(ipv6(bytes((6, 9, 0, 6)) + bytes(4) + answer, next_header=44), v6),
        "ipv6 later udp fragment": ethernet(ipv6(fragment_header(17, 20, 0) + answer, next_header=44), v6),
        "ipv6 option then fragment": ethernet(
            ipv6(extension(44, 16) + fragment_header(6, 0, 1) + answer, next_header=43), v6
        ),
        "ipv6 unknown above 63": ethernet(ipv6(answer, next_header=0x80 | 43), v6),
        "ipv6 unknown 64 + 60": ethernet(ipv6(answer, next_header=64 + 60), v6),
    }
    for kind in (0, 43, 60, 135):
        table[f"ipv6 extension {kind}"] = ethernet(_chain([kind], answer), v6)
    for count in (2, 7, 8, 9):
        table[f"ipv6 {count} extensions"] = ethernet(_chain([0, *[60] * (count - 1)], answer), v6)
    table["ipv6 8 kinds"] = ethernet(_chain([0, 60, 43, 135, 60, 43, 0, 135], answer), v6)
    return table | _datagrams()


def _over_ip(data: bytes, **more: Any) -> bytes:
    return ethernet(ipv4(data, protocol=UDP, **more))


def _datagrams() -> dict[str, bytes]:
    data, to_server, from_server = payload(152), (CLIENT, EPM), (EPM, CLIENT)
    answer, v6 = udp(data, from_server), 0x86DD
    return {
        "udp request": _over_ip(udp(payload(236), to_server)),
        "udp answer": _over_ip(answer),
        "udp both ports": _over_ip(udp(b"x", (EPM, EPM))),
        "udp highest port": _over_ip(udp(b"x", (1, 65535))),
        "udp other ports": _over_ip(udp(data, (53, 5353))),
        "udp tunnel ports": _over_ip(udp(data, (4789, 6081))),
        "udp without payload": _over_ip(udp(b"", to_server)),
        "udp without payload, answer": _over_ip(udp(b"", from_server)),
        "udp ethernet padding": _over_ip(udp(b"x", to_server)) + bytes(17),
        "udp ipv6": ethernet(ipv6(answer, next_header=UDP), v6),
        "udp ipv6, extensions": ethernet(ipv6(extension(60, 8) + extension(UDP, 24) + answer, next_header=0), v6),
        "udp vlan": ethernet(ipv4(answer, protocol=UDP), tags=(0x88A8, 0x8100)),
        "udp ipv4 options": _over_ip(answer, options=bytes(12)),
        "udp header cut": _over_ip(answer[:7]),
        "udp ip length within header": _over_ip(answer, total=27),
        "udp ip length at header": _over_ip(udp(data, to_server, length=8), total=28),
        "udp ip length 0": _over_ip(answer, total=0),
        "udp ip length 0, udp longer": _over_ip(udp(data, to_server, length=1000), total=0),
        "udp ip length 0, udp shorter": _over_ip(udp(data, to_server, length=100), total=0),
        "udp both lengths 0": _over_ip(udp(data, to_server, length=0), total=0) + b"more",
        "udp length 0": _over_ip(udp(data, to_server, length=0)) + b"padding",
        "udp length 7": _over_ip(udp(data, to_server, length=7)),
        "udp length 8": _over_ip(udp(data, to_server, length=8)),
        "udp length shorter": _over_ip(udp(data, to_server, length=100)),
        "udp length longer": _over_ip(udp(data, to_server, length=161)),
        "udp lengths beyond frame": _over_ip(udp(data, to_server, length=1000), total=1020),
        "udp first fragment": _over_ip(udp(data, from_server, length=3000), fragment=0x2000),
        "udp first fragment, length 0": _over_ip(udp(data, from_server, length=0), fragment=0x2000),
        "udp later fragment": _over_ip(data, fragment=0x2010),
        "udp ipv6 first fragment": ethernet(
            ipv6(fragment_header(UDP, 0, 1) + udp(data, from_server, length=3000), next_header=44), v6
        ),
    }


FRAMES: Final = _table()
"""Frames by name, each of one buffer: they go through XDP and tc alike."""

CLASS_BORDERS: Final = sorted(
    {0, 1, 2, 7, 8, 9, BULK_LARGE_PAYLOAD - 1, BULK_LARGE_PAYLOAD}
    | {border + near for border in (COMPACT_PAYLOAD, BULK_SMALL_PAYLOAD, BULK_MEDIUM_PAYLOAD) for near in (-1, 0, 1)}
)
"""Payload lengths in bytes at which another size class of record begins, and the neighbours."""


def sized(length: int) -> bytes:
    """Return an answer with so many payload bytes; too long for IPv4's length field, that says 0."""
    packet = tcp(payload(length), ports=(EPM, CLIENT))
    return ethernet(ipv4(packet, total=0 if len(packet) + 20 > 65535 else None))
