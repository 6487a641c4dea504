"""IPv4 packets with TCP, read and written: what the laboratory's filter needs of them (RFC 791, RFC 9293)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from inspector.protocols import ACK, FIN, SYN

PSH: Final = 0x08
_TCP: Final = 6
_HOP_LIMIT: Final = 64
_WINDOW: Final = 65_535
_IPV4_HEADER: Final = 20
_TCP_HEADER: Final = 20
_MODULUS: Final = 1 << 32


@dataclass(frozen=True, slots=True)
class Segment:
    """A TCP segment over IPv4; `headers` is how many bytes of `packet` come before its payload."""

    source: IPv4Address
    source_port: int
    destination: IPv4Address
    destination_port: int
    sequence: int
    acknowledgment: int
    flags: int
    payload: bytes = b""
    packet: bytes = b""
    headers: int = 0

    @property
    def end(self) -> int:
        """The sequence number after this segment."""
        length = len(self.payload) + bool(self.flags & SYN) + bool(self.flags & FIN)
        return (self.sequence + length) % _MODULUS

    def onward(self, flags: int, payload: bytes = b"") -> bytes:
        """Return a packet in the name of this segment's sender, in this segment's place."""
        ends = (self.source, self.source_port, self.destination, self.destination_port)
        return packet_of(Segment(*ends, self.sequence, self.acknowledgment, flags, payload))

    def reply(self, flags: int, sequence: int | None = None) -> bytes:
        """Return a packet in the name of this segment's receiver, which acknowledges it."""
        ends = (self.destination, self.destination_port, self.source, self.source_port)
        return packet_of(Segment(*ends, self.acknowledgment if sequence is None else sequence, self.end, flags))

    def altered(self, payload: bytes) -> bytes:
        """Return this packet with another payload of the same length, and the checksum that fits it."""
        start = (self.packet[0] & 0x0F) * 4
        tcp = bytearray(self.packet[start : self.headers] + payload)
        tcp[16:18] = bytes(2)
        tcp[16:18] = _checksum_of(self.source, self.destination, bytes(tcp))
        return self.packet[:start] + bytes(tcp)


def read_segment(packet: bytes) -> Segment | None:
    """Return the TCP segment in a packet, None where it holds none or a fragment."""
    if len(packet) < _IPV4_HEADER or packet[0] >> 4 != 4 or packet[9] != _TCP:
        return None
    start = (packet[0] & 0x0F) * 4
    total, fragment = struct.unpack_from("!H2xH", packet, 2)
    if fragment & 0x3FFF or total > len(packet) or total < start + _TCP_HEADER:
        return None
    source, destination = IPv4Address(packet[12:16]), IPv4Address(packet[16:20])
    ports = struct.unpack_from("!HH", packet, start)
    sequence, acknowledgment, offset, flags = struct.unpack_from("!IIBB", packet, start + 4)
    headers = start + (offset >> 4) * 4
    payload = packet[headers:total]
    return Segment(
        source, ports[0], destination, ports[1], sequence, acknowledgment, flags, payload, packet[:total], headers
    )


def packet_of(segment: Segment) -> bytes:
    """Return a segment as a packet of its own."""
    acknowledgment = segment.acknowledgment if segment.flags & ACK else 0
    ports = (segment.source_port, segment.destination_port)
    fields = (*ports, segment.sequence % _MODULUS, acknowledgment, 5 << 4, segment.flags, _WINDOW)
    tcp = struct.pack("!HHIIBBH4x", *fields) + segment.payload
    checksum = _checksum_of(segment.source, segment.destination, tcp)
    tcp = tcp[:16] + checksum + tcp[18:]
    header = struct.pack("!BBHHHBBH", 0x45, 0, _IPV4_HEADER + len(tcp), 0, 0x4000, _HOP_LIMIT, _TCP, 0)
    header += segment.source.packed + segment.destination.packed
    return header[:10] + _ones_complement(header) + header[12:] + tcp


def _checksum_of(source: IPv4Address, destination: IPv4Address, tcp: bytes) -> bytes:
    return _ones_complement(source.packed + destination.packed + struct.pack("!HH", _TCP, len(tcp)) + tcp)


def _ones_complement(data: bytes) -> bytes:
    """Return the internet checksum (RFC 1071)."""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)
