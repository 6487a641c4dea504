"""Healthy networks that look unusual: no finding may call any of them harm."""

# ruff: noqa: D401  # a case's docstring says what happened: it describes a scene, not a deed
from __future__ import annotations

from uuid import UUID

from tests.build import pdu
from tests.build.connection import ACK, FIN, PSH, RST, SYN
from tests.build.epm import NDR20, lookup_request, lookup_response, tcp_tower
from tests.cases.case import case
from tests.cases.dialogue import (
    CLIENT,
    DIP,
    ISYSTEMACTIVATOR,
    LSARPC,
    MAPI,
    NETLOGON,
    OTHER_DIP,
    POOL,
    SAMR,
    SERVER,
    VIP,
    WITNESS,
    acceptance_of,
    bind_of,
    bound,
    called,
    map_answer,
    map_question,
    mapped,
    sealed,
)
from tests.cases.network import Connection, Network

_CALL = pdu.request(bytes(4), call_id=3), pdu.response(bytes(4), call_id=3)
VLANS = bytes.fromhex("88a8000a81000064")


def _working(network: Network, *, client: str = CLIENT) -> Connection:
    """Let a client ask for NETLOGON, and return its connection to the endpoint, bound."""
    mapped(network, SERVER, NETLOGON, (SERVER, 49155), client=client)
    return network.connect(client, SERVER, 49155).open().ask(bind_of(NETLOGON), acceptance_of())


@case("healthy-health-checks", variant=True)
def health_checks(network: Network) -> None:
    """A load balancer looks whether port 135 is open: by FIN, by RST, by a SYN alone."""
    for _ in range(5):
        network.connect("10.30.2.1", SERVER).open().close()
        network.connect("10.30.2.1", SERVER).open().reset(0)
        network.connect("10.30.2.1", SERVER).open().send(0, RST)
        network.connect("10.30.2.1", SERVER).send(0, SYN).send(1, SYN | ACK).send(0, RST)
        network.connect("10.30.2.1", SERVER).open().send(0, FIN | ACK).send(1, ACK).send(1, RST | ACK)
        network.wait(5)
    network.later(40)


@case("healthy-scan", variant=True)
def scan_of_port_135(network: Network) -> None:
    """A scanner sends a SYN or two to port 135 of 60 addresses: a third refuses, the others are silent."""
    for number in range(1, 61):
        connection = network.connect("10.20.9.1", f"10.30.7.{number}")
        if number % 3 == 0:
            connection.refused(1)
        else:
            connection.syns(number % 3, (0.01,))
    network.later(40)


@case("healthy-scan-of-open-ports", variant=True)
def scan_of_open_ports(network: Network) -> None:
    """A half-open scan finds port 135 open everywhere."""
    for number in range(1, 30):
        network.connect("10.20.9.1", f"10.30.7.{number}").send(0, SYN).send(1, SYN | ACK).send(0, RST)
    network.later(40)


@case("healthy-scan-of-high-ports", variant=True)
def scan_of_high_ports(network: Network) -> None:
    """A client asks the mapper, and tries each port from 1024 to 1100 as well."""
    connection = _working(network)
    for port in range(1024, 1100):
        network.connect(CLIENT, SERVER, port).refused(1)
    connection.close()
    network.later(40)


@case("healthy-syn-again", variant=True)
def syns_that_are_answered_later(network: Network) -> None:
    """Port 135 and the endpoint answer the second SYN."""
    for port in (135, 49155):
        connection = network.connect(CLIENT, SERVER, port).send(0, SYN, arrives=False)
        network.wait(3)
        connection.send(0, SYN, again=True).send(1, SYN | ACK).send(0, ACK)
        connection.ask(bind_of(*(() if port == 135 else (NETLOGON,))), acceptance_of())
        if port == 135:
            connection.ask(map_question(NETLOGON), map_answer(NETLOGON, (SERVER, 49155)))
        connection.close()
    network.later(40)


@case("healthy-answer-again", variant=True)
def answer_that_is_sent_again(network: Network) -> None:
    """The answer is sent three times before the client acknowledges it."""
    answer = map_answer(NETLOGON, (SERVER, 49155))
    connection = bound(network.connect(CLIENT, SERVER)).say(0, map_question(NETLOGON))
    connection.say(1, answer, acknowledged=False).repeat(1, answer, 2)
    connection.send(1, PSH | ACK, answer, again=True).send(0, ACK).close()
    called(network, SERVER, 49155, NETLOGON)
    network.later(40)


@case("healthy-keep-alives", variant=True)
def keep_alives(network: Network) -> None:
    """Connections stay open for minutes, with keep-alives, and end by a reset of either end."""
    asking = bound(network.connect(CLIENT, SERVER)).ask(map_question(NETLOGON), map_answer(NETLOGON, (SERVER, 49155)))
    calling = network.connect(CLIENT, SERVER, 49155).open().ask(bind_of(NETLOGON), acceptance_of()).ask(*_CALL)
    for _ in range(4):
        network.wait(30)
        asking.keep_alive()
        calling.keep_alive()
    asking.reset(0)
    calling.reset(1)
    network.later(40)


@case("healthy-long-call", variant=True)
def call_of_a_minute(network: Network) -> None:
    """The endpoint takes a minute for a call."""
    connection = _working(network).say(0, _CALL[0])
    network.wait(60)
    connection.say(1, _CALL[1]).close()
    network.later(40)


@case("healthy-half-closed", variant=True)
def client_closes_its_half(network: Network) -> None:
    """The client closes its direction behind the question, and takes the answer all the same."""
    connection = bound(network.connect(CLIENT, SERVER)).say(0, map_question(NETLOGON))
    connection.send(0, FIN | ACK).send(1, ACK)
    network.wait(0.3)
    connection.send(1, PSH | ACK, map_answer(NETLOGON, (SERVER, 49155))).send(0, ACK).send(1, FIN | ACK).send(0, ACK)
    called(network, SERVER, 49155, NETLOGON)
    network.later(40)


@case("healthy-sealed", variant=True)
def sealed_and_other_services(network: Network) -> None:
    """After an encrypted answer the client also tries the global catalog, which is not there."""
    sealed(network)
    network.connect(CLIENT, SERVER, 3268).refused()
    bind = pdu.bind([(0, NETLOGON, (NDR20,))], auth=(6, bytes(40)))
    network.connect(CLIENT, SERVER, 49155).open().ask(bind, pdu.bind_ack(auth=(6, bytes(80)))).close()
    network.connect(CLIENT, SERVER, 9999).refused()
    network.later(40)


@case("healthy-one-way-follow-up", variant=True)
def follow_up_of_one_direction(network: Network) -> None:
    """What the endpoint sends takes another way; the client acknowledges it."""
    mapped(network, SERVER, NETLOGON, (SERVER, 49155))
    connection = network.connect(CLIENT, SERVER, 49155).send(0, SYN).send(1, SYN | ACK, at=()).send(0, ACK)
    connection.send(0, PSH | ACK, bind_of(NETLOGON)).send(1, PSH | ACK, acceptance_of(), at=()).send(0, ACK)
    connection.send(0, FIN | ACK).send(1, FIN | ACK, at=()).send(0, ACK)
    network.later(40)


@case("healthy-ends-early", variant=True)
def capture_ends_in_the_middle(network: Network) -> None:
    """The capture ends behind a SYN to the endpoint, and behind an answer."""
    mapped(network, SERVER, NETLOGON, (SERVER, 49155))
    network.connect(CLIENT, SERVER, 49155).send(0, SYN)
    connection = bound(network.connect(CLIENT, SERVER)).say(0, map_question(NETLOGON))
    connection.send(1, PSH | ACK, map_answer(NETLOGON, (SERVER, 49155)))


@case("healthy-begins-late", variant=True)
def capture_begins_in_the_middle(network: Network) -> None:
    """The capture begins behind the bind of the mapper, and in the middle of a call."""
    connection = network.connect(CLIENT, SERVER)
    for sender, flags, length in ((0, SYN, 0), (1, SYN | ACK, 0), (0, PSH | ACK, 160), (1, PSH | ACK, 108)):
        connection.send(sender, flags, bytes(length), at=())
    connection.ask(map_question(NETLOGON), map_answer(NETLOGON, (SERVER, 49155))).close()
    calling = network.connect(CLIENT, SERVER, 49155).send(0, SYN, at=()).send(1, SYN | ACK, at=())
    calling.ask(*_CALL).close()
    network.later(40)


@case("healthy-listing", variant=True)
def listing_of_several_pages(network: Network) -> None:
    """A tool lists all endpoints, page after page, and goes to none."""
    connection = bound(network.connect(CLIENT, SERVER), wide=False)
    for number in range(2, 7):
        stub = lookup_response([(tcp_tower(SAMR, 49152 + number, SERVER), "SAM")])
        question = pdu.request(lookup_request(), opnum=2, call_id=number)
        connection.ask(question, pdu.response(stub, call_id=number))
    connection.close()
    network.later(40)


@case("healthy-activation", variant=True)
def activation(network: Network) -> None:
    """DCOM's activation on port 135, and a connection beside it that is closed unused."""
    network.connect(CLIENT, SERVER).open().close()
    connection = network.connect(CLIENT, SERVER).open().ask(pdu.bind([(0, ISYSTEMACTIVATOR, (NDR20,))]), pdu.bind_ack())
    connection.ask(pdu.request(bytes(300), opnum=4), pdu.response(bytes(600)))
    network.later(60)


@case("healthy-multihomed", variant=True)
def client_of_a_multihomed_server(network: Network) -> None:
    """A server offers its backup network first; the client goes where it has asked. Tagged twice."""
    mapped(network, SERVER, WITNESS, ("192.168.250.20", 49670), (SERVER, 49670))
    called(network, SERVER, 49670, WITNESS)
    network.later(40)


@case("healthy-farm", variant=True, config=POOL, tags=VLANS)
def farm(network: Network) -> None:
    """A farm of two servers with affinity, in two VLAN tags: each client gets through."""
    for number in range(6):
        server, client = (DIP, OTHER_DIP)[number % 2], f"10.20.1.{30 + number}"
        mapped(network, VIP, MAPI, (server, 59530 + number % 2), client=client)
        called(network, VIP, 59530 + number % 2, MAPI, client=client)
    network.later(40)


@case("healthy-nat64", variant=True)
def undeclared_nat64(network: Network) -> None:
    """A client asks through a NAT64 whose prefix looks like 6to4, two servers, and gets through."""
    for number in (10, 11):
        asked, client = f"2002:a14:168:8001::a1e:4{number:02x}", "2001:db8:20::15"
        mapped(network, asked, NETLOGON, (f"10.30.4.{number}", 49155), client=client)
        called(network, asked, 49155, NETLOGON, client=client)
    network.later(40)


@case("healthy-twice", variant=True, copies=True)
def each_packet_twice(network: Network) -> None:
    """A mirror port copies each packet: a client that works, and a SYN-ACK at the end of the capture."""
    _working(network).ask(*_CALL).close()
    network.connect(CLIENT, SERVER).send(0, SYN).send(1, SYN | ACK)
    network.later(40)


@case("healthy-lossy-capture", variant=True)
def answers_that_the_capture_lacks(network: Network) -> None:
    """The capture lost an answer of the mapper and one of the endpoint, which the client acknowledges."""
    connection = bound(network.connect(CLIENT, SERVER)).say(0, map_question(NETLOGON))
    connection.send(1, PSH | ACK, map_answer(NETLOGON, (SERVER, 49155)), at=()).send(0, ACK).close()
    mapped(network, SERVER, NETLOGON, (SERVER, 49155))
    calling = network.connect(CLIENT, SERVER, 49155).open().say(0, bind_of(NETLOGON))
    calling.send(1, PSH | ACK, acceptance_of(), at=()).send(0, ACK)
    network.wait(20)
    calling.close()
    network.later(40)


@case("healthy-idle", variant=True)
def idle_connections_end(network: Network) -> None:
    """The mapper closes idle connections, one that was never used by FIN, one that is bound by RST."""
    unused, used = network.connect(CLIENT, SERVER).open(), bound(network.connect(CLIENT, SERVER))
    network.wait(300)
    unused.send(1, FIN | ACK).send(0, ACK).send(0, FIN | ACK).send(1, ACK)
    used.reset(1)
    network.later(40)


@case("healthy-other-family", variant=True)
def client_takes_the_other_family(network: Network) -> None:
    """A client tries IPv6, where nothing answers, and takes IPv4 after a quarter of a second."""
    network.connect("2001:db8:20::15", "2001:db8:30::10").send(0, SYN, arrives=False)
    network.wait(0.25)
    _working(network).close()
    network.later(40)


@case("healthy-other-interface", variant=True)
def rejected_for_another_interface(network: Network) -> None:
    """The endpoint accepts the offered interface, and does not know another one that the client would like as well."""
    connection = _working(network)
    alter = pdu.bind([(5, LSARPC, (NDR20,))], kind=pdu.ALTER_CONTEXT, call_id=4)
    rejection = pdu.bind_ack([(2, 1, (UUID(int=0), 0, 0))], kind=pdu.ALTER_CONTEXT_RESPONSE, call_id=4)
    connection.ask(alter, rejection).close()
    network.later(40)
