"""The program made to look into tunnels, as a function: the same frames through the Python reader say the same."""

from __future__ import annotations

import ctypes
import struct
from typing import TYPE_CHECKING

import pytest

from inspector.live.bpf import syscalls, uapi
from inspector.live.bpf.loader import TC_PROGRAM, XDP_PROGRAM
from inspector.model import TunnelKind
from inspector.record import TUNNEL_DEPTH, TUNNEL_REACH, KernelCounter, unpack_record
from tests.build import tunnels
from tests.kernel import frames
from tests.kernel.frames import CLASS_BORDERS, EPM, FRAMES
from tests.kernel.harness import GOES_ON, Harness, expected, without_time
from tests.kernel.test_program import BOTH, CLASSES
from tests.kernel.tunnel_frames import FAR, TUNNEL_FRAMES

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("bpf")]


@pytest.fixture(scope="module")
def harness(bpf: None) -> Iterator[Harness]:  # noqa: ARG001 - asks for BPF before anything is loaded
    """Load both programs, made to look into tunnels."""
    with Harness(tunnels=True) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def plain(bpf: None) -> Iterator[Harness]:  # noqa: ARG001 - asks for BPF before anything is loaded
    """Load both programs as they are by default."""
    with Harness() as loaded:
        yield loaded


def check(harness: Harness, name: str, frame: bytes) -> None:
    """Run a frame and compare everything with what the Python reader says of it."""
    outcome = harness.run(name, frame)
    records, counted = expected(frame, tunnels=harness.tunnels)
    assert outcome.retval == GOES_ON[name]
    assert outcome.packet == frame
    assert [without_time(record) for record in outcome.records] == records
    assert outcome.counted == counted


@BOTH
@pytest.mark.parametrize("kind", TUNNEL_FRAMES)
def test_frames(harness: Harness, name: str, kind: str) -> None:
    """Each kind of tunnel: passed on unchanged, recorded and counted as the Python reader would."""
    check(harness, name, TUNNEL_FRAMES[kind])


@BOTH
@pytest.mark.parametrize("kind", FRAMES)
def test_frames_without_tunnels(harness: Harness, name: str, kind: str) -> None:
    """What is in no tunnel is read as ever."""
    check(harness, name, FRAMES[kind])
    if kind != "udp tunnel ports":
        assert expected(FRAMES[kind], tunnels=True) == expected(FRAMES[kind])


@BOTH
@pytest.mark.parametrize("kind", TUNNEL_FRAMES)
def test_tunnels_are_closed_by_default(plain: Harness, name: str, kind: str) -> None:
    """A program that was not told to does not look into any tunnel, and counts nothing of it."""
    check(plain, name, TUNNEL_FRAMES[kind])
    records = plain.run(name, TUNNEL_FRAMES[kind]).records
    assert all(unpack_record(record).tunnel is None for record in records)


def test_table_reaches_every_kind_and_outcome() -> None:
    """The table holds records of every kind of tunnel and of each depth, and frames for every other outcome."""
    outcomes = [expected(frame, tunnels=True) for frame in TUNNEL_FRAMES.values()]
    found = [unpack_record(record).tunnel for records, _ in outcomes for record in records]
    assert {tunnel.kind for tunnel in found if tunnel} == set(TunnelKind)
    assert {tunnel.depth for tunnel in found if tunnel} == set(range(1, TUNNEL_DEPTH + 1))
    counters = {counter for _, counted in outcomes for counter in counted}
    assert counters >= {
        KernelCounter.PACKETS_TO_SERVER,
        KernelCounter.PACKETS_FROM_SERVER,
        KernelCounter.LATER_FRAGMENTS,
        KernelCounter.UNREADABLE_HEADERS,
    }
    assert ([], {}) in outcomes


@pytest.mark.parametrize(
    "kind",
    [
        "4in4",
        "6in6, both with extensions",
        "4in6",
        "two levels",
        "gre, flags b000",
        "gre, ethernet with tags",
        "vxlan",
        "vxlan in vxlan",
        "geneve, options",
        "teredo, both, long",
    ],
)
def test_truncated_at_every_byte(harness: Harness, kind: str) -> None:
    """A frame cut anywhere (a test run takes 14 bytes at least) is read up to there, as in Python."""
    frame = TUNNEL_FRAMES[kind]
    for length in range(14, len(frame)):
        check(harness, XDP_PROGRAM, frame[:length])


def carried(length: int) -> bytes:
    """Return an answer of so many payload bytes in a tunnel, all lengths 0 where they are too long."""
    packet = frames.tcp(frames.payload(length), ports=(EPM, 7))
    total = None if len(packet) + 40 <= 65535 else 0
    return frames.ethernet(frames.ipv4(frames.ipv4(packet, total=total), protocol=tunnels.IPV4, total=total))


@pytest.mark.parametrize("length", CLASS_BORDERS)
def test_size_classes(harness: Harness, length: int) -> None:
    """Records of tunnels go to the bulk ring whatever their size, with their 40 bytes more."""
    check(harness, XDP_PROGRAM, carried(length))
    room = harness.run(XDP_PROGRAM, carried(length)).ring_bytes
    size = next(size for size in CLASSES[1:] if length <= size)
    assert room == ((0, 8 + 72 + 40 + size) if length else (0, 0))


@pytest.mark.parametrize("kind", FAR)
def test_reach(harness: Harness, kind: str) -> None:
    """A packet within that begins too far into the frame is unreadable; on XDP so is one behind the first buffer."""
    frame = FAR[kind]
    wanted = {"within reach": KernelCounter.SUBMITTED, "out of reach": KernelCounter.UNREADABLE_HEADERS}[kind]
    assert wanted in expected(frame, tunnels=True)[1]
    # The test call splits a frame into buffers of less than a page.
    assert len(frame) > TUNNEL_REACH > 4096
    assert harness.run(XDP_PROGRAM, frame).counted == {KernelCounter.UNREADABLE_HEADERS: 1}


@BOTH
def test_full_ring_is_counted_exactly(name: str) -> None:
    """When the bulk ring overflows, every matched packet of a tunnel is counted as submitted or lost."""
    with Harness(compact_bytes=4096, bulk_bytes=8192, tunnels=True) as small:
        outcome = small.run(name, carried(152), repeat=1000)
        assert outcome.counted[KernelCounter.MATCHED] == 1000
        assert outcome.counted[KernelCounter.LOST_BULK_FULL] == 1000 - outcome.counted[KernelCounter.SUBMITTED]
        assert 0 < len(outcome.records) == outcome.counted[KernelCounter.SUBMITTED]


@pytest.mark.parametrize("name", [XDP_PROGRAM, TC_PROGRAM])
@pytest.mark.parametrize("tunnels", [False, True], ids=["plain", "tunnels"])
@pytest.mark.parametrize("follow_up", [False, True], ids=["answers", "follow-ups"])
def test_verifier_has_room(*, tunnels: bool, follow_up: bool, name: str) -> None:
    """The verifier's work stays far below its limit of a million instructions, which differs between kernels."""
    with Harness(tunnels=tunnels, follow_up=follow_up) as loaded:
        info = ctypes.create_string_buffer(224)
        syscalls._call(
            syscalls.Command.OBJ_GET_INFO_BY_FD,
            uapi.ObjectInfo(bpf_fd=loaded.program.programs[name], info_len=len(info), info=ctypes.addressof(info)),
        )
        # verified_insns of struct bpf_prog_info
        (verified,) = struct.unpack_from("=I", info, 216)
        assert 1000 < verified < 500_000


def test_tunnel_noted_for_one_packet_is_not_said_of_the_next(harness: Harness) -> None:
    """What is noted of a tunnel between packets never shows in a record of another packet."""
    for kind in ("two levels", "4in4", "teredo", "gre, ipv6 in ipv6"):
        check(harness, XDP_PROGRAM, TUNNEL_FRAMES[kind])
        check(harness, XDP_PROGRAM, FRAMES["response"])
        check(harness, TC_PROGRAM, FRAMES["response"])
