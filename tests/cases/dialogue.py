"""Turns of conversations that cases share: binds as Windows and as simple clients send them, questions, answers."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from tests.build import pdu
from tests.build.epm import (
    EPM,
    FEATURES,
    MAPI,
    NDR20,
    NDR64,
    NOT_REGISTERED,
    SAMR,
    lookup_request,
    map_request,
    map_response,
    tcp_tower,
)
from tests.cases.network import Connection, Network
from tests.golden.dialogue import ISYSTEMACTIVATOR, LSARPC, MANAGEMENT, NETLOGON

CLIENT: Final = "10.20.1.15"
VIP, DIP, OTHER_DIP = "10.30.2.2", "10.30.2.7", "10.30.2.8"
SERVER: Final = "10.30.4.10"
DRSUAPI = (UUID("e3514235-4b06-11d1-ab04-00c04fc2dcd2"), 4, 0)
SPOOLSS = (UUID("12345678-1234-abcd-ef00-0123456789ab"), 1, 0)
WITNESS = (UUID("ccd8c074-d0e5-4a40-92b4-d074faa6ba28"), 1, 1)
POOL = f'[[vip]]\nname = "mail"\naddress = "{VIP}"\npool = ["{DIP}", "{OTHER_DIP}"]\n'
_NONE = (UUID(int=0), 0, 0)
Syntax = tuple[UUID, int, int]

__all__ = [
    "CLIENT",
    "DIP",
    "DRSUAPI",
    "ISYSTEMACTIVATOR",
    "LSARPC",
    "MANAGEMENT",
    "MAPI",
    "NETLOGON",
    "OTHER_DIP",
    "POOL",
    "SAMR",
    "SERVER",
    "SPOOLSS",
    "VIP",
    "WITNESS",
    "Syntax",
    "acceptance_of",
    "bind_of",
    "bound",
    "called",
    "empty_answer",
    "looked_up",
    "map_answer",
    "map_question",
    "mapped",
    "rejection_of",
    "sealed",
]  # fmt: skip


def bind_of(interface: Syntax = EPM, *, wide: bool = True, flags: int = pdu.FIRST | pdu.LAST) -> bytes:
    """Return a bind: NDR20, NDR64 and feature negotiation as Windows sends it, or NDR20 alone."""
    transfers = (NDR20, NDR64, FEATURES) if wide else (NDR20,)
    contexts = [(number, interface, (transfer,)) for number, transfer in enumerate(transfers)]
    return pdu.bind(contexts, call_id=2 if wide else 1, flags=flags)


def acceptance_of(*, wide: bool = True) -> bytes:
    """Return the bind_ack for such a bind: NDR64 chosen, or NDR20."""
    if not wide:
        return pdu.bind_ack()
    return pdu.bind_ack([(2, 2, _NONE), (0, 0, NDR64), (3, 3, _NONE)], call_id=2)


def rejection_of(*, wide: bool = True) -> bytes:
    """Return a bind_ack that rejects each context: abstract syntax not supported."""
    results = [(2, 1, _NONE), (2, 1, _NONE), (3, 3, _NONE)] if wide else [(2, 1, _NONE)]
    return pdu.bind_ack(results, call_id=2 if wide else 1)


def bound(connection: Connection, *, wide: bool = True) -> Connection:
    """Open a connection and bind the endpoint mapper."""
    return connection.open().ask(bind_of(wide=wide), acceptance_of(wide=wide))


def map_question(interface: Syntax, *, wide: bool = True, target: str = "0.0.0.0", flags: int = 3) -> bytes:  # noqa: S104
    """Return a map request; `target` is the address which the client writes into its tower."""
    stub = map_request(tcp_tower(interface, 135, target), wide=wide)
    return pdu.request(stub, call_id=2, context_id=int(wide), flags=flags)


def map_answer(interface: Syntax, *offers: tuple[str, int], wide: bool = True) -> bytes:
    """Return a map response with these addresses and ports."""
    towers = [tcp_tower(interface, port, address) for address, port in offers]
    return pdu.response(map_response(towers, wide=wide), call_id=2, context_id=int(wide))


def empty_answer(status: int = NOT_REGISTERED) -> bytes:
    """Return a map response without towers."""
    return pdu.response(map_response([], wide=True, status=status), call_id=2, context_id=1)


def mapped(
    network: Network,
    server: str,
    interface: Syntax,
    *offers: tuple[str, int],
    client: str = CLIENT,
    wide: bool = True,
    target: str = "0.0.0.0",  # noqa: S104
    translated: tuple[str | None, str | None] = (None, None),
) -> Connection:
    """Let a client ask for an interface and get these offers; without any, that it is not registered."""
    answer = map_answer(interface, *offers, wide=wide) if offers else empty_answer()
    connection = bound(network.connect(client, server, translated=translated), wide=wide)
    return connection.ask(map_question(interface, wide=wide, target=target), answer).close()


def called(
    network: Network,
    server: str,
    port: int,
    interface: Syntax,
    *,
    client: str = CLIENT,
    wide: bool = True,
    accepted: bool = True,
    translated: tuple[str | None, str | None] = (None, None),
) -> Connection:
    """Let a client connect to an endpoint and bind; the server accepts, or does not know the interface."""
    connection = network.connect(client, server, port, translated=translated).open()
    answer = acceptance_of(wide=wide) if accepted else rejection_of(wide=wide)
    return connection.ask(bind_of(interface, wide=wide), answer).close()


def looked_up(stub: bytes) -> tuple[bytes, bytes]:
    """Return request and response of a listing on a connection with NDR20."""
    return pdu.request(lookup_request(), opnum=2, call_id=2), pdu.response(stub, call_id=2)


def sealed(network: Network) -> None:
    """Let a client ask in packets of which nothing can be read."""
    connection = bound(network.connect(CLIENT, SERVER), wide=False)
    question = pdu.request(bytes(96), opnum=3, call_id=2, auth=(6, bytes(16)))
    connection.ask(question, pdu.response(bytes(160), call_id=2, auth=(6, bytes(16)))).close()
