"""The slow and the fast path say the same of capture files in which anything was changed.

Slow: each packet and each record by itself, each finding by `json.dumps`. Fast: compiled code reads the file, follows
the connections and writes the lines. The seeds are fixed, so that a run can be repeated.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from inspector.capture.blocks import read_batches
from inspector.capture.pcap import read_records
from inspector.capture.writer import build_frame
from inspector.decode.batch import FindingBatch
from inspector.errors import CaptureError
from inspector.judge.policy import Policy
from inspector.model import format_time
from inspector.output.jsonform import lines_of
from inspector.output.jsonl import JsonLines, StreamLines
from inspector.pipeline import Pipeline
from inspector.record import LATEST_TIME_NS, KernelCounter
from inspector.wire.limits import Limits
from tests.build import pdu
from tests.build.capture_files import block, enhanced, interface, pcap, section
from tests.build.connection import START_NS, Wire
from tests.build.epm import SAMR, map_request, map_response, tcp_tower
from tests.build.traffic import traffic

FILES = 480
_GROUPS = 8
_LIMITS = Limits(connections=300)
_TIMES = (0, 1, 2**31, 2**32 - 1, 2**32, 2**62, LATEST_TIME_NS, LATEST_TIME_NS + 1, 2**63 - 1, 2**63, 2**64 - 1)
# Units in a second (a power of ten, of two with the upper bit), from whole seconds to less than a femtosecond.
_RESOLUTIONS = (0, 3, 6, 6, 9, 9, 12, 19, 20, 255, 0x80, 0x8A, 0x9E, 0xBF, 0xFF)
_OFFSETS = (0, 0, 0, 1, -1, 10**9, 2**33, 2**63 - 1, -(2**63))
_BYTES = (0, 1, 2, 3, 5, 6, 0x7F, 0x80, 0xFF)


Said = tuple[str, str, list[int], dict[str, int], dict[str, int], int]


def slow(path: Path) -> Said:
    """Return what is said of a file record by record: lines, error, counters, verdicts, anomalies, connections."""
    pipeline, counters, text = Pipeline(Policy(), str, _LIMITS), [0] * len(KernelCounter), io.StringIO()

    def show(found: FindingBatch) -> None:
        text.writelines(f"{line}\n" for one in found.findings() for line in lines_of(one))

    def read() -> Iterator[FindingBatch]:
        for record in read_records(path, ports=(135, 593), counters=counters, tunnels=True):
            yield from pipeline.feed([record])

    return said(pipeline, counters, text, run(read, pipeline, show))


def fast(path: Path, *, engine: bool) -> Said:
    """Return the same as compiled code says it: with the engine, or with the scalar decoder."""
    pipeline, counters, text = Pipeline(Policy(), str, _LIMITS, engine=engine), [0] * len(KernelCounter), io.StringIO()
    sink = JsonLines(StreamLines(text))

    def show(found: FindingBatch) -> None:
        assert sink.show(found)

    def read() -> Iterator[FindingBatch]:
        for batch in read_batches(path, ports=(135, 593), counters=counters, tunnels=True):
            yield from pipeline.feed([batch])

    return said(pipeline, counters, text, run(read, pipeline, show))


def run(read: Callable[[], Iterator[FindingBatch]], pipeline: Pipeline, show: Callable[[FindingBatch], None]) -> str:
    """Show all that is read; return the error with which the file ends."""
    error = ""
    try:
        for found in read():
            show(found)
    except CaptureError as raised:
        error = f"{type(raised).__name__}: {raised}"
    for last in pipeline.flush():
        show(last)
    return error


def said(pipeline: Pipeline, counters: list[int], text: io.StringIO, error: str) -> Said:
    """Return all that a pipeline has to say."""
    verdicts = {str(verdict): count for verdict, count in pipeline.verdicts.items()}
    anomalies = {str(anomaly): count for anomaly, count in pipeline.anomalies.items() if count}
    return text.getvalue(), error, counters, verdicts, anomalies, pipeline.tracked_connections


def compare(path: Path, content: bytes) -> int:
    """Read a file in both ways and compare all that is said; return how many findings there are."""
    path.write_bytes(content)
    expected = slow(path)
    for engine in (False, True):
        assert fast(path, engine=engine) == expected
    return expected[0].count("\n")


def payload_mutated(random: Random, frame: bytes) -> bytes:
    """Return a frame with a few bytes changed, where PDUs are or anywhere."""
    changed = bytearray(frame)
    for _ in range(random.choice((1, 1, 2, 8))):
        start = random.choice((0, 14, 54, 54))
        if len(changed) > start:
            changed[random.randrange(start, len(changed))] = random.choice((*_BYTES, random.randrange(256)))
    return bytes(changed)


def blocks_of(random: Random) -> list[bytes]:
    """Return a capture in pieces: file header, interfaces, packets."""
    segments = traffic(random, 60, clients=5, trouble=random.choice((0.0, 0.02, 0.2)))
    rate = random.choice((0.0, 0.02, 0.3))
    frames = [
        (segment.time_ns, payload_mutated(random, frame) if random.random() < rate else frame)
        for segment in segments
        for frame in [build_frame(segment)]
    ]
    order, odd = random.choice("<>"), random.choice((0.0, 0.0, 0.01, 0.2))
    if random.random() < 0.4:
        nano = random.random() < 0.5
        unit = 1 if nano else 1000
        head = pcap(order, [], nano=nano, link_type=random.choice((1, 1, 1, 101, 113, 276, 999)))
        return [head] + [
            pcap(order, [(seconds, time_ns % 10**9 // unit, frame)])[24:]
            for time_ns, frame in frames
            for seconds in [random.choice((0, 2**32 - 1)) if random.random() < odd else time_ns // 10**9]
        ]
    resolutions = random.choices(_RESOLUTIONS, k=random.choice((1, 1, 2, 4)))
    pieces = [section(order)]
    for resolution in resolutions:
        offset = struct.pack(f"{order}q", random.choice(_OFFSETS) if random.random() < max(odd, 0.1) else 0)
        pieces.append(interface(order, 1, random.choice((0, 0, 96)), tsresol=bytes([resolution]), tsoffset=offset))
    for time_ns, frame in frames:
        number = random.randrange(len(resolutions))
        units = 2 ** (resolutions[number] & 0x7F) if resolutions[number] & 0x80 else 10 ** resolutions[number]
        ticks = min(time_ns * units // 10**9, 2**64 - 1)
        pieces.append(enhanced(order, number, random.choice(_TIMES) if random.random() < odd else ticks, frame))
        if random.random() < 0.02:
            pieces.append(block(order, random.choice((3, 4, 5, 0x0BAD)), struct.pack(f"{order}I", 60) + bytes(60)))
    return pieces


def structure_mutated(random: Random, pieces: list[bytes]) -> bytes:
    """Return a file of which pieces were lost, doubled, moved or cut, and bytes changed, in headers or anywhere."""
    pieces = list(pieces)
    for _ in range(random.choice((0, 0, 1, 3))):
        at = random.randrange(len(pieces))
        deed = random.randrange(5)
        if deed == 0 and len(pieces) > 1:
            del pieces[at]
        elif deed == 1:
            pieces.insert(at, random.choice(pieces))
        elif deed == 2:
            pieces.append(pieces.pop(at))
        elif deed == 3:
            pieces[at] = pieces[at][: random.randrange(len(pieces[at]) + 1)]
        else:
            changed = bytearray(pieces[at])
            if changed:
                changed[random.randrange(min(len(changed), 32))] = random.choice((*_BYTES, random.randrange(256)))
            pieces[at] = bytes(changed)
    content = bytearray(b"".join(pieces))
    for _ in range(random.choice((0, 0, 0, 1, 4)) if content else 0):
        content[random.randrange(len(content))] = random.choice((*_BYTES, random.randrange(256)))
    return bytes(content[: random.randrange(len(content))] if content and random.random() < 0.05 else content)


@pytest.mark.parametrize("group", range(_GROUPS))
def test_both_paths_agree_on_mutated_files(tmp_path: Path, group: int) -> None:
    """Lines, errors, counters, verdicts, anomalies and connections are the same, of every file."""
    found = 0
    for seed in range(group, FILES, _GROUPS):
        random = Random(seed)  # noqa: S311  # mutations for a test
        found += compare(tmp_path / f"{seed}.pcap", structure_mutated(random, blocks_of(random)))
    # So that it is not errors alone which are compared.
    assert found > 10 * FILES // _GROUPS


def conversation(number: int) -> list[bytes]:
    """Return the frames of one client which is offered another address."""
    wire = Wire(client_port=1000 + number, start_ns=START_NS).open().client(pdu.bind()).server(pdu.bind_ack())
    wire.client(pdu.request(map_request(tcp_tower(SAMR)), call_id=2))
    wire.server(pdu.response(map_response([tcp_tower(SAMR, 49152, "10.11.2.7")]), call_id=2))
    return [build_frame(segment) for segment in wire.client_fin().server_fin().segments]


@pytest.mark.parametrize("late", [2**63 - 1, 2**63, 2**64 - 1, LATEST_TIME_NS, LATEST_TIME_NS + 1])
def test_a_clock_that_is_far_ahead_ends_nothing(tmp_path: Path, late: int) -> None:
    """After a time stamp that no signed 64 bits hold everything is still found, and its time is the latest there is."""
    pieces = [section("<"), interface("<", tsresol=b"\x09")]
    for number in range(600):
        for step, frame in enumerate(conversation(number)):
            time_ns = late if 200 <= number < 400 else START_NS + number * 1000 + step
            pieces.append(enhanced("<", 0, time_ns, frame))
    path = tmp_path / "late.pcapng"
    assert compare(path, b"".join(pieces)) == 600
    assert format_time(min(late, LATEST_TIME_NS)) in slow(path)[0]
