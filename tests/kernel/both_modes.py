"""Suspects only: the program in both modes side by side, and the conversations it is compared on."""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
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
    NDR20,
    NDR64,
    SAMR,
    map_request,
    map_response,
    tcp_tower,
)
from tests.kernel.harness import LOOPBACK, Harness

VIP: Final = "10.11.2.2"
POOLED: Final = "10.11.3.9"
POLICY: Final = Policy({IPv4Address(VIP): (IPv4Network("10.11.3.0/24"),)})
SECOND: Final = 1_000_000_000
_STEP_NS: Final = 150_000_000
SHORT_STEP_NS: Final = 15_000_000
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
        # A VIP is learned with its first mismatch; what the kernel counted before would have its label.
        self.metrics = Metrics(CollectorRegistry(), vips=map(str, POLICY.pools), learned_vips=0)
        self.findings: list[Finding] = []
        self.records = 0
        self.late_ns = 0
        self._before = harness.totals()
        self._program = harness.program.programs[program]
        self._now_ns = 0

    def feed(self, segments: Iterable[Segment]) -> None:
        """Let the program see packets, and read after each what it made of them."""
        for segment in segments:
            if segment.time_ns >= self._now_ns + SECOND:
                self.collect(segment.time_ns - SECOND, segment.time_ns)
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
        end_ns = self._now_ns + 22 * SECOND
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
            if name.startswith("epm_inspector_") and not name.removeprefix("epm_inspector_").startswith(_OWN):
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
