"""Headers of TCP packets and ICMP errors, from frames of every kind."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from inspector.capture.writer import build_frame
from inspector.protocols import ACK, SYN
from inspector.wire.frame import LinkType
from inspector.wire.headers import Header, IcmpQuote, read_header
from tests.build.connection import Wire, raw_address, udp
from tests.golden.layers import TCP, ethernet, ip, tcp_of

if TYPE_CHECKING:
    from inspector.model import Segment

_ICMP, _ICMPV6 = 1, 58


def read(frame: bytes, wire_length: int | None = None) -> Header | IcmpQuote | None:
    """Return what is in an Ethernet frame."""
    return read_header(frame, link_type=LinkType.ETHERNET, time_ns=5, number=7, wire_length=wire_length or len(frame))


@pytest.mark.parametrize("server", ["10.11.2.2", "2001:db8::2"])
def test_every_field_of_a_tcp_packet(server: str) -> None:
    """Addresses, ports, numbers, flags, hop limit and payload; also of packets that are no record."""
    client = "2001:db8::1" if ":" in server else "10.1.1.1"
    wire = Wire(client, server).open().client(b"payload")
    for segment in (*wire.segments, wire.segments[-1]._replace(payload=b"", payload_length=0, tcp_flags=ACK)):
        frame = ethernet(segment, ip(segment, tcp_of(segment), TCP, 61))
        header = read(frame)
        assert isinstance(header, Header)
        assert header[:11] == (
            5, 7, segment.source_address, segment.destination_address, segment.source_port, segment.destination_port,
            segment.sequence, segment.acknowledgment, segment.tcp_flags, 61, segment.payload_length,
        )  # fmt: skip
        assert (header.captured, bytes(header.payload), header.interface) == (len(frame), segment.payload, 0)


def test_a_packet_that_was_cut_keeps_its_length() -> None:
    """`payload_length` is that of the wire, the payload what was captured of it."""
    segment = Wire().client(bytes(100)).segments[0]
    frame = ethernet(segment, ip(segment, tcp_of(segment), TCP, 61))
    header = read(frame[:-40], len(frame))
    assert isinstance(header, Header)
    assert (header.payload_length, len(header.payload), header.captured) == (100, 60, len(frame) - 40)


def _quoting(segment: Segment, kind: int, code: int, quoted: int = 8) -> bytes:
    """Return a frame with an ICMP error that quotes so many bytes behind the IP header of a segment."""
    six = b"\xff\xff" not in segment.source_address[:12]
    inner = ip(segment, tcp_of(segment), TCP, 60)[: (40 if six else 20) + quoted]
    back = segment._replace(source_address=raw_address("2001:db8::99" if six else "10.1.1.254"))
    message = struct.pack("!BBHI", kind, code, 0, 0) + inner
    return ethernet(back, ip(back, message, _ICMPV6 if six else _ICMP, 64))


@pytest.mark.parametrize(
    ("server", "kind", "code"),
    [("10.11.2.2", 3, 13), ("10.11.2.2", 11, 0), ("2001:db8::2", 1, 4), ("2001:db8::2", 2, 0)],
)
def test_icmp_errors_quote_the_packet(server: str, kind: int, code: int) -> None:
    """Reporter, type, code and the quoted flow: 8 bytes are enough for it."""
    segment = Wire("2001:db8::1" if ":" in server else "10.1.1.1", server).open().segments[0]
    error = read(_quoting(segment, kind, code))
    assert isinstance(error, IcmpQuote)
    assert error[2:] == (
        raw_address("2001:db8::99" if ":" in server else "10.1.1.254"), kind, code, segment.source_address,
        segment.destination_address, segment.source_port, segment.destination_port, segment.sequence,
    )  # fmt: skip


@pytest.mark.parametrize(("server", "kind"), [("10.11.2.2", 0), ("10.11.2.2", 8), ("2001:db8::2", 128)])
def test_other_icmp_messages_are_of_no_interest(server: str, kind: int) -> None:
    """Echo and the like quote nothing."""
    segment = Wire("2001:db8::1" if ":" in server else "10.1.1.1", server).open().segments[0]
    assert read(_quoting(segment, kind, 0)) is None


def test_a_quote_that_is_too_short_is_left() -> None:
    """Without ports and sequence number nothing can be said; nothing is raised for any length."""
    frame = _quoting(Wire().open().segments[0], 3, 13)
    assert isinstance(read(frame), IcmpQuote)
    assert [read(frame[:length]) for length in range(len(frame))] == [None] * len(frame)


def test_other_traffic_is_none() -> None:
    """UDP, and what is no IP packet."""
    assert read(build_frame(udp(b"payload"))) is None
    assert read(bytes(60)) is None
    assert read(b"") is None


def test_a_syn_has_no_payload() -> None:
    """The Ethernet padding of a short frame is none."""
    segment = Wire().open().segments[0]
    frame = ethernet(segment, ip(segment, tcp_of(segment), TCP, 61)) + bytes(6)
    header = read(frame)
    assert isinstance(header, Header)
    assert (header.flags, header.payload_length, bytes(header.payload)) == (SYN, 0, b"")
