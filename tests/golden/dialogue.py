"""Turns of a conversation which most traces share."""

from __future__ import annotations

from uuid import UUID

from tests.build import pdu
from tests.build.connection import Wire
from tests.build.epm import EPM, FEATURES, NDR20, NDR64, SAMR, map_request, map_response, tcp_tower

VIP, DIP = "10.11.2.2", "10.11.2.7"
NO_SYNTAX = (UUID(int=0), 0, 0)
NO_HANDLE_STATUS = bytes(24)
ISYSTEMACTIVATOR = (UUID("000001a0-0000-0000-c000-000000000046"), 0, 0)
MANAGEMENT = (UUID("afa8bd80-7d8a-11c9-bef4-08002b102989"), 1, 0)
LSARPC = (UUID("12345778-1234-abcd-ef00-0123456789ab"), 0, 0)
NETLOGON = (UUID("12345678-1234-abcd-ef00-01234567cffb"), 1, 0)
HANDLE = b"\0\0\0\0" + UUID("6a3c1e0f-0000-4000-8000-00000000c0de").bytes_le


def bound(wire: Wire | None = None, *, wide: bool = False) -> Wire:
    """Open a connection and bind: NDR20 alone as context 0, or all that 64-bit Windows offers, NDR64 as context 1."""
    wire = (wire or Wire()).open()
    if not wide:
        return wire.client(pdu.bind()).server(pdu.bind_ack())
    wire.client(pdu.bind([(0, EPM, (NDR20,)), (1, EPM, (NDR64,)), (2, EPM, (FEATURES,))]))
    return wire.server(pdu.bind_ack([(2, 2, NO_SYNTAX), (0, 0, NDR64), (3, 3, NO_SYNTAX)]))


def asked(wire: Wire, interface: tuple[UUID, int, int] = SAMR, *, wide: bool = False, call_id: int = 2) -> Wire:
    """Add a map request over TCP/IP."""
    stub = map_request(tcp_tower(interface), wide=wide)
    return wire.client(pdu.request(stub, call_id=call_id, context_id=int(wide)))


def answered(wire: Wire, *towers: bytes, wide: bool = False, call_id: int = 2, status: int = 0) -> Wire:
    """Add a map response with these towers."""
    stub = map_response(towers, wide=wide, status=status)
    return wire.server(pdu.response(stub, call_id=call_id, context_id=int(wide)))


def mapped(wire: Wire, *towers: bytes, wide: bool = False, call_id: int = 2, status: int = 0) -> Wire:
    """Add a map request for SAMR and its response."""
    return answered(asked(wire, wide=wide, call_id=call_id), *towers, wide=wide, call_id=call_id, status=status)


def closed(wire: Wire) -> Wire:
    """Close the connection, the client first."""
    return wire.client_fin().server_fin()
