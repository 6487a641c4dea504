"""The endpoint mapper on port 593, where the server greets before its first PDU."""

# ruff: noqa: D401  # a trace's docstring says what it shows: it describes a scene, not a deed
from __future__ import annotations

from inspector.model import Segment
from tests.build import pdu
from tests.build.connection import Wire
from tests.build.epm import SAMR, map_request, map_response, tcp_tower
from tests.golden.dialogue import DIP
from tests.golden.trace import trace

_GREETING = b"ncacn_http/1.0"
_CALL = (
    pdu.request(map_request(tcp_tower(SAMR)), call_id=2),
    pdu.response(map_response([tcp_tower(SAMR, 49152, DIP)]), call_id=2),
)


def _conversation(first: bytes, mss: int) -> list[Segment]:
    wire = Wire(server_port=593).open().server(first, mss).client(pdu.bind())
    return wire.server(pdu.bind_ack()).client(_CALL[0]).server(_CALL[1]).client_fin().server_fin().segments


@trace()
def greeting() -> list[Segment]:
    """The greeting, and then as on port 135."""
    return _conversation(_GREETING, 1000)


@trace()
def greeting_in_pieces() -> list[Segment]:
    """The greeting in three segments."""
    return _conversation(_GREETING, 6)


@trace()
def no_greeting() -> list[Segment]:
    """A server that begins with its first PDU is understood all the same."""
    wire = Wire(server_port=593).open().client(pdu.bind()).server(pdu.bind_ack())
    return wire.client(_CALL[0]).server(_CALL[1]).segments
