"""From a captured frame to the TCP segment or UDP datagram in it. The twin of bpf/epm_parse.h.

The layers are read one after the other, each by a function that takes the frame and an offset
and returns the next layer's, so that a tunnel is one more turn through the same functions.
Nothing is raised: a frame is a segment, a counter's name, or of no interest. Sources: IEEE
802.1Q, RFC 791, RFC 8200 section 4, RFC 4302, RFC 9293 section 3.1, RFC 768, and the registry of
link types of pcap. The same frame through the kernel program gives the same record; tests hold that.
"""

from __future__ import annotations

import enum
import struct
from typing import TYPE_CHECKING, Final

from inspector.model import Segment, Tunnel
from inspector.protocols import (
    ETHERTYPE_ETHERNET,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    ETHERTYPES_VLAN,
    FIN,
    RST,
    SYN,
)
from inspector.record import BULK_LARGE_PAYLOAD, TUNNEL_DEPTH, TUNNEL_REACH, Attribute, KernelCounter
from inspector.wire import tunnels as carriers
from inspector.wire.addresses import read_addresses
from inspector.wire.followups import ICMP_PROTOCOLS

if TYPE_CHECKING:
    from collections.abc import Collection

    from inspector.model import TunnelKind
    from inspector.wire.followups import FollowUps

MAXIMUM_VLAN_TAGS: Final = 2
MAXIMUM_EXTENSION_HEADERS: Final = 8


_PROTOCOL_TCP: Final = 6
_PROTOCOL_UDP: Final = 17
_TRANSPORTS: Final = frozenset({_PROTOCOL_TCP, _PROTOCOL_UDP})
_HEADER_ROUTING: Final = 43
_HEADER_FRAGMENT: Final = 44
_HEADER_AUTHENTICATION: Final = 51
_EXTENSION_HEADERS: Final = frozenset({0, _HEADER_ROUTING, _HEADER_FRAGMENT, _HEADER_AUTHENTICATION, 60, 135})

_FIN_SYN_RST: Final = FIN | SYN | RST

_UINT16: Final = struct.Struct(">H")
_UINT32_LITTLE: Final = struct.Struct("<I")
_UINT32_BIG: Final = struct.Struct(">I")
_IPV4: Final = struct.Struct(">BxHxxHxB")
_IPV6: Final = struct.Struct(">BxxxHB")
_EXTENSION: Final = struct.Struct(">BBH")
_TCP: Final = struct.Struct(">HHIIBB")
_UDP: Final = struct.Struct(">HHH")
_PORTS: Final = struct.Struct(">HH")
_TRANSPORT_BYTES: Final = {_PROTOCOL_TCP: 20, _PROTOCOL_UDP: 8}

# Enum attributes cost a look-up each.
_FROM_SERVER: Final = int(Attribute.FROM_SERVER)
_IS_IPV6: Final = int(Attribute.IPV6)
_FIRST_FRAGMENT: Final = int(Attribute.FIRST_FRAGMENT)
_IS_UDP: Final = int(Attribute.UDP)
_TUNNELLED: Final = int(Attribute.TUNNELLED)
_ENDPOINT: Final = int(Attribute.ENDPOINT)
_LATER_FRAGMENTS: Final = KernelCounter.LATER_FRAGMENTS
_UNREADABLE: Final = KernelCounter.UNREADABLE_HEADERS

_Link = tuple[int, int]
"""Ethertype, offset of what it names."""
_Network = tuple[int, int, int, int]
"""IP protocol, offset of its header, offset where the IP payload ends on the wire, attributes."""

NO_LENGTH: Final = 1 << 40
"""End of an IP packet without a length of its own; larger than any length that a header can give."""


_Transport = tuple[int, int, int, int, int, int, int]
"""Both ports, sequence, acknowledgment, flags, offset of the payload, offset where that ends on the wire."""
# Plain tuples: one of these is made for every frame, and named ones take several times as long.


class LinkType(enum.IntEnum):
    """Link types of pcap which can be read (LINKTYPE_ values of the pcap registry)."""

    NULL = 0
    ETHERNET = 1
    RAW_BSD = 12
    RAW_OPENBSD = 14
    RAW = 101
    LOOP = 108
    LINUX_SLL = 113
    IPV4 = 228
    IPV6 = 229
    LINUX_SLL2 = 276


LINK_TYPES: Final = frozenset(int(link_type) for link_type in LinkType)

# Where the ethertype stands, and where the header ends.
_LINKS_WITH_ETHERTYPE: Final = {1: (12, 14), 113: (14, 16), 276: (0, 20)}
_LINKS_RAW: Final = frozenset({12, 14, 101})
_LINKS_WITH_FAMILY: Final = frozenset({0, 108})
_ETHERTYPE_OF_LINK: Final = {228: ETHERTYPE_IPV4, 229: ETHERTYPE_IPV6}
# AF_INET is 2 everywhere; AF_INET6 is 10 on Linux, 24, 28 and 30 on the BSDs and macOS.
_ETHERTYPE_OF_FAMILY: Final = {2: ETHERTYPE_IPV4} | dict.fromkeys((10, 24, 28, 30), ETHERTYPE_IPV6)
_ETHERTYPE_OF_VERSION: Final = {4: ETHERTYPE_IPV4, 6: ETHERTYPE_IPV6}


def read_frame(
    frame: bytes | memoryview,
    *,
    link_type: int,
    time_ns: int,
    interface_index: int,
    ports: Collection[int],
    wire_length: int | None = None,
    tunnels: bool = False,
    follow_ups: FollowUps | None = None,
) -> Segment | KernelCounter | None:
    """Return the segment of a frame of an endpoint mapper's conversation, a counter, or None.

    A segment: a TCP packet to or from one of `ports` that has payload, SYN, FIN or RST, or a UDP packet that has
    payload. PACKETS_TO_SERVER or PACKETS_FROM_SERVER: such a packet without any of them (a bare acknowledgment).
    LATER_FRAGMENTS: a fragment without ports. UNREADABLE_HEADERS: a packet whose ports cannot be known, or whose
    lengths contradict each other where one of its ports is of interest; so is every packet of a link type not in
    `LinkType`. None: any other traffic.

    `time_ns` is since 1970; `wire_length` is the frame's length before a capture cut it (its length as given, if
    None), which IP headers with a length of 0 refer to. With `tunnels` a packet which is none of an endpoint mapper's
    is replaced by the one that it carries, at most TUNNEL_DEPTH times. With `follow_ups` segments of connections to
    endpoints are returned too, and ICMP errors that quote a packet of interest.
    """
    link = read_link(frame, link_type)
    if not isinstance(link, tuple):
        return link
    ethertype, at = link
    network = read_network(frame, ethertype, at)
    if not isinstance(network, tuple):
        return network
    transport = read_transport(frame, network, ports, tunnels=tunnels)
    tunnel, limit = None, NO_LENGTH
    if tunnels and network[0] != _PROTOCOL_TCP:
        carried = leave_tunnels(frame, at, network, transport, ports)
        if not isinstance(carried, tuple):
            return carried
        at, network, transport, tunnel, limit = carried
    if follow_ups is not None and network[0] in ICMP_PROTOCOLS:
        return follow_ups.read_error(frame, at, network, ports, (time_ns, interface_index))
    if not isinstance(transport, tuple):
        return transport
    source_port, destination_port, sequence, acknowledgment, flags, payload_at, end = transport
    attributes = network[3] if network[0] == _PROTOCOL_TCP else network[3] | _IS_UDP
    if destination_port not in ports:
        if source_port in ports:
            attributes |= _FROM_SERVER
        elif (
            follow_ups is None
            or attributes & _IS_UDP
            or not follow_ups.may_be_one(source_port, destination_port, flags)
        ):
            return None
        else:
            attributes |= _ENDPOINT
    if end >= NO_LENGTH:
        end = min(limit, max(wire_length or 0, len(frame)))
    payload_length = end - payload_at
    bare = not payload_length and not flags & _FIN_SYN_RST
    counted = KernelCounter.PACKETS_FROM_SERVER if attributes & _FROM_SERVER else KernelCounter.PACKETS_TO_SERVER
    if bare and follow_ups is None:
        return counted
    source, destination = read_addresses(frame, at, attributes)
    captured = min(payload_length, min(limit, len(frame)) - payload_at, BULK_LARGE_PAYLOAD)
    segment = Segment(
        time_ns,
        source,
        destination,
        sequence,
        acknowledgment,
        source_port,
        destination_port,
        payload_length,
        flags,
        attributes,
        interface_index,
        bytes(frame[payload_at : payload_at + captured]),
        tunnel,
        frame[at + 7] if attributes & _IS_IPV6 else frame[at + 8],
    )
    followed = segment if follow_ups is None else follow_ups.check(segment)
    return counted if bare and followed else followed


def leave_tunnels(
    frame: bytes | memoryview,
    at: int,
    network: _Network,
    transport: _Transport | KernelCounter | None,
    ports: Collection[int],
) -> tuple[int, _Network, _Transport | KernelCounter | None, Tunnel | None, int] | KernelCounter | None:
    """Return the packet within all tunnels, the outermost tunnel, and where the bytes of the packet around it end.

    A packet is the offset of its IP header, and what was read of it.
    """
    tunnel, limit = None, NO_LENGTH
    for depth in range(1, TUNNEL_DEPTH + 1):
        kind = _tunnel_kind(network, transport, ports)
        if kind is None:
            break
        tunnel = tunnel or Tunnel(kind, *read_addresses(frame, at, network[3]))
        tunnel = tunnel._replace(depth=depth)
        header_at, end = transport[5:] if isinstance(transport, tuple) else network[1:3]
        limit = min(limit, end)
        link = _enter_tunnel(frame, kind, header_at, limit)
        if not isinstance(link, tuple):
            return link
        ethertype, at = link
        within = read_network(frame, ethertype, at)
        if not isinstance(within, tuple):
            return within
        protocol, transport_at, end, attributes = within
        network = protocol, transport_at, end, attributes | network[3] & _FIRST_FRAGMENT | _TUNNELLED
        transport = read_transport(frame, network, ports, tunnels=True)
        if isinstance(transport, tuple) and transport[5] > limit:
            return _UNREADABLE
    return at, network, transport, tunnel, limit


def _tunnel_kind(
    network: _Network, transport: _Transport | KernelCounter | None, ports: Collection[int]
) -> TunnelKind | None:
    """Return what kind of tunnel a packet is; None if it is none, or of interest as it is."""
    protocol = network[0]
    if protocol in carriers.CARRIERS:
        return carriers.carrier_kind(protocol, ipv6=bool(network[3] & _IS_IPV6))
    if protocol != _PROTOCOL_UDP or not isinstance(transport, tuple):
        return None
    source_port, destination_port = transport[:2]
    if destination_port in ports or source_port in ports:
        return None
    return carriers.port_kind(source_port, destination_port)


def _enter_tunnel(frame: bytes | memoryview, kind: TunnelKind, at: int, limit: int) -> _Link | KernelCounter | None:
    """Return the network layer behind a tunnel's own header; what lies behind `limit`, like padding, is none of it."""
    carried = carriers.read_tunnel_header(frame, kind, at)
    if not isinstance(carried, tuple):
        return carried
    ethertype, at = carried
    if ethertype == ETHERTYPE_ETHERNET:
        ethertype, at = _read_ethernet(frame, at + 12, at + 14) or (0, at)
    if not ethertype or at > TUNNEL_REACH or at > limit:
        return _UNREADABLE
    return ethertype, at


def read_transport(
    frame: bytes | memoryview, network: _Network, ports: Collection[int], *, tunnels: bool
) -> _Transport | KernelCounter | None:
    """Read the TCP or UDP header of a packet; None where it has neither, or a false length and no port of interest."""
    protocol, at, end, attributes = network
    if protocol not in _TRANSPORTS:
        return None
    tcp = protocol == _PROTOCOL_TCP
    transport = read_tcp(frame, at, end) if tcp else _read_udp(frame, at, end, attributes)
    if transport is not _UNREADABLE or len(frame) < at + _TRANSPORT_BYTES[protocol]:
        return transport
    source, destination = _PORTS.unpack_from(frame, at)
    if source in ports or destination in ports:
        return transport
    return transport if tunnels and not tcp and carriers.port_kind(source, destination) else None


def read_tcp(frame: bytes | memoryview, at: int, end: int) -> _Transport | KernelCounter:
    """Read a TCP header with its options (RFC 9293 section 3.1)."""
    length = len(frame)
    if length < at + 20:
        return _UNREADABLE
    source_port, destination_port, sequence, acknowledgment, offset, flags = _TCP.unpack_from(frame, at)
    payload_at = at + (offset >> 4) * 4
    if payload_at < at + 20 or payload_at > length or payload_at > end:
        return _UNREADABLE
    return source_port, destination_port, sequence, acknowledgment, flags, payload_at, end


def _read_udp(frame: bytes | memoryview, at: int, end: int, attributes: int) -> _Transport | KernelCounter:
    """Read a UDP header (RFC 768).

    A length of 0 means "the rest of the IP packet"; that of a first fragment is the whole datagram's.
    """
    payload_at = at + 8
    if len(frame) < payload_at or payload_at > end:
        return _UNREADABLE
    source_port, destination_port, length = _UDP.unpack_from(frame, at)
    if length:
        if length < 8 or (at + length > end and not attributes & _FIRST_FRAGMENT):
            return _UNREADABLE
        end = min(end, at + length)
    return source_port, destination_port, 0, 0, 0, payload_at, end


def read_link(frame: bytes | memoryview, link_type: int) -> _Link | KernelCounter | None:
    """Return ethertype and offset of the network layer, past up to two VLAN tags."""
    if link_type in _LINKS_WITH_ETHERTYPE:
        return _read_ethernet(frame, *_LINKS_WITH_ETHERTYPE[link_type])
    if link_type in _LINKS_RAW:
        ethertype = _ETHERTYPE_OF_VERSION.get(frame[0] >> 4) if len(frame) else None
        return _UNREADABLE if ethertype is None else (ethertype, 0)
    if link_type in _ETHERTYPE_OF_LINK:
        return _ETHERTYPE_OF_LINK[link_type], 0
    if link_type in _LINKS_WITH_FAMILY:
        return _read_family(frame)
    return _UNREADABLE


def _read_ethernet(frame: bytes | memoryview, ethertype_at: int, at: int) -> _Link | None:
    """Return ethertype and offset past the tags; a third tag is left for the caller to refuse (IEEE 802.1Q 9.6)."""
    if len(frame) < at:
        return None
    (ethertype,) = _UINT16.unpack_from(frame, ethertype_at)
    for _ in range(MAXIMUM_VLAN_TAGS):
        if ethertype not in ETHERTYPES_VLAN:
            break
        if len(frame) < at + 4:
            return None
        (ethertype,) = _UINT16.unpack_from(frame, at + 2)
        at += 4
    return ethertype, at


def _read_family(frame: bytes | memoryview) -> _Link | None:
    """Return the network layer behind a BSD loopback header: a 4-byte address family, in the writer's byte order."""
    if len(frame) < 4:
        return None
    (family,) = _UINT32_LITTLE.unpack_from(frame)
    if family > 0xFFFF:
        (family,) = _UINT32_BIG.unpack_from(frame)
    ethertype = _ETHERTYPE_OF_FAMILY.get(family)
    return None if ethertype is None else (ethertype, 4)


def read_network(frame: bytes | memoryview, ethertype: int, at: int) -> _Network | KernelCounter | None:
    """Return what the IP header at `at` carries, and where that ends."""
    if ethertype == ETHERTYPE_IPV4:
        return _read_ipv4(frame, at)
    if ethertype == ETHERTYPE_IPV6:
        return _read_ipv6(frame, at)
    return None


def _read_ipv4(frame: bytes | memoryview, at: int) -> _Network | KernelCounter | None:
    """Read one IPv4 header with its options (RFC 791 section 3.1)."""
    if len(frame) < at + 20:
        return _UNREADABLE
    version_and_length, total_length, fragment, protocol = _IPV4.unpack_from(frame, at)
    transport_at = at + (version_and_length & 15) * 4
    if version_and_length >> 4 != 4 or transport_at < at + 20 or transport_at > len(frame):
        return _UNREADABLE
    # 0 is what segmentation offload leaves in packets longer than the field can say.
    end = at + (total_length or NO_LENGTH * 2)
    if end < transport_at and protocol not in _TRANSPORTS:
        return _UNREADABLE
    if fragment & 0x1FFF:
        return _LATER_FRAGMENTS if protocol in _TRANSPORTS else None
    return protocol, transport_at, end, _FIRST_FRAGMENT if fragment & 0x2000 else 0


def _read_ipv6(frame: bytes | memoryview, at: int) -> _Network | KernelCounter | None:
    """Read one IPv6 header and its extension headers (RFC 8200 sections 3 and 4)."""
    if len(frame) < at + 40:
        return _UNREADABLE
    version, payload_length, protocol = _IPV6.unpack_from(frame, at)
    if version >> 4 != 6:
        return _UNREADABLE
    end = at + 40 + (payload_length or NO_LENGTH * 2)
    at += 40
    attributes = _IS_IPV6
    for _ in range(MAXIMUM_EXTENSION_HEADERS):
        if protocol not in _EXTENSION_HEADERS:
            break
        # 8 bytes are the least that any of them has.
        if len(frame) < at + 8:
            return _UNREADABLE
        following, units, fragment = _EXTENSION.unpack_from(frame, at)
        if protocol == _HEADER_FRAGMENT:
            if fragment >> 3:
                return _LATER_FRAGMENTS if following in _TRANSPORTS else None
            if fragment & 1:
                attributes |= _FIRST_FRAGMENT
            at += 8
        else:
            at += 4 * (units + 2) if protocol == _HEADER_AUTHENTICATION else 8 * (units + 1)
        if len(frame) < at:
            return _UNREADABLE
        protocol = following
    return protocol, at, end, attributes
