"""Healthy clients, servers and load balancers with unusual manners: no finding may call any of them harm."""

# ruff: noqa: D401  # a case's docstring says what happened: it describes a scene, not a deed
from __future__ import annotations

from tests.build import pdu
from tests.build.connection import ACK, FIN, PSH, RST, SYN
from tests.build.epm import NDR20
from tests.cases.case import case
from tests.cases.dialogue import (
    CLIENT,
    DIP,
    DRSUAPI,
    LSARPC,
    MAPI,
    NETLOGON,
    OTHER_DIP,
    SAMR,
    SERVER,
    VIP,
    acceptance_of,
    bind_of,
    bound,
    called,
    map_answer,
    map_question,
    mapped,
)
from tests.cases.network import Connection, Network

_CALL = pdu.request(bytes(4), call_id=3), pdu.response(bytes(4), call_id=3)


def _bound_endpoint(network: Network, port: int = 49155, server: str = SERVER, client: str = CLIENT) -> Connection:
    return network.connect(client, server, port).open().ask(bind_of(NETLOGON), acceptance_of())


@case("healthy-port-again", variant=True)
def client_uses_its_ports_again(network: Network) -> None:
    """A client draws the same two ports for each question: connections follow one another within milliseconds."""
    for _ in range(4):
        network.draw(50_500)
        mapped(network, SERVER, NETLOGON, (SERVER, 49155))
        _bound_endpoint(network).ask(*_CALL).close()
    network.later(40)


@case("healthy-both-towers", variant=True)
def client_uses_both_towers(network: Network) -> None:
    """An answer names two ports; the client works with both at once, and ends one by a reset."""
    mapped(network, SERVER, NETLOGON, (SERVER, 49155), (SERVER, 49156))
    first, second = _bound_endpoint(network), _bound_endpoint(network, 49156)
    first.ask(*_CALL).reset(0)
    second.ask(*_CALL).close()
    network.later(40)


@case("healthy-source-translated", variant=True)
def balancer_with_source_translation(network: Network) -> None:
    """A load balancer asks in its own name for all its clients: many conversations of one address, mixed."""
    proxy = "10.30.2.1"
    asking = [bound(network.connect(proxy, server)) for server in (DIP, OTHER_DIP) * 4]
    for number, connection in enumerate(asking):
        server = (DIP, OTHER_DIP)[number % 2]
        connection.ask(map_question(NETLOGON), map_answer(NETLOGON, (server, 49155 + number % 2)))
    for number in range(8):
        _bound_endpoint(network, 49155 + number % 2, (DIP, OTHER_DIP)[number % 2], proxy).ask(*_CALL).close()
    for connection in asking:
        connection.close()
    network.later(40)


@case("healthy-two-vips", variant=True)
def two_vips_at_once(network: Network) -> None:
    """A client asks two VIPs, which name the same port, and works with both in either order."""
    for server, dip in ((VIP, DIP), ("10.30.2.3", OTHER_DIP)):
        mapped(network, server, MAPI, (dip, 59531))
    for server in (VIP, "10.30.2.3"):
        called(network, server, 59531, MAPI)
    network.later(40)


@case("healthy-leaves-at-once", variant=True)
def clients_that_reset(network: Network) -> None:
    """Clients end by a reset where others close: behind the answer, behind their FIN, without acknowledging."""
    answer = map_answer(NETLOGON, (SERVER, 49155))
    asking = bound(network.connect(CLIENT, SERVER)).say(0, map_question(NETLOGON))
    asking.send(1, PSH | ACK, answer, arrives=False).send(0, RST)
    asking = bound(network.connect(CLIENT, SERVER)).ask(map_question(NETLOGON), answer)
    asking.send(0, FIN | ACK).send(1, ACK).send(0, RST | ACK)
    asking = bound(network.connect(CLIENT, SERVER)).ask(map_question(NETLOGON), answer)
    asking.send(0, FIN | ACK).send(1, FIN | ACK).send(0, RST)
    calling = _bound_endpoint(network).ask(*_CALL)
    calling.send(0, FIN | ACK).send(1, RST | ACK)
    calling = _bound_endpoint(network).ask(*_CALL)
    calling.send(0, RST)
    calling = network.connect(CLIENT, SERVER, 49155).open()
    calling.send(0, RST | ACK)
    network.later(40)


@case("healthy-monitoring", variant=True)
def monitoring_that_speaks_rpc(network: Network) -> None:
    """A monitor binds the mapper and goes; binds and asks and goes without waiting; says something else."""
    network.connect("10.30.2.1", SERVER).open().ask(bind_of(), acceptance_of()).reset(0)
    network.connect("10.30.2.1", SERVER).open().send(0, PSH | ACK, bind_of()).send(0, RST | ACK)
    bound(network.connect("10.30.2.1", SERVER)).send(0, PSH | ACK, map_question(NETLOGON)).send(0, FIN | ACK)
    probe = network.connect("10.30.2.1", SERVER).open().send(0, PSH | ACK, b"GET / HTTP/1.0\r\n\r\n")
    probe.send(1, RST | ACK)
    probe = network.connect("10.30.2.1", SERVER).open().say(0, bytes.fromhex("16030100") + bytes(200))
    probe.send(1, FIN | ACK).send(0, FIN | ACK).send(1, ACK)
    network.connect("10.30.2.1", SERVER, 49155).open().close()
    network.later(40)


@case("healthy-fast-open", variant=True)
def question_in_the_syn(network: Network) -> None:
    """TCP fast open: the bind goes with the SYN, at port 135 and at the endpoint."""
    for port, interface in ((135, None), (49155, NETLOGON)):
        bind = bind_of() if interface is None else bind_of(interface)
        connection = network.connect(CLIENT, SERVER, port).send(0, SYN, bind).send(1, SYN | ACK)
        connection.say(1, acceptance_of())
        if port == 135:
            connection.ask(map_question(NETLOGON), map_answer(NETLOGON, (SERVER, 49155)))
        connection.close()
    network.later(40)


@case("healthy-many-services", variant=True)
def one_connection_many_questions(network: Network) -> None:
    """A client asks for one service after the other on one connection for ten minutes, and works with each."""
    asking = bound(network.connect(CLIENT, SERVER))
    calling = []
    for number, service in enumerate((NETLOGON, LSARPC, SAMR, DRSUAPI) * 5):
        asking.ask(map_question(service), map_answer(service, (SERVER, 49155 + number % 4)))
        connection = network.connect(CLIENT, SERVER, 49155 + number % 4).open()
        calling.append(connection.ask(bind_of(service), acceptance_of()))
        network.wait(30)
    for connection in calling:
        connection.ask(*_CALL).close()
    asking.close()
    network.later(40)


@case("healthy-other-protocol", variant=True)
def answers_that_lead_elsewhere(network: Network) -> None:
    """Clients that take the pipe, wait for minutes, or know their endpoint already: none goes to the port."""
    mapped(network, SERVER, NETLOGON, (SERVER, 49155))
    network.connect(CLIENT, SERVER, 445).open().say(0, bytes(60)).close()
    mapped(network, SERVER, NETLOGON, (SERVER, 49155), client="10.20.1.16")
    network.wait(60)
    network.connect("10.20.1.16", SERVER, 49155).refused(3)
    network.connect("10.20.1.17", SERVER, 49155).refused(3)
    network.later(40)


@case("healthy-restarts", variant=True)
def service_that_just_starts(network: Network) -> None:
    """The endpoint refuses the first SYN, and accepts the next one of the same connection; so does port 135."""
    for port in (135, 49155):
        connection = network.connect(CLIENT, SERVER, port).send(0, SYN).send(1, RST | ACK)
        network.wait(0.5)
        connection.send(0, SYN, again=True).send(1, SYN | ACK).send(0, ACK)
        if port == 135:
            connection.ask(bind_of(), acceptance_of())
            connection.ask(map_question(NETLOGON), map_answer(NETLOGON, (SERVER, 49155)))
        else:
            connection.ask(bind_of(NETLOGON), acceptance_of())
        connection.close()
    network.later(40)


@case("healthy-slow-start", variant=True)
def host_that_is_unknown_for_a_moment(network: Network) -> None:
    """A router does not know the host yet (ARP), and says so; the second SYN is answered."""
    for port in (135, 49155):
        connection = network.connect(CLIENT, SERVER, port).unreachable("10.20.0.1", 1)
        network.wait(3)
        connection.send(0, SYN, again=True).send(1, SYN | ACK).send(0, ACK)
        if port == 135:
            connection.ask(bind_of(), acceptance_of())
            connection.ask(map_question(NETLOGON), map_answer(NETLOGON, (SERVER, 49155)))
        else:
            connection.ask(bind_of(NETLOGON), acceptance_of())
        connection.close()
    network.later(40)


@case("healthy-security", variant=True)
def binds_with_security(network: Network) -> None:
    """Three legs of NTLM, an alter_context, and a call whose fault is the application's own."""
    mapped(network, SERVER, NETLOGON, (SERVER, 49155))
    calling = network.connect(CLIENT, SERVER, 49155).open()
    bind = pdu.bind([(0, NETLOGON, (NDR20,))], auth=(6, bytes(40)))
    calling.ask(bind, pdu.bind_ack(auth=(6, bytes(180)))).say(0, pdu.pdu(pdu.AUTH3, bytes(4), auth=(6, bytes(200))))
    calling.ask(*_CALL).ask(pdu.request(bytes(4), call_id=4), pdu.fault(0x1C00001A, call_id=4))
    calling.ask(*_CALL).close()
    network.later(40)


@case("healthy-crossed", variant=True)
def server_is_a_client_too(network: Network) -> None:
    """Two domain controllers ask each other at the same time, with the same ports on both sides."""
    other = "10.30.4.11"
    for client, server in ((SERVER, other), (other, SERVER)):
        mapped(network, server, DRSUAPI, (server, 49155), client=client)
    for client, server in ((SERVER, other), (other, SERVER)):
        called(network, server, 49155, DRSUAPI, client=client)
    network.later(40)
