"""Variants of the cases: proxies without servers, dead members, filters seen from one side, encrypted answers."""

# ruff: noqa: D401  # a case's docstring says what happened: it describes a scene, not a deed
from __future__ import annotations

from tests.build import pdu
from tests.build.connection import ACK, FIN, PSH, RST
from tests.build.epm import NDR20, lookup_response, map_request, map_response, tcp_tower
from tests.cases.case import case
from tests.cases.dialogue import (
    CLIENT,
    DIP,
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
    looked_up,
    map_answer,
    map_question,
    mapped,
    sealed,
)
from tests.cases.network import Network

CLIENT6, SERVER6 = "2001:db8:20::15", "2001:db8:30::10"
_NAT64 = 'nat64_prefixes = ["2001:db8:64::/96"]\n'


def _one_of_three(network: Network, *, refused: bool) -> None:
    for number in range(6):
        client = f"10.20.1.{30 + number}"
        mapped(network, VIP, MAPI, ((DIP, OTHER_DIP)[number % 2], 59531), client=client)
        if number % 3 < 2:
            called(network, VIP, 59531, MAPI, client=client)
        elif refused:
            network.connect(client, VIP, 59531).refused(3)
        else:
            network.connect(client, VIP, 59531).syns()
    network.later(40)


@case("14-dead-member", variant=True)
def member_that_is_down(network: Network) -> None:
    """The static port of a VIP is reached by two of three clients, and is silent for the third."""
    _one_of_three(network, refused=False)


@case("14-member-refuses", variant=True)
def member_that_refuses(network: Network) -> None:
    """The static port of a VIP is reached by two of three clients, and is refused for the third."""
    _one_of_three(network, refused=True)


@case("14-stopped", variant=True)
def service_that_was_stopped(network: Network) -> None:
    """A service is named, and ten minutes later no longer: no member differs, it was stopped."""
    mapped(network, SERVER, MAPI, (SERVER, 59531))
    network.wait(600)
    mapped(network, SERVER, MAPI)
    network.later(40)


@case("29-proxy-resets", variant=True)
def proxy_that_resets_at_once(network: Network) -> None:
    """A proxy without servers accepts each connection and resets it before the client has said anything."""
    for _ in range(3):
        network.connect(CLIENT, VIP).open().reset(1)
    network.later(40)


@case("29-proxy-closes", variant=True)
def proxy_that_closes_at_once(network: Network) -> None:
    """A proxy without servers accepts each connection and closes it."""
    for _ in range(3):
        network.connect(CLIENT, VIP).open().send(1, FIN | ACK).send(0, FIN | ACK).send(1, ACK)
    network.later(40)


@case("07c-clients-reset", variant=True)
def filter_resets_the_client(network: Network) -> None:
    """At the client: the question is acknowledged by the server, and reset by a device in its name."""
    bound(network.connect(CLIENT, VIP)).say(0, map_question(MAPI)).send(1, RST | ACK, ttl=64)
    network.later(40)


@case("07b-clients-closed", variant=True)
def filter_closes_towards_the_client(network: Network) -> None:
    """At the client: a device closes the connection in the server's name, and acknowledges the client's FIN."""
    connection = bound(network.connect(CLIENT, VIP)).say(0, map_question(MAPI))
    connection.send(1, FIN | ACK, ttl=64).send(0, FIN | ACK).send(1, ACK, ttl=64)
    network.later(40)


@case("07b-servers-closed", variant=True)
def filter_closes_towards_the_server(network: Network) -> None:
    """At the server: a device closes the connection in the client's name, and acknowledges nothing of the answer."""
    connection = bound(network.connect(CLIENT, VIP)).say(0, map_question(MAPI))
    connection.send(1, PSH | ACK, map_answer(MAPI, (DIP, 59531)), arrives=False)
    connection.send(0, FIN | ACK, ttl=64).send(1, ACK)
    network.later(40)


@case("18b-clients-name", variant=True)
def device_resets_in_the_clients_name(network: Network) -> None:
    """A device resets the question in the client's name."""
    bound(network.connect(CLIENT, VIP)).send(0, PSH | ACK, map_question(MAPI)).reset(0, ttl=64)
    network.later(40)


@case("22-rest-lost", variant=True)
def rest_of_a_listing_is_lost(network: Network) -> None:
    """The first segment of a listing comes and is acknowledged, the rest does not; a monitor is mute meanwhile."""
    towers = [(tcp_tower(SAMR, 49152 + number, SERVER), f"endpoint {number}") for number in range(36)]
    question, answer = looked_up(lookup_response(towers))
    connection = bound(network.connect(CLIENT, SERVER), wide=False).say(0, question)
    connection.send(1, PSH | ACK, answer[:1460]).send(0, ACK)
    network.wait(20)
    connection.reset(0)
    network.connect(CLIENT, SERVER).syns()
    network.later(40)


@case("07-sealed", variant=True)
def rejected_after_an_encrypted_answer(network: Network) -> None:
    """After an encrypted answer the endpoint does not know the interface."""
    sealed(network)
    called(network, SERVER, 49155, NETLOGON, accepted=False)
    network.later(40)


@case("17-sealed", variant=True)
def refused_after_an_encrypted_answer(network: Network) -> None:
    """After an encrypted answer the endpoint is refused."""
    sealed(network)
    network.connect(CLIENT, SERVER, 49155).refused(3)
    network.later(40)


@case("24-sealed", variant=True)
def encrypted_answer_is_lost(network: Network) -> None:
    """An encrypted answer is sent six times and never acknowledged."""
    connection = network.connect(CLIENT, SERVER).open().ask(bind_of(wide=False), acceptance_of(wide=False))
    answer = pdu.response(bytes(160), call_id=2, auth=(6, bytes(16)))
    connection.say(0, pdu.request(bytes(96), opnum=3, call_id=2, auth=(6, bytes(16))))
    connection.say(1, answer, acknowledged=False).repeat(1, answer, 5).reset(0)
    network.later(40)


@case("03-nat64", variant=True, config=_NAT64)
def not_published_behind_nat64(network: Network) -> None:
    """A client asks through a NAT64, and the VIP does not publish the port."""
    asked = "2001:db8:64::a1e:202"
    mapped(network, asked, MAPI, (DIP, 59531), client=CLIENT6)
    network.connect(CLIENT6, asked, 59531).syns()
    network.later(40)


@case("06-nat64", variant=True, config=_NAT64)
def to_the_dip_through_nat64(network: Network) -> None:
    """A client asks through a NAT64 and goes to the tower's address, through the NAT64 as well."""
    mapped(network, "2001:db8:64::a1e:202", MAPI, (DIP, 59531), client=CLIENT6)
    network.connect(CLIENT6, "2001:db8:64::a1e:207", 59531).syns()
    network.later(40)


@case("05-port-unreachable", variant=True)
def rejected_by_icmp(network: Network) -> None:
    """A firewall rejects the endpoint's port with "port unreachable", over IPv4 and IPv6."""
    mapped(network, SERVER, NETLOGON, (SERVER, 49155))
    network.connect(CLIENT, SERVER, 49155).unreachable("10.20.0.1", 3)
    mapped(network, SERVER6, NETLOGON, ("0.0.0.0", 49155), client=CLIENT6)  # noqa: S104
    network.connect(CLIENT6, SERVER6, 49155).unreachable("2001:db8:20::1", 4)
    network.later(40)


@case("44-big-endian", variant=True)
def denied_in_big_endian(network: Network) -> None:
    """A server of the other byte order answers; its endpoint does not know the client's authentication."""
    connection = network.connect(CLIENT, SERVER).open()
    connection.ask(pdu.bind(big_endian=True), pdu.bind_ack(big_endian=True))
    stub = map_request(tcp_tower(NETLOGON, 135, "0.0.0.0"), big_endian=True)  # noqa: S104
    answer = map_response([tcp_tower(NETLOGON, 49155, SERVER)], big_endian=True)
    question = pdu.request(stub, opnum=3, call_id=2, big_endian=True)
    connection.ask(question, pdu.response(answer, call_id=2, big_endian=True)).close()
    bind = pdu.bind([(0, NETLOGON, (NDR20,))], big_endian=True)
    network.connect(CLIENT, SERVER, 49155).open().ask(bind, pdu.bind_nak(8)).close()
    network.later(40)


@case("43-endpoint-busy", variant=True)
def endpoint_is_too_busy(network: Network) -> None:
    """The endpoint accepts the bind, and answers the call with fault 1723."""
    mapped(network, SERVER, NETLOGON, (SERVER, 49155))
    connection = network.connect(CLIENT, SERVER, 49155).open().ask(bind_of(NETLOGON), acceptance_of())
    connection.ask(pdu.request(bytes(4), call_id=3), pdu.fault(0x6BB, call_id=3)).close()
    network.later(40)
