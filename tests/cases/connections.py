"""Cases of connections: port 135 itself, questions without answer, and the endpoint that an answer named."""

# ruff: noqa: D401  # a case's docstring says what happened: it describes a scene, not a deed
from __future__ import annotations

import struct

from tests.build import dcom, pdu
from tests.build.connection import ACK, FIN, PSH, SYN
from tests.build.epm import NDR20, NDR64
from tests.cases.case import case
from tests.cases.dialogue import (
    CLIENT,
    DIP,
    DRSUAPI,
    ISYSTEMACTIVATOR,
    LSARPC,
    MAPI,
    NETLOGON,
    SAMR,
    SERVER,
    SPOOLSS,
    VIP,
    acceptance_of,
    bind_of,
    bound,
    called,
    looked_up,
    map_answer,
    map_question,
    mapped,
)
from tests.cases.network import Network

NAK_OF_24_BYTES = pdu.pdu(pdu.BIND_NAK, struct.pack("<HBBBxxx", 0, 1, 5, 0))
"""As the gateway of the original case sends it: with padding behind the versions."""


@case("01", config='nat64_prefixes = ["2002:a14:168:8001::/96"]\n')
def original_in_one_capture(network: Network) -> None:
    """Both ports of the gateway: it asks as the client's proxy, and answers the client with a bind_nak of 24 bytes."""
    outer = network.connect("2001:0:a14:168:388e:fcb:4337:1876", "2002:a14:168:8001::a1e:202").open()
    inner = network.connect("10.30.1.5", VIP).open()
    outer.say(0, bind_of(wide=False))
    inner.ask(bind_of(wide=False), acceptance_of(wide=False))
    inner.ask(map_question(MAPI, wide=False), map_answer(MAPI, (DIP, 41376), wide=False)).reset(0)
    network.wait(0.02)
    outer.say(1, NAK_OF_24_BYTES).close()


@case("03")
def endpoint_not_published(network: Network) -> None:
    """A container publishes port 135 and not the dynamic ports: refused with the TTL of the server itself."""
    mapped(network, "192.168.1.20", NETLOGON, ("172.18.0.2", 49153))
    network.connect(CLIENT, "192.168.1.20", 49153).refused()


@case("04")
def endpoint_filtered(network: Network) -> None:
    """A firewall lets port 135 through and not the dynamic ports: three SYNs, no answer."""
    mapped(network, SERVER, DRSUAPI, (SERVER, 49155))
    network.connect(CLIENT, SERVER, 49155).syns()
    network.later(36)


@case("06")
def client_goes_to_the_dip(network: Network) -> None:
    """A client takes the address out of the tower, and has no way there."""
    mapped(network, VIP, MAPI, (DIP, 59531))
    network.connect(CLIENT, DIP, 59531).syns()
    network.later(31)


@case("07")
def other_server_at_the_endpoint(network: Network) -> None:
    """No affinity: the port's connection reaches another server, where the number is another service's."""
    mapped(network, VIP, MAPI, (DIP, 49210))
    called(network, VIP, 49210, MAPI, accepted=False)


@case("09")
def dcom_behind_nat(network: Network) -> None:
    """DCOM's bindings name the server's inner addresses, and the client goes there in vain."""
    asked, inner, backup = "203.0.113.33", "10.25.33.11", "192.168.50.11"
    names = ["SRV01", inner, backup]
    connection = network.connect("198.51.100.7", asked).open()
    connection.ask(pdu.bind([(0, dcom.OBJECT_EXPORTER, (NDR20,))]), pdu.bind_ack())
    connection.ask(pdu.request(b"", opnum=5), pdu.response(dcom.server_alive_2_response(names)))
    alter = pdu.bind([(1, dcom.SCM_ACTIVATOR, (NDR20,))], kind=pdu.ALTER_CONTEXT, call_id=2)
    connection.ask(alter, pdu.bind_ack(kind=pdu.ALTER_CONTEXT_RESPONSE, secondary=b"", call_id=2))
    asking = dcom.create_instance_request(bytes(16), bytes(700))
    bindings = [f"{name}[49155]" for name in names]
    answer = dcom.create_instance_response(bytes(range(8)), bindings, b"")
    connection.ask(pdu.request(asking, opnum=4, call_id=2, context_id=1), pdu.response(answer, call_id=2, context_id=1))
    for address in (inner, backup):
        network.connect("198.51.100.7", address, 49155).syns()
        network.wait(12)
        if address == inner:
            asking, answer = dcom.resolve_oxid_2_request(bytes(range(8))), dcom.resolve_oxid_2_response(bindings)
            connection.ask(pdu.request(asking, opnum=4, call_id=3), pdu.response(answer, call_id=3))
    network.later(20)


@case("17")
def stale_registration(network: Network) -> None:
    """The server refuses the port that its mapper names, again and again."""
    for _ in range(2):
        mapped(network, SERVER, SPOOLSS, (SERVER, 49671))
        network.connect(CLIENT, SERVER, 49671).refused()
        network.wait(5)


@case("18")
def bind_of_three_contexts_dropped(network: Network) -> None:
    """A bind with three contexts gets no answer; one with NDR20 alone, of an older client, does."""
    connection = network.connect(CLIENT, SERVER).open()
    connection.say(0, bind_of(), acknowledged=False).repeat(0, bind_of(), 5)
    network.wait(9.6)
    connection.reset(0)
    mapped(network, SERVER, DRSUAPI, (SERVER, 49155), client="10.20.1.77", wide=False)


@case("19")
def bind_reset_by_a_device(network: Network) -> None:
    """A firewall resets in the server's name, with TTL 254 where the server's SYN-ACK has 126."""
    network.connect(CLIENT, SERVER).open().send(0, PSH | ACK, bind_of()).reset(ttl=254)


@case("21")
def client_gives_up(network: Network) -> None:
    """The request is acknowledged and not answered; the client resets after four seconds."""
    connection = bound(network.connect(CLIENT, SERVER)).say(0, map_question(SAMR))
    network.wait(4)
    connection.reset(0)


@case("22")
def listing_never_arrives(network: Network) -> None:
    """At the client: a listing is acknowledged, and no byte of it comes; small answers do."""
    connection = bound(network.connect(CLIENT, DIP), wide=False).say(0, looked_up(b"")[0])
    network.later(30)
    network.wait(1)
    connection.reset()


@case("27")
def mapper_port_filtered(network: Network) -> None:
    """Port 135 does not answer: three connections of three SYNs."""
    for _ in range(3):
        network.connect(CLIENT, SERVER).syns()
        network.wait(12)


@case("28")
def mapper_port_refused(network: Network) -> None:
    """Port 135 is refused."""
    network.connect(CLIENT, VIP).refused()


@case("29")
def mapper_accepts_and_is_mute(network: Network) -> None:
    """The connection is accepted, and the bind is not even acknowledged."""
    connection = network.connect(CLIENT, VIP).open()
    connection.say(0, bind_of(wide=False), acknowledged=False).repeat(0, bind_of(wide=False), 6)
    connection.reset(0)


@case("32")
def only_requests_pass(network: Network) -> None:
    """Direct server return: what servers send takes another way. One client is served, one is not."""
    for client, is_served in ((CLIENT, True), ("10.20.1.9", False)):
        connection = network.connect(client, VIP)
        connection.send(0, SYN).send(1, SYN | ACK, at=()).send(0, ACK)
        connection.send(0, PSH | ACK, bind_of()).send(1, PSH | ACK, acceptance_of(), at=()).send(0, ACK)
        connection.send(0, PSH | ACK, map_question(MAPI))
        if is_served:
            connection.send(1, PSH | ACK, map_answer(MAPI, (DIP, 59531)), at=()).send(0, ACK)
            connection.send(0, FIN | ACK).send(1, FIN | ACK, at=()).send(0, ACK)
        network.wait(1)
    network.wait(28)
    other = network.connect("10.20.9.9", "10.30.99.99")
    other.send(0, SYN).send(1, SYN | ACK, at=()).send(0, ACK).send(0, FIN | ACK).send(1, FIN | ACK, at=()).send(0, ACK)


@case("47")
def capture_ends_early(network: Network) -> None:
    """The bind is sent five times, and the capture ends."""
    connection = network.connect(CLIENT, VIP).open()
    connection.say(0, bind_of(wide=False), acknowledged=False).repeat(0, bind_of(wide=False), 4)


@case("55")
def activation_cut_off(network: Network) -> None:
    """The mapper answers; the bind of the activator is reset, one hop nearer than the server."""
    mapped(network, SERVER, LSARPC, (SERVER, 49155))
    bind = pdu.bind([(0, ISYSTEMACTIVATOR, (NDR20,)), (1, ISYSTEMACTIVATOR, (NDR64,))])
    for _ in range(2):
        network.connect(CLIENT, SERVER).open().send(0, PSH | ACK, bind).reset(ttl=127)
        network.wait(1)
