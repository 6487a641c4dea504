"""Segments that somebody else sends between two honest ends: their answers are found, or what is in doubt is named."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Final

import pytest

from inspector.errors import Anomaly
from inspector.judge.policy import Policy
from inspector.model import Finding, Segment, Verdict
from inspector.pipeline import Pipeline
from inspector.record import pack_record
from tests.build import pdu
from tests.build.connection import ACK, FIN, PSH, RST, START_NS, SYN, Wire
from tests.build.epm import NDR20, SAMR, map_request, map_response, tcp_tower
from tests.build.observe import observe
from tests.golden.dialogue import LSARPC

DIP: Final = "10.11.2.7"
LIE: Final = "10.11.2.2"
FAR: Final = 1 << 29
SERVER, CLIENT = 1, 0


def bound() -> Wire:
    """Return a connection with a bind and its answer."""
    return Wire().open().client(pdu.bind()).server(pdu.bind_ack())


def asked(wire: Wire, call_id: int = 2) -> Wire:
    """Add a map request."""
    return wire.client(pdu.request(map_request(tcp_tower(SAMR)), call_id=call_id))


def response(call_id: int = 2, address: str = DIP) -> bytes:
    """Return a map response of 152 bytes."""
    return pdu.response(map_response([tcp_tower(SAMR, 49152, address)]), call_id=call_id)


def mapped(wire: Wire, call_id: int = 2) -> Wire:
    """Add a map request and its response, which offers another address than the one asked."""
    return asked(wire, call_id).server(response(call_id))


def forge(
    wire: Wire, sender: int, flags: int, payload: bytes = b"", *, sequence: int = 0, acknowledgment: int = 0
) -> Wire:
    """Add a segment that the sender never sent: as its next one would be, but so far away in both numbers."""
    numbers = list(wire._next)
    wire._add(sender, flags, payload)
    forged = wire.segments[-1]
    wire.segments[-1] = forged._replace(
        sequence=(forged.sequence + sequence) % 2**32,
        acknowledgment=(forged.acknowledgment + acknowledgment) % 2**32 if flags & ACK else 0,
    )
    wire._next[:] = numbers
    return wire


def calls(findings: list[Finding]) -> list[tuple[Verdict, int | None, tuple[str, ...]]]:
    """Return what was found, and what was in doubt of it."""
    return [(finding.verdict, finding.call_id, finding.anomalies) for finding in findings]


def found(segments: list[Segment]) -> tuple[list[tuple[Verdict, int | None, tuple[str, ...]]], dict[Anomaly, int]]:
    """Return the same of segments, and the anomalies, on both paths."""
    findings, anomalies = observe(segments)
    return calls(findings), anomalies


@pytest.mark.parametrize("sender", [CLIENT, SERVER])
@pytest.mark.parametrize("flags", [RST, RST | ACK])
@pytest.mark.parametrize("away", [FAR, -FAR, 1, -1, 70_000, 1 << 21])
def test_a_reset_that_is_not_at_the_next_byte_ends_nothing(sender: int, flags: int, away: int) -> None:
    """RFC 5961 section 3.2: a RST counts at the next sequence number only; elsewhere it is an anomaly, and no more."""
    for wire in (Wire().open().client(pdu.bind()), bound()):
        forge(wire, sender, flags, sequence=away)
        if len(wire.segments) == 4:
            wire.server(pdu.bind_ack())
        findings, anomalies = found(mapped(wire).segments)
        assert findings == [(Verdict.MISMATCH, 2, ("reset_not_accepted",))]
        assert anomalies == {Anomaly.RESET_NOT_ACCEPTED: 1}


@pytest.mark.parametrize("sender", [CLIENT, SERVER])
@pytest.mark.parametrize("question_open", [False, True])
def test_data_after_a_reset_is_read(*, sender: int, question_open: bool) -> None:
    """Who goes on talking has not been reset, also where the RST could be accepted: no answer is given up for it."""
    wire = forge(asked(bound()) if question_open else bound(), sender, RST | ACK)
    wire = wire.server(response()) if question_open else mapped(wire)
    assert found(mapped(wire, 3).segments) == (
        [(Verdict.MISMATCH, 2, ("data_after_end",)), (Verdict.MISMATCH, 3, ())],
        {Anomaly.DATA_AFTER_END: 1},
    )


@pytest.mark.parametrize("wait", [0.1, 5, 60])
def test_data_long_after_a_reset_is_read(wait: float) -> None:
    """What was bound holds, however long after the RST the two go on."""
    wire = forge(bound(), SERVER, RST | ACK).wait(wait)
    assert found(mapped(wire).segments) == (
        [(Verdict.MISMATCH, 2, ("data_after_end",))],
        {Anomaly.DATA_AFTER_END: 1},
    )


def test_a_reset_that_nothing_contradicts_is_believed() -> None:
    """The question was never answered, at the time of the RST."""
    wire = asked(bound())
    reset_ns = wire.time_ns
    wire.reset()
    for later in ([], Wire(client_port=9).wait(3).open().segments):
        findings, anomalies = observe(wire.segments + later)
        assert [(finding.verdict, finding.time_ns) for finding in findings] == [(Verdict.UNANSWERED, reset_ns)]
        assert "reset" in findings[0].why
        assert anomalies == {}


def test_text_in_a_reset_is_no_data() -> None:
    """RFC 9293 section 3.10.7.3: a RST may carry a reason in words, which belongs to no stream."""
    wire = forge(asked(bound()), SERVER, RST | ACK, response(address=LIE)).server(response())
    assert found(wire.segments)[0] == [(Verdict.MISMATCH, 2, ("data_after_end",))]


def test_a_syn_between_ports_in_use_changes_nothing() -> None:
    """RFC 5961 section 4: a SYN alone does not end a connection; it is an anomaly once the connection goes on."""
    wire = forge(asked(bound()), CLIENT, SYN, sequence=FAR)
    forge(wire.server(response()), CLIENT, SYN, sequence=77)
    assert found(mapped(wire, 3).segments) == (
        [(Verdict.MISMATCH, 2, ("syn_not_accepted",)), (Verdict.MISMATCH, 3, ("syn_not_accepted",))],
        {Anomaly.SYN_NOT_ACCEPTED: 2},
    )


def test_ports_are_taken_by_another_connection_while_the_old_one_repeats_itself() -> None:
    """A SYN is confirmed by its SYN-ACK, whatever late repetitions of the old connection come between them."""
    old = mapped(bound())
    late = old.segments[-1]
    new = Wire(client_sequence=FAR, server_sequence=FAR).wait(1).open()
    first, *rest = mapped(new.client(pdu.bind()).server(pdu.bind_ack()), 3).segments
    assert found([*old.segments, first, late, *rest]) == (
        [(Verdict.MISMATCH, 2, ()), (Verdict.MISMATCH, 3, ())],
        {},
    )


def test_a_connection_that_was_taken_over_comes_back() -> None:
    """A SYN and its SYN-ACK, both forged, make another connection; the two ends go on in their own, which is seen."""
    wire = forge(bound(), CLIENT, SYN, sequence=FAR)
    forge(wire, SERVER, SYN | ACK, sequence=FAR * 2)
    syn, answer = wire.segments[-2:]
    wire.segments[-1] = answer._replace(acknowledgment=(syn.sequence + 1) % 2**32)
    findings, anomalies = found(mapped(mapped(wire), 3).segments)
    assert [finding[:2] for finding in findings] == [(Verdict.MISMATCH, 2), (Verdict.MISMATCH, 3)]
    assert set(findings[0][2]) == {"segment_not_accepted", "stream_moved", "bind_not_seen"}
    assert anomalies[Anomaly.STREAM_MOVED] == 1


@pytest.mark.parametrize("acknowledgment", [0, FAR])
@pytest.mark.parametrize("away", [FAR, -FAR, 5000])
def test_a_syn_ack_before_the_real_one(acknowledgment: int, away: int) -> None:
    """It is not believed where it acknowledges no SYN; where it does, the two ends show that they talk elsewhere."""
    wire = Wire()
    wire._add(CLIENT, SYN)
    forge(wire, SERVER, SYN | ACK, sequence=away, acknowledgment=acknowledgment)
    wire._add(SERVER, SYN | ACK)
    mapped(mapped(wire.client(pdu.bind()).server(pdu.bind_ack())).wait(5), 3)
    findings, anomalies = found(wire.segments)
    assert [finding[:2] for finding in findings] == [(Verdict.MISMATCH, 2), (Verdict.MISMATCH, 3)]
    assert findings[0][2]
    assert anomalies[Anomaly.SYN_NOT_ACCEPTED] == 1


def test_a_syn_ack_in_the_middle() -> None:
    """It changes nothing."""
    wire = forge(asked(bound()), SERVER, SYN | ACK, sequence=FAR).server(response())
    assert found(wire.segments) == (
        [(Verdict.MISMATCH, 2, ("syn_not_accepted",))],
        {Anomaly.SYN_NOT_ACCEPTED: 1},
    )


def test_a_fin_out_of_the_window() -> None:
    """It is not the end of anything."""
    wire = bound()
    for sender in (CLIENT, SERVER):
        forge(wire, sender, FIN | ACK, sequence=FAR)
    assert found(mapped(wire).segments) == (
        [(Verdict.MISMATCH, 2, ("fin_not_accepted",))],
        {Anomaly.FIN_NOT_ACCEPTED: 2},
    )


def test_data_after_fins_is_read() -> None:
    """A direction that goes on has not ended; both may be believed to have, and are then not."""
    for senders in ((CLIENT,), (SERVER,), (CLIENT, SERVER)):
        wire = asked(bound())
        for sender in senders:
            forge(wire, sender, FIN | ACK)
        wire.server(response())
        findings, anomalies = found(mapped(wire, 3).segments)
        assert [finding[:2] for finding in findings] == [(Verdict.MISMATCH, 2), (Verdict.MISMATCH, 3)]
        assert anomalies == {Anomaly.DATA_AFTER_END: len(senders)}


def test_a_fin_ahead_does_not_hide_the_real_one() -> None:
    """A question is unanswered when both ends have closed, also where a FIN was forged behind the real one."""
    wire = forge(asked(bound()), SERVER, FIN | ACK, sequence=500)
    findings, _ = found(wire.client_fin().server_fin().segments)
    assert [finding[:2] for finding in findings] == [(Verdict.UNANSWERED, 2)]


@pytest.mark.parametrize("sender", [CLIENT, SERVER])
@pytest.mark.parametrize("away", [FAR, -FAR, 2 << 20])
def test_data_out_of_the_window_is_not_read(sender: int, away: int) -> None:
    """Nothing waits for it, also not after the time for gaps."""
    wire = forge(asked(bound()), sender, PSH | ACK, response(address=LIE), sequence=away).server(response())
    assert found(mapped(wire.wait(5), 3).segments) == (
        [(Verdict.MISMATCH, 2, ("segment_not_accepted",)), (Verdict.MISMATCH, 3, ())],
        {Anomaly.SEGMENT_NOT_ACCEPTED: 1},
    )


@pytest.mark.parametrize("sender", [CLIENT, SERVER])
def test_an_acknowledgment_of_what_was_never_sent(sender: int) -> None:
    """RFC 9293 section 3.10.7.4: who acknowledges what was not sent is not heard; the real bytes do not wait."""
    wire = asked(bound()) if sender == SERVER else bound()
    forge(wire, sender, PSH | ACK, bytes(50), acknowledgment=FAR)
    wire = wire.server(response()) if sender == SERVER else mapped(wire)
    assert found(wire.segments) == (
        [(Verdict.MISMATCH, 2, ("segment_not_accepted",))],
        {Anomaly.SEGMENT_NOT_ACCEPTED: 1},
    )


def test_data_without_acknowledgment_is_not_read() -> None:
    """RFC 9293 section 3.10.7.4: without ACK a segment of an open connection is dropped."""
    wire = forge(asked(bound()), SERVER, PSH, response(address=LIE)).server(response())
    assert found(wire.segments)[0] == [(Verdict.MISMATCH, 2, ("segment_not_accepted",))]


def test_data_ahead_in_the_window_hides_the_real_for_a_while() -> None:
    """After the time for gaps it is read in the place of what is missing; what comes there then shows that it lied."""
    wire = forge(bound(), CLIENT, PSH | ACK, bytes(100), sequence=3000)
    forge(wire, SERVER, PSH | ACK, bytes(100), sequence=3000).wait(5)
    findings, anomalies = found(mapped(mapped(wire), 3).segments)
    assert [finding[:2] for finding in findings][-1] == (Verdict.MISMATCH, 3)
    assert {"segment_not_accepted", "stream_moved"} <= set(findings[0][2])
    assert anomalies[Anomaly.STREAM_GAP] == 2


def _same(data: bytes) -> list[bytes]:
    return [data]


def _pieces(data: bytes) -> list[bytes]:
    return [data[:70], data[70:]]


@pytest.mark.parametrize("cut", [_same, _pieces])
@pytest.mark.parametrize("mss", [65000, 100])
def test_other_bytes_in_the_place_of_the_real_ones(cut: Callable[[bytes], list[bytes]], mss: int) -> None:
    """A forged answer that comes first is read; that the real one conflicts with it is named with the next finding."""
    wire = asked(bound())
    sequence = 0
    for piece in cut(response(address=LIE)):
        forge(wire, SERVER, PSH | ACK, piece, sequence=sequence)
        sequence += len(piece)
    wire.server(response(), mss)
    findings, anomalies = found(mapped(wire, 3).segments)
    assert findings[0][:2] == (Verdict.MATCH, 2)
    if mss == 65000:
        assert findings[1] == (Verdict.MISMATCH, 3, ("stream_conflict",))
        assert anomalies == {Anomaly.STREAM_CONFLICT: 1}
    else:
        assert findings[1] == (Verdict.MISMATCH, 3, ("repetition_not_compared",))
        assert anomalies == {Anomaly.REPETITION_NOT_COMPARED: 2}


@pytest.mark.parametrize(
    ("forged", "anomaly"),
    [
        (response(address=LIE) + bytes(40), Anomaly.REPETITION_NOT_COMPARED),
        (response(address=LIE) + response(3, LIE)[:40], Anomaly.STREAM_CONFLICT),
        (
            pdu.response(map_response([tcp_tower(SAMR, 49152, LIE)] * 2), call_id=2),
            Anomaly.REPETITION_NOT_COMPARED,
        ),
    ],
)
def test_a_forged_answer_longer_than_the_real_one(forged: bytes, anomaly: Anomaly) -> None:
    """A PDU which the real answer repeats in part only cannot be compared, and that is named."""
    wire = forge(asked(bound()), SERVER, PSH | ACK, forged).server(response())
    assert found(wire.segments)[1][anomaly] == 1


def test_a_forged_bind_for_another_interface_hides_no_answer() -> None:
    """Where somebody else may have written the bind, nothing is taken for another interface's: structure decides."""
    wire = Wire().open()
    other = pdu.bind([(0, LSARPC, (NDR20,))])
    assert len(other) == len(pdu.bind())
    forge(wire, CLIENT, PSH | ACK, other).client(pdu.bind()).server(pdu.bind_ack())
    findings, anomalies = found(mapped(wire).segments)
    assert [finding[:2] for finding in findings] == [(Verdict.MISMATCH, 2)]
    assert {"stream_conflict", "bind_not_seen"} <= set(findings[0][2])
    assert anomalies[Anomaly.STREAM_CONFLICT] == 1


@pytest.mark.parametrize("field", [12, 16, 60])
def test_any_byte_of_a_repetition_is_compared(field: int) -> None:
    """Also those on which no verdict hangs: call id, allocation hint, referents."""
    wire = asked(bound()).server(response())
    real = wire.segments[-1]
    other = bytearray(real.payload)
    other[field] ^= 1
    forged = real._replace(payload=bytes(other))
    assert found([*wire.segments, real, real])[1] == {}
    assert found([*wire.segments, forged])[1] == {Anomaly.STREAM_CONFLICT: 1}


def test_the_first_segment_seen_is_a_forged_one() -> None:
    """The inspector comes to an open connection, and a lie comes first: the two ends show where they are."""
    for away in (FAR, -FAR, 1 << 24):
        for sender in (CLIENT, SERVER):
            wire = bound()
            wire.segments.clear()
            forge(wire, sender, PSH | ACK, response(9, LIE), sequence=away, acknowledgment=away)
            findings, anomalies = found(mapped(mapped(wire), 3).segments)
            assert [finding[:2] for finding in findings][-1] == (Verdict.MISMATCH, 3)
            assert anomalies[Anomaly.STREAM_MOVED] >= 1


def _half_open(wire: Wire) -> None:
    wire._add(CLIENT, SYN)


def _asked_and_reset(wire: Wire) -> None:
    asked(wire.open().client(pdu.bind()).server(pdu.bind_ack())).reset()


def _parked(wire: Wire) -> None:
    forge(wire.open(), CLIENT, RST, sequence=FAR)
    forge(forge(wire, CLIENT, SYN, sequence=FAR), SERVER, FIN | ACK, sequence=FAR)


@pytest.mark.parametrize(("talk", "most"), [(_half_open, 1600), (_asked_and_reset, 2400), (_parked, 2000)])
def test_a_flood_of_connections_stays_cheap(talk: Callable[[Wire], None], most: int) -> None:
    """Bytes which a connection takes up in the scalar decoder: half open, ended, with forgeries that wait."""
    count = 2000
    wires = [Wire(client=f"10.2.{number >> 8}.{number & 255}") for number in range(count)]
    for wire in wires:
        talk(wire)
    records = [pack_record(segment) for wire in wires for segment in wire.segments]
    # What is made once, and not for each connection, is there before.
    pipeline = Pipeline(Policy(), str)
    warm = Wire()
    talk(warm)
    for segment in warm.segments:
        list(pipeline.feed([pack_record(segment)]))
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for record in records:
        list(pipeline.feed([record]))
    list(pipeline.advance(START_NS + 9 * 10**9))
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (after - before) / count < most


@pytest.mark.parametrize("sender", [SERVER, CLIENT])
def test_nothing_is_unanswered_where_somebody_else_was_read(sender: int) -> None:
    """Other bytes in the place of an answer, or of a question: that none came cannot be known."""
    wire = asked(bound()) if sender is CLIENT else asked(bound()).server(response())
    forged = response(9) if sender is SERVER else asked(Wire(), 9).segments[0].payload
    honest = wire.segments.pop()
    wire.segments += [honest._replace(payload=forged, payload_length=len(forged)), honest]
    wire = wire.server(response()) if sender is CLIENT else wire
    asked(wire, 3).server(response(3)).client_fin().server_fin()
    findings, anomalies = observe(wire.segments)
    assert anomalies[Anomaly.STREAM_CONFLICT]
    assert [one for one in findings if one.verdict is Verdict.UNANSWERED] == []
