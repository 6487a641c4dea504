"""Frames around segments: Ethernet, IP and TCP with true checksums, written against the RFCs alone."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from inspector.model import Segment
from inspector.record import Attribute
from tests.build.capture_files import block, interface, section
from tests.build.connection import STEP_NS

CLIENT_MAC, SERVER_MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
ETHERTYPE_IPV4, ETHERTYPE_IPV6 = 0x0800, 0x86DD
TCP, UDP = 6, 17


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame as captured; `wire_length` is its length before the capture cut it."""

    time_ns: int
    data: bytes
    wire_length: int

    def cut(self, snap_length: int) -> Frame:
        """Return the frame as a capture with that snap length keeps it."""
        return replace(self, data=self.data[:snap_length])

    def tagged(self, tags: bytes) -> Frame:
        """Return the frame with VLAN tags behind its addresses."""
        return replace(self, data=self.data[:12] + tags + self.data[12:], wire_length=self.wire_length + len(tags))


def checksum(data: bytes) -> int:
    """Return the internet checksum: the complement of the ones' complement sum of 16-bit words (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(data) // 2 + len(data) % 2}H", data + bytes(len(data) % 2)))
    while total > 0xFFFF:
        total = (total >> 16) + (total & 0xFFFF)
    return total ^ 0xFFFF


def tcp_of(segment: Segment, options: bytes = b"") -> bytes:
    """Return TCP header, options (a multiple of four bytes) and payload (RFC 9293 section 3.1)."""
    head = struct.pack(
        "!HHIIBBHHH",
        segment.source_port, segment.destination_port, segment.sequence, segment.acknowledgment,
        (20 + len(options)) // 4 << 4, segment.tcp_flags, 0xFFFF, 0, 0,
    )  # fmt: skip
    whole = head + options + segment.payload
    source, destination = ip_addresses(segment)
    found = checksum(source + destination + struct.pack("!II", len(whole), TCP) + whole)
    return whole[:16] + struct.pack("!H", found) + whole[18:]


def udp_of(segment: Segment) -> bytes:
    """Return UDP header and payload (RFC 768)."""
    return udp_between(segment, segment.source_port, segment.destination_port, segment.payload)


def udp_between(segment: Segment, source_port: int, destination_port: int, payload: bytes) -> bytes:
    """Return a UDP datagram with these ports; the checksum is over the segment's addresses."""
    whole = struct.pack("!HHHH", source_port, destination_port, 8 + len(payload), 0) + payload
    source, destination = ip_addresses(segment)
    found = checksum(source + destination + struct.pack("!II", len(whole), UDP) + whole)
    return whole[:6] + struct.pack("!H", found or 0xFFFF) + whole[8:]


def ip_addresses(segment: Segment) -> tuple[bytes, bytes]:
    """Return source and destination as the IP header carries them: 4 or 16 bytes."""
    start = 0 if segment.attributes & Attribute.IPV6 else 12
    return segment.source_address[start:], segment.destination_address[start:]


def ipv4(
    segment: Segment,
    body: bytes,
    *,
    options: bytes = b"",
    fragment: int = 0x4000,
    protocol: int = TCP,
    hop_limit: int = 64,
) -> bytes:
    """Return an IPv4 packet (RFC 791 section 3.1); `fragment` is the field of flags and offset."""
    length = 20 + len(options)
    source, destination = ip_addresses(segment)
    head = struct.pack("!BBHHHBBH", 0x40 | length // 4, 0, length + len(body), 1, fragment, hop_limit, protocol, 0)
    head += source + destination + options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body


def ipv6(segment: Segment, body: bytes, *, next_header: int = TCP, hop_limit: int = 64) -> bytes:
    """Return an IPv6 packet (RFC 8200 section 3); `body` starts with the header that `next_header` names."""
    source, destination = ip_addresses(segment)
    return struct.pack("!IHBB", 6 << 28, len(body), next_header, hop_limit) + source + destination + body


def ethernet(segment: Segment, packet: bytes, *, tags: bytes = b"") -> bytes:
    """Return an Ethernet frame, padded to its minimum as a network adapter does; `tags` are whole VLAN tags."""
    from_server = bool(segment.attributes & Attribute.FROM_SERVER)
    ends = CLIENT_MAC + SERVER_MAC if from_server else SERVER_MAC + CLIENT_MAC
    ethertype = ETHERTYPE_IPV6 if segment.attributes & Attribute.IPV6 else ETHERTYPE_IPV4
    frame = ends + tags + struct.pack("!H", ethertype) + packet
    return frame + bytes(max(0, 60 - len(frame)))


def ip_of(segment: Segment, *, tcp_options: bytes = b"") -> bytes:
    """Return the plain IP packet of a segment or a datagram."""
    protocol = UDP if segment.attributes & Attribute.UDP else TCP
    body = udp_of(segment) if protocol == UDP else tcp_of(segment, tcp_options)
    return ip(segment, body, protocol)


def ip(segment: Segment, body: bytes, protocol: int, hop_limit: int = 64) -> bytes:
    """Return a packet between the segment's addresses, of their IP version."""
    if segment.attributes & Attribute.IPV6:
        return ipv6(segment, body, next_header=protocol, hop_limit=hop_limit)
    return ipv4(segment, body, protocol=protocol, hop_limit=hop_limit)


def frame_of(segment: Segment, data: bytes | None = None) -> Frame:
    """Return the frame of a segment: these bytes, or plain Ethernet."""
    if data is None:
        data = ethernet(segment, ip_of(segment))
    return Frame(segment.time_ns, data, len(data))


def in_order_of_arrival(segments: Iterable[Segment]) -> list[Segment]:
    """Return the segments in this order with times that grow: the network changed their order, not the clock."""
    ordered = list(segments)
    start = min(segment.time_ns for segment in ordered)
    return [segment._replace(time_ns=start + number * STEP_NS) for number, segment in enumerate(ordered)]


def pcapng_of(frames: Iterable[Frame], link_type: int) -> Iterator[bytes]:
    """Yield the blocks of a capture file in little-endian byte order on every machine, times in nanoseconds."""
    yield section("<")
    yield interface("<", link_type, tsresol=b"\x09")
    for frame in frames:
        head = struct.pack("<IIIII", 0, *divmod(frame.time_ns, 2**32), len(frame.data), frame.wire_length)
        yield block("<", 6, head + frame.data)
