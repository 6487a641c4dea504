"""The capture file that is written: what Wireshark makes of it, and what cannot be written."""

from __future__ import annotations

import errno
import io
import subprocess
from ipaddress import ip_address
from pathlib import Path

import pytest

from inspector.capture.pcap import read_packets, read_records
from inspector.capture.writer import CaptureWriter, build_frame
from inspector.errors import CaptureError
from inspector.model import Segment, Tunnel, TunnelKind
from inspector.record import BULK_LARGE_PAYLOAD, Attribute, KernelCounter, pack_record, unpack_record
from inspector.wire.followups import FollowUps, IcmpError, pack_error
from inspector.wire.frame import read_frame
from inspector.wire.headers import IcmpQuote, read_header
from tests.conftest import require_tools

SYN, PUSH_ACK = 2, 24


def address(text: str) -> bytes:
    """Return 16 bytes, IPv4 mapped."""
    parsed = ip_address(text)
    return parsed.packed if parsed.version == 6 else bytes(10) + b"\xff\xff" + parsed.packed


def segment(payload: bytes = b"hello", *, cut: int = 0, index: int = 4, attributes: int = 0, **more: int) -> Segment:
    """Return a segment of the original case's connection, over IPv6 if the attributes say so."""
    source, destination = ("2001:db8::1", "2001:db8::2") if attributes & Attribute.IPV6 else ("10.1.1.1", "10.11.2.2")
    plain = Segment(
        1_700_000_000_123_456_789,
        address(source),
        address(destination),
        2005198912,
        3769475906,
        33654,
        135,
        len(payload) + cut,
        PUSH_ACK,
        attributes,
        index,
        payload,
    )
    return plain._replace(**more)  # type: ignore[arg-type]  # the fields which tests replace are integers


def written(path: Path, *segments: Segment, comment: str | None = None) -> Path:
    """Write segments to a file."""
    with CaptureWriter(path, {7: "inner", 4: "outer"}) as writer:
        for one in segments:
            writer.write(pack_record(one), comment)
    return path


def tshark(path: Path, *fields: str) -> list[list[str]]:
    """Return fields of every packet, as tshark with all checksums verified sees them."""
    require_tools(["tshark"])
    checks = [
        f"-o{name}:TRUE"
        for name in ("ip.check_checksum", "tcp.check_checksum", "udp.check_checksum", "tcp.analyze_sequence_numbers")
    ]
    chosen = [argument for field in fields for argument in ("-e", field)]
    result = subprocess.run(
        ["tshark", "-n", "-r", path, *checks, "-otcp.relative_sequence_numbers:FALSE", "-Tfields", *chosen],
        capture_output=True,
        text=True,
        check=True,
    )
    return [line.split("\t") for line in result.stdout.splitlines()]


GOOD = "1"


def test_tshark_sees_every_field(tmp_path: Path) -> None:
    """Time to the nanosecond, addresses, ports, numbers, flags, payload, comment, interface; checksums are good."""
    path = written(tmp_path / "a.pcapng", segment(), segment(index=7, tcp_flags=SYN), comment="mismatch: ü")
    rows = tshark(
        path,
        "frame.time_epoch",
        "frame.interface_name",
        "frame.comment",
        "ip.src",
        "ip.dst",
        "tcp.srcport",
        "tcp.dstport",
        "tcp.seq",
        "tcp.ack",
        "tcp.flags",
        "tcp.payload",
        "ip.checksum.status",
        "tcp.checksum.status",
    )
    common = ["mismatch: ü", "10.1.1.1", "10.11.2.2", "33654", "135", "2005198912", "3769475906"]
    assert rows == [
        ["1700000000.123456789", "outer", *common, "0x0018", "68656c6c6f", GOOD, GOOD],
        ["1700000000.123456789", "inner", *common, "0x0002", "68656c6c6f", GOOD, GOOD],
    ]


@pytest.mark.parametrize("length", [0, 1, 2, 1459, 1460])
def test_tshark_finds_ipv6_checksums_good(tmp_path: Path, length: int) -> None:
    """Odd and even payloads over IPv6."""
    path = written(
        tmp_path / "a.pcapng", segment(bytes(range(1, 256)) * 8, attributes=2), segment(b"\xff" * length, attributes=2)
    )
    fields = ("ipv6.src", "ipv6.dst", "tcp.checksum.status", "tcp.len")
    assert tshark(path, *fields) == [["2001:db8::1", "2001:db8::2", GOOD, str(size)] for size in (2040, length)]


@pytest.mark.parametrize("length", [1, 2, 1459])
@pytest.mark.parametrize("attributes", [Attribute.UDP, Attribute.UDP | Attribute.IPV6])
def test_tshark_sees_datagrams(tmp_path: Path, attributes: Attribute, length: int) -> None:
    """Ports, length, payload; checksums are good, also one that comes out as 0, which UDP must write as ffff."""
    payload = bytes(range(1, 256)) * 6
    one = segment(payload[:length], attributes=int(attributes), sequence=0, acknowledgment=0, tcp_flags=0)
    # Whatever the sum is without them, these two bytes make the checksum 0.
    plain = build_frame(
        one._replace(payload=one.payload + bytes(length % 2 + 2), payload_length=length + length % 2 + 2)
    )
    at = (54 if attributes & Attribute.IPV6 else 34) + 6
    last = plain[at : at + 2]
    zero = one._replace(payload=one.payload + bytes(length % 2) + last, payload_length=length + length % 2 + 2)
    rows = tshark(
        written(tmp_path / "a.pcapng", one, zero),
        "udp.srcport",
        "udp.dstport",
        "udp.length",
        "udp.checksum.status",
        "udp.checksum",
        "udp.payload",
    )
    assert [row[:4] for row in rows] == [["33654", "135", str(8 + len(o.payload)), GOOD] for o in (one, zero)]
    assert [row[5] for row in rows] == [one.payload.hex(), zero.payload.hex()]
    assert rows[1][4] == "0xffff"


@pytest.mark.parametrize(
    ("kind", "ipv6", "protocols"),
    [
        (TunnelKind.IPIP, False, "eth:ethertype:ip:ip:tcp"),
        (TunnelKind.SIX_IN_FOUR, True, "eth:ethertype:ip:ipv6:tcp"),
        (TunnelKind.FOUR_IN_SIX, False, "eth:ethertype:ipv6:ip:tcp"),
        (TunnelKind.SIX_IN_SIX, True, "eth:ethertype:ipv6:ipv6:tcp"),
        (TunnelKind.GRE, True, "eth:ethertype:ip:gre:ipv6:tcp"),
        (TunnelKind.VXLAN, False, "eth:ethertype:ip:udp:vxlan:eth:ethertype:ip:tcp"),
        (TunnelKind.GENEVE, True, "eth:ethertype:ip:udp:geneve:eth:ethertype:ipv6:tcp"),
        (TunnelKind.TEREDO, True, "eth:ethertype:ip:udp:teredo:ipv6:tcp"),
    ],
)
def test_tshark_sees_tunnels(tmp_path: Path, kind: TunnelKind, ipv6: bool, protocols: str) -> None:
    """Each kind as it is, with outer and inner addresses, and good checksums."""
    over6 = kind in (TunnelKind.FOUR_IN_SIX, TunnelKind.SIX_IN_SIX)
    outer = ("2001:db8:9::1", "2001:db8:9::2") if over6 else ("192.0.2.1", "192.0.2.2")
    attributes = int(Attribute.TUNNELLED | (Attribute.IPV6 if ipv6 else 0))
    tunnel = Tunnel(kind, address(outer[0]), address(outer[1]))
    one = segment(attributes=attributes)._replace(tunnel=tunnel)
    fields = ("frame.protocols", "ip.src", "ipv6.dst", "tcp.dstport", "tcp.payload", "tcp.checksum.status")
    [row] = tshark(written(tmp_path / "a.pcapng", one), *fields)
    assert row[0].removesuffix(":dcerpc").removesuffix(":data") == protocols
    version4 = ([] if over6 else [outer[0]]) + ([] if ipv6 else ["10.1.1.1"])
    version6 = ([outer[1]] if over6 else []) + (["2001:db8::2"] if ipv6 else [])
    assert row[1:] == [",".join(version4), ",".join(version6), "135", "68656c6c6f", GOOD]


@pytest.mark.parametrize("kind", TunnelKind)
def test_two_tunnels_come_back_as_two(tmp_path: Path, kind: TunnelKind) -> None:
    """A record names the outermost only; the other is written as some tunnel between unspecified addresses."""
    over6 = kind in (TunnelKind.FOUR_IN_SIX, TunnelKind.SIX_IN_SIX)
    outer = "2001:db8:9::1" if over6 else "192.0.2.1"
    tunnel = Tunnel(kind, address(outer), address(outer), 2)
    one = segment(attributes=int(Attribute.TUNNELLED), index=7)._replace(tunnel=tunnel)
    path = written(tmp_path / "a.pcapng", one)
    [record] = read_records(path, ports={135}, counters=[0] * len(KernelCounter), tunnels=True)
    assert unpack_record(record) == one._replace(interface_index=1)
    assert list(read_records(path, ports={135}, counters=[0] * len(KernelCounter))) == []


def test_tshark_knows_what_was_cut(tmp_path: Path) -> None:
    """The original length counts what the record does not hold."""
    path = written(tmp_path / "a.pcapng", segment(b"hello", cut=1000))
    assert tshark(path, "frame.len", "frame.cap_len", "tcp.len") == [["1059", "59", "1005"]]


def test_tshark_knows_fragments(tmp_path: Path) -> None:
    """First fragments say that more follow, in IPv4 and in IPv6."""
    path = written(tmp_path / "a.pcapng", segment(attributes=4), segment(attributes=6))
    rows = tshark(path, "ip.flags.mf", "ipv6.fraghdr.more")
    assert [[value.lower() in {"1", "true"} for value in row] for row in rows] == [[True, False], [False, True]]


@pytest.mark.parametrize(
    ("ipv6", "kind", "code", "mtu"), [(False, 3, 13, 0), (False, 3, 4, 1400), (False, 11, 0, 0), (True, 2, 0, 1280)]
)
def test_icmp_errors_come_back(tmp_path: Path, ipv6: bool, kind: int, code: int, mtu: int) -> None:
    """Type, code, router, MTU, hop limit and what is quoted are those of the record; tshark finds checksums good."""
    reporter = address("2001:db8::9" if ipv6 else "192.0.2.9")
    attributes = Attribute.ICMP | (Attribute.IPV6 if ipv6 else 0)
    payload = pack_error(IcmpError(reporter, kind, code, mtu))
    one = segment(payload, attributes=int(attributes), index=0, sequence=7, acknowledgment=0, tcp_flags=0, hop_limit=61)
    path = written(tmp_path / "a.pcapng", one)
    fields = ("icmpv6.checksum.status", "icmpv6.type", "ipv6.src") if ipv6 else ("icmp.checksum.status", "icmp.type")
    assert tshark(path, *fields, "tcp.dstport")[0][:2] == [GOOD, str(kind)]
    [packet] = read_packets(path)
    read = read_frame(
        packet.data,
        link_type=packet.link_type,
        time_ns=packet.time_ns,
        interface_index=0,
        ports={135},
        wire_length=packet.original_length,
        follow_ups=FollowUps(),
    )
    assert read == one
    quote = read_header(packet.data, link_type=packet.link_type, time_ns=1, number=1, wire_length=len(packet.data))
    assert isinstance(quote, IcmpQuote)
    assert (quote.reporter, quote.source_port, quote.sequence) == (reporter, 33654, 7)


@pytest.mark.parametrize("attributes", [0, Attribute.IPV6])
@pytest.mark.parametrize("length", [65_495, 65_496, 65_515, 65_516, 200_000])
def test_payloads_too_long_for_ip_come_back(tmp_path: Path, attributes: int, length: int) -> None:
    """A length that IP cannot say is written as 0 and read as the rest of the frame."""
    captured = min(length, BULK_LARGE_PAYLOAD)
    one = segment(b"." * captured, cut=length - captured, attributes=int(attributes), index=0)
    path = written(tmp_path / "a.pcapng", one)
    (record,) = read_records(path, ports={135}, counters=[0] * len(KernelCounter))
    assert unpack_record(record) == one._replace(interface_index=2)


def test_interfaces_are_in_the_order_of_their_indexes(tmp_path: Path) -> None:
    """Whatever packet comes first; an index without a name gets one when it is met, once."""
    path = written(tmp_path / "a.pcapng", segment(index=9), segment(index=7), segment(index=4), segment(index=9))
    assert [packet.interface for packet in read_packets(path)] == [2, 1, 0, 2]


def test_interfaces_that_come_and_change_their_names(tmp_path: Path) -> None:
    """Each packet is of the interface which had that index when it was written."""
    names = {4: "outer", 7: "inner"}
    with CaptureWriter(tmp_path / "a.pcapng", names) as writer:
        writer.write(pack_record(segment()))
        names |= {4: "inner", 9: "outer"}
        for index in (9, 4, 7, 11):
            writer.write(pack_record(segment(index=index)))
    assert [row[0] for row in tshark(tmp_path / "a.pcapng", "frame.interface_name")] == [
        "outer",
        "outer",
        "inner",
        "inner",
        "interface 11",
    ]


def test_records_may_be_views_with_padding(tmp_path: Path) -> None:
    """A ring's padding behind the record is not written."""
    path = tmp_path / "a.pcapng"
    with CaptureWriter(path, {}) as writer:
        writer.write(memoryview(pack_record(segment()) + b"padding"))
    (packet,) = read_packets(path)
    assert bytes(packet.data).endswith(b"hello")


def test_long_comments_are_cut_at_a_character(tmp_path: Path) -> None:
    """An option holds 65535 bytes; half a character would make it unreadable. Lone surrogates are replaced."""
    path = written(tmp_path / "a.pcapng", segment(), comment="\udc80" + "ü" * 40_000)
    content = path.read_bytes()
    at = content.index("?ü".encode())
    assert content[at - 2 : at] == (65535).to_bytes(2, "little" if content[8] == 0x4D else "big")
    assert len(list(read_packets(path))) == 1


def test_a_stream_is_flushed_and_left_open() -> None:
    """Only files which the writer opened are closed by it."""
    stream = io.BytesIO()
    with CaptureWriter(stream, {1: "a"}) as writer:
        writer.write(pack_record(segment()))
    assert not stream.closed
    assert stream.getvalue().startswith(b"\x0a\x0d\x0d\x0a")


class FullDisk(io.BytesIO):
    """A stream on a full disk."""

    def write(self, _data: object) -> int:
        """Refuse."""
        raise OSError(errno.ENOSPC, "No space left on device")


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """A missing directory and a full disk."""
    with pytest.raises(CaptureError, match=r"^[^\n]*a\.pcapng: cannot be written: No such file[^\n]*$"):
        CaptureWriter(tmp_path / "none" / "a.pcapng", {})
    with pytest.raises(CaptureError, match="cannot be written: No space left"):
        CaptureWriter(FullDisk(), {})
