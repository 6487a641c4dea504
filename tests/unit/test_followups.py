"""Follow-ups in captured frames; tests/kernel/test_follow_up.py compares the same reader with the kernel program."""

from __future__ import annotations

import struct

import pytest

from inspector.model import Segment
from inspector.protocols import ACK, IPV4_MAPPED, SYN
from inspector.record import ENDPOINTS, Attribute, KernelCounter
from inspector.wire.followups import FollowUps, IcmpError, opens_association, pack_error, unpack_error
from inspector.wire.frame import LinkType, read_frame
from tests.build import pdu
from tests.build.tunnels import udp

CLIENT, SERVER = bytes((10, 1, 1, 1)), bytes((10, 11, 2, 2))
ENDPOINT = 49664


def packet(
    data: bytes = b"", *, ports: tuple[int, int] = (40000, ENDPOINT), flags: int = ACK, answer: bool = False
) -> bytes:
    """Return an IPv4 packet between client and server; `ports` are the client's and the server's."""
    body = struct.pack("!HHIIBBHHH", *(ports[::-1] if answer else ports), 1000, 2000, 0x50, flags, 512, 0, 0) + data
    ends = (SERVER, CLIENT) if answer else (CLIENT, SERVER)
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, 0, 64, 6, 0, *ends) + body


def read(data: bytes, follow_ups: FollowUps) -> Segment | KernelCounter | None:
    """Read a packet."""
    return read_frame(data, link_type=LinkType.RAW, time_ns=7, interface_index=3, ports={135}, follow_ups=follow_ups)


def server_answers(follow_ups: FollowUps) -> None:
    """Have the server's SYN-ACK of port 135 read."""
    assert isinstance(read(packet(ports=(40000, 135), flags=SYN | ACK, answer=True), follow_ups), Segment)


def test_a_syn_to_a_high_port_of_a_server() -> None:
    """It makes the port an endpoint, whose bind is a segment then."""
    follow_ups = FollowUps()
    assert read(packet(flags=SYN), follow_ups) is None
    assert read(packet(pdu.bind()), follow_ups) is None
    server_answers(follow_ups)
    found = read(packet(flags=SYN), follow_ups)
    assert isinstance(found, Segment)
    assert found.attributes == Attribute.ENDPOINT
    answer = read(packet(pdu.bind_ack(), answer=True), follow_ups)
    assert isinstance(answer, Segment)
    assert answer.attributes == Attribute.ENDPOINT | Attribute.FROM_SERVER
    assert read(packet(pdu.request(b"x")), follow_ups) is None
    assert follow_ups.counted == {KernelCounter.SERVERS_NOTED: 1, KernelCounter.ENDPOINTS_NOTED: 1}


def test_without_follow_ups_nothing_changes() -> None:
    """A packet of a high port is of no interest then."""
    assert read_frame(packet(flags=SYN), link_type=LinkType.RAW, time_ns=7, interface_index=3, ports={135}) is None


def test_an_answer_counts_as_well_as_a_syn_ack() -> None:
    """A capture may begin within a connection."""
    follow_ups = FollowUps()
    read(packet(pdu.response(b"x"), ports=(40000, 135), answer=True), follow_ups)
    assert read(packet(flags=SYN), follow_ups) is None
    read(packet(pdu.bind_ack(), ports=(40000, 135), answer=True), follow_ups)
    assert isinstance(read(packet(flags=SYN), follow_ups), Segment)


def test_acknowledgments() -> None:
    """The highest is kept in sequence order; one of another direction or with payload is not noted."""
    follow_ups = FollowUps()
    flow = (IPV4_MAPPED + CLIENT, IPV4_MAPPED + SERVER, 40000, 135)
    assert read(packet(ports=(40000, 135), answer=True), follow_ups) is KernelCounter.PACKETS_FROM_SERVER
    assert follow_ups.acknowledged(flow) is None
    assert read(packet(ports=(40000, 135)), follow_ups) is KernelCounter.PACKETS_TO_SERVER
    assert follow_ups.acknowledged(flow) == 2000
    read(packet(ports=(40000, 135), flags=SYN), follow_ups)
    assert follow_ups.acknowledged(flow) is None


def test_endpoints_are_bounded() -> None:
    """The one that was used least recently goes."""
    follow_ups = FollowUps()
    first, last = IPV4_MAPPED + SERVER, IPV4_MAPPED + CLIENT
    follow_ups.add(first, ENDPOINT)
    for number in range(ENDPOINTS - 1):
        follow_ups.add(last, number)
    assert isinstance(read(packet(pdu.bind()), follow_ups), Segment)
    follow_ups.add(last, 65000)
    assert isinstance(read(packet(pdu.bind()), follow_ups), Segment)
    for number in range(ENDPOINTS):
        follow_ups.add(last, number + 100)
    assert read(packet(pdu.bind()), follow_ups) is None


@pytest.mark.parametrize(
    ("payload", "opens"),
    [
        (pdu.bind(), True),
        (pdu.bind_ack(), True),
        (pdu.bind_nak(), True),
        (pdu.fault(5), True),
        (pdu.request(b""), False),
        (pdu.response(b""), False),
        (b"\x05\x00\x0b", False),
        (b"\x05\x01\x0b\x03", False),
        (b"\x04\x00\x0b\x03", False),
        (b"", False),
    ],
)
def test_opening_pdus(payload: bytes, opens: bool) -> None:
    """Four bytes tell."""
    assert opens_association(payload) is opens


def test_an_error_as_payload() -> None:
    """It comes back as it was."""
    error = IcmpError(bytes(range(16)), 3, 4, 1400)
    assert len(pack_error(error)) == 24
    assert unpack_error(pack_error(error)) == error


def test_datagrams_are_no_follow_ups() -> None:
    """UDP to an endpoint's port is none."""
    follow_ups = FollowUps()
    follow_ups.add(IPV4_MAPPED + SERVER, ENDPOINT)
    body = udp(pdu.bind(), (40000, ENDPOINT))
    data = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, 0, 64, 17, 0, CLIENT, SERVER) + body
    assert read(data, follow_ups) is None
