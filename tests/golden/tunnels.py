"""Packets in packets: each tunnel that a gateway carries, with a mismatch inside."""

# ruff: noqa: D401  # a trace's docstring says what it shows: it describes a scene, not a deed
from __future__ import annotations

import struct
from collections.abc import Callable

from inspector.model import Segment
from tests.build.connection import Wire, raw_address, udp
from tests.build.epm import SAMR, tcp_tower
from tests.golden.datagrams import answered
from tests.golden.dialogue import DIP, bound, closed, mapped
from tests.golden.layers import (
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    UDP,
    Frame,
    ethernet,
    frame_of,
    ip,
    ip_of,
    udp_between,
)
from tests.golden.trace import trace

_TUNNELS = "tunnels = true\n"
_IPIP, _SIX, _GRE = 4, 41, 47
_VXLAN, _GENEVE, _TEREDO = 4789, 6081, 3544
_OFFER = tcp_tower(SAMR, 49152, DIP)
_EPHEMERAL = 50000


def _four() -> list[Segment]:
    return closed(mapped(bound(), _OFFER)).segments


def _six() -> list[Segment]:
    return closed(mapped(bound(Wire("2001:db8::c11e", "64:ff9b::a0b:202")), _OFFER)).segments


def _outer(segment: Segment, *, six: bool = False) -> Segment:
    """Return a segment whose addresses are those of the tunnel's ends, in the segment's direction."""
    ends = ("2001:db8:1::1", "2001:db8:2::2") if six else ("192.0.2.1", "198.51.100.2")
    model = udp(b"", from_server=segment.from_server, client=ends[0], server=ends[1])
    return model._replace(time_ns=segment.time_ns)


def _carried(
    segments: list[Segment], protocol: int, body: Callable[[Segment, Segment], bytes], *, six: bool = False
) -> list[Frame]:
    """Return the frames of tunnelled segments; `body` gets the segment and the outer one."""
    frames = []
    for segment in segments:
        outer = _outer(segment, six=six)
        frames.append(frame_of(segment, ethernet(outer, ip(outer, body(segment, outer), protocol))))
    return frames


@trace(config=_TUNNELS)
def ipip() -> list[Frame]:
    """IPv4 in IPv4 (RFC 2003)."""
    return _carried(_four(), _IPIP, lambda one, _: ip_of(one))


@trace(config=_TUNNELS)
def six_in_four() -> list[Frame]:
    """IPv6 in IPv4 (RFC 4213), to an address behind a NAT64."""
    return _carried(_six(), _SIX, lambda one, _: ip_of(one))


@trace(config=_TUNNELS)
def four_in_six() -> list[Frame]:
    """IPv4 in IPv6 (RFC 2473)."""
    return _carried(_four(), _IPIP, lambda one, _: ip_of(one), six=True)


@trace(config=_TUNNELS)
def six_in_six() -> list[Frame]:
    """IPv6 in IPv6 (RFC 2473)."""
    return _carried(_six(), _SIX, lambda one, _: ip_of(one), six=True)


@trace(config=_TUNNELS)
def gre() -> list[Frame]:
    """GRE with neither key nor checksum (RFC 2784)."""
    return _carried(_four(), _GRE, lambda one, _: struct.pack("!HH", 0, ETHERTYPE_IPV4) + ip_of(one))


@trace(config=_TUNNELS)
def gre_with_all_fields() -> list[Frame]:
    """GRE with checksum, key and sequence number (RFC 2890), IPv6 inside."""
    return _carried(_six(), _GRE, lambda one, _: struct.pack("!HHIII", 0xB000, ETHERTYPE_IPV6, 0, 7, 9) + ip_of(one))


@trace(config=_TUNNELS)
def gre_of_ethernet() -> list[Frame]:
    """GRE that carries Ethernet frames."""
    return _carried(_four(), _GRE, lambda one, _: struct.pack("!HH", 0, 0x6558) + ethernet(one, ip_of(one)))


@trace(config=_TUNNELS)
def vxlan() -> list[Frame]:
    """VXLAN (RFC 7348)."""
    head = struct.pack("!II", 0x08000000, 42 << 8)
    return _carried(
        _four(), UDP, lambda one, outer: udp_between(outer, _EPHEMERAL, _VXLAN, head + ethernet(one, ip_of(one)))
    )


@trace(config=_TUNNELS)
def geneve() -> list[Frame]:
    """Geneve with an option (RFC 8926)."""
    # Version 0 and two words of options; then one option of one word.
    head = struct.pack("!BBHIHBBI", 2, 0, 0x6558, 42 << 8, 0x0102, 0x80, 1, 0)
    return _carried(
        _four(), UDP, lambda one, outer: udp_between(outer, _EPHEMERAL, _GENEVE, head + ethernet(one, ip_of(one)))
    )


@trace(config=_TUNNELS)
def teredo() -> list[Frame]:
    """Teredo with an origin indication (RFC 4380), as the client of the original case had it."""
    origin = bytes.fromhex("0000") + struct.pack("!H", 40000 ^ 0xFFFF) + bytes(255 - one for one in (192, 0, 2, 45))
    return _carried(_six(), UDP, lambda one, outer: udp_between(outer, _EPHEMERAL, _TEREDO, origin + ip_of(one)))


@trace(config=_TUNNELS)
def one_in_another() -> list[Frame]:
    """IPv6 in IPv4 in GRE: the outermost tunnel is the one that is named."""

    def body(segment: Segment, outer: Segment) -> bytes:
        middle = outer._replace(source_address=raw_address("10.0.0.1"), destination_address=raw_address("10.0.0.2"))
        return struct.pack("!HH", 0, ETHERTYPE_IPV4) + ip(middle, ip_of(segment), _SIX)

    return _carried(_six(), _GRE, body)


@trace(config=_TUNNELS)
def datagrams_within() -> list[Frame]:
    """A call over UDP within VXLAN."""
    head = struct.pack("!II", 0x08000000, 42 << 8)
    segments = [one for one in answered() if isinstance(one, Segment)]
    return _carried(
        segments, UDP, lambda one, outer: udp_between(outer, _EPHEMERAL, _VXLAN, head + ethernet(one, ip_of(one)))
    )


@trace(config="tunnels = false\n")
def not_looked_into() -> list[Frame]:
    """With the option off, what is in a tunnel stays there."""
    return _carried(_four(), _IPIP, lambda one, _: ip_of(one))
