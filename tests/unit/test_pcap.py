"""Capture files of every kind that is read, and what is said of those that are not."""

from __future__ import annotations

import gzip
import io
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from inspector.capture.packet import LONGEST_TIME_NS
from inspector.capture.pcap import Packet, read_packets, read_records
from inspector.capture.stored import CHUNK, MAXIMUM_PIECE, PieceReader, StoredFile
from inspector.capture.writer import build_frame
from inspector.errors import CaptureError, CaptureTruncatedError
from inspector.model import Segment
from inspector.record import HEADER_SIZE, KernelCounter, unpack_record
from tests.build.capture_files import block, enhanced, interface, pcap, section
from tests.conftest import require_tools

if sys.version_info >= (3, 14):
    from compression.zstd import CompressionParameter, ZstdCompressor
    from compression.zstd import compress as compress_zstandard
else:
    from backports.zstd import CompressionParameter, ZstdCompressor
    from backports.zstd import compress as compress_zstandard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Read: TypeAlias = "Callable[[bytes], list[Packet]]"

ORDERS = pytest.mark.parametrize("order", ["<", ">"])
SECOND = 1_000_000_000


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], list[Packet]]:
    """Return a function from a file's bytes to its packets."""

    def function(content: bytes) -> list[Packet]:
        path = tmp_path / "some.pcap"
        path.write_bytes(content)
        return [packet._replace(data=bytes(packet.data)) for packet in read_packets(path)]

    return function


@ORDERS
@pytest.mark.parametrize("nano", [False, True])
def test_classic(read: Read, order: str, nano: bool) -> None:
    """Microseconds and nanoseconds, in both byte orders; the upper bits of the link type are not part of it."""
    content = pcap(order, [(1, 5, b"first"), (2, 0, b"")], nano=nano, link_type=0x2000_0001)
    assert read(content) == [
        Packet(SECOND + 5 * (1 if nano else 1000), 1, b"first", 6, 0),
        Packet(2 * SECOND, 1, b"", 1, 0),
    ]


def test_classic_without_packets(read: Read) -> None:
    """A capture of nothing is a capture."""
    assert read(pcap("<", [])) == []


@ORDERS
def test_pcapng_packets_of_every_kind(read: Read, order: str) -> None:
    """Enhanced, simple and obsolete packets; unknown blocks are skipped; default resolution is microseconds."""
    obsolete = struct.pack(f"{order}HHIIII", 0, 7, 0, 3, 4, 9) + b"old!"
    content = (
        section(order)
        + interface(order, 101, 6)
        + block(order, 0x0BAD, b"who knows")
        + enhanced(order, 0, 2, b"frame")
        + block(order, 3, struct.pack(f"{order}I", 10) + b"simple")
        + block(order, 2, obsolete)
    )
    assert read(content) == [
        Packet(2000, 101, b"frame", 6, 0),
        Packet(2000, 101, b"simple", 10, 0),
        Packet(3000, 101, b"old!", 9, 0),
    ]


@ORDERS
@pytest.mark.parametrize(
    ("options", "time_ns"),
    [
        ({"tsresol": b"\x09"}, 3072),
        ({"tsresol": b"\x03"}, 3072 * 1_000_000),
        ({"tsresol": b"\x0c"}, 3),
        ({"tsresol": b"\x8a"}, 3 * SECOND),
        ({"tsresol": b"\x06", "tsoffset": True}, 100 * SECOND + 3_072_000),
    ],
)
def test_pcapng_clocks(read: Read, order: str, options: dict[str, Any], time_ns: int) -> None:
    """Resolutions are powers of ten, or of two with the upper bit set; the offset is in seconds."""
    if "tsoffset" in options:
        options = options | {"tsoffset": struct.pack(f"{order}q", 100)}
    assert read(section(order) + interface(order, **options) + enhanced(order, 0, 3072, b""))[0].time_ns == time_ns


def test_pcapng_times_beyond_the_record_are_bounded(read: Read) -> None:
    """A damaged clock costs neither the packet nor the process."""
    early = interface("<", tsoffset=struct.pack("<q", -5))
    late = interface("<", tsresol=b"\x00")
    content = section("<") + early + late + enhanced("<", 0, 0, b"") + enhanced("<", 1, 2**64 - 1, b"")
    assert [packet.time_ns for packet in read(content)] == [0, LONGEST_TIME_NS]


def test_pcapng_sections_in_both_orders(read: Read) -> None:
    """Each section has its own byte order and interfaces, which are numbered through the file."""
    content = b"".join(
        section(order) + interface(order) + interface(order, 113) + enhanced(order, 1, 1, b"x") for order in "<>"
    )
    assert [(packet.link_type, packet.interface) for packet in read(content)] == [(113, 1), (113, 3)]


@pytest.mark.parametrize("content", [pcap("<", [(1, 0, b"one"), (2, 0, b"two")]), section("<") + interface("<")])
@pytest.mark.parametrize(
    "compress",
    [
        gzip.compress,
        compress_zstandard,
        lambda data: gzip.compress(data[:30]) + gzip.compress(data[30:]),
        lambda data: b"".join(compress_zstandard(part) for part in (data[:30], data[30:])),
        lambda data: b"\x50\x2a\x4d\x18\x02\0\0\0xx" + compress_zstandard(data),
    ],
    ids=["gzip", "zstd", "two gzip members", "two zstd frames", "zstd after a skippable frame"],
)
def test_compressed(read: Read, compress: Callable[[bytes], bytes], content: bytes) -> None:
    """Compressed files are recognised by their first bytes, whatever they are called."""
    assert read(compress(content)) == read(content)


def frames_of(path: Path) -> Iterator[bytes]:
    """Yield the frames of a capture file; lists that are extended by them keep those before an error."""
    return (bytes(packet.data) for packet in read_packets(path))


@pytest.mark.parametrize(
    "content",
    [
        pcap("<", [(1, 0, b"one"), (2, 0, b"two")])[:-1],
        pcap("<", [(1, 0, b"one"), (2, 0, b"two")])[:-10],
        section("<") + interface("<") + enhanced("<", 0, 1, b"one") + enhanced("<", 0, 1, b"two")[:-1],
        section("<") + interface("<") + enhanced("<", 0, 1, b"one") + b"\x06",
    ],
    ids=["frame cut", "packet header cut", "block cut", "block type cut"],
)
def test_truncated(tmp_path: Path, content: bytes) -> None:
    """Everything before the cut is read, then the error comes, in one line that names the file."""
    path = tmp_path / "cut.pcap"
    path.write_bytes(content)
    frames: list[bytes] = []
    with pytest.raises(CaptureTruncatedError, match=r"^[^\n]*cut\.pcap: ends within a packet[^\n]*$"):
        frames.extend(frames_of(path))
    assert frames == [b"one"]


def incompressible(length: int) -> bytes:
    """Return bytes that no compressor shortens, always the same."""
    state, result = 1, bytearray()
    for _ in range(length):
        state = state * 1_103_515_245 + 12345 & 0x7FFFFFFF
        result.append(state >> 16 & 0xFF)
    return bytes(result)


@pytest.mark.parametrize("compress", [gzip.compress, compress_zstandard], ids=["gzip", "zstd"])
def test_truncated_compressed(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    """Compressed data that end early yield what was whole, then the error."""
    noise = incompressible(400_000)
    content = compress(pcap("<", [(1, 0, b"one"), (2, 0, noise)]))
    path = tmp_path / "cut.pcap.gz"
    path.write_bytes(content[: len(content) // 2])
    frames: list[bytes] = []
    with pytest.raises(CaptureTruncatedError, match=r"^[^\n]*cut\.pcap\.gz: the compressed data end early[^\n]*$"):
        frames.extend(frames_of(path))
    assert frames == [b"one"]
    path.write_bytes(content[:-1])
    frames = []
    with pytest.raises(CaptureTruncatedError):
        frames.extend(frames_of(path))
    assert frames[0] == b"one"


@pytest.mark.parametrize("magic", [b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd"], ids=["gzip", "zstd"])
def test_damaged_compressed(tmp_path: Path, magic: bytes) -> None:
    """Compressed data that are none are one line."""
    path = tmp_path / "bad.gz"
    path.write_bytes(magic + b"\xff" * 100)
    with pytest.raises(CaptureError, match=r"^[^\n]*bad\.gz: the compressed data are damaged[^\n]*$"):
        list(read_packets(path))


def test_the_window_of_zstandard_is_bounded(read: Read, tmp_path: Path) -> None:
    """A frame that asks for a window of 128 MiB is read; one that asks for 256 MiB is refused."""
    content = pcap("<", [(1, 0, b"one")])
    frames = []
    for window_log in (27, 28):
        compressor = ZstdCompressor(options={CompressionParameter.window_log: window_log})
        # Flushed before its end, so that the frame has a window and no size.
        frames.append(compressor.compress(content, ZstdCompressor.FLUSH_BLOCK) + compressor.flush())
    assert [packet.data for packet in read(frames[0])] == [b"one"]
    path = tmp_path / "wide.pcap.zst"
    path.write_bytes(frames[1])
    with pytest.raises(CaptureError, match=r"^[^\n]*wide\.pcap\.zst: the compressed data are damaged[^\n]*$"):
        list(read_packets(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\xd4", "is no capture file"),
        (b"hello, this is text", "is no capture file"),
        (b"\x34\xcd\xb2\xa1" + bytes(20), "modified pcap format"),
        (struct.pack("<IHH", 0xA1B2C3D4, 3, 0) + bytes(16), "pcap version 3"),
        (pcap("<", []) + struct.pack("<IIII", 0, 0, 0xFFFFFFF0, 60), "a packet of 4294967280 bytes"),
        (section("<") + struct.pack("<II", 6, 0xFFFFFFFC), "a block of 4294967292 bytes"),
        (section("<") + struct.pack("<II", 6, 0xFFFFFFFF), "a block of 4294967295 bytes"),
        (section("<") + struct.pack("<II", 6, 11) + bytes(8), "a block of 11 bytes"),
        (section("<") + block("<", 6, bytes(20)), "an interface that is not described"),
        (section("<") + block("<", 3, bytes(4)), "an interface that is not described"),
        (section("<") + interface("<") + block("<", 6, bytes(16)), "damaged"),
        (section("<") + interface("<") + block("<", 6, struct.pack("<IIIII", 0, 0, 0, 9, 9)), "longer than its block"),
        (section("<") + block("<", 1, bytes(4)), "damaged"),
        (section("<")[:-4] + bytes(4), "two lengths"),
        (block("<", 0x0A0D0D0A, bytes(16)), "a section without byte order"),
        (block("<", 0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 2, 0, -1)), "pcapng version 2"),
        (block("<", 0x0A0D0D0A, struct.pack("<IHH", 0x1A2B3C4D, 1, 0)), "too short"),
    ],
)
def test_no_capture(tmp_path: Path, content: bytes, message: str) -> None:
    """What cannot be a capture is said in one line that names the file."""
    path = tmp_path / "bad.pcap"
    path.write_bytes(content)
    with pytest.raises(CaptureError) as caught:
        list(read_packets(path))
    assert not isinstance(caught.value, CaptureTruncatedError)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    """Missing files and directories are one line, too."""
    with pytest.raises(CaptureError, match="No such file"):
        list(read_packets(tmp_path / "none.pcap"))
    with pytest.raises(CaptureError, match="directory"):
        list(read_packets(tmp_path))


def test_memory_is_flat(tmp_path: Path) -> None:
    """A file much longer than the chunk, and one that expands enormously, are read within a few chunks."""
    frame = bytes(60_000)
    packets = struct.pack("<IIII", 1, 0, len(frame), len(frame)) + frame
    path = tmp_path / "long.pcap.zst"
    for compress in (lambda data: data, gzip.compress, compress_zstandard):
        path.write_bytes(compress(pcap("<", []) + packets * 2000))
        tracemalloc.start()
        assert sum(1 for _ in read_packets(path)) == 2000
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 16 * CHUNK


def test_a_hostile_length_allocates_nothing(tmp_path: Path) -> None:
    """The longest length that is believed is refused by the end of the file, not by memory."""
    path = tmp_path / "claim.pcap"
    path.write_bytes(pcap("<", []) + struct.pack("<IIII", 0, 0, MAXIMUM_PIECE, MAXIMUM_PIECE) + b"short")
    tracemalloc.start()
    with pytest.raises(CaptureTruncatedError):
        list(read_packets(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * CHUNK


@pytest.mark.parametrize("compress", [bytes, gzip.compress, compress_zstandard])
def test_progress_counts_stored_bytes(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    """Progress never goes back, and ends at the file's size on disk."""
    content = compress(pcap("<", [(1, 0, incompressible(200_000))] * 20))
    path = tmp_path / "some.pcap"
    path.write_bytes(content)
    calls: list[tuple[int, int | None]] = []
    list(read_packets(path, progress=lambda done, total: calls.append((done, total))))
    assert {total for _, total in calls} == {len(content)}
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert calls[-1][0] == len(content)


def test_standard_input() -> None:
    """A dash is standard input, here a pipe that delivers byte by byte at first."""
    program = (
        "from pathlib import Path; from inspector.capture.pcap import read_packets\n"
        "print([bytes(packet.data) for packet in read_packets(Path('-'), progress=lambda done, total: None)])"
    )
    content = pcap("<", [(1, 0, b"one"), (2, 0, b"two")])
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in range(6):
            process.stdin.write(content[number : number + 1])
            process.stdin.flush()
        process.stdin.write(content[6:])
        process.stdin.close()
        assert process.stdout.read() == b"[b'one', b'two']\n"


class Dribble(io.RawIOBase):
    """A file that gives one byte at a time."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: object) -> int:
        """Read one byte."""
        byte = self._content.read(1)
        memoryview(buffer)[: len(byte)] = byte  # type: ignore[arg-type]  # the buffer protocol has no type before 3.12
        return len(byte)


def test_pieces_do_not_depend_on_how_a_file_delivers() -> None:
    """Exact pieces come out of single bytes."""
    pieces = PieceReader(io.BufferedReader(StoredFile(Dribble(b"abcdefghij"), None, None)), "dribble")
    assert [bytes(pieces.take(length)) for length in (1, 4, 0, 5)] == [b"a", b"bcde", b"", b"fghij"]
    assert pieces.offset == 10


def test_records_and_counters(tmp_path: Path) -> None:
    """Records are what the ring would carry, and the counters what the kernel would count."""
    request = Segment(
        SECOND, bytes(10) + b"\xff\xff\x0a\0\0\1", bytes(10) + b"\xff\xff\x0a\0\0\2", 1, 2, 9, 135, 3, 24, 0, 0, b"ask"
    )
    answer = request._replace(source_port=135, destination_port=9, attributes=1, payload=b"say")
    bare = request._replace(payload=b"", payload_length=0, tcp_flags=16)
    frames = [
        build_frame(request),
        build_frame(answer),
        build_frame(bare),
        build_frame(request._replace(destination_port=136)),
        build_frame(request)[:30],
        build_frame(request)[:20] + b"\x00\x01" + build_frame(request)[22:],
    ]
    path = tmp_path / "some.pcap"
    path.write_bytes(pcap("<", [(1, 0, frame) for frame in frames]))
    counters = dict.fromkeys(KernelCounter, 0)
    records = list(read_records(path, ports={135}, counters=counters))
    assert [unpack_record(record) for record in records] == [request, answer]
    assert [len(record) for record in records] == [HEADER_SIZE + 3] * 2
    assert {counter: count for counter, count in counters.items() if count} == {
        KernelCounter.PACKETS_TO_SERVER: 2,
        KernelCounter.PACKETS_FROM_SERVER: 1,
        KernelCounter.MATCHED: 2,
        KernelCounter.SUBMITTED: 2,
        KernelCounter.LATER_FRAGMENTS: 1,
        KernelCounter.UNREADABLE_HEADERS: 1,
    }


@pytest.mark.parametrize("kind", ["pcap", "nsecpcap", "pcapng"])
@pytest.mark.parametrize("compressor", [None, "gzip", "zstd"])
def test_files_of_other_writers(tmp_path: Path, kind: str, compressor: str | None) -> None:
    """The same packets from files that Wireshark's own tools and the usual compressors wrote."""
    require_tools(["editcap", *filter(None, [compressor])])
    original, converted = tmp_path / "original.pcap", tmp_path / "converted"
    original.write_bytes(pcap("<", [(SECOND, 123_456_000, b"x" * size) for size in (60, 61, 62, 1514)], nano=True))
    subprocess.run(["editcap", "-F", kind, original, converted], check=True)
    if compressor is not None:
        result = subprocess.run([compressor, "-c", converted], check=True, capture_output=True)
        converted.write_bytes(result.stdout)
    assert list(read_packets(converted)) == list(read_packets(original))


def test_only_unknown_link_types_are_an_error(tmp_path: Path) -> None:
    """A capture of something else than networks that carry IP is said to be one; beside others it is counted."""
    path = tmp_path / "usb.pcap"
    path.write_bytes(pcap("<", [(1, 0, b"x")], link_type=189))
    with pytest.raises(CaptureError, match=r"usb\.pcap: its packets are of link type 189"):
        list(read_records(path, ports={135}, counters=[0] * len(KernelCounter)))
    mixed = section("<") + interface("<", 189) + interface("<") + enhanced("<", 0, 0, b"x") + enhanced("<", 1, 0, b"x")
    path.write_bytes(mixed)
    counters = [0] * len(KernelCounter)
    assert list(read_records(path, ports={135}, counters=counters)) == []
    assert counters[KernelCounter.UNREADABLE_HEADERS] == 1
