"""A frame built anew from what a record holds of one.

Ethernet with empty addresses, IP without options, TCP or UDP. Checksums are right where all that
they cover was captured, and 0 where not (which in a tunnel's own UDP header means "none", RFC 6935).
An ICMP error quotes of its packet what the record has: addresses, ports and sequence number.
A record names the outermost tunnel only: of two, the inner one is written as GRE between
unspecified addresses, so that what is read back is the same record.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from inspector.model import TunnelKind
from inspector.protocols import ETHERTYPE_ETHERNET, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV4_MAPPED
from inspector.record import Attribute
from inspector.wire.followups import unpack_error

if TYPE_CHECKING:
    from inspector.model import Segment, Tunnel


_ICMP: Final = 1
_IPV4: Final = 4
_TCP: Final = 6
_UDP: Final = 17
_IPV6: Final = 41
_FRAGMENT_HEADER: Final = 44
_GRE: Final = 47
_ICMPV6: Final = 58

# Of what carries a packet; that of the packet itself is in its record.
_HOP_LIMIT: Final = 64
_TCP_HEADER_SIZE: Final = 20
_WINDOW: Final = 0xFFFF
_LONGEST: Final = 0xFFFF

# Of the tunnels over UDP: the port, and the header in front of what is carried.
_UDP_TUNNELS: Final = {
    TunnelKind.VXLAN: (4789, b"\x08" + bytes(7)),
    TunnelKind.GENEVE: (6081, struct.pack("!HHI", 0, ETHERTYPE_ETHERNET, 0)),
    TunnelKind.TEREDO: (3544, b""),
}
_WITH_ETHERNET: Final = frozenset({TunnelKind.VXLAN, TunnelKind.GENEVE})
_OVER_IPV6: Final = frozenset({TunnelKind.FOUR_IN_SIX, TunnelKind.SIX_IN_SIX})
_CARRYING_IPV4: Final = frozenset({TunnelKind.IPIP, TunnelKind.FOUR_IN_SIX})


class _Packet(NamedTuple):
    """An IP packet: its bytes, and its length on the wire, of which the last may be missing."""

    data: bytes
    length: int
    ipv6: bool

    @property
    def ethertype(self) -> int:
        """What Ethernet and GRE call it."""
        return ETHERTYPE_IPV6 if self.ipv6 else ETHERTYPE_IPV4


def build_frame(segment: Segment) -> bytes:
    """Return an Ethernet frame that carries the segment, in its tunnel, ending where its payload was cut."""
    if segment.attributes & Attribute.ICMP:
        return _ethernet(_icmp_error(segment))
    transport = _udp_header(segment) if segment.attributes & Attribute.UDP else _tcp_header(segment)
    protocol = _UDP if segment.attributes & Attribute.UDP else _TCP
    packet = _ip(
        protocol,
        segment.source_address,
        segment.destination_address,
        transport + segment.payload,
        len(transport) + segment.payload_length,
        ipv6=bool(segment.attributes & Attribute.IPV6),
        fragment=bool(segment.attributes & Attribute.FIRST_FRAGMENT),
        hop_limit=segment.hop_limit,
    )
    if segment.tunnel is not None:
        packet = _carry(packet, segment.tunnel)
    return _ethernet(packet)


def _icmp_error(segment: Segment) -> _Packet:
    """Return an ICMP error (RFC 792, RFC 4443), sent to the source of the packet that it quotes.

    The quoted hop limit and length are not known: they are those of a header alone.
    """
    error, ipv6 = unpack_error(segment.payload), bool(segment.attributes & Attribute.IPV6)
    source, destination = segment.source_address, segment.destination_address
    transport = struct.pack("!HHI", segment.source_port, segment.destination_port, segment.sequence)
    quoted = _ip(_TCP, source, destination, transport, _TCP_HEADER_SIZE, ipv6=ipv6)
    message = struct.pack("!BBHI", error.type, error.code, 0, error.mtu) + quoted.data
    protocol = _ICMPV6 if ipv6 else _ICMP
    pseudo_header = error.reporter + source + struct.pack("!II", len(message), protocol) if ipv6 else b""
    checksum = struct.pack("!H", _checksum(pseudo_header + message))
    message = message[:2] + checksum + message[4:]
    return _ip(protocol, error.reporter, source, message, len(message), ipv6=ipv6, hop_limit=segment.hop_limit)


def _carry(packet: _Packet, tunnel: Tunnel) -> _Packet:
    """Return the packet in its tunnel, or in two of them."""
    kind = tunnel.kind
    if tunnel.depth > 1:
        # The outermost kind may carry one version of IP only.
        over_ipv6 = kind in (TunnelKind.SIX_IN_FOUR, TunnelKind.SIX_IN_SIX, TunnelKind.TEREDO)
        nowhere = bytes(16) if over_ipv6 else IPV4_MAPPED + bytes(4)
        packet = _within(packet, TunnelKind.GRE, nowhere, nowhere, ipv6=over_ipv6)
    source, destination = tunnel.source_address, tunnel.destination_address
    mapped = source.startswith(IPV4_MAPPED) and destination.startswith(IPV4_MAPPED)
    over_ipv6 = kind in _OVER_IPV6 or (not mapped and kind not in (TunnelKind.IPIP, TunnelKind.SIX_IN_FOUR))
    return _within(packet, kind, source, destination, ipv6=over_ipv6)


def _within(packet: _Packet, kind: TunnelKind, source: bytes, destination: bytes, *, ipv6: bool) -> _Packet:
    """Return the packet which carries another in a tunnel of this kind; networks, keys and the like are 0."""
    if kind in _UDP_TUNNELS:
        port, head = _UDP_TUNNELS[kind]
        if kind in _WITH_ETHERNET:
            head += _ethernet(packet._replace(data=b""))
        length = 8 + len(head) + packet.length
        head = struct.pack("!HHHH", port, port, length if length <= _LONGEST else 0, 0) + head
        protocol = _UDP
    elif kind is TunnelKind.GRE:
        head, protocol = struct.pack("!HH", 0, packet.ethertype), _GRE
    else:
        head, protocol = b"", _IPV4 if kind in _CARRYING_IPV4 else _IPV6
    return _ip(protocol, source, destination, head + packet.data, len(head) + packet.length, ipv6=ipv6)


def _ethernet(packet: _Packet) -> bytes:
    return bytes(12) + struct.pack("!H", packet.ethertype) + packet.data


def _ip(
    protocol: int,
    source: bytes,
    destination: bytes,
    body: bytes,
    length: int,
    *,
    ipv6: bool,
    fragment: bool = False,
    hop_limit: int = _HOP_LIMIT,
) -> _Packet:
    """Return an IP packet whose payload is `length` bytes on the wire. Addresses are 16 bytes, IPv4 as the last 4."""
    if ipv6:
        head = _ipv6_header(protocol, source, destination, length, fragment=fragment, hop_limit=hop_limit)
    else:
        head = _ipv4_header(protocol, source, destination, length, fragment=fragment, hop_limit=hop_limit)
    return _Packet(head + body, len(head) + length, ipv6)


def _ipv4_header(
    protocol: int, source: bytes, destination: bytes, length: int, *, fragment: bool, hop_limit: int
) -> bytes:
    """Return an IPv4 header (RFC 791 section 3.1)."""
    # A length beyond 16 bits is written as 0, as segmentation offload does: "the rest of the frame".
    total = 20 + length if 20 + length <= _LONGEST else 0
    flags = 0x2000 if fragment else 0x4000
    head = struct.pack("!BBHHHBB", 0x45, 0, total, 0, flags, hop_limit, protocol)
    addresses = source[12:] + destination[12:]
    return head + struct.pack("!H", _checksum(head + addresses)) + addresses


def _ipv6_header(
    protocol: int, source: bytes, destination: bytes, length: int, *, fragment: bool, hop_limit: int
) -> bytes:
    """Return an IPv6 header, with a fragment header if there is need (RFC 8200 sections 3 and 4.5)."""
    fragment_header = struct.pack("!BBHI", protocol, 0, 1, 0) if fragment else b""
    total = len(fragment_header) + length
    next_header = _FRAGMENT_HEADER if fragment else protocol
    head = struct.pack("!IHBB", 6 << 28, total if total <= _LONGEST else 0, next_header, hop_limit)
    return head + source + destination + fragment_header


def _tcp_header(segment: Segment) -> bytes:
    """Return a TCP header (RFC 9293 section 3.1)."""
    head = struct.pack(
        "!HHIIBBH",
        segment.source_port,
        segment.destination_port,
        segment.sequence,
        segment.acknowledgment,
        5 << 4,
        segment.tcp_flags,
        _WINDOW,
    )
    return head + struct.pack("!HH", _transport_checksum(segment, _TCP, head + bytes(4)), 0)


def _udp_header(segment: Segment) -> bytes:
    """Return a UDP header (RFC 768), whose checksum is never 0."""
    length = 8 + segment.payload_length
    head = struct.pack("!HHH", segment.source_port, segment.destination_port, length if length <= _LONGEST else 0)
    checksum = _transport_checksum(segment, _UDP, head + bytes(2))
    return head + struct.pack("!H", checksum or (0xFFFF if _is_whole(segment) else 0))


def _is_whole(segment: Segment) -> bool:
    return len(segment.payload) == segment.payload_length and not segment.attributes & Attribute.FIRST_FRAGMENT


def _transport_checksum(segment: Segment, protocol: int, header: bytes) -> int:
    """Return the checksum over pseudo header, header and payload; 0 where not all of it was captured."""
    if not _is_whole(segment):
        return 0
    # IPv4's pseudo header is shorter, but what it lacks is zero and does not change the sum; a mapped
    # address has ffff in it, which is zero too in this arithmetic.
    length = struct.pack("!II", len(header) + segment.payload_length, protocol)
    return _checksum(segment.source_address + segment.destination_address + length + header + segment.payload)


def _checksum(data: bytes) -> int:
    """Return the internet checksum (RFC 1071).

    The sum of 16-bit words with end-around carry is the number they form, modulo 65535.
    """
    padded = data + bytes(len(data) & 1)
    return -int.from_bytes(padded, "big") % 0xFFFF
