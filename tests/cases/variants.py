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
    OTHER_DIP,
    POOL,
    SAMR,
    SERVER,
    SPOOLSS,
    VIP,
    acceptance_of,
    bind_of,
    bound,
    called,
    map_answer,
    map_question,
    mapped,
)
from tests.cases.network import Network

CLIENT6, SERVER6, ROUTER6 = "2001:db8:20::15", "2001:db8:30::10", "2001:db8:20::1"
ROUTER = "10.20.0.1"

case("01-undeclared", variant=True)(connections.original_in_one_capture)
case("08a-undeclared", variant=True, gateway=True)(gateways.original)
case("06-pooled", variant=True, config=POOL)(connections.client_goes_to_the_dip)


@case("06-prohibited", variant=True)
def dip_prohibited(network: Network) -> None:
    """A client goes to the tower's address, and a router says that this is prohibited."""
    mapped(network, VIP, MAPI, (DIP, 59531))
    network.connect(CLIENT, DIP, 59531).unreachable(ROUTER, 13)
    network.later(40)


@case("06-refused", variant=True)
def dip_refused(network: Network) -> None:
    """A client goes to the tower's address, and is refused there; then it goes to the asked one, and works."""
    mapped(network, VIP, MAPI, (DIP, 59531))
    network.connect(CLIENT, DIP, 59531).refused()
    called(network, VIP, 59531, MAPI)
    network.later(40)


@case("04-ipv6", variant=True)
def filtered_over_ipv6(network: Network) -> None:
    """A client of both families asks over IPv6; the port of the IPv6 address is silent."""
    mapped(network, SERVER6, NETLOGON, (SERVER, 49155), client=CLIENT6)
    network.connect(CLIENT6, SERVER6, 49155).syns()
    network.later(40)


@case("17-ipv6", variant=True)
def refused_over_ipv6(network: Network) -> None:
    """A server of both families refuses the port over IPv6: no translation is in between."""
    mapped(network, SERVER6, NETLOGON, (SERVER, 49155), client=CLIENT6)
    network.connect(CLIENT6, SERVER6, 49155).refused()
    network.later(40)


@case("04-icmpv6", variant=True)
def prohibited_over_ipv6(network: Network) -> None:
    """A router prohibits the endpoint's port with ICMPv6, twice."""
    mapped(network, SERVER6, NETLOGON, ("0.0.0.0", 49155), client=CLIENT6)  # noqa: S104
    connection = network.connect(CLIENT6, SERVER6, 49155).unreachable(ROUTER6, 1)
    network.wait(1)
    connection.unreachable(ROUTER6, 1, again=True)
    network.later(40)


@case("04-static-port", variant=True)
def static_port_filtered(network: Network) -> None:
    """Three clients at once cannot reach a static port."""
    clients = [f"10.20.1.{number}" for number in (15, 16, 17)]
    for client in clients:
        mapped(network, SERVER, MAPI, (SERVER, 41376), client=client)
    attempts = [network.connect(client, SERVER, 41376) for client in clients]
    for number in range(3):
        for attempt in attempts:
            attempt.send(0, SYN, again=number > 0, arrives=False)
        network.wait(3)
    network.later(40)


@case("04-sealed", variant=True)
def sealed_and_filtered(network: Network) -> None:
    """After an encrypted answer the endpoint's port is silent."""
    connection = network.connect(CLIENT, SERVER).open().ask(bind_of(wide=False), acceptance_of(wide=False))
    question = pdu.request(bytes(96), opnum=3, call_id=2, auth=(6, bytes(16)))
    connection.ask(question, pdu.response(bytes(160), call_id=2, auth=(6, bytes(16)))).close()
    network.connect(CLIENT, SERVER, 49155).syns()
    network.later(40)


@case("04-no-network", variant=True)
def address_of_no_network(network: Network) -> None:
    """The tower names 169.254.1.2; the client goes where it has asked, and the port is silent."""
    mapped(network, SERVER, SPOOLSS, ("169.254.1.2", 49670))
    network.connect(CLIENT, SERVER, 49670).syns()
    network.later(40)


@case("03-other-member", variant=True)
def refused_by_another_member(network: Network) -> None:
    """Ports of the VIP are published; the connection goes to a server where this one is closed."""
    mapped(network, VIP, SAMR, (DIP, 50000))
    called(network, VIP, 50000, SAMR)
    mapped(network, VIP, SAMR, (OTHER_DIP, 50002))
    network.connect(CLIENT, VIP, 50002).refused()
    network.later(40)


@case("03-members-apart", variant=True)
def members_at_different_distances(network: Network) -> None:
    """Servers behind the VIP are at different distances: the reset's TTL is that of one of them."""
    for ttl in (126, 125, 126):
        connection = bound(network.connect(CLIENT, VIP, server_ttl=ttl))
        connection.ask(map_question(SAMR), map_answer(SAMR, (DIP, 50000))).close()
    network.connect(CLIENT, VIP, 50000, server_ttl=125).refused()
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


@case("29-endpoint", variant=True)
def endpoint_accepts_and_is_mute(network: Network) -> None:
    """The endpoint accepts, and the bind is not even acknowledged; the client resets."""
    mapped(network, SERVER, NETLOGON, (SERVER, 49155))
    connection = network.connect(CLIENT, SERVER, 49155).open()
    connection.say(0, bind_of(NETLOGON), acknowledged=False).repeat(0, bind_of(NETLOGON), 5)
    network.wait(9.6)
    connection.reset(0)
    network.later(40)


@case("29-endpoint-closes", variant=True)
def endpoint_closes(network: Network) -> None:
    """The endpoint closes the connection behind the bind."""
    mapped(network, SERVER, NETLOGON, (SERVER, 49155))
    connection = network.connect(CLIENT, SERVER, 49155).open().say(0, bind_of(NETLOGON))
    connection.send(1, FIN | ACK).send(0, FIN | ACK).send(1, ACK)
    network.later(40)


@case("29-endpoint-silent-later", variant=True)
def endpoint_falls_silent(network: Network) -> None:
    """The endpoint worked, and answers no more."""
    mapped(network, SERVER, NETLOGON, (SERVER, 49155))
    connection = network.connect(CLIENT, SERVER, 49155).open().ask(bind_of(NETLOGON), acceptance_of())
    call = pdu.request(bytes(4), call_id=3)
    connection.say(0, call, acknowledged=False).repeat(0, call, 5)
    network.wait(9.6)
    connection.reset(0)
    network.later(40)


@case("19-endpoint", variant=True)
def endpoint_reset_before_the_bind(network: Network) -> None:
    """A device resets the connection to the endpoint as soon as it is open."""
    mapped(network, SERVER, NETLOGON, (SERVER, 49155))
    network.connect(CLIENT, SERVER, 49155).open().reset(ttl=64)
    network.later(40)


@case("43-endpoint", variant=True)
def endpoint_has_no_room(network: Network) -> None:
    """The endpoint rejects the bind: local limit exceeded."""
    mapped(network, SERVER, NETLOGON, (SERVER, 49155))
    network.connect(CLIENT, SERVER, 49155).open().ask(bind_of(NETLOGON, wide=False), pdu.bind_nak(2)).close()
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


@case("restarted", variant=True)
def mapper_restarted(network: Network) -> None:
    """The port of a dead process is refused; the client asks again, gets another one, and works."""
    mapped(network, SERVER, SPOOLSS, (SERVER, 49671))
    network.connect(CLIENT, SERVER, 49671).refused()
    network.wait(5)
    mapped(network, SERVER, SPOOLSS, (SERVER, 49700))
    called(network, SERVER, 49700, SPOOLSS)
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


@case("04-twice", variant=True, copies=True)
def filtered_seen_twice(network: Network) -> None:
    """A capture on all interfaces of a gateway has each packet twice: three SYNs stay three."""
    mapped(network, SERVER, NETLOGON, (SERVER, 49155))
    network.connect(CLIENT, SERVER, 49155).syns()
    network.later(40)


@case("17-twice", variant=True, copies=True)
def refused_seen_twice(network: Network) -> None:
    """The same with an endpoint that refuses."""
    mapped(network, SERVER, SPOOLSS, (SERVER, 49671))
    network.connect(CLIENT, SERVER, 49671).refused()
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


@case("19-behind-syn-proxy", variant=True)
def reset_behind_a_syn_proxy(network: Network) -> None:
    """A SYN proxy answers the SYN with TTL 254; the server itself acknowledges the bind, and resets: no device."""
    mapped(network, SERVER, NETLOGON, (SERVER, 49155))
    connection = network.connect(CLIENT, SERVER, 49155).send(0, SYN).send(1, SYN | ACK, ttl=254).send(0, ACK)
    connection.send(0, PSH | ACK, bind_of(NETLOGON)).send(1, ACK).reset()
    network.later(40)


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
