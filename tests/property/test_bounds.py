"""Whatever is received, output and memory are a small multiple of it: no answer is amplified."""

from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.errors import Anomaly
from inspector.model import Finding, Segment
from inspector.output.jsonform import LINE_BYTES, lines_of
from inspector.wire.epm import MAX_TOWERS
from inspector.wire.limits import Limits
from inspector.wire.tower import NAME_CHARACTERS
from tests.build import pdu
from tests.build.bounds import check_memory, check_output
from tests.build.connection import Wire, udp
from tests.build.epm import (
    EPM,
    NDR20,
    NDR64,
    SAMR,
    floor,
    lookup_request,
    lookup_response,
    map_request,
    map_response,
    pipe_tower,
    tcp_tower,
    tower,
)
from tests.build.findings import joined
from tests.build.observe import observe
from tests.choice import examples

_LIMITS = Limits(connections=1000)
_REJECTED = [(2, reason, (SAMR[0], 0, 0)) for reason in range(255)]
_LONG = "\x80" * 30_000

referents = st.one_of(
    st.lists(st.integers(0, 5), max_size=12),
    st.integers(1, 16_000).map(lambda count: [3] * count),
    st.integers(1, 16_000).map(lambda count: [0] * count),
    st.integers(1, 5000).map(lambda count: list(range(1, count + 1))),
)
towers = st.one_of(
    st.just(b""),
    st.just(tower()),
    st.builds(tcp_tower, st.just(SAMR), st.integers(0, 65535), st.sampled_from(["10.11.2.2", "10.11.2.7", "0.0.0.0"])),  # noqa: S104
    st.sampled_from(["\\PIPE\\x", "\n" * 300, _LONG]).map(lambda name: pipe_tower(SAMR, name, name[:9])),
    st.lists(st.builds(floor, st.integers(0, 255), st.binary(max_size=20), st.binary(max_size=300)), max_size=32).map(
        lambda floors: tower(*floors)
    ),
)
notes = st.sampled_from(["", "note", "\x9b" * 70, "y" * 3000])


@st.composite
def map_stubs(draw: st.DrawFn) -> bytes:
    """Answer with referents that repeat, are null or are very many, and towers of every kind."""
    chosen, kinds = draw(referents), draw(st.lists(towers, min_size=1, max_size=3))
    most = 600_000 // (8 + max(map(len, kinds)))
    chosen = [referent for referent in chosen if referent <= most]
    distinct = len(set(chosen) - {0})
    made = [kinds[number % len(kinds)] for number in range(distinct)]
    return map_response(made, referents=chosen, max_count=max(len(chosen), 1), wide=draw(st.booleans()))


@st.composite
def lookup_stubs(draw: st.DrawFn) -> bytes:
    """List entries likewise."""
    chosen = draw(referents)[:2000]
    one, note = draw(towers), draw(notes)
    entries = [(one[:3000], note if number < 50 else "") for number in range(len(chosen))]
    return lookup_response(entries, referents=chosen, max_count=max(len(chosen), 1), wide=draw(st.booleans()))


def answer(wire: Wire, stub: bytes, *, opnum: int, wide: bool, call_id: int) -> None:
    """Ask, and answer with a stub in fragments."""
    asked = lookup_request(wide=wide) if opnum == 2 else map_request(tcp_tower(SAMR), wide=wide)
    wire.client(pdu.request(asked, opnum=opnum, call_id=call_id, context_id=int(wide)))
    for flags, piece in pdu.fragments(stub, 60_000):
        wire.server(pdu.response(piece, call_id=call_id, context_id=int(wide), flags=flags), 65_000)


@st.composite
def conversations(draw: st.DrawFn) -> list[Segment]:
    """Return what servers can say that is long, much in few bytes, or broken."""
    wire, segments = Wire().open(), []
    wire.client(pdu.bind([(0, EPM, (NDR20,)), (1, EPM, (NDR64,))])).server(pdu.bind_ack([(0, 0, NDR20), (0, 0, NDR64)]))
    for call_id in range(2, 2 + draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["map", "lookup", "noise", "faults", "naks", "binds", "empty", "datagrams"]))
        wide = draw(st.booleans())
        if kind in ("map", "lookup"):
            stub = draw(map_stubs() if kind == "map" else lookup_stubs())
            answer(wire, stub, opnum=3 if kind == "map" else 2, wide=wide, call_id=call_id)
        elif kind == "noise":
            answer(wire, draw(st.binary(max_size=2000)), opnum=draw(st.integers(0, 70)), wide=wide, call_id=call_id)
        elif kind == "faults":
            wire.server(pdu.fault(draw(st.integers(0, 2**32 - 1))) * draw(st.integers(1, 500)))
        elif kind == "naks":
            versions = [(5, 0)] * draw(st.sampled_from([0, 1, 255]))
            wire.server(pdu.bind_nak(draw(st.integers(0, 99)), versions) * draw(st.integers(1, 100)))
        elif kind == "binds":
            contexts = [(number, EPM, ()) for number in range(draw(st.integers(1, 255)))]
            wire.client(pdu.bind(contexts, call_id=call_id)).server(pdu.bind_ack(_REJECTED, call_id=call_id))
        elif kind == "empty":
            wire.server(pdu.response(b"") * draw(st.integers(1, 1000)))
        else:
            segments += [
                udp(pdu.datagram(2, draw(map_stubs())[:60_000]), from_server=True, time_ns=wire.time_ns)
                for _ in range(9)
            ]
    return wire.client_fin().server_fin().segments + segments


def mutated(segments: list[Segment], seed: int) -> list[Segment]:
    """Return segments with some bytes of their payloads changed."""
    random = Random(seed)  # noqa: S311  # mutations for a test
    changed = []
    for segment in segments:
        payload = bytearray(segment.payload)
        if payload and random.random() < 0.3:
            for _ in range(random.choice((1, 2, 20))):
                payload[random.randrange(min(len(payload), random.choice((64, 65_536))))] = random.choice(
                    (0, 1, 255, random.randrange(256))
                )
        changed.append(segment._replace(payload=bytes(payload)))
    return changed


@examples(60)
@given(conversations(), st.none() | st.integers(0, 2**32))
def test_output_is_a_multiple_of_what_was_received(segments: list[Segment], seed: int | None) -> None:
    """Lines, journal entries, rows, page and JSON routes, of whole and of mutated conversations, on both paths."""
    segments = segments if seed is None else mutated(segments, seed)
    findings, _ = observe(segments, limits=_LIMITS)
    check_output(segments, findings)


@examples(12)
@given(conversations(), st.none() | st.integers(0, 2**32))
def test_memory_is_a_multiple_of_what_was_received(segments: list[Segment], seed: int | None) -> None:
    """The peak while these become findings and outputs."""
    check_memory(segments if seed is None else mutated(segments, seed))


def asked(stub: bytes, opnum: int = 3) -> tuple[list[Segment], list[Finding], set[str]]:
    """Return the segments of one answer, its findings and the anomalies that were counted."""
    wire = Wire().open().client(pdu.bind()).server(pdu.bind_ack())
    answer(wire, stub, opnum=opnum, wide=False, call_id=2)
    findings, anomalies = observe(wire.segments, limits=_LIMITS)
    return wire.segments, findings, {str(anomaly) for anomaly in anomalies}


def test_one_tower_that_is_referred_to_4096_times() -> None:
    """One mapping with a count, an anomaly, a name that is cut: 88 KB were 1.6 GB of output once."""
    long_name = "\\PIPE\\" + "x" * 65_000
    stub = map_response([pipe_tower(SAMR, long_name, "DC1")], referents=[3] * 4096, max_count=4096)
    segments, [finding], anomalies = asked(stub)
    [mapping] = finding.mappings
    assert mapping.references == MAX_TOWERS
    assert mapping.endpoint is not None
    assert (len(mapping.endpoint), mapping.endpoint[-1]) == (NAME_CHARACTERS, "\u2026")
    assert anomalies == {"tower_repeated", "towers_too_many", "name_cut"} == set(finding.anomalies)
    check_output(segments, [finding])
    check_memory(segments)


@pytest.mark.parametrize("count", [MAX_TOWERS, MAX_TOWERS + 1, 5000])
def test_the_first_towers_of_too_many_are_read(count: int) -> None:
    """Of more towers than a client may ask for the first are listed, and the status behind all of them is read."""
    stub = map_response([tcp_tower(SAMR, port, "10.11.2.7") for port in range(count)], max_count=count, status=0)
    segments, [finding], anomalies = asked(stub)
    assert [mapping.port for mapping in finding.mappings] == list(range(MAX_TOWERS))
    assert finding.status == 0
    assert anomalies == ({"towers_too_many"} if count > MAX_TOWERS else set())
    check_output(segments, [finding])


def test_a_listing_of_too_many_entries() -> None:
    """Likewise of ept_lookup; an entry that repeats a tower has no line of its own."""
    entries = [(tcp_tower(SAMR, port, "10.11.2.7"), f"{port}") for port in range(600)]
    _, [finding], anomalies = asked(lookup_response(entries, max_count=600), 2)
    assert [mapping.annotation for mapping in finding.mappings] == [str(port) for port in range(MAX_TOWERS)]
    assert anomalies == {"towers_too_many"}
    stub = lookup_response([(entries[0][0], "z" * 999), *entries[:2]], referents=[3, 3, 4], max_count=600)
    _, [finding], anomalies = asked(stub, 2)
    assert [(mapping.port, mapping.references) for mapping in finding.mappings] == [(0, 2), (1, 1)]
    assert finding.mappings[0].annotation == "z" * (NAME_CHARACTERS - 1) + "\u2026"
    assert anomalies == {"tower_repeated", "name_cut"}


def test_a_long_listing_is_divided_into_lines() -> None:
    """Each line is JSON, shorter than what journald splits at, and together they are the finding."""
    entries = [(tcp_tower(SAMR, port, "10.11.2.7"), "\x9f" * 64) for port in range(MAX_TOWERS)]
    _, [finding], _ = asked(lookup_response(entries), 2)
    lines = lines_of(finding)
    assert len(lines) > 2
    assert all(len(line) + 1 <= LINE_BYTES == 48 * 1024 for line in lines)
    assert joined(map(json.loads, lines)) == finding.as_dict()


def test_few_reasons_of_many_are_named() -> None:
    """A bind of 255 contexts that are rejected for 255 reasons is one finding of one line."""
    wire = Wire().open().client(pdu.bind([(number, EPM, ()) for number in range(255)]))
    [finding], _ = observe(wire.server(pdu.bind_ack(_REJECTED)).segments, limits=_LIMITS)
    assert finding.why.endswith(", and 251 others")
    assert len(finding.why) < 250


def test_waiting_binds_are_bounded() -> None:
    """Binds of many contexts which nobody answers count as what is held, and are given up above the limit."""
    contexts = [(number, EPM, (NDR20,) * 12) for number in range(200)]
    wires = [Wire(client_port=port).open().client(pdu.bind(contexts)) for port in range(2000, 2100)]
    segments = [segment for wire in wires for segment in wire.segments]
    _, anomalies = observe(segments, limits=Limits(connections=1000, buffered_bytes=1 << 20))
    assert sum(anomalies.values()) > 50


def test_datagrams_are_bounded() -> None:
    """Fragments of calls that are never whole are bounded by what all of them hold, in number as in bytes."""
    datagrams = [
        udp(pdu.datagram(0, b"", fragment=(number % 500, False), sequence=number // 500)) for number in range(10_000)
    ]
    _, anomalies = observe(datagrams, limits=Limits(connections=1000))
    assert anomalies == {Anomaly.FRAGMENTS_TOO_LARGE: 20 * 3}
    large = [udp(pdu.datagram(0, bytes(8000), fragment=(1, False), sequence=number)) for number in range(100)]
    _, anomalies = observe(large, limits=Limits(connections=1000, buffered_bytes=1 << 18))
    assert anomalies == {Anomaly.TOO_MANY_CALLS: 100 - (1 << 18) // 8064}
