"""Frames in what stands around packets in captures: labels, sessions, mirrors, tunnels over UDP."""

from __future__ import annotations

import struct
from typing import NamedTuple

from tests.build.tunnels import GRE, UDP, gre, udp

PSEUDOWIRE_LABEL = 18
MACS = bytes.fromhex("020000000001020000000002")


class Carried(NamedTuple):
    """A frame with its link type, and the names of what is around the packet."""

    frame: bytes
    names: tuple[str, ...]
    link_type: int = 1


def ethernet(packet: bytes, ethertype: int = 0x0800, tags: bytes = b"") -> bytes:
    """Return an Ethernet frame."""
    return MACS + tags + struct.pack("!H", ethertype) + packet


def ipv4(packet: bytes, protocol: int) -> bytes:
    """Return an IPv4 packet between the ends of a tunnel, without checksum."""
    ends = bytes([192, 0, 2, 1, 198, 51, 100, 2])
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(packet), 0, 0, 64, protocol, 0) + ends + packet


def over_udp(data: bytes, port: int) -> bytes:
    """Return a frame with a datagram to a port."""
    return ethernet(ipv4(udp(data, (50000, port)), UDP))


def mirrored(data: bytes, protocol: int, flags: int = 0x1000) -> bytes:
    """Return a frame with GRE."""
    return ethernet(ipv4(gre(data, protocol, flags=flags), GRE))


def kinds_of(packet: bytes) -> dict[str, Carried]:
    """Return an IPv4 packet in all of them."""
    frame = ethernet(packet)
    label = struct.pack("!I", 16 << 12 | 64)
    last = struct.pack("!I", 17 << 12 | 0x100 | 64)
    pseudowire = struct.pack("!I", PSEUDOWIRE_LABEL << 12 | 0x100 | 64)
    ppp = b"\x00\x21" + packet
    pppoe = struct.pack("!BBHH", 0x11, 0, 7, len(ppp)) + ppp
    snap = b"\xaa\xaa\x03\0\0\0\x08\x00" + packet
    erspan_2 = struct.pack("!HHI", 0x1001, 0x0001, 0)
    erspan_3 = struct.pack("!HHIHH", 0x2001, 0x0001, 0, 0, 0)
    tags = b"".join(struct.pack("!HH", 0x8100 if number else 0x88A8, number + 1) for number in range(3))
    return {
        "mpls": Carried(ethernet(label + last + packet, 0x8847), ("MPLS",)),
        "mpls pseudowire": Carried(ethernet(pseudowire + bytes(4) + frame, 0x8847), ("MPLS",)),
        "pppoe": Carried(ethernet(pppoe, 0x8864), ("PPPoE",)),
        "snap": Carried(MACS + struct.pack("!H", len(snap)) + snap, ("LLC/SNAP",)),
        "three tags": Carried(ethernet(packet, tags=tags), ("3 VLAN tags",)),
        "802.1ah": Carried(ethernet(struct.pack("!I", 5) + frame, 0x88E7), ("802.1ah",)),
        "802.1ah behind a tag": Carried(
            ethernet(struct.pack("!I", 5) + frame, 0x88E7, tags=b"\x88\xa8\0\7"), ("802.1ah",)
        ),
        "erspan 1": Carried(mirrored(frame, 0x88BE, 0), ("ERSPAN",)),
        "erspan 2": Carried(mirrored(erspan_2 + frame, 0x88BE), ("ERSPAN",)),
        "erspan 3": Carried(mirrored(erspan_3 + frame, 0x22EB), ("ERSPAN",)),
        "erspan 3, platform": Carried(mirrored(erspan_3[:-1] + b"\x01" + bytes(8) + frame, 0x22EB), ("ERSPAN",)),
        "mpls in erspan": Carried(mirrored(erspan_2 + ethernet(last + packet, 0x8847), 0x88BE), ("ERSPAN", "MPLS")),
        "vxlan-gpe": Carried(over_udp(struct.pack("!BxxBI", 0x0C, 1, 5 << 8) + packet, 4790), ("VXLAN-GPE",)),
        "vxlan-gpe ethernet": Carried(over_udp(struct.pack("!BxxBI", 0x0C, 3, 5 << 8) + frame, 4790), ("VXLAN-GPE",)),
        "gtp-u": Carried(over_udp(struct.pack("!BBHI", 0x30, 255, len(packet), 1) + packet, 2152), ("GTP-U",)),
        "gtp-u, extended": Carried(
            over_udp(struct.pack("!BBHIHBBBBBB", 0x34, 255, 8 + len(packet), 1, 0, 0, 0x85, 1, 0, 9, 0) + packet, 2152),
            ("GTP-U",),
        ),
        "l2tp": Carried(over_udp(struct.pack("!HHH", 0x0002, 1, 1) + b"\xff\x03" + ppp, 1701), ("L2TP",)),
        "l2tp, all fields": Carried(
            over_udp(struct.pack("!HHHHHHHH", 0x4A02, 16 + len(ppp), 1, 1, 0, 0, 2, 0) + ppp, 1701), ("L2TP",)
        ),
        "tzsp": Carried(over_udp(b"\x01\0\0\x01" + b"\x0a\x01\x05" + b"\0" + b"\x01" + frame, 37008), ("TZSP",)),
        "ppp": Carried(ppp, ("PPP",), 9),
        "ppp, framed": Carried(b"\xff\x03" + ppp, ("PPP",), 50),
        "ppp, compressed protocol": Carried(b"\x21" + packet, ("PPP",), 9),
        "ppp with direction": Carried(b"\0\xff\x03" + ppp, ("PPP",), 204),
        "cisco hdlc": Carried(b"\x0f\0\x08\0" + packet, ("HDLC",), 104),
        "snap behind cooked": Carried(bytes(14) + b"\0\x04" + snap, ("LLC/SNAP",), 113),
    }
