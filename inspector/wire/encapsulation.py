"""What stands around packets in capture files beyond what the kernel program reads: taken off, layer by layer.

Labels, sessions and mirrors: MPLS, PPP, PPPoE, LLC/SNAP, more than two VLAN tags, 802.1ah, ERSPAN, and tunnels over UDP
whose headers are small: VXLAN-GPE, GTP-U, L2TP, TZSP. Sources: RFC 3032 and RFC 4385 (MPLS), RFC 1661 and RFC 1662
(PPP), RFC 2516 (PPPoE), IEEE 802.2 and RFC 1042 (SNAP), IEEE 802.1Q clause 9 (tags, I-TAG), draft-foschiano-erspan
(ERSPAN I to III), draft-ietf-nvo3-vxlan-gpe, 3GPP TS 29.281 section 5 (GTP-U), RFC 2661 section 3.1 (L2TP). TZSP has no
specification; tests compare with what tshark reads. Nothing is raised, whatever the bytes are.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from inspector.protocols import ETHERTYPE_ETHERNET, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPES_VLAN
from inspector.wire import tunnels as carriers
from inspector.wire.frame import LINK_TYPES, MAXIMUM_VLAN_TAGS, LinkType, read_link, read_network

if TYPE_CHECKING:
    from collections.abc import Callable

MAXIMUM_LAYERS: Final = 8
MAXIMUM_TAGS: Final = 16
"""VLAN tags, or labels of MPLS."""

VXLAN_GPE_PORT: Final = 4790
GTP_U_PORT: Final = 2152
L2TP_PORT: Final = 1701
TZSP_PORT: Final = 37008
CARRIER_PORTS: Final = frozenset(
    {VXLAN_GPE_PORT, GTP_U_PORT, L2TP_PORT, TZSP_PORT}
    | {carriers.PORT_VXLAN, carriers.PORT_GENEVE, carriers.PORT_TEREDO}
)
"""UDP ports of tunnels."""

MPLS_TYPES: Final = frozenset({0x8847, 0x8848})
PPPOE_TYPE: Final = 0x8864
PBB_TYPE: Final = 0x88E7
LOWEST_TYPE: Final = 0x0600
"""Below it an ethertype is a length, and LLC follows (IEEE 802.3 section 3.2.6)."""

_ERSPAN_TYPE: Final = 0x88BE
_ERSPAN_3_TYPE: Final = 0x22EB
_IP_TYPES: Final = frozenset({ETHERTYPE_IPV4, ETHERTYPE_IPV6})
_UDP: Final = 17
# Link types of pcap: an ethertype at an offset, and the header's length.
_LINKS: Final = {int(LinkType.ETHERNET): (12, 14), int(LinkType.LINUX_SLL): (14, 16), int(LinkType.LINUX_SLL2): (0, 20)}
_PPP_LINKS: Final = {9: 0, 50: 0, 51: 6, 166: 0, 204: 1}
"""Link types that hold PPP, and what stands before it: a PPPoE header, or the direction."""
_CISCO_HDLC: Final = 104
_MPLS_LINK: Final = 219
CARRIED_LINKS: Final = frozenset({*_PPP_LINKS, _CISCO_HDLC, _MPLS_LINK})
"""Link types whose packets can be read once this has taken off what is around them."""

_LINK_NAMES: Final = {
    105: "802.11",
    107: "Frame Relay",
    119: "802.11",
    127: "802.11",
    163: "802.11",
    192: "802.11",
    197: "ERF",
    195: "802.15.4",
    189: "USB",
    220: "USB",
    249: "USB",
}
_PPP_TYPES: Final = {0x0021: ETHERTYPE_IPV4, 0x0057: ETHERTYPE_IPV6, 0x0281: 0x8847, 0x0283: 0x8848}
_PPP_UNREAD: Final = {0x003D: "PPP in several links", 0x00FD: "compressed PPP", 0x0053: "encrypted PPP"}
_GPE_TYPES: Final = {1: ETHERTYPE_IPV4, 2: ETHERTYPE_IPV6, 3: ETHERTYPE_ETHERNET}


class Unwrapped(NamedTuple):
    """A packet without what was around it, and how many bytes that were; `names` are the layers from the outermost.

    `unread` names a layer that cannot be read: then the packet is what is left before it.
    """

    link_type: int
    data: bytes | memoryview
    taken: int
    names: tuple[str, ...]
    unread: str | None = None


class _Layer(NamedTuple):
    """What is at an offset, by its ethertype; a name where something was taken off, or could not be."""

    kind: int
    at: int
    name: str | None = None
    unread: str | None = None


def link_name(link_type: int) -> str:
    """Return what a link type that cannot be read is called."""
    return _LINK_NAMES.get(link_type, f"link type {link_type}")


def unwrap(data: bytes | memoryview, link_type: int, *, tunnels: bool) -> Unwrapped | None:
    """Take off what `inspector.wire.frame` does not read, None where there is nothing of that; `tunnels`: ERSPAN, UDP.

    What is left is IP (`LinkType.RAW`).
    """
    layer = _first(data, link_type)
    names: list[str] = []
    for _ in range(MAXIMUM_LAYERS):
        if layer is None:
            return None
        if layer.name is not None:
            names.append(layer.name)
        if layer.unread is not None:
            return Unwrapped(link_type, data, 0, tuple(names), layer.unread)
        following = _enter(data, layer, tunnels=tunnels)
        if following is None:
            break
        layer = following
    if layer is None or not names or layer.kind not in _IP_TYPES:
        return None
    return Unwrapped(int(LinkType.RAW), data[layer.at :], layer.at, tuple(names))


def tunnel_name(data: bytes | memoryview, link_type: int) -> str | None:
    """Return the name of the tunnel which a packet is in, None if it is in none."""
    link = read_link(data, link_type)
    network = read_network(data, *link) if isinstance(link, tuple) else None
    if not isinstance(network, tuple):
        return None
    protocol, at, _, attributes = network
    if protocol in carriers.CARRIERS:
        kind = carriers.carrier_kind(protocol, ipv6=bool(attributes & 2))
        return "ERSPAN" if _is_erspan(data, protocol, at) else str(kind)
    if protocol != _UDP or len(data) < at + 4:
        return None
    source, destination = struct.unpack_from(">HH", data, at)
    return _PORT_NAMES.get(destination) or _PORT_NAMES.get(source)


def _first(data: bytes | memoryview, link_type: int) -> _Layer | None:
    """Return the first layer of a packet."""
    if link_type in _LINKS:
        type_at, at = _LINKS[link_type]
        return _tagged(data, type_at, at)
    if link_type in _PPP_LINKS:
        layer = _read_ppp(data, _PPP_LINKS[link_type])
        return layer and layer._replace(name="PPP")
    if link_type == _CISCO_HDLC:
        return _Layer(_number(data, 2), 4, "HDLC") if len(data) > 4 else None
    if link_type == _MPLS_LINK:
        return _read_mpls(data, 0)
    if link_type in LINK_TYPES:
        link = read_link(data, link_type)
        return _Layer(*link) if isinstance(link, tuple) else None
    return _Layer(0, 0, None, link_name(link_type))


def _enter(data: bytes | memoryview, layer: _Layer, *, tunnels: bool) -> _Layer | None:
    """Return the layer within one, None where that is what `inspector.wire.frame` reads, or nothing."""
    kind, at = layer.kind, layer.at
    if kind in _IP_TYPES:
        return _enter_ip(data, kind, at) if tunnels else None
    if kind in ETHERTYPES_VLAN:
        return _tagged(data, at - 2, at)
    if kind < LOWEST_TYPE:
        return _read_llc(data, at)
    reader = _READERS.get(kind)
    return reader(data, at) if reader is not None else None


def _number(data: bytes | memoryview, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")


def _tagged(data: bytes | memoryview, type_at: int, at: int) -> _Layer | None:
    """Read an ethertype behind all VLAN tags; up to two of them are nothing unusual."""
    if len(data) < at:
        return None
    kind = _number(data, type_at)
    tags = 0
    while kind in ETHERTYPES_VLAN and tags < MAXIMUM_TAGS:
        if len(data) < at + 4:
            return None
        kind = _number(data, at + 2)
        at += 4
        tags += 1
    return _Layer(kind, at, f"{tags} VLAN tags" if tags > MAXIMUM_VLAN_TAGS else None)


def _ethernet(data: bytes | memoryview, at: int, name: str) -> _Layer | None:
    """Read a whole Ethernet frame within something."""
    layer = _tagged(data, at + 12, at + 14)
    return layer and layer._replace(name=name)


def _read_mpls(data: bytes | memoryview, at: int) -> _Layer | None:
    """Read labels up to the last; what follows tells by its first half-byte: IP, or a control word and Ethernet."""
    for _ in range(MAXIMUM_TAGS):
        if len(data) < at + 5:
            return None
        last = data[at + 2] & 1
        at += 4
        if last:
            break
    first = data[at] >> 4
    if first in (4, 6):
        return _Layer(ETHERTYPE_IPV4 if first == 4 else ETHERTYPE_IPV6, at, "MPLS")
    return _ethernet(data, at + 4 if first == 0 else at, "MPLS")


def _read_pppoe(data: bytes | memoryview, at: int) -> _Layer | None:
    """Read a session's header: version and type 1, code 0."""
    if len(data) < at + 6 or data[at] != 0x11 or data[at + 1]:
        return None
    layer = _read_ppp(data, at + 6)
    return layer and layer._replace(name="PPPoE")


def _read_ppp(data: bytes | memoryview, at: int) -> _Layer | None:
    """Read PPP, with or without address and control; its protocol may be one byte."""
    if data[at : at + 2] == b"\xff\x03":
        at += 2
    if len(data) < at + 2:
        return None
    if data[at] & 1:
        protocol, at = data[at], at + 1
    else:
        protocol, at = _number(data, at), at + 2
    return _Layer(_PPP_TYPES.get(protocol, 0xFFFF), at, None, _PPP_UNREAD.get(protocol))


def _read_pbb(data: bytes | memoryview, at: int) -> _Layer | None:
    """Read the I-TAG of 802.1ah: 4 bytes and a whole frame."""
    return _ethernet(data, at + 4, "802.1ah")


def _read_llc(data: bytes | memoryview, at: int) -> _Layer | None:
    """Read LLC with SNAP, or LLC of IP itself; other LLC carries no IP."""
    if (
        data[at : at + 3] == b"\xaa\xaa\x03"
        and len(data) >= at + 8
        and data[at + 3 : at + 6] in (bytes(3), b"\0\0\xf8")
    ):
        return _Layer(_number(data, at + 6), at + 8, "LLC/SNAP")
    return _Layer(ETHERTYPE_IPV4, at + 3, "LLC") if data[at : at + 3] == b"\x06\x06\x03" else None


def _enter_ip(data: bytes | memoryview, kind: int, at: int) -> _Layer | None:
    """Enter a mirror or tunnel which stands in an IP packet."""
    network = read_network(data, kind, at)
    if not isinstance(network, tuple):
        return None
    protocol, at = network[:2]
    if protocol == carriers.PROTOCOL_GRE:
        return _read_erspan(data, at)
    if protocol != _UDP or len(data) < at + 8:
        return None
    ports = struct.unpack_from(">HH", data, at)
    reader = _UDP_READERS.get(ports[1]) or (_read_l2tp if ports[0] == L2TP_PORT else None)
    return reader(data, at + 8) if reader is not None else None


def _is_erspan(data: bytes | memoryview, protocol: int, at: int) -> bool:
    return protocol == carriers.PROTOCOL_GRE and _number(data, at + 2) in (_ERSPAN_TYPE, _ERSPAN_3_TYPE)


def _read_erspan(data: bytes | memoryview, at: int) -> _Layer | None:
    """Read ERSPAN in GRE: type I has no header of its own, and no sequence number in GRE's."""
    if len(data) < at + 4 or not _is_erspan(data, carriers.PROTOCOL_GRE, at):
        return None
    flags, kind = struct.unpack_from(">HH", data, at)
    if flags & (carriers.GRE_ROUTING | carriers.GRE_VERSION):
        return None
    at += 4 + 4 * sum(bool(flags & field) for field in (carriers.GRE_CHECKSUM, carriers.GRE_KEY, carriers.GRE_SEQUENCE))
    if kind == _ERSPAN_TYPE:
        return _ethernet(data, at + 8 if flags & carriers.GRE_SEQUENCE else at, "ERSPAN")
    if len(data) < at + 12:
        return None
    # The frame's type: Ethernet, or IP. The last bit: a header of the platform follows.
    frame_type, platform = data[at + 10] >> 2 & 31, data[at + 11] & 1
    at += 12 + 8 * platform
    if frame_type == 2 and len(data) > at:
        return _Layer(ETHERTYPE_IPV6 if data[at] >> 4 == 6 else ETHERTYPE_IPV4, at, "ERSPAN")
    return _ethernet(data, at, "ERSPAN")


def _read_vxlan_gpe(data: bytes | memoryview, at: int) -> _Layer | None:
    if len(data) < at + 8:
        return None
    kind = _GPE_TYPES.get(data[at + 3])
    if kind is None:
        return _Layer(0, at, None, "VXLAN-GPE")
    return _ethernet(data, at + 8, "VXLAN-GPE") if kind == ETHERTYPE_ETHERNET else _Layer(kind, at + 8, "VXLAN-GPE")


def _read_gtp_u(data: bytes | memoryview, at: int) -> _Layer | None:
    """Read GTP-U version 1: only G-PDUs (type 255) carry packets; optional fields, then extension headers."""
    if len(data) < at + 9 or data[at] >> 4 != 3 or data[at + 1] != 255:
        return None
    flags, at = data[at], at + 8
    if flags & 7:
        following, at = data[at + 3] if flags & 4 and len(data) > at + 3 else 0, at + 4
        for _ in range(MAXIMUM_LAYERS):
            if not following or len(data) <= at or not data[at]:
                break
            length = 4 * data[at]
            following = data[at + length - 1] if len(data) >= at + length else 0
            at += length
    if len(data) <= at:
        return None
    return _Layer(ETHERTYPE_IPV6 if data[at] >> 4 == 6 else ETHERTYPE_IPV4, at, "GTP-U")


def _read_l2tp(data: bytes | memoryview, at: int) -> _Layer | None:
    """Read a data message of L2TP version 2, which carries PPP; version 3 does not say what it carries."""
    if len(data) < at + 6:
        return None
    flags = _number(data, at)
    if flags & 0x8000:
        return None
    if flags & 15 != 2:
        return _Layer(0, at, None, "L2TP version 3") if flags & 15 == 3 else None
    at += 6 + 2 * bool(flags & 0x4000) + 4 * bool(flags & 0x0800)
    if flags & 0x0200:
        at += 2 + _number(data, at)
    layer = _read_ppp(data, at)
    return layer and layer._replace(name="L2TP")


def _read_tzsp(data: bytes | memoryview, at: int) -> _Layer | None:
    """Read a packet of TZSP: version 1, tags up to an end tag, then what the protocol says."""
    if len(data) < at + 5 or data[at] != 1 or data[at + 1] not in (0, 1):
        return None
    protocol, at = _number(data, at + 2), at + 4
    while at < len(data) and data[at] != 1:
        at += 1 if data[at] == 0 or len(data) <= at + 1 else 2 + data[at + 1]
    return _ethernet(data, at + 1, "TZSP") if protocol == 1 else _Layer(0, at, None, "802.11 in TZSP")


_READERS: Final[dict[int, Callable[[bytes | memoryview, int], _Layer | None]]] = {
    **dict.fromkeys(MPLS_TYPES, _read_mpls),
    PPPOE_TYPE: _read_pppoe,
    PBB_TYPE: _read_pbb,
}
_UDP_READERS: Final[dict[int, Callable[[bytes | memoryview, int], _Layer | None]]] = {
    VXLAN_GPE_PORT: _read_vxlan_gpe,
    GTP_U_PORT: _read_gtp_u,
    L2TP_PORT: _read_l2tp,
    TZSP_PORT: _read_tzsp,
}
_PORT_NAMES: Final = {
    VXLAN_GPE_PORT: "VXLAN-GPE",
    GTP_U_PORT: "GTP-U",
    L2TP_PORT: "L2TP",
    TZSP_PORT: "TZSP",
    carriers.PORT_VXLAN: "vxlan",
    carriers.PORT_GENEVE: "geneve",
    carriers.PORT_TEREDO: "teredo",
}
