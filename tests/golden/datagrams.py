"""The endpoint mapper over UDP: the connectionless protocol."""

# ruff: noqa: D401  # a trace's docstring says what it shows: it describes a scene, not a deed
from __future__ import annotations

from typing import Any
from uuid import UUID

from inspector.model import Segment
from tests.build import pdu
from tests.build.connection import START_NS, udp
from tests.build.epm import NOT_REGISTERED, SAMR, map_request, map_response, tcp_tower
from tests.golden.dialogue import DIP
from tests.golden.trace import trace

_REQUEST, _PING, _RESPONSE, _FAULT, _WORKING, _REJECT, _ACK = 0, 1, 2, 3, 4, 6, 7
_ASK = map_request(tcp_tower(SAMR))
_OFFER = map_response([tcp_tower(SAMR, 49152, DIP)])
_STEP_NS = 1_000_000


def _ask(step: int, data: bytes) -> Segment:
    return udp(data, time_ns=START_NS + step * _STEP_NS)


def _answer(step: int, data: bytes) -> Segment:
    return udp(data, from_server=True, time_ns=START_NS + step * _STEP_NS)


@trace()
def answered() -> list[Segment]:
    """Two calls of one activity: an offer, and no such interface."""
    nothing = map_response([], status=NOT_REGISTERED)
    return [
        _ask(0, pdu.datagram(_REQUEST, _ASK)),
        _answer(1, pdu.datagram(_RESPONSE, _OFFER)),
        _ask(2, pdu.datagram(_REQUEST, _ASK, sequence=1)),
        _answer(3, pdu.datagram(_RESPONSE, nothing, sequence=1)),
        _ask(4, pdu.datagram(_ACK, b"", sequence=1)),
    ]


@trace()
def ipv6() -> list[Segment]:
    """Over IPv6, to an address behind a NAT64."""
    ends: dict[str, Any] = {"client": "2001:db8::c11e", "server": "64:ff9b::a0b:202"}
    return [
        udp(pdu.datagram(_REQUEST, _ASK), **ends),
        udp(pdu.datagram(_RESPONSE, _OFFER), from_server=True, time_ns=START_NS + _STEP_NS, **ends),
    ]


@trace()
def repeated() -> list[Segment]:
    """Client and server repeat themselves, and the client asks how it goes: one call."""
    return [
        _ask(0, pdu.datagram(_REQUEST, _ASK)),
        _ask(1, pdu.datagram(_REQUEST, _ASK)),
        _ask(2, pdu.datagram(_PING, b"")),
        _answer(3, pdu.datagram(_WORKING, b"")),
        _answer(4, pdu.datagram(_RESPONSE, _OFFER)),
        _answer(5, pdu.datagram(_RESPONSE, _OFFER)),
    ]


@trace()
def fragments() -> list[Segment]:
    """A response in three fragments, the last one first."""
    pieces = [_OFFER[:50], _OFFER[50:100], _OFFER[100:]]
    parts = [pdu.datagram(_RESPONSE, piece, fragment=(number, number == 2)) for number, piece in enumerate(pieces)]
    return [
        _ask(0, pdu.datagram(_REQUEST, _ASK)),
        *(_answer(step, parts[number]) for step, number in enumerate((2, 0, 1), 1)),
    ]


@trace()
def refused() -> list[Segment]:
    """A fault, a reject, and an answer that is encrypted."""
    status = (0x1C010003).to_bytes(4, "little")
    segments = []
    for sequence, (kind, body, sealed) in enumerate(
        ((_FAULT, status, False), (_REJECT, status, False), (_RESPONSE, bytes(128), True))
    ):
        segments += [
            _ask(2 * sequence, pdu.datagram(_REQUEST, _ASK, sequence=sequence)),
            _answer(2 * sequence + 1, pdu.datagram(kind, body, sequence=sequence, sealed=sealed)),
        ]
    return segments


@trace()
def unanswered() -> list[Segment]:
    """One call is answered, the next is not; only the answer of a third is seen; time passes."""
    return [
        _ask(0, pdu.datagram(_REQUEST, _ASK)),
        _answer(1, pdu.datagram(_RESPONSE, _OFFER)),
        _ask(2, pdu.datagram(_REQUEST, _ASK, sequence=1)),
        _answer(3, pdu.datagram(_RESPONSE, _OFFER, activity=UUID(int=3))),
        _ask(12_000, pdu.datagram(_PING, b"", sequence=1)),
    ]


@trace()
def other_bytes() -> list[Segment]:
    """Another interface on the port, and what is no datagram of the protocol."""
    return [_ask(0, pdu.datagram(_REQUEST, _ASK, interface=UUID(int=5))), _ask(1, b"not RPC")]
