"""What lies around TCP: VLAN tags, options, extension headers, fragments, other link layers, broken headers."""

# ruff: noqa: D401  # a trace's docstring says what it shows: it describes a scene, not a deed
from __future__ import annotations

import struct

from inspector.model import Segment
from tests.build.connection import Wire
from tests.build.epm import SAMR, tcp_tower
from tests.golden.dialogue import DIP, bound, closed, mapped
from tests.golden.layers import TCP, Frame, ethernet, frame_of, ip_of, ipv4, ipv6, tcp_of
from tests.golden.trace import trace

_OFFER = tcp_tower(SAMR, 49152, DIP)
_TIMESTAMPS = b"\x01\x01\x08\x0a" + bytes(8)
_LINUX_SLL, _LINUX_SLL2, _RAW = 113, 276, 101


def _ipv4_conversation() -> list[Segment]:
    return closed(mapped(bound(), _OFFER)).segments


def _ipv6_conversation() -> list[Segment]:
    return closed(mapped(bound(Wire("2001:db8::c11e", "64:ff9b::a0b:202")), _OFFER)).segments


@trace()
def vlan() -> list[Frame]:
    """One 802.1Q tag."""
    tag = struct.pack("!HH", 0x8100, 42)
    return [frame_of(one, ethernet(one, ip_of(one), tags=tag)) for one in _ipv4_conversation()]


@trace()
def qinq() -> list[Frame]:
    """A service tag and a customer tag."""
    tags = struct.pack("!HHHH", 0x88A8, 7, 0x8100, 42)
    return [frame_of(one, ethernet(one, ip_of(one), tags=tags)) for one in _ipv6_conversation()]


@trace()
def options() -> list[Frame]:
    """IPv4 options (router alert) and TCP options (timestamps)."""
    alert = b"\x94\x04\x00\x00"
    return [
        frame_of(one, ethernet(one, ipv4(one, tcp_of(one, _TIMESTAMPS), options=alert))) for one in _ipv4_conversation()
    ]


@trace()
def extension_headers() -> list[Frame]:
    """IPv6 with hop-by-hop options and destination options before TCP."""
    padding = bytes([1, 4, 0, 0, 0, 0])
    headers = bytes([60, 0]) + padding + bytes([TCP, 0]) + padding
    return [
        frame_of(one, ethernet(one, ipv6(one, headers + tcp_of(one), next_header=0))) for one in _ipv6_conversation()
    ]


@trace()
def fragments_ipv4() -> list[Frame]:
    """The response in two IP fragments: the first is read as far as it goes, the rest is counted."""
    segments = closed(mapped(mapped(bound(), _OFFER), tcp_tower(SAMR, 49153, DIP), call_id=3).wait(3)).segments
    frames = [frame_of(one) for one in segments]
    response = segments[5]
    body = tcp_of(response)
    pieces = ((0x2000, body[:96]), (96 // 8, body[96:]))
    frames[5:6] = [
        frame_of(response, ethernet(response, ipv4(response, piece, fragment=field))) for field, piece in pieces
    ]
    return frames


@trace()
def fragments_ipv6() -> list[Frame]:
    """The same over IPv6."""
    wire = mapped(bound(Wire("2001:db8::c11e", "64:ff9b::a0b:202")), _OFFER)
    segments = closed(mapped(wire, tcp_tower(SAMR, 49153, DIP), call_id=3).wait(3)).segments
    frames = [frame_of(one) for one in segments]
    response = segments[5]
    body = tcp_of(response)
    pieces = ((1, body[:96]), (96, body[96:]))
    frames[5:6] = [
        frame_of(
            response,
            ethernet(response, ipv6(response, struct.pack("!BBHI", TCP, 0, field, 7) + piece, next_header=44)),
        )
        for field, piece in pieces
    ]
    return frames


@trace()
def unreadable() -> list[Frame]:
    """Headers cut short or inconsistent, beside a conversation that is read."""
    segments = _ipv4_conversation()
    packet = bytearray(ip_of(segments[3]))
    headers = (packet[:12], b"\x4f" + packet[1:24], packet[:32] + b"\x10" + packet[33:], packet[:30])
    broken = [frame_of(segments[3], ethernet(segments[3], bytes(header))[: 14 + len(header)]) for header in headers]
    return [*(frame_of(one) for one in segments[:4]), *broken, *(frame_of(one) for one in segments[4:])]


@trace(link_type=_LINUX_SLL)
def linux_cooked() -> list[Frame]:
    """A capture of all interfaces, as older tcpdump writes it."""
    head = struct.pack("!HHH8sH", 4, 1, 6, bytes(8), 0x0800)
    return [frame_of(one, head + ip_of(one)) for one in _ipv4_conversation()]


@trace(link_type=_LINUX_SLL2)
def linux_cooked_2() -> list[Frame]:
    """A capture of all interfaces, as tcpdump writes it today."""
    head = struct.pack("!HHIHBB8s", 0x86DD, 0, 2, 1, 4, 6, bytes(8))
    return [frame_of(one, head + ip_of(one)) for one in _ipv6_conversation()]


@trace(link_type=_RAW)
def raw_ip() -> list[Frame]:
    """A capture of a tunnel interface: IP without a link layer."""
    return [frame_of(one, ip_of(one)) for one in _ipv4_conversation()]
