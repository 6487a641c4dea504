"""Forged packets and answers: tables of outcomes stay within their bounds, and findings within what was received."""

# ruff: noqa: S311  # chance that repeats itself
from __future__ import annotations

import tracemalloc
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.errors import Anomaly
from inspector.judge.policy import Policy
from inspector.model import Finding, OfferedEndpoint, Verdict
from inspector.outcomes.limits import OutcomeLimits
from inspector.outcomes.tracker import Tracker
from inspector.protocols import ACK, FIN, RST, SYN
from inspector.wire.headers import Header, IcmpQuote
from tests.build import pdu
from tests.build.connection import START_NS, raw_address
from tests.build.findings import finding, mapping
from tests.choice import examples

_SMALL = OutcomeLimits(
    connections=8,
    strangers=6,
    answers=10,
    held=12,
    held_mappings=600,
    clients=5,
    per_client=4,
    per_answer=2,
    servers=3,
    one_way=2,
)
_PAYLOADS = (b"", b"x", pdu.bind(), pdu.bind_ack(), pdu.bind_nak(), pdu.request(b"y" * 20), pdu.fault(5), bytes(40))
_FLAGS = (SYN, SYN | ACK, ACK, ACK, FIN | ACK, RST, RST | ACK, 0, 0xFF)  # fmt: skip


def bound_of(limits: OutcomeLimits) -> int:
    """Return how many things may be kept: tables, and four moments for each connection."""
    mapper = 5 * limits.connections + limits.clients + limits.servers
    follow_ups = 5 * (limits.connections + limits.strangers) + limits.strangers
    offers = limits.clients * (1 + limits.per_client) + limits.answers
    return mapper + follow_ups + offers + limits.servers + limits.held + limits.held_mappings + 500


def address(random: Random, most: int) -> bytes:
    """Return one of so many addresses."""
    return raw_address(f"10.1.{random.randrange(most) >> 8}.{random.randrange(most) & 255}")


def packet(random: Random, time_ns: int, frame: int, hosts: int) -> Header | IcmpQuote:
    """Return a packet or an ICMP error between few hosts, to or from port 135 or another port."""
    ends = [
        (address(random, hosts), random.choice((40000, 40001, random.randrange(65536)))),
        (address(random, hosts), random.choice((135, 135, 593, 49152, 49153, random.randrange(65536)))),
    ]
    (source, source_port), (destination, destination_port) = ends if random.random() < 0.6 else ends[::-1]
    sequence = random.choice((1000, 1001, 1072, random.getrandbits(32)))
    if random.random() < 0.05:
        return IcmpQuote(
            time_ns, frame, address(random, hosts), random.choice((1, 2, 3)), 13, source, destination, source_port,
            destination_port, sequence,
        )  # fmt: skip
    payload = random.choice(_PAYLOADS)
    return Header(
        time_ns, frame, source, destination, source_port, destination_port, sequence,
        random.choice((0, 1001, 5001, random.getrandbits(32))), random.choice(_FLAGS), random.randrange(256),
        len(payload) + random.choice((0, 0, 0, 100)), 54 + len(payload), payload,
    )  # fmt: skip


def answer(random: Random, time_ns: int, hosts: int) -> Finding:
    """Return the finding of a forged answer, with up to 500 endpoints."""
    verdict = random.choice((Verdict.MATCH, Verdict.MISMATCH, Verdict.SEALED, Verdict.UNANSWERED, Verdict.FAULT))
    offers = tuple(
        replace(mapping(verdict), address=IPv4Address(address(random, hosts)[12:]), port=random.randrange(65536))
        for _ in range(random.choice((0, 1, 2, 3, 500)))
    )
    asked, client = (ip_address(address(random, hosts)[12:]) for _ in range(2))
    made = finding(verdict, asked=str(asked), mappings=offers)
    return replace(made, time_ns=time_ns, client=client, client_port=random.choice((40000, 40001)))


def run(random: Random, packets: int, hosts: int, limits: OutcomeLimits) -> tuple[Tracker, int, int, int]:
    """Feed so many packets, some with answers; return the tracker, how many findings came, answers, greatest size."""
    tracker = Tracker(Policy(), "eth0", (135, 593), limits)
    time_ns, found, answers, largest = START_NS, 0, 0, 0
    for frame in range(1, packets + 1):
        time_ns += random.choice((0, 1_000_000, 10_000_000, 3_000_000_000))
        forged = [answer(random, time_ns, hosts)] if random.random() < 0.2 else []
        answers += len(forged)
        out = tracker.take(packet(random, time_ns, frame, hosts), forged, time_ns, frame)
        found += sum(1 + (one.follow_up is not None) for one in out)
        largest = max(largest, tracker.size)
    found += sum(1 + (one.follow_up is not None) for one in tracker.flush([]))
    return tracker, found, answers, largest


@examples(40)
@given(st.integers(0, 2**32), st.sampled_from([1, 2, 5, 300]))
def test_tables_are_bounded(seed: int, hosts: int) -> None:
    """Whatever is forged; every answer comes out once, and each packet leads to two findings at most."""
    tracker, found, answers, largest = run(Random(seed), 400, hosts, _SMALL)
    assert largest <= bound_of(_SMALL)
    assert answers <= found <= answers + 2 * 400
    assert set(tracker.anomalies) <= {Anomaly.OUTCOME_EVICTED, Anomaly.OUTCOME_UNDECIDED, Anomaly.ONE_WAY_VIEW}


def test_what_is_let_go_is_counted() -> None:
    """Connections and offers beyond the bounds are an anomaly."""
    tracker, _, _, _ = run(Random(1), 3000, 300, _SMALL)
    assert tracker.anomalies[Anomaly.OUTCOME_EVICTED] > 0


def test_answers_come_out_in_their_order() -> None:
    """However long each waits for its outcome."""
    random, times = Random(3), list[int]()
    tracker = Tracker(Policy(), "eth0", (135, 593), _SMALL)
    time_ns = START_NS
    for frame in range(1, 1000):
        time_ns += random.choice((1_000_000, 400_000_000))
        out = tracker.take(packet(random, time_ns, frame, 20), [answer(random, time_ns, 20)], time_ns, frame)
        times += [one.time_ns for one in out if one.kind == "answer"]
    times += [one.time_ns for one in tracker.flush([]) if one.kind == "answer"]
    assert times == sorted(times)
    assert len(times) == 999


@pytest.mark.parametrize("offers", [1, 500])
def test_memory_of_answers_is_bounded(offers: int) -> None:
    """Answers with 500 endpoints each take no more than a few of them once they are given out."""
    random = Random(5)
    tracker = Tracker(Policy(), "eth0", (135,), OutcomeLimits(answers=100, clients=100))
    whole: tuple[OfferedEndpoint, ...] = tuple(replace(mapping(Verdict.MATCH), port=port + 1) for port in range(offers))
    tracemalloc.start()
    try:
        for frame in range(1, 400):
            time_ns = START_NS + frame * 100_000_000
            one = replace(finding(Verdict.MATCH, mappings=tuple(map(replace, whole))), time_ns=time_ns)
            client = ip_address(f"10.1.{random.randrange(256)}.{random.randrange(256)}")
            tracker.take(None, [replace(one, client=client)], time_ns, frame)
        assert tracemalloc.get_traced_memory()[0] < 2 << 20
    finally:
        tracemalloc.stop()
