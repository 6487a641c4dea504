"""Blocks of a capture file hold the records which are read one by one, whatever the file is like."""

from __future__ import annotations

import gzip
import os
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector import protocols
from inspector.capture import layout, scanner, stored
from inspector.capture.blocks import read_batches
from inspector.capture.packet import Packet
from inspector.capture.pcap import SegmentReader
from inspector.capture.writer import build_frame
from inspector.model import Segment
from inspector.output import layout as lines
from inspector.record import Attribute, KernelCounter
from inspector.wire.frame import LinkType
from tests.bench.conversations import SEGMENTS_EACH, write_big_capture
from tests.build.capture_files import block, enhanced, interface, pcap, section
from tests.build.reading import PORTS, compare, unroll
from tests.build.traffic import traffic
from tests.choice import examples
from tests.golden.store import GOLDEN
from tests.kernel.frames import FRAMES, ethernet, ipv4, ipv6, sized, tcp
from tests.kernel.tunnel_frames import TUNNEL_FRAMES

LINKS = [*LinkType, 127]
# Where their headers have numbers that decide.
_HEADERS = 74
seeds = st.integers(0, 2**32 - 1)


def damaged(random: Random, frame: bytes) -> bytes:
    """Return a frame with a few bytes changed and its end cut off, mostly where its headers are."""
    changed = bytearray(frame)
    for _ in range(random.choice((0, 0, 1, 1, 3)) if changed else 0):
        changed[random.randrange(min(len(changed), _HEADERS))] = random.choice(
            (0, 1, 6, 17, 0x45, random.randrange(256))
        )
    if random.random() < 0.3:
        del changed[random.randrange(len(changed) + 1) :]
    return bytes(changed)


def frames_of(random: Random, link_type: int) -> list[bytes]:
    """Return frames of every kind, as they would stand behind the header of a link type."""
    found = [build_frame(segment) for segment in traffic(random, 40)]
    found += random.choices([*FRAMES.values(), *TUNNEL_FRAMES.values()], k=30)
    found += [sized(random.choice((180, 184, 185, 439, 440, 441, 1460))) for _ in range(4)]
    found += [ethernet(ipv4(tcp(b"", ports=(135, 9), flags=random.choice((16, 17, 2)))), tags=(0x8100,))]
    found += [ethernet(ipv6(tcp(bytes(100), ports=(9, 593))), 0x86DD), b"", ethernet(b"arp", 0x0806)]
    random.shuffle(found)
    if link_type == LinkType.LINUX_SLL:
        found = [bytes(2) + frame for frame in found]
    elif link_type == LinkType.LINUX_SLL2:
        found = [frame[12:14] + bytes(18) + frame[14:] for frame in found]
    elif link_type != LinkType.ETHERNET:
        found = [frame[14:] for frame in found]
    return [damaged(random, frame) for frame in found]


def classic(random: Random) -> bytes:
    """Return a classic file of one of the four kinds."""
    link_type = random.choice(LINKS)
    packets = [
        (random.getrandbits(32), random.getrandbits(random.choice((10, 32))), frame)
        for frame in frames_of(random, link_type)
    ]
    return pcap(random.choice("<>"), packets, nano=random.random() < 0.5, link_type=link_type)


def newer(random: Random) -> bytes:
    """Return a pcapng file with sections, interfaces of all clocks, packets and other blocks."""
    content = b""
    for _ in range(random.choice((1, 1, 3))):
        order = random.choice("<>")
        content += section(order)
        links = random.choices(LINKS, k=random.choice((1, 1, 4)))
        content += b"".join(interface_of(random, order, link) for link in links)
        for frame in frames_of(random, links[0]):
            content += packet_of(random, order, len(links), frame)
            if random.random() < 0.02:
                links.append(random.choice(LINKS))
                content += interface_of(random, order, links[-1])
    return content


def interface_of(random: Random, order: str, link_type: int) -> bytes:
    """Return an interface with some clock."""
    options = random.choice(
        (
            {},
            {"tsresol": bytes([random.choice((0, 3, 6, 9, 9, 12, 0x85, 0x8A))])},
            {"tsresol": b"\x09", "tsoffset": struct.pack(order + "q", random.choice((0, 100, -5)))},
        )
    )
    return interface(order, link_type, random.choice((0, 60)), **options)


def packet_of(random: Random, order: str, interfaces: int, frame: bytes) -> bytes:
    """Return a packet block, mostly an enhanced one; some with options behind the frame, and a block of no packet."""
    timestamp = random.getrandbits(random.choice((50, 60, 63, 64)))
    number = random.randrange(interfaces) if random.random() < 0.3 else 0
    kind = random.random()
    if kind < 0.03:
        return block(order, 3, struct.pack(order + "I", len(frame)) + frame)
    if kind < 0.06:
        head = struct.pack(order + "HHIIII", number, 0, 0, 5, len(frame), len(frame))
        return block(order, 2, head + frame)
    if kind < 0.09:
        return block(order, 5, b"statistics") + enhanced(order, number, timestamp, frame)
    if kind < 0.2:
        options = bytes(-len(frame) % 4) + struct.pack(order + "HH", 1, 4) + b"note" + bytes(4)
        head = struct.pack(order + "IIIII", number, timestamp >> 32, timestamp & 0xFFFFFFFF, len(frame), len(frame))
        return block(order, 6, head + frame + options)
    return enhanced(order, number, timestamp, frame)


def hurt(random: Random, content: bytes) -> bytes:
    """Return a file with bytes changed, or its end cut off, or neither."""
    changed = bytearray(content)
    kind = random.random()
    if kind < 0.25:
        del changed[random.randrange(len(changed)) :]
    elif kind < 0.5:
        for _ in range(random.choice((1, 5))):
            changed[random.randrange(len(changed))] = random.choice((0, 255, random.randrange(256)))
    return bytes(changed)


@examples(150)
@given(
    seeds, st.sampled_from([classic, newer]), st.sampled_from([1, 7, 2048]), st.sampled_from([50, 300, 1 << 20]),
    st.booleans(), st.booleans(),
)  # fmt: skip
def test_both_ways_agree(
    seed: int, build: Callable[[Random], bytes], rows: int, chunk: int, tunnels: bool, compressed: bool
) -> None:
    """Records, their order, counters and errors are equal: any frames, clocks, damage; borders of pieces anywhere."""
    random = Random(seed)  # noqa: S311  # files for a test
    content = hurt(random, build(random))
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(scanner, "ROWS", rows)
        patch.setattr(stored, "CHUNK", chunk)
        path = Path(folder) / "some.pcap"
        path.write_bytes(gzip.compress(content, 1) if compressed else content)
        compare(path, tunnels=tunnels)


@pytest.mark.parametrize("path", sorted((GOLDEN / "traces").glob("*.pcap*")), ids=lambda path: path.name)
def test_golden_traces(path: Path) -> None:
    """The golden traces give the same in both ways, with tunnels and without."""
    for tunnels in (False, True):
        compare(path, tunnels=tunnels)


@pytest.mark.parametrize("link_type", LINKS)
@pytest.mark.parametrize("tunnels", [False, True])
def test_every_kind_of_frame(tmp_path: Path, link_type: int, tunnels: bool) -> None:
    """Each frame that the kernel program is tested with, cut at every place within its headers."""
    frames = [*FRAMES.values(), *TUNNEL_FRAMES.values()]
    cut = [frame[:length] for frame in frames for length in (*range(0, _HEADERS, 3), len(frame) - 1)]
    path = tmp_path / "some.pcap"
    path.write_bytes(pcap("<", [(1, 0, frame) for frame in frames + cut], link_type=link_type))
    compare(path, tunnels=tunnels)


def _ip(protocol: int, data: bytes, total: int | None = None) -> bytes:
    return ethernet(ipv4(data, protocol=protocol, total=total))


ODD_FRAMES = {
    "header beyond the frame, no transport": _ip(1, b"")[:14] + b"\x4f" + _ip(1, b"")[15:],
    "header one byte beyond the frame": ethernet(ipv4(b"abc", protocol=1, words=6, total=40)),
    "datagram of others, header beyond the packet": _ip(17, struct.pack("!HHHH", 1, 2, 0, 0), total=27) + bytes(20),
    "datagram of others, packet ends with its header": _ip(17, struct.pack("!HHHH", 1, 2, 8, 0)),
    **{
        f"datagram of others, length {length}": _ip(17, struct.pack("!HHHH", 1, 2, length, 0) + bytes(4))
        for length in (0, 1, 7, 8, 12, 13)
    },
    "no length, other protocol": ethernet(ipv6(b"", next_header=59), 0x86DD),
    "transport cut": _ip(6, tcp(b""))[:50],
}


@pytest.mark.parametrize("frame", ODD_FRAMES.values(), ids=ODD_FRAMES.keys())
@pytest.mark.parametrize("tunnels", [False, True])
def test_odd_frames(tmp_path: Path, frame: bytes, tunnels: bool) -> None:
    """Frames whose headers contradict themselves are counted the same, also those of no interest."""
    path = tmp_path / "odd.pcap"
    path.write_bytes(pcap("<", [(1, 0, FRAMES["request"]), (2, 0, frame), *[(3, 0, FRAMES["response"])] * 2]))
    assert len(compare(path, tunnels=tunnels)) == 3


def _packet_block(number: int = 0, *, total: int = 0, again: int = 0, captured: int = 0) -> bytes:
    """Return an enhanced packet block; each of its numbers may be off."""
    frame = FRAMES["request"]
    body = struct.pack("<IIIII", number, 0, 1, len(frame) + captured, len(frame)) + frame + bytes(-len(frame) % 4)
    length = len(body) + 12
    return struct.pack("<II", 6, length + total) + body + struct.pack("<I", length + again)


ODD_BLOCKS = {
    "plain": _packet_block(),
    "two lengths": _packet_block(again=4),
    "length in between": _packet_block(total=-1, again=-1),
    "another length in between": _packet_block(total=-3, again=-3),
    "frame longer than its block": _packet_block(captured=5),
    "no such interface": _packet_block(1),
    "interface of the section before": section("<") + interface("<") + _packet_block(1),
    "interface of a number beyond": _packet_block(0xFFFFFFFF),
    "frame of a length beyond": _packet_block(captured=0x7FFFFFFF),
    "block of a length beyond": _packet_block(total=0x7FFFFF00, again=0x7FFFFF00),
}


@pytest.mark.parametrize("odd", ODD_BLOCKS.values(), ids=ODD_BLOCKS.keys())
def test_odd_blocks(tmp_path: Path, odd: bytes) -> None:
    """Blocks which contradict themselves end in the same error, after all packets before."""
    path = tmp_path / "odd.pcapng"
    first = section("<") + interface("<") + (interface("<") if odd.startswith(section("<")) else b"")
    path.write_bytes(first + _packet_block() * 3 + odd + _packet_block() * 3)
    assert len(compare(path)) >= 3


def test_cut_everywhere(tmp_path: Path) -> None:
    """A file that ends at any byte gives everything before, and the error."""
    wire = [build_frame(segment) for segment in traffic(Random(1), 5)][:6]  # noqa: S311  # frames for a test
    path = tmp_path / "cut.pcap"
    new = section("<") + interface("<") + b"".join(enhanced("<", 0, number, frame) for number, frame in enumerate(wire))
    for content in (pcap("<", [(1, 0, frame) for frame in wire]), new):
        for length in range(len(content)):
            path.write_bytes(content[:length])
            compare(path)


def test_plain_packets_are_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a long file of plain packets only those at the borders of pieces are read one by one."""
    path, alone = tmp_path / "long.pcap", 0
    write_big_capture(path, 4000)
    records = compare(path)
    assert len(records) == 4000 * SEGMENTS_EACH
    segment = SegmentReader.segment

    def counting(self: SegmentReader, packet: Packet) -> Segment | None:
        nonlocal alone
        alone += 1
        return segment(self, packet)

    monkeypatch.setattr(SegmentReader, "segment", counting)
    blocks = list(map(len, read_batches(path, ports=PORTS, counters=[0] * len(KernelCounter))))
    assert sum(blocks) == len(records)
    assert set(blocks[:-1]) == {scanner.ROWS}
    assert alone <= path.stat().st_size // stored.CHUNK + 1


def test_constants_of_the_loop_are_those_of_other_modules() -> None:
    """Constants which compiled code needs as numbers are equal to those of the modules that define them."""
    assert (layout.IPV4, layout.IPV6) == (protocols.ETHERTYPE_IPV4, protocols.ETHERTYPE_IPV6)
    assert {layout.VLAN, layout.VLAN_SERVICE, layout.VLAN_OLD} == protocols.ETHERTYPES_VLAN
    assert layout.FIN_SYN_RST == protocols.FIN | protocols.SYN | protocols.RST
    assert bytes(8) + layout.MAPPED.to_bytes(4, "little") == protocols.IPV4_MAPPED
    assert (layout.FROM_SERVER, layout.OF_IPV6) == (Attribute.FROM_SERVER, Attribute.IPV6)
    assert layout.MAXIMUM_PIECE == stored.MAXIMUM_PIECE
    assert lines.MAPPED == layout.MAPPED


def test_a_pipe_that_pauses_holds_nothing_back() -> None:
    """What came through a pipe is there before more of it comes."""
    reading, writing = os.pipe()
    batches = read_batches(Path(f"/dev/fd/{reading}"), ports=PORTS, counters=[0] * len(KernelCounter))
    content = pcap("<", [(1, 0, FRAMES["request"])] * 4)
    size = (len(content) - 24) // 4
    os.write(writing, content[: 24 + 3 * size])
    found: list[bytes] = []
    while len(found) < 3:
        found += unroll(next(batches))
    os.write(writing, content[-size:])
    os.close(writing)
    assert sum(len(list(unroll(batch))) for batch in batches) == 1
    os.close(reading)


def test_tunnelled_records_stand_alone(tmp_path: Path) -> None:
    """A record which came through a tunnel has no place in a block; its order is kept."""
    path = tmp_path / "some.pcap"
    plain = FRAMES["request"]
    path.write_bytes(pcap("<", [(1, 0, frame) for frame in (plain, *TUNNEL_FRAMES.values(), plain)] * 2))
    assert any(record[59] & Attribute.TUNNELLED for record in compare(path, tunnels=True))
    batches = read_batches(path, ports=PORTS, counters=[0] * len(KernelCounter), tunnels=True)
    for batch in batches:
        if not isinstance(batch, bytes):
            assert not any(record[59] & Attribute.TUNNELLED for record in unroll(batch))
