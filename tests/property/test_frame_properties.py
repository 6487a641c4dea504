"""What holds of every frame, and of every record on its way through a capture file."""

from __future__ import annotations

import io
import struct
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from inspector.capture.pcap import read_records
from inspector.capture.writer import CaptureWriter, build_frame
from inspector.model import Segment, Tunnel, TunnelKind
from inspector.record import BULK_LARGE_PAYLOAD, Attribute, KernelCounter, pack_record, unpack_record
from inspector.wire.frame import LinkType, read_frame

PORTS = frozenset({135, 593})
SERVER_PORTS = st.sampled_from(sorted(PORTS))
OTHER_PORTS = st.integers(0, 0xFFFF).filter(lambda port: port not in PORTS)
MAPPED = bytes(10) + b"\xff\xff"
IPV4 = st.binary(min_size=4, max_size=4).map(MAPPED.__add__)
IPV6 = st.binary(min_size=16, max_size=16).filter(lambda address: not address.startswith(MAPPED))
# What the outermost tunnel may be around, and what it may be in; None is either.
TUNNEL_VERSIONS = {
    TunnelKind.IPIP: (4, 4),
    TunnelKind.SIX_IN_FOUR: (6, 4),
    TunnelKind.FOUR_IN_SIX: (4, 6),
    TunnelKind.SIX_IN_SIX: (6, 6),
    TunnelKind.GRE: (None, None),
    TunnelKind.VXLAN: (None, None),
    TunnelKind.GENEVE: (None, None),
    TunnelKind.TEREDO: (6, None),
}


@st.composite
def tunnels(draw: st.DrawFn, *, ipv6: bool) -> Tunnel:
    """Tunnels as the kernel program notes them around a packet of IPv4 or IPv6."""
    depth = draw(st.integers(1, 2))
    carried = (None, 6 if ipv6 else 4)
    kinds = [kind for kind, (inner, _) in TUNNEL_VERSIONS.items() if depth == 2 or inner in carried]
    kind = draw(st.sampled_from(kinds))
    outer = TUNNEL_VERSIONS[kind][1] or draw(st.sampled_from([4, 6]))
    address = IPV6 if outer == 6 else IPV4
    return Tunnel(kind, draw(address), draw(address), depth)


@st.composite
def segments(draw: st.DrawFn, *, carried: bool = False) -> Segment:
    """Segments as the kernel program makes them: matched, cut at the frame's end or at the largest record.

    With `carried` some are datagrams, and some came through tunnels.
    """
    ipv6 = draw(st.booleans())
    address = st.binary(min_size=16, max_size=16) if ipv6 else IPV4
    from_server = draw(st.booleans())
    ports = (draw(SERVER_PORTS), draw(OTHER_PORTS))
    payload = draw(st.binary(max_size=300))
    cut = draw(st.sampled_from([0, 0, 1, 1000, 64000]))
    if draw(st.integers(0, 20)) == 0:
        payload, cut = payload.ljust(BULK_LARGE_PAYLOAD, b"."), draw(st.integers(0, 400_000))
    elif not payload:
        cut = 0
    flags = draw(st.integers(0, 255))
    attributes = Attribute.IPV6 * ipv6 | Attribute.FROM_SERVER * from_server
    attributes |= Attribute.FIRST_FRAGMENT * draw(st.booleans())
    tunnel = draw(st.none() | tunnels(ipv6=ipv6)) if carried else None
    attributes |= Attribute.TUNNELLED * (tunnel is not None)
    if carried and payload and draw(st.booleans()):
        return Segment(
            draw(st.integers(0, 2**64 - 1)),
            draw(address),
            draw(address),
            0,
            0,
            ports[0] if from_server else ports[1],
            ports[1] if from_server else ports[0],
            len(payload) + cut,
            0,
            int(attributes | Attribute.UDP),
            draw(st.integers(0, 5)),
            payload,
            tunnel,
        )
    return Segment(
        draw(st.integers(0, 2**64 - 1)),
        draw(address),
        draw(address),
        draw(st.integers(0, 2**32 - 1)),
        draw(st.integers(0, 2**32 - 1)),
        ports[0] if from_server else ports[1],
        ports[1] if from_server else ports[0],
        len(payload) + cut,
        flags if payload else flags | draw(st.sampled_from([1, 2, 4])),
        int(attributes),
        draw(st.integers(0, 5)),
        payload,
        tunnel,
    )


@given(st.binary(max_size=200), st.sampled_from([*LinkType, 127]), st.booleans())
def test_any_bytes_are_read_without_an_exception(frame: bytes, link_type: int, inside: bool) -> None:
    """Whatever the bytes: a segment out of them, a counter, or nothing."""
    found = read_frame(frame, link_type=link_type, time_ns=0, interface_index=0, ports=range(65536), tunnels=inside)
    assert found is None or isinstance(found, Segment | KernelCounter)
    if isinstance(found, Segment):
        assert found.payload in frame
        assert len(found.payload) <= found.payload_length


@given(segments(carried=True), st.data())
def test_damaged_frames_stay_within_their_bytes(segment: Segment, data: st.DataObject) -> None:
    """A frame with bytes changed and its end cut off still yields only what is in it."""
    frame = bytearray(build_frame(segment))
    for _ in range(data.draw(st.integers(0, 4))):
        frame[data.draw(st.integers(0, min(len(frame), 100) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(frame[: data.draw(st.integers(0, len(frame)))])
    found = read_frame(cut, link_type=1, time_ns=0, interface_index=0, ports=PORTS, tunnels=True)
    if isinstance(found, Segment):
        assert found.payload in cut
        assert len(found.payload) <= min(found.payload_length, BULK_LARGE_PAYLOAD)
        assert len(pack_record(found)) == 72 + 40 * (found.tunnel is not None) + len(found.payload)
        assert unpack_record(pack_record(found)) == found


@given(segments(carried=True), st.lists(st.sampled_from([0x8100, 0x88A8, 0x9100]), max_size=3))
def test_vlan_tags_change_nothing(segment: Segment, tags: list[int]) -> None:
    """A frame with up to two tags is the same segment; with three it is none of ours."""
    frame = build_frame(segment)
    tagged = frame[:12] + b"".join(struct.pack("!HH", tag, 5) for tag in tags) + frame[12:]
    whole = len(tagged) + segment.payload_length - len(segment.payload)
    found = read_frame(
        tagged,
        link_type=1,
        time_ns=segment.time_ns,
        interface_index=segment.interface_index,
        ports=PORTS,
        wire_length=whole,
        tunnels=True,
    )
    assert found == (segment if len(tags) <= 2 else None)


@given(st.lists(segments(carried=True), max_size=8), st.text(max_size=20))
def test_records_survive_a_capture_file(written: list[Segment], comment: str) -> None:
    """Records written to a capture file and read back are the same, but for the interface's number."""
    file = io.BytesIO()
    writer = CaptureWriter(file, {2: "ge0", 1: "ge1"})
    for segment in written:
        writer.write(pack_record(segment), comment)
    writer.close()
    counters = [0] * len(KernelCounter)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "written.pcapng"
        path.write_bytes(file.getvalue())
        found = [unpack_record(record) for record in read_records(path, ports=PORTS, counters=counters, tunnels=True)]
    assert [segment._replace(interface_index=0) for segment in found] == [
        segment._replace(interface_index=0) for segment in written
    ]
    numbers = {1: 0, 2: 1}
    for segment in written:
        numbers.setdefault(segment.interface_index, len(numbers))
    assert [segment.interface_index for segment in found] == [numbers[segment.interface_index] for segment in written]
    assert counters[KernelCounter.MATCHED] == counters[KernelCounter.SUBMITTED] == len(written)
