"""Variants of the cases of endpoints: other ports, protocols, refusals, and ends of connections."""

# ruff: noqa: D401  # a case's docstring says what happened: it describes a scene, not a deed
from __future__ import annotations

from tests.build import pdu
from tests.build.connection import ACK, FIN, PSH, SYN
from tests.build.epm import NDR20
from tests.cases.case import case
from tests.cases.dialogue import (
    CLIENT,
    DIP,
    MAPI,
    NETLOGON,
    OTHER_DIP,
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


@case("restarted", variant=True)
def mapper_restarted(network: Network) -> None:
    """The port of a dead process is refused; the client asks again, gets another one, and works."""
    mapped(network, SERVER, SPOOLSS, (SERVER, 49671))
    network.connect(CLIENT, SERVER, 49671).refused()
    network.wait(5)
    mapped(network, SERVER, SPOOLSS, (SERVER, 49700))
    called(network, SERVER, 49700, SPOOLSS)
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


@case("19-behind-syn-proxy", variant=True)
def reset_behind_a_syn_proxy(network: Network) -> None:
    """A SYN proxy answers the SYN with TTL 254; the server itself acknowledges the bind, and resets: no device."""
    mapped(network, SERVER, NETLOGON, (SERVER, 49155))
    connection = network.connect(CLIENT, SERVER, 49155).send(0, SYN).send(1, SYN | ACK, ttl=254).send(0, ACK)
    connection.send(0, PSH | ACK, bind_of(NETLOGON)).send(1, ACK).reset()
    network.later(40)


@case("35-three-networks", variant=True)
def three_networks(network: Network) -> None:
    """A server offers three networks, the asked one last; the client tries each of them in vain."""
    addresses = ("192.168.250.20", "10.99.0.1", SERVER)
    mapped(network, SERVER, SPOOLSS, *((address, 49670) for address in addresses))
    for address in addresses:
        network.connect(CLIENT, address, 49670).syns(2)
        network.wait(6)
    network.later(40)


@case("24-bind-of-kerberos", variant=True)
def large_bind_lost(network: Network) -> None:
    """A bind with a large Kerberos token: its full segment is lost each time, the small rest is not."""
    mapped(network, SERVER, NETLOGON, (SERVER, 49155))
    bind = pdu.bind([(0, NETLOGON, (NDR20,))], auth=(9, bytes(2400)))
    connection = network.connect(CLIENT, SERVER, 49155).open().send(0, ACK, bind[:1460], arrives=False)
    connection.send(0, PSH | ACK, bind[1460:], arrives=False)
    connection.back(0, len(bind) - 1460).repeat(0, bind[:1460], 5)
    network.wait(9)
    connection.reset(0)
    network.later(40)


@case("22-bind-ack-of-kerberos", variant=True)
def large_bind_ack_lost(network: Network) -> None:
    """The endpoint's bind_ack has a large token: the client gets its end alone."""
    mapped(network, SERVER, NETLOGON, (SERVER, 49155))
    answer = pdu.bind_ack(auth=(9, bytes(2400)))
    connection = network.connect(CLIENT, SERVER, 49155).open()
    connection.say(0, pdu.bind([(0, NETLOGON, (NDR20,))], auth=(9, bytes(400))))
    connection.send(1, ACK, answer[:1460], at=(), arrives=False).send(1, PSH | ACK, answer[1460:], arrives=False)
    connection.send(0, ACK)
    network.wait(15)
    connection.reset(0)
    network.later(40)


@case("half-open-endpoint", variant=True)
def endpoint_half_open(network: Network) -> None:
    """The endpoint's SYN-ACK never reaches the client."""
    mapped(network, SERVER, NETLOGON, (SERVER, 49155))
    connection = network.connect(CLIENT, SERVER, 49155).send(0, SYN)
    for number in range(4):
        connection.send(1, SYN | ACK, again=number > 0, arrives=False)
        network.wait(3)
    network.later(40)
