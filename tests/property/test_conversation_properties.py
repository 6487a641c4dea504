"""Whatever the network does to the segments of a conversation, the findings are the same."""

from __future__ import annotations

from random import Random
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.errors import Anomaly
from inspector.model import Finding, Segment
from inspector.wire.limits import Limits
from tests.build import pdu
from tests.build.connection import Wire
from tests.build.epm import (
    EPM,
    NDR20,
    NDR64,
    NOT_REGISTERED,
    SAMR,
    lookup_request,
    lookup_response,
    map_request,
    map_response,
    pipe_tower,
    tcp_tower,
)
from tests.build.observe import findings_of, observe

uuids = st.binary(min_size=16, max_size=16).map(lambda raw: UUID(bytes=raw))
addresses = st.sampled_from(["10.11.2.2", "10.11.2.7", "0.0.0.0", "127.0.0.1"])  # noqa: S104  # offered addresses
tcp_towers = st.builds(tcp_tower, st.tuples(uuids, st.integers(0, 9), st.just(0)), st.integers(1, 65535), addresses)
towers = st.one_of(tcp_towers, st.just(pipe_tower(SAMR, "\\PIPE\\samr", "DC1")))


@st.composite
def calls(draw: st.DrawFn, call_id: int, *, wide: bool) -> tuple[bytes, bytes]:
    """Return a request and its response, each maybe in fragments."""
    kind = draw(st.sampled_from(["map", "lookup", "unknown", "fault"]))
    context_id = 1 if wide else 0
    offered = draw(st.lists(towers, max_size=4))
    opnum = 2 if kind == "lookup" else 3
    if kind == "lookup":
        asked = lookup_request(wide=wide)
        answer = lookup_response([(tower, "note"[:index]) for index, tower in enumerate(offered)], wide=wide)
    else:
        asked = map_request(draw(tcp_towers), wide=wide)
        answer = map_response(offered, wide=wide, status=0 if offered else NOT_REGISTERED)
    size = draw(st.integers(8, 400))
    request = b"".join(
        pdu.request(piece, opnum=opnum, call_id=call_id, context_id=context_id, flags=flags)
        for flags, piece in pdu.fragments(asked, size)
    )
    if kind == "fault":
        return request, pdu.fault(5, call_id=call_id, context_id=context_id)
    response = b"".join(
        pdu.response(piece, call_id=call_id, context_id=context_id, flags=flags)
        for flags, piece in pdu.fragments(answer, size)
    )
    return request, response


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[tuple[bool, bytes]], bool]:
    """Return what the ends write, in order (True: the client), and whether NDR64 was agreed on."""
    wide = draw(st.booleans())
    results = [(2, 2, (UUID(int=0), 0, 0)), (0, 0, NDR64)] if wide else [(0, 0, NDR20), (2, 2, (UUID(int=0), 0, 0))]
    writes = [(True, pdu.bind([(0, EPM, (NDR20,)), (1, EPM, (NDR64,))])), (False, pdu.bind_ack(results))]
    for call_id in range(2, 2 + draw(st.integers(1, 4))):
        request, response = draw(calls(call_id, wide=wide))
        writes += [(True, request), (False, response)]
    return writes, wide


def segments_of(writes: list[tuple[bool, bytes]], mss: int, sequence: int) -> list[Segment]:
    """Return the segments of a connection with these writes, cut at `mss`."""
    wire = Wire(client_sequence=sequence, server_sequence=(sequence + 2**31) % 2**32).open()
    for from_client, data in writes:
        (wire.client if from_client else wire.server)(data, mss)
    return wire.client_fin().server_fin().segments


def content(findings: list[Finding]) -> list[dict[str, object]]:
    """Return findings without their times, which a cut moves, and without the doubt of an old repetition.

    Of what was delivered the last whole PDUs are remembered, by their checksum. A late copy of a segment in which
    they begin cannot be compared with it: `repetition_not_compared`.
    """
    kept = []
    for finding in findings:
        whole = finding.as_dict()
        doubts = [anomaly for anomaly in finding.anomalies if anomaly != Anomaly.REPETITION_NOT_COMPARED]
        kept.append({key: whole[key] for key in whole if key not in ("time", "latency_ms")} | {"anomalies": doubts})
    return kept


@settings(deadline=None)
@given(conversations(), st.integers(1, 2000), st.integers(0, 2**32 - 1), st.integers(0, 2**64))
def test_any_split_any_order_with_repeats(
    conversation: tuple[list[tuple[bool, bytes]], bool], mss: int, sequence: int, seed: int
) -> None:
    """After the SYNs: any split into segments, in any order, over both directions, some of them twice."""
    writes, _ = conversation
    expected = content(findings_of(segments_of(writes, 65000, sequence)))
    segments = segments_of(writes, mss, sequence)
    opening, rest = segments[:2], segments[2:]
    random = Random(seed)  # noqa: S311  # an order for a test
    rest += random.choices(rest, k=len(rest) // 2)
    random.shuffle(rest)
    patient = Limits(gap_ns=10**15, stream_segments=10**6)
    assert content(findings_of(opening + rest, limits=patient)) == expected
    assert len(expected) == sum(not from_client for from_client, _ in writes) - 1


@settings(deadline=None)
@given(conversations(), st.data())
def test_lost_segments_never_make_a_wrong_finding(
    conversation: tuple[list[tuple[bool, bytes]], bool], data: st.DataObject
) -> None:
    """Whatever is lost, what is still said of an answer (towers, status, verdict) was true of it."""
    writes, _ = conversation
    segments = segments_of(writes, data.draw(st.integers(20, 400)), 1000)
    lost = data.draw(st.sets(st.integers(2, len(segments) - 1), max_size=4))
    truth = {
        (finding.call_id, finding.operation): (finding.status, finding.mappings)
        for finding in findings_of(segments_of(writes, 65000, 1000))
    }
    findings, _ = observe([segment for index, segment in enumerate(segments) if index not in lost])
    for finding in findings:
        if finding.mappings:
            assert (finding.status, finding.mappings) == truth[finding.call_id, finding.operation]


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=300)), max_size=12), st.integers(1, 100))
def test_arbitrary_bytes_are_anomalies_at_most(writes: list[tuple[bool, bytes]], mss: int) -> None:
    """No bytes raise; what is counted is of the closed set."""
    _, anomalies = observe(segments_of(writes, mss, 1000))
    assert set(anomalies) <= set(Anomaly)


@settings(deadline=None)
@given(conversations(), st.data())
def test_mutated_conversations_are_anomalies_at_most(
    conversation: tuple[list[tuple[bool, bytes]], bool], data: st.DataObject
) -> None:
    """Flipped bytes anywhere in real conversations raise nothing; what is counted is of the closed set."""
    writes = []
    for from_client, written in conversation[0]:
        mutated = bytearray(written)
        for _ in range(data.draw(st.integers(0, 3))):
            mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
        writes.append((from_client, bytes(mutated)))
    _, anomalies = observe(segments_of(writes, 300, 1000))
    assert set(anomalies) <= set(Anomaly)
