"""What TCP does to a conversation: order, repeats, gaps, cuts, what can be seen of it, and limits."""

# ruff: noqa: D401  # a trace's docstring says what it shows: it describes a scene, not a deed
from __future__ import annotations

import random
from collections.abc import Iterable

from inspector.model import Segment
from tests.build import pdu
from tests.build.connection import ACK, FIN, RST, SYN, Wire
from tests.build.epm import SAMR, lookup_request, lookup_response, map_request, map_response, tcp_tower
from tests.golden.dialogue import DIP, VIP, answered, asked, bound, closed, mapped
from tests.golden.layers import Frame, frame_of, in_order_of_arrival
from tests.golden.trace import trace

_OFFER = tcp_tower(SAMR, 49152, DIP)


def _whole() -> list[Segment]:
    """Return a conversation of one call, opened and closed."""
    return closed(mapped(bound(), _OFFER)).segments


@trace()
def in_order() -> list[Segment]:
    """One call, nothing unusual."""
    return _whole()


@trace()
def out_of_order() -> list[Segment]:
    """Two calls in pieces of 50 bytes; behind the handshake every piece comes at a random place."""
    wire = Wire().open().client(pdu.bind(), 50).server(pdu.bind_ack(), 50)
    for call_id, address in ((2, DIP), (3, VIP)):
        wire.client(pdu.request(map_request(tcp_tower(SAMR)), call_id=call_id), 50)
        wire.server(pdu.response(map_response([tcp_tower(SAMR, 49152, address)]), call_id=call_id), 50)
    rest = wire.segments[2:]
    random.Random(1).shuffle(rest)  # noqa: S311  # an order, no secret
    return in_order_of_arrival(wire.segments[:2] + rest)


@trace()
def overlap() -> list[Segment]:
    """Retransmissions with other borders: each piece repeats the last bytes of the one before."""
    segments = _whole()
    response = segments[5]
    pieces = [
        response._replace(
            sequence=response.sequence + start, payload=response.payload[start:end], payload_length=end - start
        )
        for start, end in ((0, 60), (40, 100), (20, 152))
    ]
    return in_order_of_arrival(segments[:5] + pieces + segments[6:])


@trace()
def conflict() -> list[Segment]:
    """Two segments claim different bytes for the same place, before either can be read: the first to come wins."""
    segments = _whole()
    response = segments[5]
    late = response._replace(sequence=response.sequence + 50, payload=response.payload[50:], payload_length=102)
    forged = late._replace(payload=late.payload[:-12] + bytes([6, 6, 6, 6]) + late.payload[-8:])
    first = response._replace(payload=response.payload[:50], payload_length=50)
    return in_order_of_arrival([*segments[:5], late, forged, first, *segments[6:]])


@trace()
def retransmitted() -> list[Segment]:
    """Every segment twice in place, and the whole conversation once more: one finding."""
    segments = _whole()
    return in_order_of_arrival([*(one for segment in segments for one in (segment, segment)), *segments[1:]])


@trace()
def keep_alive() -> list[Segment]:
    """Keep-alives repeat the last byte already read, one with and one without that byte."""
    wire = asked(bound())
    request = wire.segments[-1]
    sequence = (request.sequence + request.payload_length - 1) % 2**32
    probes = [
        request._replace(sequence=sequence, payload=payload, payload_length=len(payload), time_ns=time_ns)
        for payload, time_ns in ((b"\0", wire.time_ns), (b"", wire.time_ns + 1_000_000_000))
    ]
    wire.wait(2)
    answered(wire, _OFFER)
    return [*wire.segments[:5], *probes, *wire.segments[5:]]


@trace()
def sequence_wrap() -> list[Segment]:
    """Both sequence numbers wrap around in the middle of a PDU."""
    wire = Wire(client_sequence=2**32 - 100, server_sequence=2**32 - 80)
    return closed(mapped(bound(wire), _OFFER)).segments


@trace()
def gap() -> list[Segment]:
    """A segment in the middle of a response never comes; the next call is read."""
    wire = asked(bound())
    wire.server(pdu.response(map_response([_OFFER]), call_id=2), 60)
    mapped(wire, tcp_tower(SAMR, 49153, DIP), call_id=3)
    closed(wire.wait(3))
    return [segment for number, segment in enumerate(wire.segments) if number != 6]


@trace()
def gap_of_whole_pdus() -> list[Segment]:
    """Segments which held whole PDUs never come: the response behind them has lost its request."""
    wire = mapped(mapped(bound(), _OFFER), tcp_tower(SAMR, 49153, DIP), call_id=3)
    return [segment for number, segment in enumerate(wire.segments) if number not in (5, 6)]


@trace()
def merged() -> list[Segment]:
    """Receive offload hands on one segment of many fragments, longer than any packet of the wire."""
    wire = bound().client(pdu.request(lookup_request(), opnum=2, call_id=2))
    entries = [(tcp_tower(SAMR, 49152 + number, DIP if number % 2 else VIP), f"entry {number}") for number in range(20)]
    parts = pdu.fragments(lookup_response(entries), 1024)
    wire.server(b"".join(pdu.response(piece, call_id=2, flags=flags) for flags, piece in parts))
    return closed(wire).segments


@trace()
def byte_by_byte() -> list[Segment]:
    """Every byte of a call in a segment of its own."""
    wire = Wire().open().client(pdu.bind()).server(pdu.bind_ack())
    wire.client(pdu.request(map_request(tcp_tower(SAMR)), call_id=2), 1)
    return closed(wire.server(pdu.response(map_response([_OFFER]), call_id=2), 1)).segments


@trace()
def many_at_once() -> Iterable[Segment]:
    """Forty connections whose segments alternate, every fourth with a mismatch."""
    wires = [Wire(client_port=50000 + number) for number in range(40)]
    for number, wire in enumerate(wires):
        closed(mapped(bound(wire), tcp_tower(SAMR, 49152 + number, VIP if number % 4 else DIP)))
    return in_order_of_arrival(one for turn in zip(*(wire.segments for wire in wires), strict=True) for one in turn)


@trace()
def ports_reused() -> list[Segment]:
    """A second connection between the same ports, after the first was closed and while the second is still open."""
    first = closed(mapped(bound(), _OFFER))
    second = mapped(bound(Wire(client_sequence=777, server_sequence=888).wait(1)), tcp_tower(SAMR, 49153, DIP))
    third = mapped(bound(Wire(client_sequence=99, server_sequence=111).wait(2)), tcp_tower(SAMR, 49154, DIP))
    return first.segments + second.segments + third.segments


@trace()
def from_the_middle() -> list[Segment]:
    """First seen in the middle, in each transfer syntax: structure decides, and the finding says so."""
    narrow = mapped(bound(), _OFFER).segments[4:]
    wide = mapped(bound(Wire(client_port=33655).wait(1), wide=True), _OFFER, wide=True).segments[4:]
    return narrow + wide


@trace()
def responses_only() -> list[Segment]:
    """Only the server's direction can be seen, in each transfer syntax."""
    both = _whole() + closed(mapped(bound(Wire(client_port=33655).wait(1), wide=True), _OFFER, wide=True)).segments
    return [segment for segment in both if segment.source_port == 135]


@trace()
def requests_only() -> list[Segment]:
    """Only the client's direction can be seen: what cannot be seen is not unanswered."""
    asking = [segment for segment in _whole() if segment.source_port != 135]
    return asking + Wire(client_port=33655).wait(60).open().segments


@trace()
def cut_by_snap_length() -> Iterable[Frame]:
    """A capture kept 128 bytes of each frame: the calls cannot be read, but nothing goes wrong in silence."""
    wire = closed(mapped(mapped(bound(), _OFFER), tcp_tower(SAMR, 49153, DIP), call_id=3).wait(3))
    return [frame_of(segment).cut(128) for segment in wire.segments]


def _forged(like: Segment, flags: int, payload: bytes = b"", away: int = 0) -> Segment:
    """Return a segment which the sender of another never sent, at its place or so far away."""
    return like._replace(
        sequence=(like.sequence + away) % 2**32, tcp_flags=flags, payload=payload, payload_length=len(payload)
    )


@trace()
def reset_then_goes_on() -> list[Segment]:
    """A RST at the next byte, before the bind_ack, and the two ends talk on: the end is not believed."""
    segments = _whole()
    return in_order_of_arrival([*segments[:3], _forged(segments[3], RST | ACK), *segments[3:]])


@trace()
def reset_out_of_window() -> list[Segment]:
    """RSTs of both sides at other places than the next byte: none of them ends anything."""
    segments = _whole()
    forged = [_forged(segments[number], RST, away=away) for number, away in ((4, 1), (5, -1), (4, 1 << 29), (5, 70000))]
    return in_order_of_arrival([*segments[:4], *forged, *segments[4:]])


@trace()
def forged_between() -> list[Segment]:
    """SYN, SYN-ACK, FIN and data out of the window, and an acknowledgment of what was never sent, in the middle."""
    segments = _whole()
    ask, answer = segments[4:6]
    forged = [
        _forged(ask, SYN, away=1 << 29),
        _forged(answer, SYN | ACK, away=1 << 29),
        _forged(answer, FIN | ACK, away=1 << 29),
        _forged(answer, ACK, bytes(152), away=1 << 29),
        _forged(ask, ACK, bytes(60))._replace(acknowledgment=(ask.acknowledgment + (1 << 29)) % 2**32),
        _forged(ask, 0, bytes(60)),
    ]
    return in_order_of_arrival([*segments[:4], *forged, *segments[4:]])


@trace()
def forged_answer() -> list[Segment]:
    """Another answer comes first, at the right place: it is read, and the next finding names the conflict."""
    wire = mapped(mapped(bound(), _OFFER), _OFFER, call_id=3)
    answer = wire.segments[5]
    lie = answer._replace(payload=pdu.response(map_response([tcp_tower(SAMR, 49152, VIP)]), call_id=2))
    return in_order_of_arrival([*wire.segments[:5], lie, *wire.segments[5:]])


@trace()
def taken_over() -> list[Segment]:
    """A SYN and its SYN-ACK, both forged, in the middle: the two ends go on, which shows where they really are."""
    wire = mapped(mapped(bound(), _OFFER), _OFFER, call_id=3)
    syn, answer = _forged(wire.segments[4], SYN, away=1 << 29), _forged(wire.segments[5], SYN | ACK, away=1 << 29)
    answer = answer._replace(acknowledgment=(syn.sequence + 1) % 2**32)
    return in_order_of_arrival([*wire.segments[:4], syn, answer, *wire.segments[4:]])


@trace()
def forged_answer_longer() -> list[Segment]:
    """Another answer comes first, of two towers: the real one repeats a part of it, which cannot be compared."""
    wire = mapped(mapped(bound(), _OFFER), _OFFER, call_id=3)
    lie = pdu.response(map_response([tcp_tower(SAMR, 49152, VIP)] * 2), call_id=2)
    return in_order_of_arrival([*wire.segments[:5], _forged(wire.segments[5], ACK, lie), *wire.segments[5:]])


@trace()
def no_rpc() -> list[Segment]:
    """Something else speaks on the port."""
    return closed(Wire().open().client(b"GET / HTTP/1.1\r\n\r\n").server(b"SSH-2.0-OpenSSH_9.2\r\n")).segments


@trace(config="[limits]\nbuffered_bytes = 4096\n")
def overflow() -> list[Segment]:
    """More bytes wait for a missing segment than the configuration allows; another connection is not harmed."""
    wire = asked(bound())
    wire.server(bytes(100)).server(bytes(1400) + b"early", 1400).server(bytes(4200), 1400)
    healthy = mapped(bound(Wire(client_port=33655).wait(1)), _OFFER)
    return wire.segments[:5] + wire.segments[6:] + healthy.segments


@trace(config="[limits]\nconnections = 2\n")
def evicted() -> list[Segment]:
    """A table for two connections meets a third: the one silent for longest goes, and its bind was unanswered."""
    wires = [Wire(client_port=50001 + number).wait(number).open().client(pdu.bind()) for number in range(3)]
    return [segment for wire in wires for segment in wire.segments]


@trace(config="[limits]\nidle_seconds = 20\nunanswered_seconds = 60\n")
def idle() -> list[Segment]:
    """A connection falls silent with a question open, and is forgotten after its time."""
    return asked(bound()).segments + Wire(client_port=33655).wait(30).open().segments


@trace()
def half_open() -> list[Segment]:
    """SYNs without any answer, and ends of connections of which nothing else was seen."""
    opening = [Wire(client_port=50001 + number).wait(number).open().segments[0] for number in range(5)]
    stray = [one._replace(tcp_flags=flags, time_ns=one.time_ns + 10**10) for one in opening for flags in (FIN | ACK, 4)]
    stray = [one._replace(source_port=one.source_port + 100) for one in stray]
    return [*opening, *stray, opening[0]._replace(tcp_flags=SYN, time_ns=opening[0].time_ns + 10**11)]
