"""The endpoint mapper over UDP, and over port 593 with its greeting."""

from __future__ import annotations

from uuid import UUID

import pytest

from inspector.errors import Anomaly, DecodeError
from inspector.model import Verdict
from inspector.wire.datagrams import HEADER_SIZE, read_datagram
from inspector.wire.limits import Limits
from inspector.wire.pdu import HTTP_GREETING, PduReader, split_pdu
from tests.build import pdu
from tests.build.connection import START_NS, Wire, udp
from tests.build.epm import SAMR, floor, map_request, map_response, tcp_tower, tower, uuid_floor
from tests.build.observe import findings_of, observe

REQUEST, RESPONSE, FAULT, REJECT, PING, WORKING = 0, 2, 3, 6, 1, 4
ASK = map_request(tcp_tower(SAMR))
OFFER = map_response([tcp_tower(SAMR, 49152, "10.11.2.7")])
LATER_NS = START_NS + 2_000_000


def test_map_over_udp() -> None:
    """The header names interface, operation and call: one finding, with latency."""
    segments = [
        udp(pdu.datagram(REQUEST, ASK)),
        udp(pdu.datagram(RESPONSE, OFFER), from_server=True, time_ns=LATER_NS),
    ]
    (finding,) = findings_of(segments)
    assert (finding.verdict, finding.operation, finding.transfer_syntax) == (Verdict.MISMATCH, "ept_map", "ndr20")
    assert finding.latency_ns == 2_000_000
    assert finding.requested is not None
    assert finding.requested.name == "SAMR"


def test_udp_tower() -> None:
    """A tower of ncadg_ip_udp is a mapping like any other."""
    offered = tower(
        uuid_floor(SAMR),
        uuid_floor((SAMR[0], 2, 0)),
        floor(0x0A, right=b"\0\0"),
        floor(0x08, right=b"\xc0\0"),
        floor(0x09, right=b"\x0a\x0b\x02\x07"),
    )
    (finding,) = findings_of([udp(pdu.datagram(RESPONSE, map_response([offered])), from_server=True)])
    assert (finding.mappings[0].protocol, finding.mappings[0].port) == ("ncadg_ip_udp", 49152)
    assert finding.anomalies == (Anomaly.REQUEST_NOT_SEEN,)
    assert finding.latency_ns is None


def test_repeated_datagrams_are_one_call() -> None:
    """Clients and servers repeat themselves until they are acknowledged; the next sequence number is another call."""
    first = [udp(pdu.datagram(REQUEST, ASK))] * 2 + [udp(pdu.datagram(RESPONSE, OFFER), from_server=True)] * 3
    second = [
        udp(pdu.datagram(REQUEST, ASK, sequence=1)),
        udp(pdu.datagram(WORKING, b"", sequence=1), from_server=True),
        udp(pdu.datagram(RESPONSE, OFFER, sequence=1), from_server=True),
    ]
    assert [finding.call_id for finding in findings_of(first + second)] == [0, 1]


def test_fragments_in_any_order() -> None:
    """Fragments carry numbers; the stub is whole when none is missing."""
    pieces = [OFFER[:50], OFFER[50:100], OFFER[100:]]
    datagrams = [
        udp(pdu.datagram(RESPONSE, piece, fragment=(number, number == 2)), from_server=True)
        for number, piece in enumerate(pieces)
    ]
    for order in ((0, 1, 2), (2, 0, 1), (1, 1, 2, 0)):
        (finding,) = findings_of([datagrams[index] for index in order])
        assert finding.verdict is Verdict.MISMATCH
    assert findings_of(datagrams[:2]) == []


@pytest.mark.parametrize("kind", [FAULT, REJECT])
def test_fault_and_reject(kind: int) -> None:
    """Both carry a status, said in words."""
    body = (0x1C010003).to_bytes(4, "little")
    segments = [udp(pdu.datagram(REQUEST, ASK)), udp(pdu.datagram(kind, body), from_server=True)]
    (finding,) = findings_of(segments)
    assert (finding.verdict, finding.status) == (Verdict.FAULT, 0x1C010003)
    assert "unknown interface" in finding.why


def test_big_endian_and_sealed() -> None:
    """The data representation is the header's own; packet privacy is in the verifier's first byte."""
    segments = [
        udp(pdu.datagram(REQUEST, map_request(tcp_tower(SAMR), big_endian=True), big_endian=True)),
        udp(pdu.datagram(RESPONSE, b"x" * 128, sealed=True), from_server=True),
    ]
    (finding,) = findings_of(segments)
    assert finding.verdict is Verdict.SEALED


def test_unanswered_where_answers_can_be_seen() -> None:
    """A datagram may get lost: said after the settable time, unless no answer was ever visible from here."""
    ask = udp(pdu.datagram(REQUEST, ASK, sequence=7))
    late = udp(pdu.datagram(PING, b""), time_ns=START_NS + 11 * 10**9)
    assert observe([ask, late]) == ([], {Anomaly.RESPONSE_NOT_VISIBLE: 1})
    answer = udp(pdu.datagram(RESPONSE, OFFER, activity=UUID(int=9)), from_server=True)
    findings = findings_of([answer, ask, late])
    assert [(finding.verdict, finding.call_id) for finding in findings[1:]] == [(Verdict.UNANSWERED, 7)]
    assert findings[1].time_ns == START_NS + 10 * 10**9


def test_bounds() -> None:
    """The number of calls and the bytes of their fragments are bounded, and what exceeds them is counted."""
    asks = [udp(pdu.datagram(REQUEST, ASK, sequence=number)) for number in range(5)]
    _, anomalies = observe(asks, limits=Limits(datagram_calls=3))
    assert anomalies[Anomaly.TOO_MANY_CALLS] == 2
    pieces = [
        udp(pdu.datagram(RESPONSE, bytes(1400), fragment=(number, False)), from_server=True) for number in range(8)
    ]
    _, anomalies = observe(pieces)
    assert anomalies == {Anomaly.FRAGMENTS_TOO_LARGE: 1}


def test_other_interfaces_and_other_bytes() -> None:
    """Datagrams of other interfaces are left alone; what is no datagram of the protocol is counted."""
    other = udp(pdu.datagram(REQUEST, ASK, interface=UUID(int=5)))
    assert observe([other]) == ([], {})
    assert observe([udp(b"hello")]) == ([], {Anomaly.PDU_MALFORMED: 1})


def test_datagram_whole_bytewise_and_trailing() -> None:
    """A datagram cut anywhere is malformed; what follows the body is the verifier's."""
    data = pdu.datagram(RESPONSE, OFFER)
    whole = read_datagram(data)
    assert (len(data) - HEADER_SIZE, whole.body, whole.opnum) == (len(OFFER), OFFER, 3)
    for length in range(len(data)):
        with pytest.raises(DecodeError, match="pdu_malformed"):
            read_datagram(data[:length])
    assert read_datagram(data + b"rest") == whole


@pytest.mark.parametrize("mss", [1, 5, 13, 14, 15, 1000])
def test_port_593_greets_first(mss: int) -> None:
    """The server of ncacn_http says its name before its first PDU; the rest is as on port 135."""
    wire = Wire(server_port=593).open().server(HTTP_GREETING, mss).client(pdu.bind()).server(pdu.bind_ack(), mss)
    wire.client(pdu.request(ASK, call_id=2)).server(pdu.response(OFFER, call_id=2), mss)
    findings, anomalies = observe(wire.segments)
    assert [(finding.verdict, finding.server_port) for finding in findings] == [(Verdict.MISMATCH, 593)]
    assert anomalies == {}


def test_greeting_and_first_pdu_in_one_segment() -> None:
    """The greeting ends where the first PDU begins, wherever segments are cut; a second one is no greeting."""
    ack = pdu.bind_ack()
    for cut in range(len(HTTP_GREETING) + 20):
        reader = PduReader()
        stream = HTTP_GREETING + ack
        assert [*reader.feed(stream[:cut]), *reader.feed(stream[cut:])] == [split_pdu(ack)]
    assert isinstance(next(iter(reader.feed(HTTP_GREETING + bytes(9)))), DecodeError)
