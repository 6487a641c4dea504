"""Cases of gateways: both ports are captured, the first towards the clients, the second towards the servers.

A packet of a client passes the first port with TTL 64 and the second with 63; one of a server the second with 63 and
the first with 62.
"""

# ruff: noqa: D401  # a case's docstring says what happened: it describes a scene, not a deed
from __future__ import annotations

from tests.build.connection import ACK, FIN, PSH, RST
from tests.build.epm import lookup_response, tcp_tower
from tests.cases.case import case
from tests.cases.connections import NAK_OF_24_BYTES
from tests.cases.dialogue import (
    CLIENT,
    DIP,
    OTHER_DIP,
    SAMR,
    VIP,
    bound,
    called,
    looked_up,
    map_answer,
    map_question,
    mapped,
)
from tests.cases.network import Connection, Network

_PREFIXED = 'nat64_prefixes = ["2002:a14:168:8001::/96"]\n'
CLIENTS_SIDE, SERVERS_SIDE = 0, 1


def _question(network: Network, server: str = VIP) -> tuple[Connection, bytes]:
    """Return a connection on which a client has asked, and the question."""
    question = map_question(SAMR, wide=False, target=server)
    return bound(network.connect(CLIENT, server), wide=False), question


@case("01-healthy", gateway=True)
def healthy(network: Network) -> None:
    """The server answers with its own address, and the client works."""
    for _ in range(3):
        mapped(network, DIP, SAMR, (DIP, 49152), wide=False, target=DIP)
        called(network, DIP, 49152, SAMR, wide=False)
        network.wait(0.2)


@case("02a-all-ports", gateway=True)
def all_ports_translated(network: Network) -> None:
    """The load balancer beyond translates all ports: each follow-up reaches the VIP."""
    for _ in range(6):
        mapped(network, VIP, SAMR, (DIP, 49154), wide=False, target=VIP)
        called(network, VIP, 49154, SAMR, wide=False)
        network.wait(0.2)


@case("03a-135-only", gateway=True)
def only_port_135_published(network: Network) -> None:
    """The load balancer publishes port 135 alone, and resets the rest itself: one hop nearer than the server."""
    for _ in range(4):
        mapped(network, VIP, SAMR, (DIP, 49152), wide=False, target=VIP)
        network.connect(CLIENT, VIP, 49152).refused(1, nearer=1)
        network.wait(0.2)


@case("04a-to-the-dip", gateway=True)
def client_reaches_the_dip(network: Network) -> None:
    """A client takes the address out of the tower, and gets through."""
    for _ in range(3):
        mapped(network, VIP, SAMR, (DIP, 49153), wide=False, target=VIP)
        called(network, DIP, 49153, SAMR, wide=False)
        network.wait(0.2)


@case("06b-no-affinity", gateway=True)
def no_affinity(network: Network) -> None:
    """Two servers behind the VIP differ in ports; two of three follow-ups reach the other server."""
    for number in range(12):
        offered = ((OTHER_DIP, 50002), (DIP, 50000))[number // 2 % 2]
        mapped(network, VIP, SAMR, offered, wide=False, target=VIP)
        called(network, VIP, offered[1], SAMR, wide=False, accepted=number % 3 == 1)
        network.wait(0.1)


@case("07a-strict-silent", gateway=True)
def swallowed_here(network: Network) -> None:
    """A filter in the gateway swallows each answer that names another address."""
    answer = map_answer(SAMR, (DIP, 49152), wide=False)
    for _ in range(2):
        connection, question = _question(network)
        connection.send(0, PSH | ACK, question)
        connection.send(1, PSH | ACK, answer, arrives=False, at=(SERVERS_SIDE,))
        connection.repeat(1, answer, 5, at=(SERVERS_SIDE,))
        network.wait(3)
        connection.send(0, FIN | ACK)
        network.wait(0.2)


@case("08a-original", gateway=True, config=_PREFIXED)
def original(network: Network) -> None:
    """A NAT64 in front, and a filter that answers the client with a bind_nak of 24 bytes and resets the server."""
    asked, client = "2002:a14:168:8001::a1e:202", "2001:0:a14:168:388e:fcb:4337:1876"
    for _ in range(2):
        connection = bound(network.connect(client, asked, translated=("10.20.64.1", VIP)), wide=False)
        connection.send(0, PSH | ACK, map_question(SAMR, wide=False))
        connection.send(1, PSH | ACK, map_answer(SAMR, (DIP, 49154), wide=False), arrives=False, at=(SERVERS_SIDE,))
        connection.back(1, 152).send(1, FIN | PSH | ACK, NAK_OF_24_BYTES, at=(CLIENTS_SIDE,))
        connection.send(0, RST, at=(SERVERS_SIDE,), ttl=64).send(0, FIN | ACK).send(1, RST)
        network.wait(0.2)


@case("11c-icmp", gateway=True)
def endpoint_prohibited(network: Network) -> None:
    """The server's firewall rejects the endpoint's port with ICMP."""
    for _ in range(3):
        mapped(network, DIP, SAMR, (DIP, 49152), wide=False, target=DIP)
        network.connect(CLIENT, DIP, 49152).unreachable(DIP)
        network.wait(0.2)


@case("14c-very-slow", gateway=True)
def answered_after_15_seconds(network: Network) -> None:
    """The mapper answers after 15 seconds, and the client gets through."""
    connection, question = _question(network)
    connection.say(0, question)
    network.wait(15)
    connection.say(1, map_answer(SAMR, (DIP, 49153), wide=False)).close()
    called(network, VIP, 49153, SAMR, wide=False)


@case("16b-mtu", gateway=True)
def large_segments_lost_beyond(network: Network) -> None:
    """Of a listing only the last segment comes: the first ones are too big for the path; small answers pass."""
    mapped(network, VIP, SAMR, (DIP, 49154), wide=False, target=VIP)
    called(network, VIP, 49154, SAMR, wide=False)
    towers = [(tcp_tower(SAMR, 49152 + number, DIP), f"endpoint {number}") for number in range(36)]
    question, answer = looked_up(lookup_response(towers))
    lost = 1460 * (len(answer) // 1460)
    connection = bound(network.connect(CLIENT, VIP), wide=False).say(0, question)
    connection.send(1, PSH | ACK, answer[lost:], skip=lost, arrives=False).send(0, ACK)
    network.wait(14)
    connection.send(0, FIN | ACK)


@case("17a-down", gateway=True)
def mapper_down(network: Network) -> None:
    """Nothing is at port 135: SYNs stay without answer."""
    for _ in range(4):
        network.connect(CLIENT, VIP).syns(4, (1, 1, 1))
        network.wait(1.1)


@case("18b-device", gateway=True)
def reset_by_a_device_beyond(network: Network) -> None:
    """A device beyond the gateway resets each conversation in the server's name."""
    for _ in range(3):
        connection, question = _question(network)
        connection.send(0, PSH | ACK, question).reset(ttl=255)
        network.wait(0.2)


@case("20a-balancer", gateway=True)
def gateway_is_the_balancer(network: Network) -> None:
    """The gateway itself translates: its ports see different server addresses for the same connection."""
    translated = (None, DIP)
    for _ in range(3):
        mapped(network, VIP, SAMR, (DIP, 49152), wide=False, target=VIP, translated=translated)
        called(network, VIP, 49152, SAMR, wide=False, translated=translated)
        network.wait(0.2)
