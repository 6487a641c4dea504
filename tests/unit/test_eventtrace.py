"""Windows event traces (.etl): their packets are those of a capture file with the same frames."""

from __future__ import annotations

import struct
from pathlib import Path
from random import Random

import pytest

from inspector.capture.eventtrace import EventTrace, is_event_trace
from inspector.capture.frames import build_frame
from inspector.capture.packet import Packet
from inspector.capture.pcap import read_packets
from inspector.capture.tracepackets import PACKET_PROVIDERS
from inspector.errors import CaptureError
from tests.bench.conversations import conversation
from tests.build import eventtrace as build
from tests.build.reading import compare

FRAMES = [build_frame(one) for one in conversation(0).segments]


def packets_of(path: Path, content: bytes) -> list[Packet]:
    """Return the packets of a trace."""
    path.write_bytes(content)
    return [packet._replace(data=bytes(packet.data)) for packet in read_packets(path)]


@pytest.mark.parametrize("pointer", [4, 8])
@pytest.mark.parametrize(("clock", "frequency"), [(1, 2_500_000), (2, 10_000_000), (3, 2_400_000_000), (0, 10_000_000)])
def test_packets_and_their_times(tmp_path: Path, pointer: int, clock: int, frequency: int) -> None:
    """By the performance counter, by system time (100 ns), and by the processor's clock (2,400 MHz)."""
    made = [build.of_ndis(number * 1_000_000, frame) for number, frame in enumerate(FRAMES)]
    content = build.trace(made, pointer=pointer, clock=clock, frequency=frequency)
    found = packets_of(tmp_path / "a.etl", content)
    assert [packet.data for packet in found] == FRAMES
    assert [packet.time_ns - build.START_NS for packet in found] == [number * 10**6 for number in range(len(FRAMES))]
    assert {packet.link_type for packet in found} == {1}


def test_records_are_the_same_in_compiled_code(tmp_path: Path) -> None:
    """One by one, and in blocks."""
    path = tmp_path / "a.etl"
    path.write_bytes(build.trace([build.of_ndis(number, frame) for number, frame in enumerate(FRAMES)]))
    assert len(compare(path, tunnels=False)) > 3


def test_processors_are_merged_by_time(tmp_path: Path) -> None:
    """Buffers of a circular file are in no order, and a packet's neighbours are of other processors."""
    streams: list[list[build.Made]] = [[], [], []]
    for number, frame in enumerate(FRAMES * 4):
        streams[Random(number).randrange(3)].append(build.of_ndis(number * 1000, frame))  # noqa: S311 - no secret
    content = build.trace(*streams)
    first, buffers = content[:4096], [content[at : at + 4096] for at in range(4096, len(content), 4096)]
    assert [packet.data for packet in packets_of(tmp_path / "a.etl", first + b"".join(buffers[::-1]))] == FRAMES * 4


def test_fragments_are_joined(tmp_path: Path) -> None:
    """Before Windows 8.1: a start, what is between, an end; those of two threads at the same time."""
    start, end = build.START_KEYWORD | 1, build.END_KEYWORD | 1
    one, two = FRAMES[0], FRAMES[1]
    made = [
        build.of_ndis(0, one[:20], keywords=start, thread=1),
        build.of_ndis(1000, two[:10], keywords=start, thread=2),
        build.of_ndis(2000, one[20:30], keywords=1, thread=1),
        build.of_ndis(3000, two[10:], keywords=end, thread=2),
        build.of_ndis(4000, one[30:], keywords=end, thread=1),
        # One whose start was lost, and one whose end was.
        build.of_ndis(5000, one, keywords=end, thread=3),
        build.of_ndis(6000, one, keywords=start, thread=4),
    ]
    assert [packet.data for packet in packets_of(tmp_path / "a.etl", build.trace(made))] == [two, one]


def test_interfaces_links_and_cut_packets(tmp_path: Path) -> None:
    """Mobile broadband has no Ethernet header; of a cut packet the IP header says the length."""
    raw = FRAMES[0][14:]
    made = [
        build.of_ndis(0, FRAMES[0], interface=5),
        build.of_ndis(100, raw, keywords=build.WHOLE & ~1 | 0x200, interface=6),
        build.of_ndis(200, FRAMES[2][:60], keywords=build.WHOLE | 0x2000000, interface=5),
        build.of_ndis(300, raw, keywords=build.WHOLE | 0x10000, interface=7),
        build.of_switch(400, FRAMES[1], 0),
        build.of_switch(500, FRAMES[1], 2),
    ]
    found = packets_of(tmp_path / "a.etl", build.trace(made))
    assert [(one.link_type, one.interface) for one in found] == [(1, 0), (101, 1), (1, 0), (105, 2), (1, 3), (1, 3)]
    assert found[2].original_length == len(FRAMES[2])
    assert found[4].data == found[5].data == FRAMES[1]


def test_pktmon_counts_a_packet_once(tmp_path: Path) -> None:
    """It is recorded at each component; a packet of a group has a number of its own."""
    made = [
        build.of_pktmon(0, FRAMES[0], group=1, seen=1),
        build.of_pktmon(10, FRAMES[0], group=1, seen=2),
        build.of_pktmon(20, FRAMES[1][:50], group=2, original=len(FRAMES[1])),
        build.of_pktmon(30, FRAMES[2], group=2, number=2),
        build.of_pktmon(40, FRAMES[0], group=1, seen=3),
        build.of_pktmon(50, FRAMES[0], group=3)._replace(number=170),
        build.of_pktmon(60, FRAMES[0], group=4)._replace(number=120),
    ]
    found = packets_of(tmp_path / "a.etl", build.trace(made))
    assert [one.data for one in found] == [FRAMES[0], FRAMES[1][:50], FRAMES[2], FRAMES[0]]
    assert found[1].original_length == len(FRAMES[1])


def test_other_events_and_extended_items_are_passed_over(tmp_path: Path) -> None:
    """Items behind an event's header, the last one without a linkage bit; events of others, and of other kinds."""
    items = struct.pack("<HHHHQ", 16, 1, 1, 8, 0) + struct.pack("<HHHHQ", 16, 2, 0, 8, 0)
    plain = build.of_ndis(1000, FRAMES[0])
    made = [build.Made(0, build.OTHER, 1001, plain.data), plain._replace(extended=items)]
    message = struct.pack("<HBBHH", 24, 0, 0x90, 1, 0) + bytes(16)
    compact = struct.pack("<HBBHBBIIq", 1, 4, 0xC0, 24, 0, 5, 0, 0, 0)
    content = message + compact + build.event(made[0]) + build.event(made[1])
    path = tmp_path / "a.etl"
    assert [one.data for one in packets_of(path, build.buffer(build.header(), kind=4) + build.buffer(content))] == [
        FRAMES[0]
    ]


def test_compressed_and_damaged_buffers_are_counted(tmp_path: Path) -> None:
    """What is in other buffers is read."""
    whole = build.event(build.of_ndis(0, FRAMES[0]))
    path = tmp_path / "a.etl"
    path.write_bytes(
        build.buffer(build.header(), kind=4)
        + build.buffer(whole, flags=0x40)
        + build.buffer(whole + b"\x50\0\x13\xc1" + bytes(60))
        + build.buffer(whole)
        + bytes(80)
    )
    with path.open("rb") as file:
        trace = EventTrace(file, "a.etl")
        assert len(list(trace.events(PACKET_PROVIDERS))) == 2
        assert (trace.compressed, trace.damaged) == (1, 2)


def test_what_is_no_trace_is_said(tmp_path: Path) -> None:
    """By its name it is one."""
    path = tmp_path / "a.etl"
    path.write_bytes(b"\0" * 5000)
    with pytest.raises(CaptureError, match="no Windows event trace in spite of its name, or damaged; convert it"):
        list(read_packets(path))
    content = build.trace([build.of_ndis(0, FRAMES[0])])
    assert is_event_trace(content[:512])
    for length in (80, 200, 370):
        path.write_bytes(content[:length])
        with pytest.raises(CaptureError, match=r"ends within its header"):
            list(read_packets(path))
    path.write_bytes(content[:4095])
    assert list(read_packets(path)) == []


def test_processors_without_end_are_damage(tmp_path: Path) -> None:
    """Memory is bounded: a buffer of each processor is held."""
    path = tmp_path / "a.etl"
    large = build.buffer(build.event(build.of_ndis(0, bytes(60_000))) * 17)
    with path.open("wb") as file:
        file.write(build.buffer(build.header(), kind=4))
        for processor in range(300):
            file.write(large[:40] + struct.pack("<H", processor) + large[42:72])
            file.seek(len(large) - 72, 1)
        file.write(large)
    with pytest.raises(CaptureError, match="buffers of 300 processors"):
        list(read_packets(path))


def test_any_bytes_are_read_without_fault(tmp_path: Path) -> None:
    """Each byte of a small trace, changed."""
    content = build.trace(
        [build.of_ndis(0, FRAMES[0]), build.of_pktmon(1, FRAMES[1], group=1), build.of_switch(2, FRAMES[2])]
    )
    path = tmp_path / "a.etl"
    for at in [*range(520), *range(4096, 4096 + 900)]:
        path.write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
        try:
            assert len(list(read_packets(path))) <= 4
        except CaptureError:
            continue
