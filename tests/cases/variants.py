"""Variants of the cases: the same kinds of harm with other ports, protocols, ends and orders."""

# ruff: noqa: D401  # a case's docstring says what happened: it describes a scene, not a deed
from __future__ import annotations

from tests.build import pdu
from tests.build.connection import ACK, FIN, PSH, RST, SYN
from tests.build.epm import EPM, NDR20, map_request, tcp_tower
from tests.cases import connections, gateways
from tests.cases.case import case
from tests.cases.dialogue import (
    CLIENT,
    DIP,
    ISYSTEMACTIVATOR,
    MAPI,
    NETLOGON,
    POOL,
    SAMR,
    SERVER,
    VIP,
    acceptance_of,
    bind_of,
    bound,
    looked_up,
    map_answer,
    map_question,
    mapped,
)
from tests.cases.network import Network

CLIENT6, SERVER6, ROUTER6 = "2001:db8:20::15", "2001:db8:30::10", "2001:db8:20::1"
ROUTER = "10.20.0.1"

case("01-undeclared", variant=True)(connections.original_in_one_capture)
case("08a-undeclared", variant=True, gateway=True)(gateways.original)
case("07a-servers", variant=True, gateway=True, side=gateways.SERVERS_SIDE)(gateways.swallowed_here)
case("08a-clients", variant=True, gateway=True, side=gateways.CLIENTS_SIDE)(gateways.original)
case("08a-servers", variant=True, gateway=True, side=gateways.SERVERS_SIDE)(gateways.original)
case("06-pooled", variant=True, config=POOL)(connections.client_goes_to_the_dip)


@case("07a-clients", variant=True)
def swallowed_before_here(network: Network) -> None:
    """At the client: the answer never comes, but a later ACK of the server counts its bytes."""
    question = map_question(SAMR, wide=False)
    connection = bound(network.connect(CLIENT, VIP), wide=False).say(0, question, acknowledged=False)
    connection.send(1, PSH | ACK, map_answer(SAMR, (DIP, 49152), wide=False), at=(), arrives=False)
    network.wait(0.2)
    connection.send(0, PSH | ACK, question, again=True).send(1, ACK, arrives=False)
    network.wait(13)
    connection.send(0, FIN | ACK).send(1, ACK)
    network.later(40)


@case("12-authenticated", variant=True)
def denied_in_spite_of_authentication(network: Network) -> None:
    """An authenticated client gets fault 5."""
    bind = pdu.bind([(0, EPM, (NDR20,))], auth=(5, bytes(40)))
    connection = network.connect(CLIENT, SERVER).open().ask(bind, pdu.bind_ack(auth=(5, bytes(80))))
    stub = map_request(tcp_tower(NETLOGON, 135, "0.0.0.0"))  # noqa: S104
    connection.ask(pdu.request(stub, opnum=3, call_id=2, auth=(5, bytes(16))), pdu.fault(5, call_id=2)).close()
    network.later(40)


@case("21-by-fin", variant=True)
def client_closes_in_vain(network: Network) -> None:
    """The client closes the connection four seconds after its question: one finding."""
    connection = bound(network.connect(CLIENT, SERVER)).say(0, map_question(SAMR))
    network.wait(4)
    connection.close()
    network.later(40)


@case("21-server-closes", variant=True)
def server_closes(network: Network) -> None:
    """The server, or a filter in its name, closes the connection and does not answer."""
    connection = bound(network.connect(CLIENT, SERVER)).say(0, map_question(SAMR))
    network.wait(2)
    connection.send(1, FIN | ACK).send(0, FIN | ACK).send(1, ACK)
    network.later(40)


@case("27-host-unreachable", variant=True)
def no_way_to_the_mapper(network: Network) -> None:
    """A router cannot reach the mapper's host."""
    network.connect(CLIENT, SERVER).unreachable(ROUTER, 1)
    network.later(40)


@case("28-by-device", variant=True)
def mapper_rejected_by_a_device(network: Network) -> None:
    """Port 135 answered, and is refused two hops nearer than that."""
    mapped(network, SERVER, NETLOGON, (SERVER, 49155))
    network.connect(CLIENT, SERVER).refused(3, nearer=-61)
    network.later(40)


@case("28-many-servers", variant=True)
def many_servers_refuse(network: Network) -> None:
    """A client tries each of nine servers three times: no scanner, each of them is told."""
    for number in range(9):
        network.connect(CLIENT, f"10.30.8.{number + 1}").refused(3)
    network.later(40)


@case("38-fin", variant=True, config=POOL)
def dropped_by_strict_filter_of_a_pool(network: Network) -> None:
    """A declared server answers in NDR64; the answer is never acknowledged, and the client closes."""
    answer = map_answer(MAPI, (DIP, 59531))
    connection = bound(network.connect(CLIENT, VIP)).say(0, map_question(MAPI))
    connection.say(1, answer, acknowledged=False).repeat(1, answer, 5)
    network.wait(3)
    connection.send(0, FIN | ACK)
    network.later(40)


@case("half-open", variant=True)
def half_open(network: Network) -> None:
    """The SYN-ACK of port 135 never reaches the client."""
    connection = network.connect(CLIENT, SERVER).send(0, SYN)
    for number in range(4):
        connection.send(1, SYN | ACK, again=number > 0, arrives=False)
        network.wait(3)
    network.later(40)


@case("one-way-server", variant=True)
def only_answers_pass(network: Network) -> None:
    """What clients send takes another way."""
    for _ in range(3):
        connection = network.connect(CLIENT, SERVER).send(0, SYN, at=()).send(1, SYN | ACK).send(0, ACK, at=())
        connection.send(0, PSH | ACK, bind_of(), at=()).send(1, PSH | ACK, acceptance_of())
        connection.send(0, PSH | ACK, map_question(MAPI), at=()).send(1, PSH | ACK, map_answer(MAPI, (DIP, 59531)))
        connection.send(0, FIN | ACK, at=()).send(1, FIN | ACK)
        network.wait(1)
    network.later(40)


@case("29-twice", variant=True, copies=True)
def mute_seen_twice(network: Network) -> None:
    """The same with a mapper that is mute."""
    connections.mapper_accepts_and_is_mute(network)


@case("38-twice", variant=True, copies=True)
def dropped_seen_twice(network: Network) -> None:
    """The same with an answer that is dropped."""
    answer = map_answer(MAPI, (DIP, 59531))
    connection = bound(network.connect(CLIENT, VIP)).say(0, map_question(MAPI))
    connection.say(1, answer, acknowledged=False).repeat(1, answer, 5)
    network.wait(2)
    connection.reset(0)


@case("18-reset", variant=True)
def bind_of_three_contexts_reset(network: Network) -> None:
    """A bind with three contexts is reset with the server's own TTL; one with NDR20 alone is answered."""
    network.connect(CLIENT, SERVER).open().send(0, PSH | ACK, bind_of()).reset()
    mapped(network, SERVER, NETLOGON, (SERVER, 49155), client="10.20.1.77", wide=False)
    network.later(40)


@case("55-silent", variant=True)
def activation_dropped(network: Network) -> None:
    """The mapper answers; the bind of the activator is sent again and again, and never acknowledged."""
    mapped(network, SERVER, NETLOGON, (SERVER, 49155))
    bind = pdu.bind([(0, ISYSTEMACTIVATOR, (NDR20,))])
    connection = network.connect(CLIENT, SERVER).open().say(0, bind, acknowledged=False).repeat(0, bind, 5)
    network.wait(9.6)
    connection.reset(0)
    network.later(40)


@case("55-fin", variant=True)
def activation_closed(network: Network) -> None:
    """The mapper answers; the bind of the activator is answered by the end of the connection."""
    mapped(network, SERVER, NETLOGON, (SERVER, 49155))
    connection = network.connect(CLIENT, SERVER).open().say(0, pdu.bind([(0, ISYSTEMACTIVATOR, (NDR20,))]))
    connection.send(1, FIN | ACK).send(0, FIN | ACK).send(1, ACK)
    network.later(40)


@case("21-late-answer", variant=True)
def answer_after_the_client_gave_up(network: Network) -> None:
    """The client resets after four seconds, and the answer comes after eight."""
    connection = bound(network.connect(CLIENT, SERVER)).say(0, map_question(SAMR))
    network.wait(4)
    connection.reset(0)
    network.wait(4)
    connection.send(1, PSH | ACK, map_answer(SAMR, (SERVER, 49155)), arrives=False)
    network.later(40)


@case("25-half-closed", variant=True)
def slow_for_a_half_closed_client(network: Network) -> None:
    """The client closes its direction after four seconds; the answer comes after eight: one finding."""
    connection = bound(network.connect(CLIENT, SERVER)).say(0, map_question(SAMR))
    network.wait(4)
    connection.send(0, FIN | ACK).send(1, ACK)
    network.wait(4)
    connection.send(1, PSH | ACK, map_answer(SAMR, (SERVER, 49155))).send(0, RST)
    network.later(40)


@case("07a-other-numbers", variant=True, gateway=True)
def swallowed_between_other_numbers(network: Network) -> None:
    """A firewall that draws sequence numbers of its own swallows the answer: addresses and ports tie the sides."""
    answer = map_answer(SAMR, (DIP, 49152), wide=False)
    connection = network.connect(CLIENT, VIP, drawn=77_777)
    bound(connection, wide=False).send(0, PSH | ACK, map_question(SAMR, wide=False, target=VIP))
    connection.send(1, PSH | ACK, answer, arrives=False, at=(gateways.SERVERS_SIDE,))
    connection.repeat(1, answer, 5, at=(gateways.SERVERS_SIDE,))
    network.wait(3)
    connection.send(0, FIN | ACK)
    network.wait(0.2)


@case("16b-listing", variant=True)
def listing_open_at_the_end(network: Network) -> None:
    """The capture ends two seconds after a listing was asked for."""
    bound(network.connect(CLIENT, SERVER), wide=False).say(0, looked_up(b"")[0])
    network.wait(2)
    network.connect("10.20.9.9", "10.30.99.99").open().close()


@case("18-rejected", variant=True)
def bind_of_three_contexts_rejected(network: Network) -> None:
    """A bind with three contexts gets a bind_nak; one with NDR20 alone is accepted."""
    mapped(network, SERVER, NETLOGON, (SERVER, 49155), client="10.20.1.77", wide=False)
    network.connect(CLIENT, SERVER).open().ask(bind_of(), pdu.bind_nak(4, call_id=2)).close()
    network.later(40)


@case("21-closed-by-device", variant=True)
def closed_by_a_device(network: Network) -> None:
    """The question is answered by a FIN in the server's name, one hop nearer than the server."""
    connection = bound(network.connect(CLIENT, VIP)).say(0, map_question(SAMR))
    connection.send(1, FIN | ACK, ttl=127).send(0, FIN | ACK)
    network.later(40)


@case("27-one-member", variant=True)
def one_member_is_down(network: Network) -> None:
    """Every second connection to port 135 of a VIP is never answered."""
    for _ in range(2):
        mapped(network, VIP, MAPI, (VIP, 59531))
        network.connect(CLIENT, VIP).syns()
        network.wait(12)
    network.later(40)
