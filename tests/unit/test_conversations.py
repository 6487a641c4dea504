"""Conversations from packets to findings: what TCP and DCE/RPC do to a map response on its way."""

from __future__ import annotations

import random
from collections.abc import Callable
from uuid import UUID

import pytest

from inspector.errors import Anomaly
from inspector.model import Finding, Tunnel, TunnelKind, Verdict
from inspector.record import Attribute
from inspector.wire.limits import Limits
from tests.build import pdu
from tests.build.connection import Wire, raw_address
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
from tests.golden.dialogue import DIP, ISYSTEMACTIVATOR, MANAGEMENT, VIP, bound


def mapped(wire: Wire, *towers: bytes, wide: bool = False, call_id: int = 2, status: int = 0) -> Wire:
    """Add a map request for SAMR and its response."""
    context_id = 1 if wide else 0
    wire.client(pdu.request(map_request(tcp_tower(SAMR), wide=wide), call_id=call_id, context_id=context_id))
    stub = map_response(towers, wide=wide, status=status)
    return wire.server(pdu.response(stub, call_id=call_id, context_id=context_id))


def one(findings: list[Finding]) -> Finding:
    """Return the only finding."""
    assert len(findings) == 1, findings
    return findings[0]


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("number", [1, 2, 7])
def test_map_response_with_any_number_of_towers(*, wide: bool, number: int) -> None:
    """NDR20 and NDR64, one tower and many: each is a mapping with address and port."""
    towers = [tcp_tower(SAMR, 49152 + index, DIP) for index in range(number)]
    finding = one(findings_of(mapped(bound(wide=wide), *towers, wide=wide).segments))
    assert finding.verdict is Verdict.MISMATCH
    assert finding.transfer_syntax == ("ndr64" if wide else "ndr20")
    assert [(str(mapping.address), mapping.port) for mapping in finding.mappings] == [
        (DIP, 49152 + index) for index in range(number)
    ]
    assert finding.anomalies == ()


def test_not_registered() -> None:
    """The status 0x16c9a0d6 without towers is a verdict of its own."""
    finding = one(findings_of(mapped(bound(), status=NOT_REGISTERED).segments))
    assert (finding.verdict, finding.status) == (Verdict.NOT_REGISTERED, NOT_REGISTERED)
    assert finding.requested is not None
    assert finding.requested.name == "SAMR"


def test_other_status_is_a_fault_in_words() -> None:
    """0x16c9a0cd: the endpoint mapper can't perform the operation."""
    finding = one(findings_of(mapped(bound(), status=0x16C9A0CD).segments))
    assert finding.verdict is Verdict.FAULT
    assert "cannot perform" in finding.why


def test_bind_nak_is_rejected_with_its_reason() -> None:
    """A bind of 72 bytes answered by a bind_nak of 24: the original case's outer side."""
    nak = pdu.bind_nak(4, ((5, 0), (5, 1)))
    assert len(nak) == 23
    wire = Wire().open().client(pdu.bind()).server(nak)
    finding = one(findings_of(wire.segments))
    assert (finding.verdict, finding.operation, finding.status) == (Verdict.REJECTED, "bind", 4)
    assert "protocol version not supported" in finding.why
    assert finding.latency_ns == 1_000_000


def test_rejected_context_is_rejected() -> None:
    """A bind_ack that accepts none of the endpoint mapper's contexts leaves the client with nothing."""
    wire = Wire().open().client(pdu.bind()).server(pdu.bind_ack([(2, 1, (UUID(int=0), 0, 0))]))
    finding = one(findings_of(wire.segments))
    assert finding.verdict is Verdict.REJECTED
    assert "abstract syntax not supported" in finding.why


def test_fault_in_words() -> None:
    """A fault PDU ends the call; its status is said in words."""
    wire = bound().client(pdu.request(map_request(tcp_tower(SAMR)), call_id=2))
    finding = one(findings_of(wire.server(pdu.fault(0x1C010002, call_id=2)).segments))
    assert (finding.verdict, finding.status, finding.operation) == (Verdict.FAULT, 0x1C010002, "ept_map")
    assert "out of range" in finding.why


def test_other_interfaces_are_left_alone() -> None:
    """The mapper's management interface on the same port gives no finding, whatever its stubs look like."""
    wire = Wire().open().client(pdu.bind([(0, MANAGEMENT, (NDR20,))])).server(pdu.bind_ack())
    mapped(wire, tcp_tower(SAMR, 1, DIP))
    assert observe(wire.segments) == ([], {})


def test_alter_context_brings_the_endpoint_mapper_later() -> None:
    """Contexts change in the middle of a stream, with the bind's call id."""
    wire = Wire().open().client(pdu.bind([(0, ISYSTEMACTIVATOR, (NDR20,))])).server(pdu.bind_ack())
    wire.client(pdu.bind([(1, EPM, (NDR64,))], kind=pdu.ALTER_CONTEXT))
    wire.server(pdu.bind_ack([(0, 0, NDR64)], kind=pdu.ALTER_CONTEXT_RESPONSE, secondary=b""))
    finding = one(findings_of(mapped(wire, tcp_tower(SAMR, 1, DIP), wide=True).segments))
    assert (finding.verdict, finding.transfer_syntax) == (Verdict.MISMATCH, "ndr64")


def test_big_endian_data_representation() -> None:
    """Integers of PDU and stub follow the data representation; the tower's bytes do not."""
    wire = Wire().open().client(pdu.bind(big_endian=True)).server(pdu.bind_ack(big_endian=True))
    wire.client(pdu.request(map_request(tcp_tower(SAMR), big_endian=True), call_id=2, big_endian=True))
    stub = map_response([tcp_tower(SAMR, 49152, DIP)], big_endian=True)
    finding = one(findings_of(wire.server(pdu.response(stub, call_id=2, big_endian=True)).segments))
    assert (finding.verdict, finding.mappings[0].port) == (Verdict.MISMATCH, 49152)
    assert finding.requested is not None
    assert finding.requested.name == "SAMR"


def test_bind_with_flags_zero() -> None:
    """Real clients send binds without the fragment flags, and Windows accepts them."""
    wire = Wire().open().client(pdu.bind(flags=0)).server(pdu.bind_ack())
    assert one(findings_of(mapped(wire, tcp_tower(SAMR, 1, DIP)).segments)).anomalies == ()


def test_request_with_flags_zero() -> None:
    """NT 4.0 sends a request of one PDU without the fragment flags; in a call that is open they mean the middle."""
    stub = map_request(tcp_tower(SAMR))
    whole = Wire().open().client(pdu.bind(flags=0)).server(pdu.bind_ack()).client(pdu.request(stub, call_id=2, flags=0))
    found = one(findings_of(whole.server(pdu.response(map_response([tcp_tower(SAMR, 1, DIP)]), call_id=2)).segments))
    assert found.requested is not None
    assert (found.requested.name, found.anomalies) == ("SAMR", ())
    assert {flags for flags, _ in pdu.fragments(stub, 48)} == {0, pdu.FIRST, pdu.LAST}
    wire = bound()
    for flags, piece in pdu.fragments(stub, 48):
        wire.client(pdu.request(piece, call_id=2, flags=flags))
    found = one(findings_of(wire.server(pdu.response(map_response([tcp_tower(SAMR, 1, DIP)]), call_id=2)).segments))
    assert found.requested is not None
    assert (found.requested.name, found.anomalies) == ("SAMR", ())


@pytest.mark.parametrize("size", [8, 40, 100])
def test_fragmented_response(size: int) -> None:
    """Towers cross the borders of fragments: stubs are joined before they are read."""
    wire = bound().client(pdu.request(map_request(tcp_tower(SAMR)), call_id=2))
    stub = map_response([tcp_tower(SAMR, 49152, DIP), tcp_tower(SAMR, 49153, VIP)])
    for flags, piece in pdu.fragments(stub, size):
        wire.server(pdu.response(piece, call_id=2, flags=flags))
    finding = one(findings_of(wire.segments))
    assert [mapping.verdict for mapping in finding.mappings] == [Verdict.MISMATCH, Verdict.MATCH]


def test_signed_fragments_lose_padding_and_verifier() -> None:
    """Packet integrity: each fragment loses its own padding and verifier, and can be read."""
    wire = bound()
    wire.client(pdu.request(map_request(tcp_tower(SAMR)), call_id=2, auth=(5, bytes(16))))
    for flags, piece in pdu.fragments(map_response([tcp_tower(SAMR, 49152, DIP)]), 64):
        wire.server(pdu.response(piece, call_id=2, flags=flags, auth=(5, bytes(16))))
    assert one(findings_of(wire.segments)).verdict is Verdict.MISMATCH


def test_sealed_stub() -> None:
    """Packet privacy cannot be read, and the finding says so."""
    wire = bound().client(pdu.request(b"x" * 32, call_id=2, auth=(6, bytes(16))))
    finding = one(findings_of(wire.server(pdu.response(b"y" * 32, call_id=2, auth=(6, bytes(16)))).segments))
    assert finding.verdict is Verdict.SEALED


def test_malformed_stub() -> None:
    """A stub that contradicts itself is a finding, with the anomaly which says why."""
    wire = bound().client(pdu.request(map_request(tcp_tower(SAMR)), call_id=2))
    findings, anomalies = observe(wire.server(pdu.response(b"\xff" * 60, call_id=2)).segments)
    assert one(findings).verdict is Verdict.MALFORMED
    assert anomalies == {Anomaly.TOWERS_TOO_MANY: 1}


def test_object_uuid_in_the_request_header() -> None:
    """With PFC_OBJECT_UUID the request's header has 40 bytes."""
    wire = bound().client(pdu.request(map_request(tcp_tower(SAMR)), call_id=2, object_uuid=UUID(int=7)))
    wire.server(pdu.response(map_response([tcp_tower(SAMR, 1, DIP)]), call_id=2))
    finding = one(findings_of(wire.segments))
    assert finding.requested is not None
    assert finding.requested.name == "SAMR"


def test_address_in_the_request() -> None:
    """Windows writes its literal target into the tower it asks with: what it was before any translation."""
    wire = bound().client(pdu.request(map_request(tcp_tower(SAMR, 135, "192.0.2.9")), call_id=2))
    finding = one(findings_of(wire.server(pdu.response(map_response([tcp_tower(SAMR, 1, DIP)]), call_id=2)).segments))
    assert finding.as_dict()["requested"]["address"] == "192.0.2.9"
    finding = one(findings_of(mapped(bound(), tcp_tower(SAMR, 1, DIP)).segments))
    assert "address" not in finding.as_dict()["requested"]


def test_null_and_aliased_referents() -> None:
    """A null referent has no tower; a repeated one is the same tower, which is listed once with a count."""
    wire = bound().client(pdu.request(map_request(tcp_tower(SAMR)), call_id=2))
    stub = map_response([tcp_tower(SAMR, 49152, DIP)], referents=[3, 0, 3])
    finding = one(findings_of(wire.server(pdu.response(stub, call_id=2)).segments))
    assert [(mapping.verdict, mapping.references) for mapping in finding.mappings] == [
        (Verdict.MISMATCH, 2),
        (Verdict.MALFORMED, 1),
    ]
    assert finding.anomalies == (Anomaly.TOWER_NULL, Anomaly.TOWER_REPEATED)
    assert [mapping.get("references") for mapping in finding.as_dict()["mappings"]] == [2, None]


@pytest.mark.parametrize("wide", [False, True])
def test_lookup_entries_are_mappings(*, wide: bool) -> None:
    """ept_lookup: towers of every kind, annotations of odd lengths, and the end of the listing."""
    wire = bound(wide=wide)
    context_id = 1 if wide else 0
    entries = [
        (tcp_tower(SAMR, 49152, DIP), "Security Account Manager"),
        (pipe_tower(SAMR, "\\PIPE\\samr", "\\\\DC1"), ""),
        (tcp_tower(SAMR, 49153, VIP), "odd"),
    ]
    handle = b"\0\0\0\0" + b"h" * 16
    wire.client(pdu.request(lookup_request(wide=wide), opnum=2, call_id=2, context_id=context_id))
    stub = lookup_response(entries, wide=wide, handle=handle)
    wire.server(pdu.response(stub, call_id=2, context_id=context_id))
    wire.client(pdu.request(lookup_request(wide=wide, handle=handle), opnum=2, call_id=3, context_id=context_id))
    stub = lookup_response([], wide=wide, status=NOT_REGISTERED)
    wire.server(pdu.response(stub, call_id=3, context_id=context_id))
    listing, end = findings_of(wire.segments)
    assert [(mapping.protocol, mapping.verdict, mapping.annotation) for mapping in listing.mappings] == [
        ("ncacn_ip_tcp", Verdict.MISMATCH, "Security Account Manager"),
        ("ncacn_np", Verdict.NO_ADDRESS, ""),
        ("ncacn_ip_tcp", Verdict.MATCH, "odd"),
    ]
    assert listing.mappings[1].endpoint == "\\PIPE\\samr"
    assert (end.verdict, end.why) == (Verdict.NO_ADDRESS, "the end of a listing")


def test_handle_free_is_reported_without_an_endpoint() -> None:
    """Operations that offer nothing are named, and are no fault."""
    wire = bound().client(pdu.request(bytes(20), opnum=4, call_id=2))
    finding = one(findings_of(wire.server(pdu.response(bytes(24), call_id=2)).segments))
    assert (finding.operation, finding.verdict) == ("ept_lookup_handle_free", Verdict.NO_ADDRESS)


@pytest.mark.parametrize("mss", [1, 7, 24, 100])
def test_pdus_in_many_segments(mss: int) -> None:
    """A PDU may come byte by byte."""
    wire = Wire().open().client(pdu.bind(), mss).server(pdu.bind_ack(), mss)
    wire.client(pdu.request(map_request(tcp_tower(SAMR)), call_id=2), mss)
    wire.server(pdu.response(map_response([tcp_tower(SAMR, 1, DIP)]), call_id=2), mss)
    assert one(findings_of(wire.segments)).verdict is Verdict.MISMATCH


def test_several_calls_in_one_segment() -> None:
    """Concatenated requests, and their answers in another order: pairs are made by call id."""
    wire = bound()
    wire.client(b"".join(pdu.request(map_request(tcp_tower(SAMR)), call_id=call) for call in (2, 3, 4)))
    answers = {call: pdu.response(map_response([tcp_tower(SAMR, call, DIP)]), call_id=call) for call in (2, 3, 4)}
    wire.server(answers[4] + answers[2] + answers[3])
    findings = findings_of(wire.segments)
    assert [(finding.call_id, finding.mappings[0].port) for finding in findings] == [(4, 4), (2, 2), (3, 3)]
    assert all(finding.latency_ns == 1_000_000 for finding in findings)


def test_retransmissions_make_no_second_finding() -> None:
    """Every segment twice, in place and late, is one finding."""
    segments = mapped(bound(), tcp_tower(SAMR, 1, DIP)).client_fin().server_fin().segments
    assert len(findings_of([one for segment in segments for one in (segment, segment)])) == 1
    assert len(findings_of(segments + segments)) == 1


def test_any_order_gives_the_same() -> None:
    """After the SYNs, segments may come in any order, over the two directions as well."""
    segments = bound(Wire(client_sequence=2**32 - 50, server_sequence=2**32 - 100)).segments
    wire = Wire(client_sequence=2**32 - 50, server_sequence=2**32 - 100)
    segments = mapped(mapped(bound(wire), tcp_tower(SAMR, 1, DIP)), tcp_tower(SAMR, 2, VIP), call_id=3).segments
    expected = findings_of(segments)
    assert [finding.verdict for finding in expected] == [Verdict.MISMATCH, Verdict.MATCH]
    for seed in range(50):
        shuffled = segments[2:]
        random.Random(seed).shuffle(shuffled)  # noqa: S311  # an order for a test
        assert findings_of(segments[:2] + shuffled) == expected


def test_seen_from_the_middle() -> None:
    """Attached in mid-connection: structure decides on the syntax, and the finding says that it was inferred."""
    for wide in (False, True):
        segments = mapped(bound(wide=wide), tcp_tower(SAMR, 1, DIP), wide=wide).segments[-2:]
        finding = one(findings_of(segments))
        assert finding.verdict is Verdict.MISMATCH
        assert finding.transfer_syntax == ("ndr64" if wide else "ndr20")
        assert finding.anomalies == (Anomaly.BIND_NOT_SEEN,)


def test_only_the_response_visible() -> None:
    """One port of an asymmetric path shows one direction: the offer is judged all the same."""
    segments = [one for one in mapped(bound(), tcp_tower(SAMR, 1, DIP)).segments if one.source_port == 135]
    finding = one(findings_of(segments))
    assert (finding.verdict, finding.operation) == (Verdict.MISMATCH, "ept_map")
    assert set(finding.anomalies) == {Anomaly.BIND_NOT_SEEN, Anomaly.REQUEST_NOT_SEEN}
    assert finding.requested is None
    assert finding.latency_ns is None


def test_only_requests_visible_is_not_unanswered() -> None:
    """Where answers cannot be seen, their absence says nothing."""
    segments = [one for one in mapped(bound(), tcp_tower(SAMR, 1, DIP)).client_fin().segments if one.source_port != 135]
    findings, anomalies = observe(segments)
    assert findings == []
    findings, anomalies = observe([*segments, *Wire(client_port=9).wait(60).open().segments])
    assert findings == []
    assert anomalies == {Anomaly.RESPONSE_NOT_VISIBLE: 2}  # the bind and the request


def test_unanswered_after_its_time() -> None:
    """A request without answer is said after the settable time, at that time, once."""
    wire = bound().client(pdu.request(map_request(tcp_tower(SAMR)), call_id=2))
    later = Wire(client_port=9).wait(5).open().segments
    limits = Limits(unanswered_ns=3_000_000_000)
    finding = one(findings_of(wire.segments + later, limits=limits))
    assert (finding.verdict, finding.operation, finding.call_id) == (Verdict.UNANSWERED, "ept_map", 2)
    assert finding.time_ns == wire.segments[-1].time_ns + 3_000_000_000
    assert findings_of(wire.segments + later, limits=Limits(unanswered_ns=6_000_000_000)) == []


def test_closed_before_an_answer() -> None:
    """The original symptom: silence, then FIN from both ends (or a reset)."""
    ways: list[Callable[[Wire], Wire]] = [lambda wire: wire.client_fin().server_fin(), lambda wire: wire.reset()]
    for close in ways:
        finding = one(findings_of(close(Wire().open().client(pdu.bind())).segments))
        assert (finding.verdict, finding.operation) == (Verdict.UNANSWERED, "bind")
        finding = one(findings_of(close(bound().client(pdu.request(map_request(tcp_tower()), call_id=2))).segments))
        assert (finding.verdict, finding.operation) == (Verdict.UNANSWERED, "ept_map")


def test_lost_segment_is_a_counted_gap_and_the_rest_is_read() -> None:
    """When a segment never comes, the next PDU is found again, at its known place."""
    wire = bound()
    wire.client(pdu.request(map_request(tcp_tower(SAMR)), call_id=2))
    wire.server(pdu.response(map_response([tcp_tower(SAMR, 1, DIP)]), call_id=2), 60)
    mapped(wire, tcp_tower(SAMR, 2, DIP), call_id=3)
    segments = [one for index, one in enumerate(wire.segments) if index != 6]
    findings, anomalies = observe(segments)
    assert [finding.call_id for finding in findings] == [3]
    assert anomalies[Anomaly.STREAM_GAP] == 1


def test_port_reuse_is_a_new_connection() -> None:
    """A SYN with another sequence number between the same ports starts anew."""
    first = mapped(bound(), tcp_tower(SAMR, 1, DIP)).client_fin().server_fin()
    second = mapped(bound(Wire(client_sequence=777, server_sequence=888).wait(1)), tcp_tower(SAMR, 2, DIP))
    findings = findings_of(first.segments + second.segments)
    assert [finding.mappings[0].port for finding in findings] == [1, 2]


def test_full_table_drops_the_oldest_and_counts() -> None:
    """The number of connections is bounded; the one that was silent longest goes, and is counted."""
    wires = [Wire(client_port=port).wait(port / 1000).open().client(pdu.bind()) for port in (1, 2, 3)]
    segments = [segment for wire in wires for segment in wire.segments]
    findings, anomalies = observe(segments, limits=Limits(connections=2))
    assert anomalies[Anomaly.CONNECTION_EVICTED] == 1
    assert [(finding.client_port, finding.verdict) for finding in findings] == [(1, Verdict.UNANSWERED)]


def test_bytes_that_are_no_rpc() -> None:
    """Something else on the port is counted, once for the stream, and makes no finding."""
    wire = Wire().open().client(b"GET / HTTP/1.1\r\n\r\n").server(b"SSH-2.0-OpenSSH_9.2\r\n")
    assert observe(wire.segments) == ([], {Anomaly.STREAM_NOT_RPC: 2})


def test_tunnel_of_the_answer_is_in_the_finding() -> None:
    """A packet within a tunnel: outer and inner addresses both."""
    outer = Tunnel(TunnelKind.GRE, raw_address("192.0.2.1"), raw_address("2001:db8::2"))
    segments = mapped(bound(), tcp_tower(SAMR, 1, DIP)).segments
    carried = [
        segment._replace(tunnel=outer, attributes=segment.attributes | Attribute.TUNNELLED) for segment in segments
    ]
    finding = one(findings_of(carried))
    assert finding.as_dict()["tunnel"] == {"kind": "gre", "source": "192.0.2.1", "destination": "2001:db8::2"}
    assert "tunnel" not in one(findings_of(segments)).as_dict()
