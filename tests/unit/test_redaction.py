"""What is blanked in segments for files, apart from the property that no auth_value is left: order, waiting, UDP."""

from __future__ import annotations

from random import Random
from typing import Any
from uuid import UUID

import pytest

from inspector.capture import redaction
from inspector.capture.redaction import PATIENCE_NS, Redacted, Redactor, redact
from inspector.model import Segment
from tests.build import ntlm, pdu
from tests.build.connection import Wire, udp
from tests.build.epm import SAMR, map_request, map_response, tcp_tower

TOKEN = ntlm.authenticate(Random(7))  # noqa: S311 - no real secret
CONVERSATION = UUID("333a2276-0000-0000-0d00-00809c000000")


def authenticated(**ends: Any) -> Wire:
    """Return a connection whose client's bind has a token."""
    return Wire(**ends).open().client(pdu.bind(auth=(ntlm.INTEGRITY, TOKEN)), 100)


def test_a_note_says_what_was_done() -> None:
    """Bytes of values, and bytes which could not be told."""
    bind = pdu.bind(auth=(ntlm.INTEGRITY, TOKEN))
    whole, middle = (redact(wire.segments)[-1] for wire in (Wire().client(bind), Wire().client(bind[30:])))
    assert whole.note == f"{len(TOKEN)} bytes of authentication values are blanked"
    assert whole.segment.payload == bind[: -len(TOKEN)] + bytes(len(TOKEN))
    assert middle.note == f"{len(bind) - 30} bytes are blanked: which PDU they are of was not seen"
    assert not any(middle.segment.payload)
    assert redact(Wire().open().segments)[0].note is None


def test_what_is_not_rpc_is_blanked() -> None:
    """An HTTP request to port 593 may hold a password."""
    [one] = redact(Wire(server_port=593).client(b"RPC_IN_DATA / HTTP/1.1\r\nAuthorization: Basic Zm9v\r\n").segments)
    assert (one.unknown, any(one.segment.payload)) == (len(one.segment.payload), False)


@pytest.mark.parametrize("length", [1, 1000, 65535])
def test_a_verifier_that_cannot_be(length: int) -> None:
    """Longer than its PDU: nothing of the body is kept, and what follows is read as usual."""
    bad = bytearray(pdu.request(b"secret" * 4))
    bad[10:12] = length.to_bytes(2, "little")
    wire = Wire().open().client(bytes(bad) + pdu.request(b"open", call_id=2))
    payload = redact(wire.segments)[-1].segment.payload
    kept = bad[:16] + bytes(len(bad) - 16) if length > len(bad) - 24 else bad[:-length] + bytes(length)
    assert payload == bytes(kept) + pdu.request(b"open", call_id=2)


def feed(redactor: Redactor, segments: list[Segment]) -> list[Redacted]:
    """Return what leaves when segments come."""
    return [one for segment in segments for one in redactor.feed(segment)]


def test_others_wait_behind_one_that_waits() -> None:
    """Until what it follows came, and then all leave in the order in which they came, with nothing unknown."""
    wire = authenticated()
    syn, answer, first, second, *rest = wire.segments
    other = authenticated(client_port=5).segments
    redactor = Redactor()
    assert [one.segment for one in feed(redactor, [syn, answer])] == [syn, answer]
    assert feed(redactor, [second, *other]) == []
    left = feed(redactor, [first, *rest])
    assert [one.segment.sequence for one in left] == [one.sequence for one in (second, *other, first, *rest)]
    assert not any(one.unknown for one in left)


def test_patience_ends() -> None:
    """By the time of other segments, or by the clock when none come: then what is unknown is 0."""
    syn, _, first, second, *_ = authenticated().segments
    late = Wire(start_ns=second.time_ns + PATIENCE_NS).open().segments[0]
    hurried, idle = Redactor(), Redactor()
    for redactor in (hurried, idle):
        assert len(feed(redactor, [syn, second])) == 1
        assert list(redactor.advance(late.time_ns - 1)) == []
    for found in (feed(hurried, [late])[:1], list(idle.advance(late.time_ns))):
        assert [(one.unknown, any(one.segment.payload)) for one in found] == [(len(second.payload), False)]
    # What came too late is read all the same.
    assert feed(idle, [first])[0].segment.payload == first.payload[:88] + bytes(12)


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """By bytes of all, by segments of a direction, by directions."""
    monkeypatch.setattr(redaction, "WAITING_BYTES", 10_000)
    monkeypatch.setattr(redaction, "DIRECTIONS", 50)
    redactor = Redactor()
    left = 0
    for port in range(1000):
        syn, _, _, second, *_ = authenticated(client_port=port).segments
        left += len(feed(redactor, [syn, second]))
    assert left > 1900
    assert redactor._queued_bytes <= 10_000
    assert len(redactor._directions) == 50
    monkeypatch.undo()
    redactor = Redactor()
    syn, _, _, second, *_ = authenticated().segments
    feed(redactor, [syn])
    for number in range(1000):
        feed(redactor, [second._replace(sequence=second.sequence + 2000 * number + 1)])
    [followed] = redactor._directions.values()
    assert len(followed.waiting) <= 64


@pytest.mark.parametrize("big_endian", [False, True])
def test_datagrams(big_endian: bool) -> None:
    """The verifier behind the body goes, but for its level; without one nothing goes (C706 sections 12.5, 13.3)."""
    stub = map_request(tcp_tower(SAMR))
    plain = pdu.datagram(0, stub, big_endian=big_endian)
    assert redact([udp(plain)]) == [Redacted(udp(plain))]
    signed = bytearray(plain) + b"\5\1" + TOKEN
    signed[78] = 10
    [one] = redact([udp(bytes(signed))])
    assert one.segment.payload == bytes(signed[: -len(TOKEN)]) + bytes(len(TOKEN))
    assert (one.blanked, one.unknown) == (len(TOKEN), 0)
    # Nothing belongs there: nobody knows what it is.
    [one] = redact([udp(plain + TOKEN)])
    assert one.segment.payload == plain + bytes(len(TOKEN))


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize(("kind", "from_server"), [(0, True), (2, False)])
def test_calls_back(kind: int, from_server: bool, big_endian: bool) -> None:
    """A server asks who its client is, and the stubs of both hold the tokens."""
    called = pdu.datagram(kind, bytes(20) + TOKEN, interface=CONVERSATION, big_endian=big_endian)
    [one] = redact([udp(called, from_server=from_server)])
    assert one.segment.payload == called[:80] + bytes(20 + len(TOKEN))


def test_datagrams_that_are_none() -> None:
    """Of another protocol, or too short."""
    for data in (TOKEN, b"\4\0", b"\5" + bytes(200)):
        assert not any(redact([udp(data)])[0].segment.payload)


def test_a_second_copy_is_like_the_first() -> None:
    """A router's packets are seen on both interfaces."""
    wire = authenticated().server(pdu.bind_ack()).client(pdu.request(map_request(tcp_tower(SAMR)), call_id=2))
    wire.server(pdu.response(map_response([tcp_tower(SAMR, 49152, "10.11.2.7")]), call_id=2))
    twice = [one._replace(interface_index=index) for one in wire.segments for index in (1, 2)]
    redacted = [one.segment.payload for one in redact(twice)]
    assert redacted[::2] == redacted[1::2] == [one.segment.payload for one in redact(wire.segments)]
    assert all(one.payload == after for one, after in zip(wire.segments[-3:], redacted[-6::2], strict=True))


def test_the_chain_that_knew_a_verifier_had_to_go() -> None:
    """A PDU is sent again, contradicts another header that was seen in it, and the chain of both is the eighth."""
    value = pdu.request(TOKEN, call_id=9)
    bind = pdu.bind(auth=(ntlm.INTEGRITY, value))
    at = len(bind) - len(value)
    wire = Wire().open()
    [first] = wire.client(bind).segments[2:]
    other = pdu.request(bytes(8), call_id=9)
    segments = [
        *wire.segments,
        first._replace(sequence=first.sequence + at, payload=other, payload_length=len(other)),
        *(wire.segments[0]._replace(sequence=number * 100_000) for number in range(1, 7)),
        first,
    ]
    redacted = redact(segments)
    assert TOKEN not in redacted[2].segment.payload
    assert TOKEN not in redacted[-1].segment.payload
