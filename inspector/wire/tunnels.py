"""What carries one packet within another: IP in IP, GRE, VXLAN, Geneve, Teredo. The twin of bpf/epm_tunnel.h.

Only the tunnel's own header is read here; `inspector.wire.frame` reads what is around and within.
Sources: RFC 2003, RFC 4213, RFC 2473 (IP in IP), RFC 2784 and RFC 2890 (GRE), RFC 7348 (VXLAN),
RFC 8926 (Geneve), RFC 4380 (Teredo).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from inspector.model import TunnelKind
from inspector.protocols import ETHERTYPE_ETHERNET, ETHERTYPE_IPV4, ETHERTYPE_IPV6
from inspector.record import KernelCounter

if TYPE_CHECKING:
    from collections.abc import Callable

PROTOCOL_IPV4: Final = 4
PROTOCOL_IPV6: Final = 41
PROTOCOL_GRE: Final = 47
CARRIERS: Final = frozenset({PROTOCOL_IPV4, PROTOCOL_IPV6, PROTOCOL_GRE})

PORT_TEREDO: Final = 3544
PORT_VXLAN: Final = 4789
PORT_GENEVE: Final = 6081

GRE_CHECKSUM: Final = 0x8000
GRE_ROUTING: Final = 0x4000
GRE_KEY: Final = 0x2000
GRE_SEQUENCE: Final = 0x1000
GRE_VERSION: Final = 0x0007
VXLAN_NETWORK_VALID: Final = 0x08

_TEREDO_ORIGIN: Final = 0
_TEREDO_AUTHENTICATION: Final = 1
_TEREDO_ORIGIN_LENGTH: Final = 8
# The indication's first 4 bytes, a nonce of 8 and the confirmation byte.
_TEREDO_AUTHENTICATION_LENGTH: Final = 13

_GRE: Final = struct.Struct(">HH")
_GENEVE: Final = struct.Struct(">BxH")
_TEREDO: Final = struct.Struct(">HBB")

_Carried = tuple[int, int]
"""Ethertype, offset of what it names."""


def carrier_kind(protocol: int, *, ipv6: bool) -> TunnelKind:
    """Return the kind of tunnel which one of the IP protocols `CARRIERS` makes within IPv4 or IPv6."""
    if protocol == PROTOCOL_GRE:
        return TunnelKind.GRE
    if protocol == PROTOCOL_IPV4:
        return TunnelKind.FOUR_IN_SIX if ipv6 else TunnelKind.IPIP
    return TunnelKind.SIX_IN_SIX if ipv6 else TunnelKind.SIX_IN_FOUR


def port_kind(source: int, destination: int) -> TunnelKind | None:
    """Return the kind of tunnel which UDP ports make; None if they make none."""
    if destination == PORT_VXLAN:
        return TunnelKind.VXLAN
    if destination == PORT_GENEVE:
        return TunnelKind.GENEVE
    return TunnelKind.TEREDO if PORT_TEREDO in (destination, source) else None


def read_tunnel_header(frame: bytes | memoryview, kind: TunnelKind, at: int) -> _Carried | KernelCounter | None:
    """Return ethertype and offset of what the tunnel header at `at` stands before.

    UNREADABLE_HEADERS where it is cut short, None where it is of another version or carries no packet.
    """
    return _READERS[kind](frame, at)


def _read_ipv4(_frame: bytes | memoryview, at: int) -> _Carried:
    return ETHERTYPE_IPV4, at


def _read_ipv6(_frame: bytes | memoryview, at: int) -> _Carried:
    return ETHERTYPE_IPV6, at


def _read_gre(frame: bytes | memoryview, at: int) -> _Carried | KernelCounter | None:
    """Read GRE (RFC 2784 section 2.1): its optional fields are 4 bytes each. Version 1 is PPTP's."""
    if len(frame) < at + 4:
        return KernelCounter.UNREADABLE_HEADERS
    flags, protocol = _GRE.unpack_from(frame, at)
    if flags & (GRE_ROUTING | GRE_VERSION):
        return None
    at += 4 + 4 * sum(bool(flags & field) for field in (GRE_CHECKSUM, GRE_KEY, GRE_SEQUENCE))
    return (protocol, at) if at <= len(frame) else KernelCounter.UNREADABLE_HEADERS


def _read_vxlan(frame: bytes | memoryview, at: int) -> _Carried | KernelCounter | None:
    """Read VXLAN (RFC 7348 section 5): 8 bytes, of which one bit must be set."""
    if len(frame) < at + 8:
        return KernelCounter.UNREADABLE_HEADERS
    return (ETHERTYPE_ETHERNET, at + 8) if frame[at] & VXLAN_NETWORK_VALID else None


def _read_geneve(frame: bytes | memoryview, at: int) -> _Carried | KernelCounter | None:
    """Read Geneve (RFC 8926 section 3.4): 8 bytes and options, counted in words of 4 bytes."""
    if len(frame) < at + 8:
        return KernelCounter.UNREADABLE_HEADERS
    version_and_options, protocol = _GENEVE.unpack_from(frame, at)
    if version_and_options >> 6:
        return None
    at += 8 + (version_and_options & 63) * 4
    return (protocol, at) if at <= len(frame) else KernelCounter.UNREADABLE_HEADERS


def _read_teredo(frame: bytes | memoryview, at: int) -> _Carried | KernelCounter:
    """Read Teredo (RFC 4380 section 5.1.1): an authentication and an origin indication may come first."""
    for expected in (_TEREDO_AUTHENTICATION, _TEREDO_ORIGIN):
        if len(frame) < at + 4:
            return KernelCounter.UNREADABLE_HEADERS
        kind, identifier_length, value_length = _TEREDO.unpack_from(frame, at)
        if kind != expected:
            continue
        if kind == _TEREDO_AUTHENTICATION:
            at += _TEREDO_AUTHENTICATION_LENGTH + identifier_length + value_length
        else:
            at += _TEREDO_ORIGIN_LENGTH
        if at > len(frame):
            return KernelCounter.UNREADABLE_HEADERS
    return ETHERTYPE_IPV6, at


_READERS: Final[dict[TunnelKind, Callable[[bytes | memoryview, int], _Carried | KernelCounter | None]]] = {
    TunnelKind.IPIP: _read_ipv4,
    TunnelKind.SIX_IN_FOUR: _read_ipv6,
    TunnelKind.FOUR_IN_SIX: _read_ipv4,
    TunnelKind.SIX_IN_SIX: _read_ipv6,
    TunnelKind.GRE: _read_gre,
    TunnelKind.VXLAN: _read_vxlan,
    TunnelKind.GENEVE: _read_geneve,
    TunnelKind.TEREDO: _read_teredo,
}
