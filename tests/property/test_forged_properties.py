"""Whatever is forged between two honest ends: what they say is found as without it, or an anomaly is counted."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from inspector.model import Segment
from tests.build import pdu
from tests.build.connection import Wire
from tests.build.epm import SAMR, map_request, map_response, tcp_tower
from tests.build.observe import observe
from tests.build.traffic import forged
from tests.choice import examples

_BY_WHAT_IT_IS = ("time_ns", "call_id", "verdict", "mappings")


def conversation(random: Random) -> list[Segment]:
    """Return a connection of some calls, seen from its beginning or not, with or without an end."""
    wire = Wire(client_sequence=random.getrandbits(32), server_sequence=random.getrandbits(32))
    wire.open().client(pdu.bind()).server(pdu.bind_ack())
    for call_id in range(2, random.choice((3, 5, 8))):
        wire.wait(random.choice((0, 0, 0, 3)))
        wire.client(pdu.request(map_request(tcp_tower(SAMR)), call_id=call_id))
        wire.server(pdu.response(map_response([tcp_tower(SAMR, 49000 + call_id, "10.11.2.7")]), call_id=call_id))
    end = random.randrange(3)
    if end:
        wire = wire.client_fin().server_fin() if end == 1 else wire.reset()
    return wire.segments


@examples(150)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.1, 0.3, 0.8]))
def test_an_honest_answer_is_found_or_an_anomaly_counted(seed: int, share: float) -> None:
    """Without an anomaly, all that the two ends say is found as it would be alone."""
    random = Random(seed)  # noqa: S311  # traffic for a test
    honest = conversation(random)
    expected, _ = observe(honest)
    findings, anomalies = observe(forged(random, honest, share))
    found = [[getattr(one, name) for name in _BY_WHAT_IT_IS] for one in findings]
    assert anomalies or all([getattr(one, name) for name in _BY_WHAT_IT_IS] in found for one in expected)


@examples(150)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.1, 0.3, 0.8]))
def test_the_last_answers_are_found(seed: int, share: float) -> None:
    """When the forger stops, nothing of what he did lasts: the second of two later calls is found."""
    random = Random(seed)  # noqa: S311  # traffic for a test
    honest = conversation(random)
    wire = Wire()
    wire._next = [_end_of(honest, 0), _end_of(honest, 1)]
    wire.time_ns = honest[-1].time_ns + 5 * 10**9
    for call_id in (100, 101, 102):
        wire.client(pdu.request(map_request(tcp_tower(SAMR)), call_id=call_id))
        wire.server(pdu.response(map_response([tcp_tower(SAMR, 49000, "10.11.2.7")]), call_id=call_id)).wait(5)
    findings, _ = observe(forged(random, honest, share) + wire.segments)
    assert (102, "mismatch") in {(one.call_id, one.verdict) for one in findings}


def _end_of(segments: list[Segment], sender: int) -> int:
    """Return the next sequence number of a sender whose FIN, if there was one, was forged."""
    last = max(
        (one for one in segments if one.from_server == bool(sender) and one.payload), key=lambda one: one.time_ns
    )
    return (last.sequence + last.payload_length) % 2**32
