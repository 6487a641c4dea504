"""Link types of capture files: what stands before IP in each."""

from __future__ import annotations

import struct

import pytest

from inspector.record import Attribute, KernelCounter
from inspector.wire.frame import LinkType
from tests.unit.test_frame import ETHERNET4, ipv4, ipv6, read, segment, tcp


@pytest.mark.parametrize(
    ("link_type", "header"),
    [
        (LinkType.RAW, b""),
        (LinkType.RAW_BSD, b""),
        (LinkType.RAW_OPENBSD, b""),
        (LinkType.IPV4, b""),
        (LinkType.NULL, struct.pack("<I", 2)),
        (LinkType.NULL, struct.pack(">I", 2)),
        (LinkType.LOOP, struct.pack(">I", 2)),
        (LinkType.LINUX_SLL, bytes(14) + b"\x08\x00"),
        (LinkType.LINUX_SLL, bytes(14) + b"\x81\x00\x00\x05\x08\x00"),
        (LinkType.LINUX_SLL2, b"\x08\x00" + bytes(18)),
    ],
)
def test_link_types_over_ipv4(link_type: LinkType, header: bytes) -> None:
    """Every link type leads to the same segment."""
    assert segment(header + ipv4(tcp(b"x")), link_type).payload == b"x"


@pytest.mark.parametrize(
    ("link_type", "header"),
    [(LinkType.RAW, b""), (LinkType.IPV6, b"")]
    + [(LinkType.NULL, struct.pack("<I", family)) for family in (10, 24, 28, 30)],
)
def test_link_types_over_ipv6(link_type: LinkType, header: bytes) -> None:
    """IPv6 has another address family on each system."""
    assert segment(header + ipv6(tcp(b"x")), link_type).attributes == Attribute.IPV6


def test_link_layers_without_ip() -> None:
    """Cut headers and other families pass by; what must be IP and is not counts; so does an unknown link type."""
    assert read(b"\x02\0\0", LinkType.NULL) is None
    assert read(struct.pack("<I", 99), LinkType.NULL) is None
    assert read(bytes(15), LinkType.LINUX_SLL) is None
    assert read(bytes(19), LinkType.LINUX_SLL2) is None
    assert read(b"", LinkType.RAW) is KernelCounter.UNREADABLE_HEADERS
    assert read(b"\x50" * 60, LinkType.RAW) is KernelCounter.UNREADABLE_HEADERS
    assert read(ETHERNET4 + ipv4(tcp(b"x")), 127) is KernelCounter.UNREADABLE_HEADERS
