"""From frame to segment: each layer's shapes, and what each refusal is called."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from inspector.model import Segment
from inspector.record import BULK_LARGE_PAYLOAD, Attribute, KernelCounter
from inspector.wire.frame import LinkType, read_frame
from tests.build.tunnels import udp

PORTS = frozenset({135})
PORTS_TO, PORTS_FROM = (40000, 135), (135, 40000)
CLIENT4, SERVER4 = bytes([10, 1, 1, 1]), bytes([10, 11, 2, 2])
MAPPED = bytes(10) + b"\xff\xff"
CLIENT6, SERVER6 = bytes.fromhex("20010000" + "00" * 11 + "01"), bytes.fromhex("20020a01" + "00" * 11 + "02")
SYN, ACK, PSH, FIN, RST = 2, 16, 8, 1, 4

ETHERNET4 = bytes(12) + b"\x08\x00"
ETHERNET6 = bytes(12) + b"\x86\xdd"


def tcp(
    payload: bytes = b"", *, source: int = 33654, destination: int = 135, flags: int = ACK | PSH, options: bytes = b""
) -> bytes:
    """Return a TCP header and its payload."""
    offset = (20 + len(options)) // 4 << 4
    return struct.pack("!HHIIBBHHH", source, destination, 1000, 2000, offset, flags, 512, 0, 0) + options + payload


def ipv4(
    body: bytes, *, protocol: int = 6, fragment: int = 0, options: bytes = b"", total: int | None = None, first: int = 0
) -> bytes:
    """Return an IPv4 header and its payload; `first` overrides version and header length, `total` the total length."""
    header = 20 + len(options)
    length = header + len(body) if total is None else total
    return (
        struct.pack("!BBHHHBBH", first or 0x40 | header // 4, 0, length, 1, fragment, 64, protocol, 0)
        + CLIENT4
        + SERVER4
        + options
        + body
    )


def ipv6(body: bytes, *, next_header: int = 6, length: int | None = None) -> bytes:
    """Return an IPv6 header and its payload."""
    payload_length = len(body) if length is None else length
    return struct.pack("!IHBB", 6 << 28, payload_length, next_header, 64) + CLIENT6 + SERVER6 + body


def read(frame: bytes, link_type: int = LinkType.ETHERNET, **more: Any) -> Segment | KernelCounter | None:
    """Read a frame with the test's time and interface."""
    return read_frame(frame, link_type=link_type, time_ns=7, interface_index=3, ports=PORTS, **more)


def segment(frame: bytes, link_type: int = LinkType.ETHERNET, **more: Any) -> Segment:
    """Read a frame that must be a segment."""
    found = read(frame, link_type, **more)
    assert isinstance(found, Segment), found
    return found


def test_every_field_of_an_ipv4_segment() -> None:
    """A request over IPv4 arrives whole, in every field."""
    assert segment(ETHERNET4 + ipv4(tcp(b"request"))) == Segment(
        time_ns=7,
        source_address=MAPPED + CLIENT4,
        destination_address=MAPPED + SERVER4,
        sequence=1000,
        acknowledgment=2000,
        source_port=33654,
        destination_port=135,
        payload_length=7,
        tcp_flags=ACK | PSH,
        attributes=0,
        interface_index=3,
        payload=b"request",
        hop_limit=64,
    )


def test_every_field_of_an_ipv6_segment() -> None:
    """A response over IPv6 arrives whole, and is known to come from the server."""
    found = segment(ETHERNET6 + ipv6(tcp(b"response", source=135, destination=33654)))
    assert found.source_address == CLIENT6
    assert found.destination_address == SERVER6
    assert found.attributes == Attribute.IPV6 | Attribute.FROM_SERVER
    assert found.payload == b"response"


def test_memoryview_and_bytes_read_alike() -> None:
    """The payload is bytes of its own, whatever the frame is stored in."""
    frame = ETHERNET4 + ipv4(tcp(b"abc"))
    found = read_frame(memoryview(frame), link_type=1, time_ns=7, interface_index=3, ports=PORTS)
    assert found == segment(frame)
    assert isinstance(found, Segment)
    assert isinstance(found.payload, bytes)


@pytest.mark.parametrize(
    "tags", [b"\x81\x00\x00\x05", b"\x88\xa8\x00\x05\x81\x00\x00\x06", b"\x91\x00\x00\x05\x81\x00\x00\x06"]
)
def test_vlan_tags_are_skipped(tags: bytes) -> None:
    """One tag and two tags of each known kind."""
    assert segment(bytes(12) + tags + b"\x08\x00" + ipv4(tcp(b"x"))).payload == b"x"


def test_a_third_vlan_tag_is_not_inspected() -> None:
    """Two tags are the limit."""
    assert read(bytes(12) + b"\x81\x00\x00\x05" * 3 + b"\x08\x00" + ipv4(tcp(b"x"))) is None


@pytest.mark.parametrize("length", [0, 13, 15, 17])
def test_a_cut_link_layer_is_not_inspected(length: int) -> None:
    """Without an ethertype there is nothing to say of a frame."""
    assert read((bytes(12) + b"\x81\x00\x00\x05\x08\x00")[:length]) is None


def test_other_ethertypes_are_not_inspected() -> None:
    """ARP passes by."""
    assert read(bytes(12) + b"\x08\x06" + bytes(46)) is None


def test_ipv4_options_and_tcp_options_are_skipped() -> None:
    """The payload begins after both headers' options."""
    assert segment(ETHERNET4 + ipv4(tcp(b"pay", options=b"\x01" * 12), options=b"\x01" * 8)).payload == b"pay"


@pytest.mark.parametrize(
    "packet",
    [
        ipv4(tcp(b"x"), first=0x65),
        ipv4(tcp(b"x"), first=0x44),
        ipv4(tcp(b"x"), first=0x4F)[:50],
        ipv4(tcp(b"x"))[:19],
        ipv4(tcp(b"x"), total=19),
        ipv4(tcp(b"x"), total=39),
        ipv4(tcp(b"x"))[:39],
        ipv4(tcp(options=b"\x01" * 20)[:30]),
        ipv4(tcp()[:12] + b"\x40" + tcp()[13:]),
        ipv4(bytes(8), protocol=1, total=19),
        ipv4(udp(b"x", PORTS_TO), protocol=17, total=19),
        ipv4(udp(b"x", PORTS_TO)[:7], protocol=17),
        ipv4(udp(b"x", PORTS_TO), protocol=17, total=27),
        ipv4(udp(b"x", PORTS_TO, length=7), protocol=17),
        ipv4(udp(b"x", PORTS_TO, length=10), protocol=17),
    ],
    ids=[
        "version",
        "header length 16",
        "options cut",
        "header cut",
        "total length below the header",
        "total length below the TCP header",
        "TCP cut",
        "TCP options cut",
        "data offset 16",
        "another protocol, total length below the header",
        "UDP, total length below the IP header",
        "UDP cut",
        "total length below the UDP header",
        "UDP length below its header",
        "UDP length beyond the packet",
    ],
)
def test_unreadable_ipv4(packet: bytes) -> None:
    """Headers that are cut or contradict themselves are counted, if the ports are unknown or of interest."""
    assert read(ETHERNET4 + packet) is KernelCounter.UNREADABLE_HEADERS


@pytest.mark.parametrize(
    "packet",
    [
        ipv4(tcp(b"x", source=1, destination=2), total=30),
        ipv4(tcp(b"x", source=1, destination=2), total=19),
        ipv4(tcp(b"x", source=1, destination=2)[:12] + b"\x40" + bytes(8)),
        ipv4(tcp(source=1, destination=2, options=b"\x01" * 20)[:30]),
        ipv4(udp(b"x", (1, 2), length=7), protocol=17),
        ipv4(udp(b"x", (1, 4789), length=10), protocol=17),
    ],
    ids=["total length", "below the IP header", "data offset", "options cut", "UDP length", "tunnel's port"],
)
def test_ports_come_before_false_lengths(packet: bytes) -> None:
    """A packet between ports of no interest is let go, whatever its lengths say."""
    assert read(ETHERNET4 + packet) is None
    cut = packet[:34] if packet[9] == 6 else packet[:24]
    assert read(ETHERNET4 + cut) is KernelCounter.UNREADABLE_HEADERS


def test_a_false_length_of_a_tunnel_is_counted() -> None:
    """Where tunnels are looked into, a datagram to a tunnel's port is of interest."""
    packet = ETHERNET4 + ipv4(udp(b"x", (1, 4789), length=10), protocol=17)
    assert read(packet, tunnels=True) is KernelCounter.UNREADABLE_HEADERS


def test_other_protocols_are_not_inspected() -> None:
    """SCTP is none of ours, nor are tunnels unless they are asked for."""
    for protocol in (132, 4, 41, 47):
        assert read(ETHERNET4 + ipv4(tcp(b"x"), protocol=protocol)) is None
        assert read(ETHERNET6 + ipv6(tcp(b"x"), next_header=protocol)) is None


def test_every_field_of_a_datagram() -> None:
    """A request over UDP: what TCP alone has is 0."""
    assert segment(ETHERNET4 + ipv4(udp(b"request", PORTS_TO), protocol=17)) == Segment(
        time_ns=7,
        source_address=MAPPED + CLIENT4,
        destination_address=MAPPED + SERVER4,
        sequence=0,
        acknowledgment=0,
        source_port=40000,
        destination_port=135,
        payload_length=7,
        tcp_flags=0,
        attributes=Attribute.UDP,
        interface_index=3,
        payload=b"request",
        hop_limit=64,
    )
    answer = segment(ETHERNET6 + ipv6(udp(b"answer", PORTS_FROM), next_header=17))
    assert answer.attributes == Attribute.UDP | Attribute.FROM_SERVER | Attribute.IPV6
    assert answer.payload == b"answer"


def test_datagrams_without_payload_are_only_counted() -> None:
    """Like bare acknowledgments."""
    assert read(ETHERNET4 + ipv4(udp(b"", PORTS_TO), protocol=17)) is KernelCounter.PACKETS_TO_SERVER
    assert read(ETHERNET4 + ipv4(udp(b"", PORTS_FROM), protocol=17)) is KernelCounter.PACKETS_FROM_SERVER
    assert read(ETHERNET4 + ipv4(udp(b"x", (53, 5353)), protocol=17)) is None


def test_lengths_of_datagrams() -> None:
    """The shorter of both lengths counts, 0 is "the rest", and a first fragment has the whole datagram's length."""
    assert segment(ETHERNET4 + ipv4(udp(b"abc", PORTS_TO, length=10), protocol=17)).payload == b"ab"
    assert segment(ETHERNET4 + ipv4(udp(b"abc", PORTS_TO, length=0), protocol=17)).payload == b"abc"
    first = segment(ETHERNET4 + ipv4(udp(b"abc", PORTS_TO, length=5000), protocol=17, fragment=0x2000))
    assert (first.payload, first.payload_length) == (b"abc", 3)
    assert first.attributes == Attribute.UDP | Attribute.FIRST_FRAGMENT
    rest = segment(ETHERNET4 + ipv4(udp(b"abc", PORTS_TO, length=5000), protocol=17, total=0))
    assert (rest.payload, rest.payload_length) == (b"abc", 4992)


def test_ethernet_padding_is_no_payload() -> None:
    """A bare acknowledgment stays one when Ethernet pads it to 60 bytes."""
    assert read((ETHERNET4 + ipv4(tcp())).ljust(60, b"\0")) is KernelCounter.PACKETS_TO_SERVER
    assert segment((ETHERNET4 + ipv4(tcp(b"ab"))).ljust(60, b"\0")).payload == b"ab"


def test_length_zero_means_the_rest_of_the_frame() -> None:
    """Segmentation offload leaves lengths of 0, in IPv4 and in IPv6."""
    assert segment(ETHERNET4 + ipv4(tcp(b"abc"), total=0)).payload == b"abc"
    assert segment(ETHERNET6 + ipv6(tcp(b"abc"), length=0)).payload == b"abc"


def test_length_zero_of_a_cut_frame_refers_to_the_wire() -> None:
    """What the capture cut off is still known to have been there."""
    frame = ETHERNET4 + ipv4(tcp(b"abc"), total=0)
    found = segment(frame, wire_length=len(frame) + 100)
    assert (found.payload_length, found.payload) == (103, b"abc")


def test_a_payload_may_exceed_the_frame() -> None:
    """A capture's snap length cuts the payload, not its length."""
    found = segment((ETHERNET4 + ipv4(tcp(bytes(100))))[:-40])
    assert (found.payload_length, len(found.payload)) == (100, 60)


def test_the_longest_payload_is_cut_to_the_largest_record() -> None:
    """A packet of segmentation offload may be longer than any record."""
    found = segment(ETHERNET4 + ipv4(tcp(bytes(70000)), total=0))
    assert (found.payload_length, len(found.payload)) == (70000, BULK_LARGE_PAYLOAD)


@pytest.mark.parametrize("flags", [SYN, SYN | ACK, FIN | ACK, RST])
def test_packets_without_payload_that_open_or_close(flags: int) -> None:
    """SYN, FIN and RST are segments without payload."""
    assert segment(ETHERNET4 + ipv4(tcp(flags=flags))).tcp_flags == flags


def test_bare_acknowledgments_are_only_counted() -> None:
    """By direction, and nothing else of them is kept."""
    assert read(ETHERNET4 + ipv4(tcp(flags=ACK))) is KernelCounter.PACKETS_TO_SERVER
    assert read(ETHERNET4 + ipv4(tcp(flags=ACK, source=135, destination=9))) is KernelCounter.PACKETS_FROM_SERVER


def test_ports_decide() -> None:
    """Either port makes a packet interesting; when both do, it goes to the server."""
    assert segment(ETHERNET4 + ipv4(tcp(b"x", source=135, destination=135))).attributes == 0
    assert read(ETHERNET4 + ipv4(tcp(b"x", source=445, destination=50000))) is None


def test_ipv4_fragments() -> None:
    """The first fragment is read and marked; later ones of TCP and UDP are counted, of others not."""
    assert segment(ETHERNET4 + ipv4(tcp(b"x"), fragment=0x2000)).attributes == Attribute.FIRST_FRAGMENT
    assert read(ETHERNET4 + ipv4(b"tail", fragment=0x2001)) is KernelCounter.LATER_FRAGMENTS
    assert read(ETHERNET4 + ipv4(b"tail", fragment=0x0001)) is KernelCounter.LATER_FRAGMENTS
    assert read(ETHERNET4 + ipv4(b"tail", fragment=0x0001, protocol=17)) is KernelCounter.LATER_FRAGMENTS
    assert read(ETHERNET4 + ipv4(b"tail", fragment=0x0001, protocol=132)) is None


def fragment_header(next_header: int, offset_and_flags: int) -> bytes:
    """Return an IPv6 fragment header."""
    return struct.pack("!BBHI", next_header, 0, offset_and_flags, 1)


def test_ipv6_fragments() -> None:
    """The same as in IPv4, by the fragment header."""
    first = segment(ETHERNET6 + ipv6(fragment_header(6, 1) + tcp(b"x"), next_header=44))
    assert first.attributes == Attribute.IPV6 | Attribute.FIRST_FRAGMENT
    atomic = segment(ETHERNET6 + ipv6(fragment_header(6, 0) + tcp(b"x"), next_header=44))
    assert atomic.attributes == Attribute.IPV6
    assert read(ETHERNET6 + ipv6(fragment_header(6, 8) + b"tail", next_header=44)) is KernelCounter.LATER_FRAGMENTS
    assert read(ETHERNET6 + ipv6(fragment_header(17, 8) + b"tail", next_header=44)) is KernelCounter.LATER_FRAGMENTS
    assert read(ETHERNET6 + ipv6(fragment_header(132, 8) + b"tail", next_header=44)) is None


@pytest.mark.parametrize("kind", [0, 43, 60, 135])
def test_extension_headers_counted_in_eights(kind: int) -> None:
    """Hop-by-hop, routing, destination options and mobility."""
    assert segment(ETHERNET6 + ipv6(b"\x06\x01" + bytes(14) + tcp(b"x"), next_header=kind)).payload == b"x"


def test_authentication_header_counts_in_fours() -> None:
    """RFC 4302: words of 4 bytes, minus 2."""
    assert segment(ETHERNET6 + ipv6(b"\x06\x04" + bytes(22) + tcp(b"x"), next_header=51)).payload == b"x"


def test_eight_extension_headers_and_no_more() -> None:
    """The eighth is walked, the ninth is not."""
    eight = (b"\x3c\x00" + bytes(6)) * 7 + b"\x06\x00" + bytes(6)
    assert segment(ETHERNET6 + ipv6(eight + tcp(b"x"), next_header=60)).payload == b"x"
    assert read(ETHERNET6 + ipv6(b"\x3c\x00" + bytes(6) + eight + tcp(b"x"), next_header=60)) is None


@pytest.mark.parametrize(
    "packet",
    [
        ipv6(tcp(b"x"))[:39],
        b"\x40" + ipv6(tcp(b"x"))[1:],
        ipv6(b"\x06\x00" + bytes(5), next_header=0),
        ipv6(b"\x06\x05" + bytes(30), next_header=0),
        ipv6(b"\x11\x05" + bytes(30), next_header=0),
        ipv6(fragment_header(6, 0)[:7], next_header=44),
        ipv6(tcp(b"x"), length=19),
    ],
    ids=[
        "header cut",
        "version",
        "extension cut",
        "extension longer than the frame",
        "the same before another protocol",
        "fragment header cut",
        "payload length below the TCP header",
    ],
)
def test_unreadable_ipv6(packet: bytes) -> None:
    """The same as in IPv4."""
    assert read(ETHERNET6 + packet) is KernelCounter.UNREADABLE_HEADERS
