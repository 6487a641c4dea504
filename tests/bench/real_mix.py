"""The real mix: conversations as Windows clients and servers have them, each with bytes of its own.

| kind | of 100 conversations | what it is |
|---|---|---|
| map_ndr64 | 28 | bind of three contexts (NDR20, NDR64, bind-time feature negotiation), ept_map in NDR64, one tower |
| map_ndr64_two | 9 | the same, two towers: TCP and a pipe |
| map_ndr20 | 18 | bind of one context, ept_map in NDR20, one tower |
| map_ndr20_two | 6 | the same, two towers over TCP |
| map_several | 6 | three ept_map calls on one connection, each handle freed by ept_lookup_handle_free |
| map_retransmitted | 2 | map_ndr64; the server sends its response twice, the client ends with RST |
| not_registered | 9 | map_ndr64; the status is EPT_S_NOT_REGISTERED and the handle nil |
| alter_context | 4 | bind of NDR20, alter_context to NDR64, ept_map in it |
| lookup_pages | 3 | ept_lookup in four pages of 16 entries by one handle, cut at 1,460 bytes |
| server_alive | 5 | DCOM without authentication: ServerAlive2 of IObjectExporter, DUALSTRINGARRAY in the response |
| activation_ntlm | 5 | DCOM: bind with NTLM token, challenge, auth3, RemoteCreateInstance signed (readable) |
| activation_sealed | 2 | the same, stubs sealed |
| activation_kerberos | 3 | bind with an AP-REQ of 1,800 bytes, alter_context, RemoteCreateInstance signed |

The shares are a choice, not a measurement: map calls of current Windows clients prevail, and every form that a
decoder has to tell apart is among them. Own in each conversation: client address and port, initial sequence numbers,
call ids, context handles, association groups, tokens, signatures, causality ids, OXIDs, sealed stubs. Not own: servers
and what they offer (`VARIANTS` of each kind), since these are few in reality too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Final
from uuid import UUID

from tests.bench.template import Template, Values, learn
from tests.build import dcom, pdu
from tests.build.connection import Wire
from tests.build.epm import (
    EPM,
    FEATURES,
    MAPI,
    NDR20,
    NDR64,
    NIL_HANDLE,
    NOT_REGISTERED,
    SAMR,
    lookup_request,
    lookup_response,
    map_request,
    map_response,
    pipe_tower,
    tcp_tower,
)

VARIANTS: Final = 8
VIPS: Final = ("10.11.2.2", "10.11.2.3", "10.11.2.4", "10.11.2.5")
MSS: Final = 1460

_OFFERED: Final = ("10.11.2.7", "10.11.2.8", "10.11.2.9")
_INTERFACES: Final = (
    MAPI,
    SAMR,
    (UUID("12345778-1234-abcd-ef00-0123456789ab"), 0, 0),
    (UUID("e3514235-4b06-11d1-ab04-00c04fc2dcd2"), 4, 0),
    (UUID("12345678-1234-abcd-ef00-01234567cffb"), 1, 0),
    (UUID("76f03f96-cdfd-44fc-a22c-64950a001209"), 1, 0),
)
_FEATURES_ACK: Final = (3, 3, (UUID(int=0), 0, 0))
_REFUSED: Final = (2, 2, (UUID(int=0), 0, 0))
_FREE_HANDLE: Final = 4
_NTLM: Final = {"negotiate": 40, "challenge": 238, "authenticate": 410}
_AP_REQ, _AP_REP = 1800, 180
_SIGNATURE: Final = 16
_SIGNED, _SEALED = 5, 6


class Server:
    """What a variant of a kind has to do with: a VIP, and interfaces with the endpoints that are offered for them."""

    def __init__(self, random: Random, vip: str | None = None) -> None:
        self.vip = vip or random.choice(VIPS)
        self.offered = random.choice((self.vip, *_OFFERED))
        self.interfaces = random.sample(_INTERFACES, 3)
        self.port = random.randrange(49152, 49300)

    def tower(self, number: int = 0, transfer: tuple[UUID, int, int] = NDR20) -> bytes:
        """Return the TCP tower of one of the interfaces."""
        return tcp_tower(self.interfaces[number], self.port + number, self.offered, transfer)

    def asked(self, number: int = 0, *, wide: bool = False, max_towers: int = 4) -> bytes:
        """Return the stub of the map request which a client makes for it."""
        return map_request(tcp_tower(self.interfaces[number]), wide=wide, max_towers=max_towers)

    def wire(self) -> Wire:
        """Return a connection to the VIP, open."""
        return Wire(server=self.vip).open()


def _handle(values: Values) -> bytes:
    return bytes(4) + values.take(16)


def _bind_all(wire: Wire, values: Values, call_id: int, abstract: tuple[UUID, int, int]) -> None:
    """Bind as current Windows does: NDR20, NDR64 and feature negotiation, of which the server chooses NDR64."""
    contexts = [(number, abstract, (transfer,)) for number, transfer in enumerate((NDR20, NDR64, FEATURES))]
    results = [_REFUSED, (0, 0, NDR64), _FEATURES_ACK]
    wire.client(pdu.bind(contexts, call_id=call_id))
    wire.server(pdu.bind_ack(results, call_id=call_id, group=values.number()))


def _bind_one(wire: Wire, values: Values, call_id: int) -> None:
    wire.client(pdu.bind(call_id=call_id)).server(pdu.bind_ack(call_id=call_id, group=values.number()))


def _call(wire: Wire, call_id: int, context_id: int, request: bytes, response: bytes, opnum: int = 3) -> None:
    wire.client(pdu.request(request, opnum=opnum, call_id=call_id, context_id=context_id), MSS)
    wire.server(pdu.response(response, call_id=call_id, context_id=context_id), MSS)


def map_ndr64(server: Server, values: Values, *, two: bool = False) -> Wire:
    """Return a map call in NDR64, of one or two towers."""
    return _map_ndr64(server, values, two=two).client_fin().server_fin()


def _map_ndr64(server: Server, values: Values, *, two: bool) -> Wire:
    wire, call = server.wire(), values.call_ids()
    _bind_all(wire, values, call(1), EPM)
    towers = [server.tower(transfer=NDR64)] + [pipe_tower(server.interfaces[0], "\\pipe\\x", "\\\\SRV1")] * two
    response = map_response(towers, wide=True, max_count=4, handle=_handle(values))
    _call(wire, call(2), 1, server.asked(wide=True), response)
    return wire


def map_ndr20(server: Server, values: Values, *, two: bool = False) -> Wire:
    """Return a map call in NDR20, of one or two towers."""
    wire, call = server.wire(), values.call_ids()
    _bind_one(wire, values, call(1))
    towers = [server.tower(number) for number in range(1 + two)]
    _call(wire, call(2), 0, server.asked(), map_response(towers, max_count=4, handle=_handle(values)))
    return wire.client_fin().server_fin()


def _map_several(server: Server, values: Values) -> Wire:
    wire, call = server.wire(), values.call_ids()
    _bind_all(wire, values, call(1), EPM)
    for number in range(3):
        handle = _handle(values)
        response = map_response([server.tower(number)], wide=True, max_count=1, handle=handle)
        _call(wire, call(2 + 2 * number), 1, server.asked(number, wide=True, max_towers=1), response)
        _call(wire, call(3 + 2 * number), 1, handle, NIL_HANDLE + bytes(4), _FREE_HANDLE)
    return wire.client_fin().server_fin()


def _map_retransmitted(server: Server, values: Values) -> Wire:
    wire = _map_ndr64(server, values, two=False)
    wire.segments.append(wire.segments[-1])
    return wire.reset()


def _not_registered(server: Server, values: Values) -> Wire:
    wire, call = server.wire(), values.call_ids()
    _bind_all(wire, values, call(1), EPM)
    response = map_response([], wide=True, max_count=4, status=NOT_REGISTERED)
    _call(wire, call(2), 1, server.asked(wide=True), response)
    return wire.client_fin().server_fin()


def _alter_context(server: Server, values: Values) -> Wire:
    wire, call = server.wire(), values.call_ids()
    _bind_one(wire, values, call(1))
    wire.client(pdu.bind([(1, EPM, (NDR64,))], kind=pdu.ALTER_CONTEXT, call_id=call(2)))
    altered = pdu.bind_ack([(0, 0, NDR64)], kind=pdu.ALTER_CONTEXT_RESPONSE, call_id=call(2), secondary=b"")
    wire.server(altered)
    response = map_response([server.tower(transfer=NDR64)], wide=True, max_count=4, handle=_handle(values))
    _call(wire, call(3), 1, server.asked(wide=True), response)
    return wire.client_fin().server_fin()


def _lookup_pages(server: Server, values: Values) -> Wire:
    wire, call = server.wire(), values.call_ids()
    _bind_one(wire, values, call(1))
    asked_with, handle = NIL_HANDLE, _handle(values)
    entries = [(server.tower(number % 3), f"Service {number}") for number in range(16)]
    for page in range(4):
        is_last = page == 3
        status, given = (NOT_REGISTERED, NIL_HANDLE) if is_last else (0, handle)
        response = lookup_response(entries, status=status, max_count=16, handle=given)
        _call(wire, call(2 + page), 0, lookup_request(handle=asked_with, max_entries=16), response, 2)
        asked_with = handle
    return wire.client_fin().server_fin()


def _server_alive(server: Server, values: Values) -> Wire:
    wire, call = server.wire(), values.call_ids()
    _bind_all(wire, values, call(1), dcom.OBJECT_EXPORTER)
    response = dcom.server_alive_2_response(["SRV1", server.offered])
    _call(wire, call(2), 1, b"", response, dcom.SERVER_ALIVE_2)
    return wire.client_fin().server_fin()


def _activate(wire: Wire, server: Server, values: Values, call_id: int, level: int) -> None:
    request = dcom.create_instance_request(values.take(16), bytes(600))
    bindings = [f"SRV1[{server.port}]", f"{server.offered}[{server.port}]"]
    response = dcom.create_instance_response(values.take(8), bindings, bytes(400))
    if level == _SEALED:
        request, response = values.take(len(request)), values.take(len(response))
    opnum = dcom.REMOTE_CREATE_INSTANCE
    asked = pdu.request(request, opnum=opnum, call_id=call_id, auth=(level, values.take(_SIGNATURE)))
    wire.client(asked, MSS)
    wire.server(pdu.response(response, call_id=call_id, auth=(level, values.take(_SIGNATURE))), MSS)
    wire.client_fin().server_fin()


def _activation_ntlm(server: Server, values: Values, *, level: int = _SIGNED) -> Wire:
    wire, call = server.wire(), values.call_ids()

    def token(name: str) -> tuple[int, bytes]:
        return level, b"NTLMSSP\0" + values.take(_NTLM[name] - 8)

    wire.client(pdu.bind([(0, dcom.SCM_ACTIVATOR, (NDR20,))], call_id=call(1), auth=token("negotiate")))
    wire.server(pdu.bind_ack(call_id=call(1), group=values.number(), auth=token("challenge")))
    wire.client(pdu.pdu(pdu.AUTH3, bytes(4), call_id=call(1), auth=token("authenticate")))
    _activate(wire, server, values, call(2), level)
    return wire


def _activation_kerberos(server: Server, values: Values) -> Wire:
    wire, call = server.wire(), values.call_ids()
    context = [(0, dcom.SCM_ACTIVATOR, (NDR20,))]
    wire.client(pdu.bind(context, call_id=call(1), auth=(_SIGNED, values.take(_AP_REQ))), MSS)
    wire.server(pdu.bind_ack(call_id=call(1), group=values.number(), auth=(_SIGNED, values.take(_AP_REP))))
    altered = pdu.bind(context, kind=pdu.ALTER_CONTEXT, call_id=call(1), auth=(_SIGNED, values.take(_AP_REP)))
    wire.client(altered)
    wire.server(
        pdu.bind_ack(
            kind=pdu.ALTER_CONTEXT_RESPONSE, call_id=call(1), secondary=b"", auth=(_SIGNED, values.take(_SIGNATURE))
        )
    )
    _activate(wire, server, values, call(2), _SIGNED)
    return wire


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of conversation: its share of all, in percent, and what builds it."""

    name: str
    share: float
    build: Callable[[Server, Values], Wire]


KINDS: Final = (
    Kind("map_ndr64", 28, map_ndr64),
    Kind("map_ndr64_two", 9, partial(map_ndr64, two=True)),
    Kind("map_ndr20", 18, map_ndr20),
    Kind("map_ndr20_two", 6, partial(map_ndr20, two=True)),
    Kind("map_several", 6, _map_several),
    Kind("map_retransmitted", 2, _map_retransmitted),
    Kind("not_registered", 9, _not_registered),
    Kind("alter_context", 4, _alter_context),
    Kind("lookup_pages", 3, _lookup_pages),
    Kind("server_alive", 5, _server_alive),
    Kind("activation_ntlm", 5, _activation_ntlm),
    Kind("activation_sealed", 2, partial(_activation_ntlm, level=_SEALED)),
    Kind("activation_kerberos", 3, _activation_kerberos),
)


def real_templates(seed: int = 1, vip: str | None = None, *, healthy: bool = False) -> list[tuple[float, Template]]:
    """Return templates with their weights: `VARIANTS` of each kind, of servers of their own, or all of one VIP.

    Only of `healthy` ones: in `map_retransmitted` the client never acknowledges the answer.
    """
    random = Random(seed)  # noqa: S311 - traffic, no secret
    return [
        (kind.share / VARIANTS, learn(partial(kind.build, Server(random, vip))))
        for kind in KINDS
        for _ in range(VARIANTS)
        if not (healthy and kind.name == "map_retransmitted")
    ]
