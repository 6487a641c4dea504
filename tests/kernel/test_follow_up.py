"""Follow-ups in the kernel: what is recorded of connections to endpoints, acknowledgments, and ICMP errors."""

from __future__ import annotations

import shutil
import socket
import struct
from typing import TYPE_CHECKING, Final

import numpy as np
import pytest

from inspector.live.bpf import loader
from inspector.live.bpf.followups import FollowUpMaps
from inspector.live.bpf.loader import TC_PROGRAM, XDP_PROGRAM
from inspector.live.process.namespaces import inside
from inspector.protocols import IPV4_MAPPED
from inspector.record import ICMP_BUDGET, Attribute, KernelCounter, unpack_record
from inspector.wire.followups import unpack_error
from tests.build import pdu
from tests.build.tunnels import geneve, gre, vxlan
from tests.kernel.frames import ACK, EPM, FIN, RST, SYN, ethernet, ipv6, tcp
from tests.kernel.fuzz import BOTH, FOLLOW_UP, Fuzzer, chunk
from tests.kernel.harness import GOES_ON, Harness, expected, without_time
from tests.kernel.live import attached, collect, conserved

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from inspector.model import Segment
    from tests.kernel.conftest import Cable

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("bpf")]

CLIENT, SERVER, ROUTER = bytes((10, 9, 0, 2)), bytes((10, 9, 0, 1)), bytes((192, 0, 2, 1))
CLIENT_PORT, ENDPOINT = 40000, 49664
PROGRAMS = pytest.mark.parametrize("name", [XDP_PROGRAM, TC_PROGRAM])
TCP, ICMP, ICMPV6 = 6, 1, 58


def ipv4(data: bytes, source: bytes, destination: bytes, *, protocol: int = TCP, hop_limit: int = 64) -> bytes:
    """Return an IPv4 packet (RFC 791 section 3.1)."""
    return (
        struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(data), 1, 0, hop_limit, protocol, 0, source, destination) + data
    )


def segment(
    data: bytes = b"",
    *,
    server: bytes = SERVER,
    port: int = ENDPOINT,
    flags: int = ACK,
    answer: bool = False,
    acknowledgment: int = 0x55667788,
    client_port: int = CLIENT_PORT,
) -> bytes:
    """Return a frame between the client and a port of a server; an `answer` is the server's."""
    ports = (port, client_port) if answer else (client_port, port)
    packet = bytearray(tcp(data, ports=ports, flags=flags))
    packet[8:12] = acknowledgment.to_bytes(4, "big")
    return ethernet(ipv4(bytes(packet), *((server, CLIENT) if answer else (CLIENT, server))))


def error(quoted: bytes, kind: int = 3, code: int = 1, rest: int = 0) -> bytes:
    """Return an ICMP error of a router that quotes a frame's packet: its IP header and 8 bytes."""
    message = struct.pack("!BBHI", kind, code, 0, rest) + quoted[14 : 14 + 28]
    return ethernet(ipv4(message, ROUTER, CLIENT, protocol=ICMP, hop_limit=61))


def error6(kind: int = 1, code: int = 4, rest: int = 0) -> bytes:
    """Return the same of IPv6, about a SYN to port 135."""
    quoted = ipv6(tcp(flags=SYN, ports=(CLIENT_PORT, EPM)))[:48]
    return ethernet(ipv6(struct.pack("!BBHI", kind, code, 0, rest) + quoted, next_header=ICMPV6), 0x86DD)


SERVER_ANSWERS: Final = segment(port=EPM, flags=SYN | ACK, answer=True)
SYN_TO_ENDPOINT: Final = segment(flags=SYN)
BIND: Final = pdu.bind()


@pytest.fixture(params=[False, True], ids=["plain", "tunnels"])
def harness(bpf: None, request: pytest.FixtureRequest) -> Iterator[Harness]:  # noqa: ARG001 - asks for BPF first
    """Load both programs, with nothing known of endpoints."""
    with Harness(follow_up=True, tunnels=request.param) as loaded:
        yield loaded


def run(harness: Harness, name: str, frame: bytes) -> Segment | None:
    """Run a frame, compare with the Python reader, and return its record."""
    outcome = harness.run(name, frame)
    records, counted = expected(frame, tunnels=harness.tunnels, follow_ups=harness.follow_ups)
    assert (outcome.retval, outcome.packet) == (GOES_ON[name], frame)
    assert [without_time(record) for record in outcome.records] == records
    assert outcome.counted == counted
    return unpack_record(outcome.records[0]) if outcome.records else None


@PROGRAMS
def test_a_follow_up_from_syn_to_end(harness: Harness, name: str) -> None:
    """The client is faster than user space: its SYN, the bind and what ends it are recorded, bulk data is not."""
    run(harness, name, SERVER_ANSWERS)
    steps = [
        (SYN_TO_ENDPOINT, True),
        (segment(flags=SYN | ACK, answer=True), True),
        (segment(), False),
        (segment(BIND), True),
        (segment(pdu.bind_ack(), answer=True), True),
        (segment(pdu.request(b"stub")), False),
        (segment(pdu.response(b"stub"), answer=True), False),
        (segment(pdu.fault(5), answer=True), True),
        (segment(pdu.bind_nak(), answer=True), True),
        (segment(bytes(1400)), False),
        (segment(b"\x05\x00\x0b"), False),
        (segment(b"\x04\x00\x0b\x03"), False),
        (segment(flags=FIN | ACK), True),
        (segment(flags=RST, answer=True), True),
    ]
    for number, (frame, recorded) in enumerate(steps):
        found = run(harness, name, frame)
        assert (found is not None) == recorded, number
        if found is not None:
            assert found.attributes & Attribute.ENDPOINT
            assert found.from_server == (found.source_port == ENDPOINT)
            assert found.hop_limit == 64
    assert harness.totals()[KernelCounter.ENDPOINTS_NOTED] == harness.totals()[KernelCounter.SERVERS_NOTED] == 1


@PROGRAMS
def test_what_is_no_follow_up(harness: Harness, name: str) -> None:
    """Without an answer of that address, to a low port, or by data alone, nothing becomes an endpoint."""
    assert run(harness, name, SYN_TO_ENDPOINT) is None
    run(harness, name, SERVER_ANSWERS)
    assert run(harness, name, segment(flags=SYN, port=445)) is None
    assert run(harness, name, segment(flags=SYN, server=ROUTER)) is None
    assert run(harness, name, segment(BIND)) is None
    assert run(harness, name, segment(flags=RST, answer=True)) is None
    assert run(harness, name, segment(flags=SYN | ACK, answer=True)) is not None
    assert run(harness, name, segment(BIND, server=ROUTER)) is None


@PROGRAMS
def test_an_endpoint_that_was_offered(harness: Harness, name: str) -> None:
    """User space names address and port exactly; only these are recorded, and its ports can be cleared."""
    maps = FollowUpMaps(harness.program)
    try:
        assert harness.follow_ups is not None
        maps.add_endpoints([(IPV4_MAPPED + ROUTER, ENDPOINT)], 7)
        harness.follow_ups.add(IPV4_MAPPED + ROUTER, ENDPOINT)
        assert maps.endpoints() == [(IPV4_MAPPED + ROUTER, ENDPOINT)]
        assert run(harness, name, segment(BIND, server=ROUTER)) is not None
        assert run(harness, name, segment(BIND)) is None
        maps.refresh_ports()
        assert run(harness, name, segment(BIND, server=ROUTER)) is not None
        maps.add_servers([IPV4_MAPPED + SERVER], 7)
        harness.follow_ups.add_server(IPV4_MAPPED + SERVER)
        assert maps.servers() == [IPV4_MAPPED + SERVER]
        assert run(harness, name, SYN_TO_ENDPOINT) is not None
    finally:
        maps.close()


@PROGRAMS
def test_acknowledgments(harness: Harness, name: str) -> None:
    """The highest acknowledgment without payload is kept, in sequence order, until a SYN begins another connection."""
    maps = FollowUpMaps(harness.program)
    client, server = (IPV4_MAPPED + CLIENT, CLIENT_PORT), (IPV4_MAPPED + SERVER, EPM)
    try:
        assert maps.acknowledged(client, server) is None
        for value, highest in ((0xFFFFFFF0, 0xFFFFFFF0), (0xFFFFFF00, 0xFFFFFFF0), (5, 5), (0xFFFFFFFF, 5)):
            assert run(harness, name, segment(port=EPM, acknowledgment=value)) is None
            known = maps.acknowledged(client, server)
            assert known is not None
            assert known[0] == highest
        run(harness, name, segment(port=EPM, acknowledgment=9, answer=True))
        run(harness, name, segment(b"x", port=EPM, acknowledgment=9))
        flows, values = maps.all_acknowledged()
        assert (len(flows), values["acknowledgment"].tolist()) == (1, [5])
        assert (flows["client_port"][0], flows["server_port"][0]) == (CLIENT_PORT, EPM)
        assert harness.follow_ups is not None
        assert harness.follow_ups.acknowledged((client[0], server[0], client[1], server[1])) == 5
        run(harness, name, segment(port=EPM, flags=SYN))
        assert maps.acknowledged(client, server) is None
        assert harness.totals()[KernelCounter.FLOWS_NOTED] == 1
    finally:
        maps.close()


def test_many_acknowledgments_are_read_in_batches(harness: Harness) -> None:
    """All connections are read, also where they are more than one batch."""
    maps = FollowUpMaps(harness.program)
    try:
        for port in range(1024, 1024 + 6000):
            harness.run(XDP_PROGRAM, segment(port=EPM, client_port=port, acknowledgment=port))
        flows, values = maps.all_acknowledged()
        assert len(flows) == 6000
        assert np.array_equal(flows["client_port"], values["acknowledgment"])
    finally:
        maps.close()


@PROGRAMS
def test_errors_about_an_endpoint_mapper(harness: Harness, name: str) -> None:
    """Type, code, reporter, the quoted flow and sequence are recorded; other errors are not."""
    quoted = segment(port=EPM, flags=SYN)
    found = run(harness, name, error(quoted))
    assert found is not None
    assert (found.source_address, found.source_port) == (IPV4_MAPPED + CLIENT, CLIENT_PORT)
    assert (found.destination_address, found.destination_port) == (IPV4_MAPPED + SERVER, EPM)
    assert (found.sequence, found.hop_limit, found.attributes) == (0x11223344, 61, Attribute.ICMP)
    assert unpack_error(found.payload) == (IPV4_MAPPED + ROUTER, 3, 1, 0)
    found = run(harness, name, error(quoted, 3, 4, 1400))
    assert found is not None
    assert unpack_error(found.payload).mtu == 1400
    assert run(harness, name, error(quoted, 11, 0)) is not None
    answer = run(harness, name, error(segment(port=EPM, answer=True)))
    assert answer is not None
    assert answer.from_server
    for kind, rest, mtu in ((1, 0, 0), (2, 1280, 1280), (3, 0, 0)):
        found = run(harness, name, error6(kind, 0, rest))
        assert found is not None
        assert found.attributes == Attribute.ICMP | Attribute.IPV6
        assert (unpack_error(found.payload).type, unpack_error(found.payload).mtu) == (kind, mtu)
    for frame in (error(quoted, 8), error(quoted, 5), error6(129), error(segment(flags=SYN)), error(quoted)[:60]):
        assert run(harness, name, frame) is None


@PROGRAMS
def test_errors_about_an_endpoint(harness: Harness, name: str) -> None:
    """An error that quotes a SYN to an endpoint has both attributes."""
    assert run(harness, name, error(SYN_TO_ENDPOINT)) is None
    run(harness, name, SERVER_ANSWERS)
    run(harness, name, SYN_TO_ENDPOINT)
    found = run(harness, name, error(SYN_TO_ENDPOINT, 3, 13))
    assert found is not None
    assert found.attributes == Attribute.ICMP | Attribute.ENDPOINT


CARRIED: Final = {
    "gre": lambda frame: (gre(frame[14:]), 47),
    "ipip": lambda frame: (frame[14:], 4),
    "vxlan": lambda frame: (vxlan(frame), 17),
    "geneve": lambda frame: (geneve(frame), 17),
}


@PROGRAMS
@pytest.mark.parametrize("kind", CARRIED)
def test_in_a_tunnel(bpf: None, name: str, kind: str) -> None:  # noqa: ARG001 - asks for BPF first
    """A follow-up is recorded as outside of it; so is an error, whose record does not name the tunnel."""

    def carried(frame: bytes) -> bytes:
        data, protocol = CARRIED[kind](frame)
        return ethernet(ipv4(data, bytes((192, 0, 2, 7)), bytes((192, 0, 2, 8)), protocol=protocol))

    with Harness(follow_up=True, tunnels=True) as loaded:
        run(loaded, name, carried(SERVER_ANSWERS))
        found = run(loaded, name, carried(SYN_TO_ENDPOINT))
        assert found is not None
        assert found.attributes == Attribute.ENDPOINT | Attribute.TUNNELLED
        found = run(loaded, name, carried(error(SYN_TO_ENDPOINT, 3, 13)))
        assert found is not None
        assert found.attributes == Attribute.ICMP | Attribute.ENDPOINT
        assert (found.tunnel, found.hop_limit) == (None, 61)
        assert unpack_error(found.payload).reporter == IPV4_MAPPED + ROUTER
        assert run(loaded, name, carried(error(segment(port=443)))) is None


def test_errors_beyond_the_budget_are_lost_and_counted(harness: Harness) -> None:
    """A flood of errors takes no more of the ring than the budget, and each is accounted for."""
    outcome = harness.run(XDP_PROGRAM, error(segment(port=EPM, flags=SYN)), repeat=2000)
    counted = outcome.counted
    assert counted[KernelCounter.ICMP_ERRORS] == counted[KernelCounter.MATCHED] == 2000
    assert counted[KernelCounter.SUBMITTED] + counted[KernelCounter.LOST_ICMP_BUDGET] == 2000
    # The run may lie in two spans of the budget.
    assert len(outcome.records) == counted[KernelCounter.SUBMITTED] in (ICMP_BUDGET, 2 * ICMP_BUDGET)


@pytest.mark.parametrize("made", [FOLLOW_UP, BOTH], ids=["plain", "tunnels"])
def test_hostile_frames(made: dict[str, bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any frame, changed and cut anywhere, gives the same records and counts as in Python, which has no budget."""
    sources = tmp_path / "bpf"
    shutil.copytree(loader.source_folder(), sources)
    header = sources / "epm_record.h"
    text = header.read_text(encoding="ascii")
    limit = f"#define EPM_ICMP_BUDGET {ICMP_BUDGET}"
    assert limit in text
    header.write_text(text.replace(limit, "#define EPM_ICMP_BUDGET 1000000"), encoding="ascii")
    monkeypatch.setattr(loader, "source_folder", lambda: sources)
    known = [
        SERVER_ANSWERS,
        SYN_TO_ENDPOINT,
        segment(BIND),
        segment(flags=FIN),
        error(segment(port=EPM, flags=SYN)),
        error(SYN_TO_ENDPOINT),
        error6(2),
    ]
    monkeypatch.setattr("tests.kernel.hostile_frames._KNOWN", tuple(known * 3 + list(fuzz_frames())))
    with Fuzzer([made]) as fuzzer:
        figures = fuzzer.fuzz(chunk(7, 0, 5000))
    outcomes = set("+".join(figures.outcomes).split("+"))
    assert {"ENDPOINT_PACKETS", "ICMP_ERRORS", "SERVERS_NOTED", "FLOWS_NOTED", "UNREADABLE_HEADERS"} <= outcomes


def fuzz_frames() -> tuple[bytes, ...]:
    """Return the frames which the fuzzer changes otherwise."""
    from tests.kernel import hostile_frames

    return hostile_frames._KNOWN[:20]


@pytest.mark.parametrize("mode", ["native", "tc"])
@pytest.mark.usefixtures("root")
def test_on_the_wire(cable: Cable, mode: str) -> None:
    """Real connections: the mapper answers, the client follows at once; bulk data leaves no record."""
    request, answer = BIND, pdu.bind_ack()
    with attached(cable, mode, follow_up=True) as session:  # type: ignore[arg-type]  # a literal
        assert session.follow_ups is not None
        cable.converse(request, answer)
        port = cable.converse(request, answer, port=ENDPOINT)
        cable.converse(bytes(50_000), bytes(200_000), port=ENDPOINT)
        with inside(cable.here), socket.socket() as refused:
            assert refused.connect_ex((cable.far_address, ENDPOINT + 1)) != 0
        found = [unpack_record(record) for record in collect(session, 40, 2)]
        assert (IPV4_MAPPED + bytes((10, 9, 0, 2)), ENDPOINT) in session.follow_ups.endpoints()
        conserved(session)
    follow_ups = [one for one in found if one.attributes & Attribute.ENDPOINT]
    if mode == "native":
        # XDP sees what arrives.
        assert all(one.from_server for one in follow_ups)
    first = [one for one in follow_ups if port in (one.source_port, one.destination_port) and one.from_server]
    assert first[0].tcp_flags & (SYN | ACK) == SYN | ACK
    assert answer in [one.payload for one in first]
    assert any(one.tcp_flags & FIN for one in first)
    refusals = [one for one in follow_ups if one.tcp_flags & RST and one.source_port == ENDPOINT + 1]
    # Without the SYN, which leaves by the other hook, nobody knows that the port may be an endpoint.
    assert bool(refusals) == (mode == "tc")
    assert all(len(one.payload) < 1000 for one in follow_ups)
