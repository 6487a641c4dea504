"""Ethernet frames with tunnels in them: each kind that must be read, counted or left alone."""

from __future__ import annotations

from typing import Any, Final

from inspector.record import TUNNEL_REACH
from tests.build import tunnels
from tests.build.tunnels import ETHERTYPE_ETHERNET, ETHERTYPE_IPV6, geneve, gre, teredo, udp, vxlan
from tests.kernel.frames import (
    ACK,
    CLIENT,
    EPM,
    SYN,
    ethernet,
    extension,
    fragment_header,
    ipv4,
    ipv6,
    payload,
    tcp,
)

_V6: Final = ETHERTYPE_IPV6
_ANSWER: Final = tcp(payload(152), ports=(EPM, CLIENT))
_IN4, _IN6 = ipv4(_ANSWER), ipv6(_ANSWER)
_FRAME4, _FRAME6 = ethernet(_IN4), ethernet(_IN6, _V6)
_OPTIONS: Final = bytes(range(100, 112))


def _over4(data: bytes, protocol: int = tunnels.UDP, **more: Any) -> bytes:
    return ethernet(ipv4(data, protocol=protocol, **more))


def _over6(data: bytes, protocol: int = tunnels.UDP) -> bytes:
    return ethernet(ipv6(data, next_header=protocol), _V6)


def _ip_in_ip() -> dict[str, bytes]:
    later = ipv4(b"tail", protocol=tunnels.UDP, fragment=0x0010)
    return {
        "4in4": _over4(_IN4, tunnels.IPV4),
        "6in4": _over4(_IN6, tunnels.IPV6),
        "4in6": _over6(_IN4, tunnels.IPV4),
        "6in6": _over6(_IN6, tunnels.IPV6),
        "4in4, syn": _over4(ipv4(tcp(flags=SYN)), tunnels.IPV4),
        "4in4, bare acknowledgment": _over4(ipv4(tcp(flags=ACK)), tunnels.IPV4),
        "4in4, other ports": _over4(ipv4(tcp(b"x", ports=(443, 444))), tunnels.IPV4),
        "4in4, arp's number": _over4(bytes(28), tunnels.IPV4),
        "4in4 says 6": _over4(_IN6, tunnels.IPV4),
        "4in4, icmp": _over4(ipv4(bytes(20), protocol=1), tunnels.IPV4),
        "4in4, udp": _over4(ipv4(udp(payload(90), (CLIENT, EPM)), protocol=tunnels.UDP), tunnels.IPV4),
        "4in4, both with options": ethernet(
            ipv4(ipv4(_ANSWER, options=bytes(8)), options=bytes(12), protocol=tunnels.IPV4), tags=(0x8100,)
        ),
        "6in6, both with extensions": ethernet(
            ipv6(
                extension(tunnels.IPV6, 16)
                + ipv6(extension(44, 8) + fragment_header(6, 0, 1) + _ANSWER, next_header=0),
                next_header=60,
            ),
            _V6,
            tags=(0x88A8, 0x8100),
        ),
        "4in4, later fragment inside": _over4(ipv4(b"tail", fragment=0x0010), tunnels.IPV4),
        "4in4, later udp fragment inside": _over4(later, tunnels.IPV4),
        "4in4, first fragment inside": _over4(ipv4(_ANSWER, fragment=0x2000), tunnels.IPV4),
        "4in4, first fragment outside": _over4(_IN4[:120], tunnels.IPV4, fragment=0x2000),
        "4in4, first fragment outside within tcp": _over4(_IN4[:32], tunnels.IPV4, fragment=0x2000),
        "4in4, later fragment outside": _over4(_IN4, tunnels.IPV4, fragment=0x0010),
        "6in6, first fragment outside": _over6(fragment_header(41, 0, 1) + _IN6[:136], 44),
        "6in6, later fragment outside": _over6(fragment_header(41, 5, 0) + _IN6[:136], 44),
        "outer total 0": _over4(_IN4, tunnels.IPV4, total=0),
        "both totals 0": _over4(ipv4(_ANSWER, total=0), tunnels.IPV4, total=0),
        "inner total 0, padding": _over4(ipv4(_ANSWER, total=0), tunnels.IPV4) + bytes(9),
        "inner total beyond outer": _over4(ipv4(_ANSWER, total=1000), tunnels.IPV4) + bytes(9),
        "outer total within inner payload": _over4(_IN4, tunnels.IPV4, total=100),
        "outer total at inner payload": _over4(_IN4, tunnels.IPV4, total=60),
        "outer total within inner tcp": _over4(_IN4, tunnels.IPV4, total=50),
        "outer total within inner ip": _over4(_IN4, tunnels.IPV4, total=30),
        "outer total without inner": _over4(_IN4, tunnels.IPV4, total=20),
        "outer total beyond frame": _over4(_IN4, tunnels.IPV4, total=2000),
        "outer payload length within extension": ethernet(
            ipv6(extension(41, 16) + _IN6, next_header=60, length=8), _V6
        ),
        "two levels": _over4(ipv4(_IN4, protocol=tunnels.IPV4), tunnels.IPV4),
        "two levels, first fragment in between": _over4(
            ipv4(_IN6[:130], protocol=tunnels.IPV6, fragment=0x2000), tunnels.IPV4
        ),
        "two levels, outer ends first": _over4(ipv4(_IN4, protocol=tunnels.IPV4), tunnels.IPV4, total=130),
        "two levels, inner ends first": _over4(ipv4(_IN4, protocol=tunnels.IPV4, total=90), tunnels.IPV4),
        "two levels, bad middle": _over4(ipv4(_IN4, protocol=tunnels.IPV4, total=19), tunnels.IPV4),
        "three levels": _over4(ipv4(ipv4(_IN4, protocol=tunnels.IPV4), protocol=tunnels.IPV4), tunnels.IPV4),
        "three levels, vxlan last": _over4(
            ipv4(ipv4(vxlan(_FRAME4), protocol=tunnels.UDP), protocol=tunnels.IPV4), tunnels.IPV4
        ),
    }


def _gre() -> dict[str, bytes]:
    table = {
        f"gre, flags {flags:04x}": _over4(gre(_IN4, flags=flags), tunnels.GRE)
        for flags in (0x0000, 0x8000, 0x2000, 0x1000, 0xB000, 0x0800, 0x4000, 0x0001, 0x2001, 0x0007, 0x00F8)
    }
    return table | {
        "gre, ipv6 in ipv6": _over6(gre(_IN6, ETHERTYPE_IPV6, flags=0xA000), tunnels.GRE),
        "gre, ethernet": _over4(gre(_FRAME4, ETHERTYPE_ETHERNET, flags=0x2000), tunnels.GRE),
        "gre, ethernet with tags": _over6(
            gre(ethernet(_IN6, _V6, tags=(0x88A8, 0x8100)), ETHERTYPE_ETHERNET), tunnels.GRE
        ),
        "gre, ethernet with three tags": _over4(gre(ethernet(_IN4, tags=(0x8100,) * 3), ETHERTYPE_ETHERNET), 47),
        "gre, ethernet, arp": _over4(gre(ethernet(bytes(28), 0x0806), ETHERTYPE_ETHERNET), tunnels.GRE),
        "gre, ethernet, type 0": _over4(gre(ethernet(_IN4, 0), ETHERTYPE_ETHERNET), tunnels.GRE),
        "gre, ethernet cut": _over4(gre(_FRAME4[:13], ETHERTYPE_ETHERNET), tunnels.GRE),
        "gre, type 0": _over4(gre(_IN4, 0), tunnels.GRE),
        "gre ends behind the outer packet": _over4(gre(ipv4(bytes(20), protocol=1)), tunnels.GRE, total=22),
        "gre, keepalive": _over4(gre(b"", 0), tunnels.GRE),
        "gre, erspan": _over4(gre(_FRAME4, 0x88BE), tunnels.GRE),
        "gre, fields cut": _over4(gre(b"", flags=0xB000, fields=2), tunnels.GRE),
        "gre in gre": _over4(gre(ipv4(gre(_IN6, ETHERTYPE_IPV6), protocol=tunnels.GRE)), tunnels.GRE),
        "gre, ethernet, vxlan": _over4(
            gre(ethernet(ipv4(vxlan(_FRAME6), protocol=tunnels.UDP)), ETHERTYPE_ETHERNET), tunnels.GRE
        ),
    }


def _over_udp() -> dict[str, bytes]:
    return {
        "vxlan": _over4(vxlan(_FRAME4)),
        "vxlan over ipv6": _over6(vxlan(_FRAME6)),
        "vxlan, tags": _over4(vxlan(ethernet(_IN4, tags=(0x8100,)))),
        "vxlan, no network": _over4(vxlan(_FRAME4, flags=0xF7)),
        "vxlan, header cut": _over4(udp(b"\x08\0\0\0\0\0\0", (1, tunnels.VXLAN_PORT))),
        "vxlan's port is the source": _over4(udp(b"\x08" + bytes(7) + _FRAME4, (tunnels.VXLAN_PORT, 1))),
        "vxlan, served source port": _over4(vxlan(_FRAME4, source_port=EPM)),
        "vxlan, udp length 0": _over4(udp(b"\x08" + bytes(7) + _FRAME4, (1, tunnels.VXLAN_PORT), length=0)),
        "vxlan, udp length within payload": _over4(udp(b"\x08" + bytes(7) + _FRAME4, (1, 4789), length=120)),
        "vxlan, udp length within tcp": _over4(udp(b"\x08" + bytes(7) + _FRAME4, (1, 4789), length=60)),
        "vxlan, udp length too long": _over4(udp(b"\x08" + bytes(7) + _FRAME4, (1, 4789), length=1000)),
        "vxlan, first fragment outside": _over4(vxlan(_FRAME4)[:120], fragment=0x2000),
        "vxlan in vxlan": _over4(vxlan(ethernet(ipv4(vxlan(_FRAME4), protocol=tunnels.UDP)))),
        "vxlan, udp": _over4(vxlan(ethernet(ipv4(udp(payload(90), (EPM, CLIENT)), protocol=tunnels.UDP)))),
        "geneve, ethernet": _over4(geneve(_FRAME4)),
        "geneve, options": _over6(geneve(_FRAME6, options=_OPTIONS)),
        "geneve, ipv4": _over4(geneve(_IN4, tunnels.ETHERTYPE_IPV4)),
        "geneve, ipv6": _over4(geneve(_IN6, ETHERTYPE_IPV6, options=bytes(252))),
        "geneve, other version": _over4(geneve(_FRAME4, version=1)),
        "geneve, other protocol": _over4(geneve(_FRAME4, 0x8847)),
        "geneve, options cut": _over4(geneve(b"", options=_OPTIONS, words=4)),
        "geneve, header cut": _over4(udp(bytes(7), (1, tunnels.GENEVE_PORT))),
        "teredo": _over4(teredo(_IN6)),
        "teredo, from the server": _over4(teredo(_IN6, ports=(tunnels.TEREDO_PORT, 50000))),
        "teredo, origin": _over4(teredo(_IN6, origin=True)),
        "teredo, authentication": _over4(teredo(_IN6, authentication=(b"", b""))),
        "teredo, both, long": _over4(teredo(_IN6, authentication=(bytes(255), bytes(range(255))), origin=True)),
        "teredo, bubble": _over4(teredo(ipv6(b"", next_header=59))),
        "teredo, origin cut": _over4(teredo(b"", origin=True)[:-3]),
        "teredo, empty": _over4(teredo(b"")),
        "teredo, authentication cut": _over4(udp(b"\0\x01\x09\x09" + bytes(20), (1, tunnels.TEREDO_PORT))),
        "teredo, origin twice": _over4(teredo(teredo(_IN6, origin=True)[8:], origin=True)),
        "teredo in 4in4": _over4(ipv4(teredo(_IN6), protocol=tunnels.UDP), tunnels.IPV4),
        "teredo, ipv4": _over4(teredo(_IN4)),
    }


def far_in(distance: int) -> bytes:
    """Return a frame of many extension headers whose packet within begins so many bytes into the frame."""
    rest = distance - 14 - 40
    lengths = [2048] * (rest // 2048) + [rest % 2048]
    kinds = [60] * (len(lengths) - 1) + [tunnels.IPV4]
    headers = b"".join(extension(kind, length) for kind, length in zip(kinds, lengths, strict=True))
    return ethernet(ipv6(headers + _IN4, next_header=60), _V6)


TUNNEL_FRAMES: Final = _ip_in_ip() | _gre() | _over_udp()
"""Frames by name, each of one buffer: they go through XDP and tc alike."""

# Extension headers are multiples of 8 bytes, after 54.
FAR: Final = {"within reach": far_in(TUNNEL_REACH - 2), "out of reach": far_in(TUNNEL_REACH + 6)}
"""Frames of more than a page, where the packet within begins just within reach, and just out of it."""
