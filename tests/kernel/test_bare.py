"""Programs of devices whose packets begin with the IP header (tun, PPP, tunnels), by the kernel's test call."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import pytest

from inspector.live.bpf.loader import TC_BARE_PROGRAM, TC_PROGRAM, XDP_BARE_PROGRAM, XDP_PROGRAM
from inspector.record import KernelCounter
from inspector.wire.frame import LinkType
from tests.kernel.frames import FRAMES
from tests.kernel.harness import FOLLOW_UP_COUNTERS, GOES_ON, Harness, expected, without_time
from tests.kernel.tunnel_frames import TUNNEL_FRAMES

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("bpf")]

BOTH = pytest.mark.parametrize("name", [XDP_BARE_PROGRAM, TC_BARE_PROGRAM])
ETHERNET: Final = 14
# The kernel's test call takes no less.
LEAST: Final = 14
PACKETS: Final = {kind: frame[ETHERNET:] for kind, frame in FRAMES.items() if len(frame) >= ETHERNET + LEAST}
TUNNELS: Final = {kind: frame[ETHERNET:] for kind, frame in TUNNEL_FRAMES.items() if len(frame) >= ETHERNET + LEAST}


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "tunnels"])
def harness(bpf: None, request: pytest.FixtureRequest) -> Iterator[Harness]:  # noqa: ARG001 - asks for BPF first
    """Load both programs, with and without what looks into tunnels."""
    with Harness(tunnels=request.param, names=(XDP_BARE_PROGRAM, TC_BARE_PROGRAM)) as loaded:
        yield loaded


def check(harness: Harness, name: str, packet: bytes) -> None:
    """Run a packet and compare everything with what the Python reader says of it."""
    outcome = harness.run(name, packet)
    records, counted = expected(packet, tunnels=harness.tunnels, link_type=LinkType.RAW)
    assert outcome.retval == GOES_ON[name]
    assert outcome.packet == packet
    assert [without_time(record) for record in outcome.records] == records
    assert outcome.counted == counted


@BOTH
def test_packets(harness: Harness, name: str) -> None:
    """Every frame of the tables without its link layer: recorded and counted as the Python reader would."""
    for packet in (*PACKETS.values(), *TUNNELS.values()):
        check(harness, name, packet)


def test_tables_reach_every_outcome() -> None:
    """The packets make every counter rise that a packet alone can make rise."""
    reached = {counter for packet in PACKETS.values() for counter in expected(packet, link_type=LinkType.RAW)[1]}
    rest = {KernelCounter.LOST_COMPACT_FULL, KernelCounter.LOST_BULK_FULL, KernelCounter.LOST_COPY}
    assert reached == set(KernelCounter) - rest - FOLLOW_UP_COUNTERS


@BOTH
@pytest.mark.parametrize("kind", ["response", "ipv4 options", "ipv6 8 kinds", "udp answer"])
def test_cut_anywhere(harness: Harness, name: str, kind: str) -> None:
    """A packet that ends early is read as far as it goes."""
    packet = PACKETS[kind]
    for length in range(LEAST, len(packet)):
        check(harness, name, packet[:length])


@BOTH
def test_other_versions(harness: Harness, name: str) -> None:
    """What is neither IPv4 nor IPv6 is counted as unreadable, and let go."""
    for version in set(range(16)) - {4, 6}:
        packet = bytes((version << 4 | 5,)) + PACKETS["response"][1:]
        outcome = harness.run(name, packet)
        assert (outcome.packet, outcome.records) == (packet, [])
        assert outcome.counted == {KernelCounter.UNREADABLE_HEADERS: 1}


@BOTH
def test_mutated_packets(harness: Harness, name: str) -> None:
    """Packets with random bytes changed and cut at random places: always passed, and read as in Python."""
    choose = random.Random(20261125)  # noqa: S311 - reproducible, not secret
    kinds = [packet for packet in (*PACKETS.values(), *TUNNELS.values()) if len(packet) < 1500]
    for _ in range(1000):
        packet = bytearray(choose.choice(kinds))
        for _ in range(choose.randrange(1, 4)):
            packet[choose.randrange(0, min(len(packet), 100))] = choose.choice((0, 4, 6, 17, 44, 69, 96, 135, 255))
        check(harness, name, bytes(packet[: choose.choice((len(packet), choose.randrange(LEAST, len(packet) + 1)))]))


def test_the_programs_are_not_the_same() -> None:
    """A program of Ethernet is blind for packets without its header, which is why there are two of each."""
    with Harness() as ethernet:
        for name in (XDP_PROGRAM, TC_PROGRAM):
            assert ethernet.run(name, PACKETS["response"]).counted == {}
