"""Suspects only: the same traffic through the program in both modes gives the same metrics."""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from random import Random
from typing import Final

import pytest
from prometheus_client import CollectorRegistry

from inspector.judge.policy import Policy
from inspector.live import kernel, loader
from inspector.live.aside import Aside
from inspector.live.counters import possible_cpus
from inspector.model import Finding, Segment
from inspector.pipeline import Pipeline
from inspector.record import LOSS_REASONS, Attribute, Counter
from inspector.sinks.metrics import Metrics
from inspector.wire.limits import Limits
from tests.build import pdu
from tests.build.connection import START_NS, Wire
from tests.build.epm import (
    EPM,
    FEATURES,
    MAPI,
    NDR20,
    NDR64,
    NOT_REGISTERED,
    SAMR,
    map_request,
    map_response,
    tcp_tower,
)
from tests.build.traffic import traffic
from tests.kernel.harness import LOOPBACK, Harness

VIP: Final = "10.11.2.2"
POOLED: Final = "10.11.3.9"
POLICY: Final = Policy({IPv4Address(VIP): (IPv4Network("10.11.3.0/24"),)})
_SECOND: Final = 1_000_000_000
_STEP_NS: Final = 15_000_000
_LONG_STEP_NS: Final = 150_000_000
_FOREVER_NS: Final = 1 << 62
_OWN: Final = ("packets_matched", "packets_counted", "requests_held", "ring_", "records_consumed", "last_record")


def frame_of(segment: Segment) -> bytes:
    """Return the Ethernet frame of a segment or datagram."""
    ports = struct.pack("!HH", segment.source_port, segment.destination_port)
    if segment.attributes & Attribute.UDP:
        protocol, data = 17, ports + struct.pack("!HH", 8 + segment.payload_length, 0)
    else:
        protocol = 6
        data = ports + struct.pack(
            "!IIBBHHH", segment.sequence, segment.acknowledgment, 0x50, segment.tcp_flags, 65535, 0, 0
        )
    data += segment.payload
    if segment.attributes & Attribute.IPV6:
        head = struct.pack("!IHBB", 6 << 28, len(data), protocol, 64) + segment.source_address
        return bytes(12) + b"\x86\xdd" + head + segment.destination_address + data
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(data), 1, 0, 64, protocol, 0)
    return bytes(12) + b"\x08\0" + head + segment.source_address[12:] + segment.destination_address[12:] + data


class Run:
    """One mode: the program, the reader behind it and the metrics. The program's clock is set for each packet.

    `late_ns` is the most that a packet came after its time.
    """

    def __init__(self, harness: Harness, program: str) -> None:
        self.harness = harness
        self.aside = None
        if loader.COLLECT_PROGRAM in harness.program.programs:
            self.aside = Aside(harness.program, possible_cpus(), Limits().idle_ns, POLICY.pools)
            self.aside.collect(_FOREVER_NS, _FOREVER_NS)
            self.aside.collect(_FOREVER_NS, _FOREVER_NS)
            self.aside.pairs()
        harness.records()
        self.pipeline = Pipeline(POLICY, lambda index: f"port{index}")
        self.metrics = Metrics(CollectorRegistry(), vips=map(str, POLICY.pools))
        self.findings: list[Finding] = []
        self.records = 0
        self.late_ns = 0
        self._before = harness.totals()
        self._program = harness.program.programs[program]
        self._now_ns = 0

    def feed(self, segments: Iterable[Segment]) -> None:
        """Let the program see packets, and read after each what it made of them."""
        for segment in segments:
            if segment.time_ns >= self._now_ns + _SECOND:
                self.collect(segment.time_ns - _SECOND, segment.time_ns)
                self._now_ns = segment.time_ns
            started_ns = time.monotonic_ns()
            offset = segment.time_ns - started_ns
            kernel.map_update(
                self.harness.program.maps["epm_clock"], 0, (offset % (1 << 64)).to_bytes(8, sys.byteorder)
            )
            kernel.run_program(self._program, frame_of(segment))
            self.late_ns = max(self.late_ns, time.monotonic_ns() - started_ns)
            self.read()

    def counted(self) -> dict[Counter, int]:
        """Return what the program counted in this run."""
        return {counter: value - self._before[counter] for counter, value in self.harness.totals().items()}

    def read(self) -> None:
        """Take what is in the rings."""
        for record in self.harness.records():
            self.records += 1
            self._observe(self.pipeline.feed(record))

    def _observe(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self.findings.append(finding)
            self.metrics.observe(finding)

    def collect(self, asked_until_ns: int, now_ns: int) -> None:
        """Do what a running inspection does each second."""
        if self.aside is None:
            return
        self.aside.collect(asked_until_ns, now_ns)
        for pairs in self.aside.pairs():
            finding = self.pipeline.count(pairs)
            assert finding is not None
            self.metrics.observe_pairs(finding, pairs)
        self.read()

    def end(self) -> dict[str, float]:
        """Let time pass, longer than anybody waits, and return the samples of all metrics but the ring's own."""
        self.check_conservation()
        end_ns = self._now_ns + 22 * _SECOND
        self.collect(end_ns, end_ns)
        self.check_conservation()
        self._observe(self.pipeline.advance(end_ns))
        self._observe(self.pipeline.flush())
        self.metrics.update_kernel({"port1": self.counted()})
        self.metrics.tracked_connections(self.pipeline.tracked_connections)
        for anomaly, count in self.pipeline.anomalies.items():
            self.metrics.observe_anomaly(anomaly, count)
        samples = {}
        for line in self.metrics.render().decode().splitlines():
            name, _, value = line.rpartition(" ")
            if not line.startswith("#") and not name.removeprefix("epm_inspector_").startswith(_OWN):
                samples[name] = float(value)
        return samples

    def check_conservation(self) -> None:
        """Every matched packet is submitted, lost, counted or held; every submitted one was read."""
        counted = self.counted()
        held = self.aside.held() if self.aside is not None else 0
        lost = sum(counted[reason] for reason in LOSS_REASONS)
        assert counted[Counter.MATCHED] == counted[Counter.SUBMITTED] + lost + counted[Counter.COUNTED] + held
        assert (lost, counted[Counter.SUBMITTED]) == (0, self.records)


def retimed(segments: Iterable[Segment], step_ns: int) -> list[Segment]:
    """Return segments on one interface, at times which are multiples of a step.

    No bound of the latency histogram is near such a multiple, so that it does not matter how long a test run takes.
    """
    found: list[Segment] = []
    time_ns = before_ns = START_NS
    for segment in segments:
        time_ns += max(1, -(-(segment.time_ns - before_ns) // step_ns)) * step_ns
        before_ns = max(before_ns, segment.time_ns)
        found.append(segment._replace(time_ns=time_ns, interface_index=LOOPBACK))
    return found


class Modes:
    """The program in both modes, loaded once."""

    def __init__(self) -> None:
        self._harnesses = [Harness(silent_ns=silent_ns) for silent_ns in (0, Limits().idle_ns)]

    def close(self) -> None:
        """Unload the programs."""
        for harness in self._harnesses:
            harness.__exit__()

    def compare(
        self, segments: Iterable[Segment], *, program: str = loader.XDP_PROGRAM, step_ns: int = _STEP_NS
    ) -> tuple[Run, Run]:
        """Run both modes and fail where metrics differ; the sum of latencies may by what test runs take."""
        segments = retimed(segments, step_ns)
        # A busy machine may stop this process between setting the clock and the packet: then the run says nothing.
        for _ in range(10):
            runs = [Run(harness, program) for harness in self._harnesses]
            for run in runs:
                run.feed(segments)
            samples = [run.end() for run in runs]
            if all(run.late_ns < step_ns // 4 for run in runs):
                break
        else:
            pytest.fail("the machine is too busy for a packet to come in its time")
        sums = [one.pop("epm_inspector_response_latency_seconds_sum") for one in samples]
        assert samples[1] == samples[0]
        assert sums[1] == pytest.approx(sums[0], rel=0.1, abs=0.001)
        return runs[0], runs[1]


@pytest.fixture(scope="module")
def modes() -> Iterator[Modes]:
    """Give the program in both modes."""
    both = Modes()
    yield both
    both.close()


def opened(wide: bool = False, **ends: str | int) -> Wire:
    """Return a connection with its bind, as Windows proposes contexts where `wide`."""
    wire = Wire(**ends).open()  # type: ignore[arg-type]
    if not wide:
        return wire.client(pdu.bind()).server(pdu.bind_ack())
    contexts = [(number, EPM, (syntax,)) for number, syntax in enumerate((NDR20, NDR64, FEATURES))]
    rejected, negotiated = (2, 2, (EPM[0], 0, 0)), (3, 3, (EPM[0], 0, 0))
    return wire.client(pdu.bind(contexts)).server(pdu.bind_ack([rejected, (0, 0, NDR64), negotiated]))


def ask(wire: Wire, call_id: int, wide: bool = False) -> None:
    """Let the client send a canonical map request."""
    stub = map_request(tcp_tower(SAMR), wide=wide)
    wire.client(pdu.request(stub, call_id=call_id, context_id=int(wide)))


def answer(
    wire: Wire, call_id: int, address: str = VIP, wide: bool = False, port: int = 49152, referent: int = 3
) -> None:
    """Let the server offer an address."""
    stub = map_response([tcp_tower(SAMR, port, address)], wide=wide, referents=[referent])
    wire.server(pdu.response(stub, call_id=call_id, context_id=int(wide)))


def counted(run: Run) -> int:
    """Return how many packets the program counted without a record."""
    return run.counted()[Counter.COUNTED]


@pytest.mark.parametrize("program", [loader.XDP_PROGRAM, loader.TC_PROGRAM])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("address", [VIP, "0.0.0.0", POOLED])  # noqa: S104 - offered, not bound
def test_expected_answers_are_counted(modes: Modes, program: str, wide: bool, address: str) -> None:
    """Pairs that offer what was asked, "the same" or a pool's server have no records, and the same metrics."""
    wire = opened(wide)
    for call_id in range(2, 12):
        ask(wire, call_id, wide)
        wire.wait(0.02 * call_id)
        answer(wire, call_id, address, wide, referent=call_id * 4)
    wire.client_fin().server_fin()
    every, suspects = modes.compare(wire.segments, program=program)
    assert (every.records, suspects.records, counted(suspects)) == (26, 6, 20)
    assert not suspects.findings


def test_mismatches_are_recorded(modes: Modes) -> None:
    """Each mismatch comes through the ring with its request, call id and latency; pairs around it are counted."""
    wire = opened()
    for call_id, address in enumerate((VIP, "10.11.2.7", VIP, "127.0.0.1", VIP), 2):
        ask(wire, call_id)
        answer(wire, call_id, address)
    wire.client_fin().server_fin()
    every, suspects = modes.compare(wire.segments)
    assert counted(suspects) == 6
    assert [(one.call_id, one.verdict, one.requested) for one in suspects.findings] == [
        (one.call_id, one.verdict, one.requested) for one in every.findings if one.call_id in (3, 5)
    ]


def test_many_connections_share_what_they_count(modes: Modes) -> None:
    """Different clients, ports and services are told apart where the finding is, and no further."""
    segments: list[Segment] = []
    for number in range(40):
        wire = opened(client_port=40000 + number, server=(VIP, "10.11.2.3")[number % 2])
        ask(wire, 2)
        answer(wire, 2, (VIP, "10.11.2.3")[number % 2], port=49152 + number % 3)
        segments += wire.client_fin().server_fin().segments
    segments.sort(key=lambda segment: segment.time_ns)
    _, suspects = modes.compare(segments)
    assert counted(suspects) == 80


def _again(wire: Wire) -> None:
    wire.segments.append(wire.segments[-1]._replace(time_ns=wire.time_ns))


def _retransmitted_request(wire: Wire) -> None:
    ask(wire, 2)
    _again(wire)
    answer(wire, 2)


def _retransmitted_response(wire: Wire) -> None:
    ask(wire, 2)
    answer(wire, 2)
    _again(wire)


def _old_request_again(wire: Wire) -> None:
    ask(wire, 2)
    old = wire.segments[-1]
    answer(wire, 2)
    ask(wire, 3)
    answer(wire, 3)
    wire.segments.append(old._replace(time_ns=wire.time_ns))


def _unanswered(wire: Wire) -> None:
    ask(wire, 2)


def _answered_late(wire: Wire) -> None:
    ask(wire, 2)
    wire.wait(4)
    answer(wire, 2)


def _answered_too_late(wire: Wire) -> None:
    ask(wire, 2)
    wire.wait(12)
    answer(wire, 2)


def _reset(wire: Wire) -> None:
    ask(wire, 2)
    answer(wire, 2)
    ask(wire, 3)
    wire.reset()


def _closed_while_waiting(wire: Wire) -> None:
    ask(wire, 2)
    wire.client_fin()
    answer(wire, 2)
    wire.server_fin()


def _two_questions(wire: Wire) -> None:
    ask(wire, 2)
    ask(wire, 3)
    answer(wire, 2)
    answer(wire, 3)


def _same_call_id(wire: Wire) -> None:
    ask(wire, 2)
    ask(wire, 2)
    answer(wire, 2)


def _other_call_id(wire: Wire) -> None:
    ask(wire, 2)
    answer(wire, 9)
    answer(wire, 2)


def _other_context(wire: Wire) -> None:
    wire.client(pdu.request(map_request(tcp_tower(SAMR)), call_id=2, context_id=7))
    answer(wire, 2)


def _fault(wire: Wire) -> None:
    ask(wire, 2)
    wire.server(pdu.fault(5, call_id=2))


def _nothing_registered(wire: Wire) -> None:
    ask(wire, 2)
    wire.server(pdu.response(map_response([], status=NOT_REGISTERED), call_id=2))


def _two_towers(wire: Wire) -> None:
    ask(wire, 2)
    wire.server(pdu.response(map_response([tcp_tower(SAMR, 1, VIP), tcp_tower(MAPI, 2, "10.9.9.9")]), call_id=2))


def _cut_in_two(wire: Wire) -> None:
    wire.client(pdu.request(map_request(tcp_tower(SAMR)), call_id=2), 100)
    answer(wire, 2)


def _garbage(wire: Wire) -> None:
    ask(wire, 2)
    answer(wire, 2)
    wire.client(b"garbage").server(bytes(152))


def _null_referent(wire: Wire) -> None:
    ask(wire, 2)
    answer(wire, 2, referent=0)


def _lost_on_the_way(wire: Wire) -> None:
    ask(wire, 2)
    wire.segments.pop()
    answer(wire, 2)


def _odd_status(wire: Wire) -> None:
    ask(wire, 2)
    wire.server(pdu.response(map_response([tcp_tower(SAMR, 49152, VIP)], status=5), call_id=2))


def _opened_again(wire: Wire) -> None:
    ask(wire, 2)
    wire.open().client(pdu.bind()).server(pdu.bind_ack())
    ask(wire, 2)
    answer(wire, 2)


def _syn_again(wire: Wire) -> None:
    ask(wire, 2)
    answer(wire, 2)
    wire.segments.append(wire.segments[0]._replace(time_ns=wire.time_ns))


ODDITIES: Final = [
    _retransmitted_request, _retransmitted_response, _old_request_again, _unanswered, _answered_late,
    _answered_too_late, _reset, _closed_while_waiting, _two_questions, _same_call_id, _other_call_id, _other_context,
    _fault, _nothing_registered, _two_towers, _cut_in_two, _garbage, _null_referent, _lost_on_the_way, _odd_status,
    _opened_again, _syn_again,
]  # fmt: skip


@pytest.mark.parametrize("oddity", ODDITIES, ids=lambda oddity: oddity.__name__.strip("_"))
def test_odd_conversations(modes: Modes, oddity: Callable[[Wire], None]) -> None:
    """After counted pairs, whatever happens on a connection is counted as with all records, and what follows too."""
    wire = opened(client_sequence=2**32 - 300)
    for call_id in (100, 101, 102):
        ask(wire, call_id)
        answer(wire, call_id)
    oddity(wire)
    for call_id in (200, 201):
        ask(wire, call_id)
        answer(wire, call_id)
    wire.client_fin().server_fin()
    _, suspects = modes.compare(wire.segments)
    assert counted(suspects) >= 6


def _no_bind(wire: Wire) -> None:
    wire.open()


def _no_handshake(wire: Wire) -> None:
    wire.client(pdu.bind()).server(pdu.bind_ack())


def _other_interface(wire: Wire) -> None:
    wire.open().client(pdu.bind([(0, MAPI, (NDR20,))])).server(pdu.bind_ack())


def _rejected(wire: Wire) -> None:
    wire.open().client(pdu.bind()).server(pdu.bind_ack([(2, 1, NDR20)]))


def _early_bytes(wire: Wire) -> None:
    wire.open().client(b"\5\0").client(pdu.bind()).server(pdu.bind_ack())


def _early_bytes_of_the_server(wire: Wire) -> None:
    wire.open().server(b"ncacn_http/1.0").client(pdu.bind()).server(pdu.bind_ack())


@pytest.mark.parametrize(
    "beginning",
    [_no_bind, _no_handshake, _other_interface, _rejected, _early_bytes, _early_bytes_of_the_server],
    ids=lambda beginning: beginning.__name__.strip("_"),
)
def test_connections_not_understood_from_their_beginning(modes: Modes, beginning: Callable[[Wire], None]) -> None:
    """Where the bind was not seen, or is not the endpoint mapper's, nothing is counted in the kernel."""
    wire = Wire()
    beginning(wire)
    for call_id in (2, 3):
        ask(wire, call_id)
        answer(wire, call_id)
    wire.client_fin().server_fin()
    _, suspects = modes.compare(wire.segments)
    assert counted(suspects) == 0


def test_long_connection_is_not_forgotten(modes: Modes) -> None:
    """A pair now and then has records, so that the decoder does not take the connection for silent."""
    wire = opened()
    for call_id in range(2, 90):
        ask(wire, call_id)
        answer(wire, call_id)
        wire.wait(4)
    wire.client_fin().server_fin()
    _, suspects = modes.compare(wire.segments)
    assert 80 <= counted(suspects) < 170


def _frames_only(segments: Iterable[Segment]) -> list[Segment]:
    """Leave out what a plain frame cannot show: records cut short come from capture files, and these are not tunnels."""
    kept = int(Attribute.FROM_SERVER | Attribute.IPV6 | Attribute.UDP)
    return [
        segment._replace(attributes=segment.attributes & kept, tunnel=None)
        for segment in segments
        if len(segment.payload) == segment.payload_length
    ]


@pytest.mark.parametrize("seed", range(12))
def test_generated_traffic(modes: Modes, seed: int) -> None:
    """Conversations at random, and a network that loses, repeats and reorders, give the same metrics."""
    trouble = (0.0, 0.0, 0.02, 0.1)[seed % 4]
    _, suspects = modes.compare(
        _frames_only(traffic(Random(seed), 400, trouble=trouble)),  # noqa: S311 - reproducible
        step_ns=_LONG_STEP_NS,
    )
    assert counted(suspects) or trouble
    print(seed, suspects.records, counted(suspects))


def _busy_client(random: Random, number: int) -> list[Segment]:
    """Return a connection of many calls, of which some are odd."""
    wide = random.random() < 0.4
    wire = opened(
        wide,
        client_port=41000 + number,
        server=random.choice((VIP, VIP, "10.11.2.3")),
        client_sequence=random.getrandbits(32),
        server_sequence=random.getrandbits(32),
        start_ns=START_NS + random.randrange(_SECOND),
    )
    for call_id in range(2, random.randrange(3, 30)):
        ask(wire, call_id, wide)
        wire.wait(random.choice((0, 0, 0.03, 0.4, 1.3)))
        answer(wire, call_id, random.choice((VIP,) * 8 + (POOLED, "10.11.2.3", "0.0.0.0")), wide, random.choice((1, 2)))  # noqa: S104 - offered, not bound
        if random.random() < 0.03:
            random.choice(ODDITIES)(wire)
        if random.random() < 0.1:
            wire.segments.append(random.choice(wire.segments)._replace(time_ns=wire.time_ns))
    random.choice((wire.reset, lambda: wire.client_fin().server_fin(), lambda: wire.server_fin().client_fin(), lambda: wire))()
    return wire.segments


@pytest.mark.parametrize("seed", range(8))
def test_busy_connections(modes: Modes, seed: int) -> None:
    """Many calls on many connections at once, with repetitions and oddities anywhere between them."""
    random = Random(seed)  # noqa: S311 - reproducible
    segments = [segment for number in range(12) for segment in _busy_client(random, number)]
    segments.sort(key=lambda segment: segment.time_ns)
    _, suspects = modes.compare(segments, step_ns=_LONG_STEP_NS)
    assert counted(suspects) > 20
    print(seed, suspects.records, counted(suspects))


def _golden(path: Path) -> list[Segment]:
    """Return what a capture file has of TCP over IPv4, as plain frames."""
    with open_source(path, PORTS) as source:
        segments = [unpack_record(record) for record in source]
    return _frames_only(segment for segment in segments if segment.tunnel is None)


