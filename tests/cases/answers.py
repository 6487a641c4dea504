"""Cases of answers: what a mapper says, how late, and whether it reaches the client."""

# ruff: noqa: D401  # a case's docstring says what happened: it describes a scene, not a deed
from __future__ import annotations

from tests.build import pdu
from tests.build.epm import NDR20, lookup_response, map_response, pipe_tower, tcp_tower
from tests.cases.case import case
from tests.cases.dialogue import (
    CLIENT,
    DIP,
    DRSUAPI,
    MANAGEMENT,
    MAPI,
    NETLOGON,
    SAMR,
    SERVER,
    VIP,
    WITNESS,
    acceptance_of,
    bind_of,
    bound,
    called,
    empty_answer,
    looked_up,
    map_answer,
    map_question,
    mapped,
)
from tests.cases.network import Network


@case("12")
def unauthenticated_clients_denied(network: Network) -> None:
    """RestrictRemoteClients is 2: each ept_map is answered with fault 5."""
    for _ in range(3):
        connection = bound(network.connect(CLIENT, SERVER))
        connection.ask(map_question(NETLOGON), pdu.fault(5, call_id=2, context_id=1)).close()
        network.wait(2)


@case("13")
def service_stopped(network: Network) -> None:
    """DRSUAPI is not registered."""
    mapped(network, SERVER, DRSUAPI)


@case("14")
def one_member_without_the_service(network: Network) -> None:
    """One of two servers behind a VIP has no MAPI: every second client gets 1753."""
    for number in range(6):
        offers = () if number % 2 else ((VIP, 59531),)
        mapped(network, VIP, MAPI, *offers, client=f"10.20.1.{20 + number}")
        network.wait(0.5)


@case("15")
def wrong_version(network: Network) -> None:
    """A listing names MAPI 0.81; the client asks for 1.0."""
    connection = bound(network.connect(CLIENT, VIP), wide=False)
    connection.ask(*looked_up(lookup_response([(tcp_tower(MAPI, 59531, VIP), "Exchange RPC")]))).close()
    mapped(network, VIP, (MAPI[0], 1, 0))


@case("24")
def path_mtu_seen_at_the_server(network: Network) -> None:
    """An answer of 1384 bytes is sent six times and never acknowledged; then the server resets."""
    stub = map_response([tcp_tower(SAMR, 49152 + number, DIP) for number in range(15)])
    answer = pdu.response(stub, call_id=2)
    connection = bound(network.connect(CLIENT, DIP), wide=False).say(0, map_question(SAMR, wide=False))
    connection.say(1, answer, acknowledged=False).repeat(1, answer, 5)
    network.wait(9.6)
    connection.reset()


@case("25")
def slow_mapper(network: Network) -> None:
    """The answer takes eight seconds."""
    connection = bound(network.connect(CLIENT, SERVER)).say(0, map_question(NETLOGON))
    network.wait(8)
    connection.say(1, map_answer(NETLOGON, (SERVER, 49155))).close()


@case("33")
def native_ipv6(network: Network) -> None:
    """Over IPv6 one answer says 0.0.0.0, the other the server's own IPv4 address; the client gets through."""
    ends = "2001:db8:20::15", "2001:db8:30::10"
    for offered in ("0.0.0.0", SERVER):  # noqa: S104
        mapped(network, ends[1], NETLOGON, (offered, 49155), client=ends[0])
    called(network, ends[1], 49155, NETLOGON, client=ends[0])


@case("35")
def backup_network_first(network: Network) -> None:
    """A server with two networks offers the backup network first, and the client goes there in vain."""
    towers = [tcp_tower(WITNESS, 49670, address) for address in ("192.168.250.20", "10.30.2.20")]
    towers.append(pipe_tower(WITNESS, "\\PIPE\\srv", "\\\\FS01"))
    answer = pdu.response(map_response(towers, wide=True), call_id=2, context_id=1)
    bound(network.connect(CLIENT, "10.30.2.20")).ask(map_question(WITNESS), answer).close()
    network.connect(CLIENT, "192.168.250.20", 49670).syns()
    network.later(31)


@case("37")
def answer_in_two_fragments(network: Network) -> None:
    """A session helper does not join RPC fragments and opens no pinhole: SYNs are lost."""
    connection = bound(network.connect(CLIENT, SERVER), wide=False).say(0, map_question(DRSUAPI, wide=False))
    stub = map_response([tcp_tower(DRSUAPI, 49155, SERVER)])
    for flags, piece in pdu.fragments(stub, 72):
        connection.say(1, pdu.response(piece, call_id=2, flags=flags))
    connection.close()
    network.connect(CLIENT, SERVER, 49155).syns()
    network.later(31)


@case("38")
def dropped_by_strict_filter(network: Network) -> None:
    """At the servers' side of a strict filter: the answer names the DIP and is never acknowledged."""
    answer = map_answer(MAPI, (DIP, 59531), wide=False)
    connection = bound(network.connect(CLIENT, VIP), wide=False).say(0, map_question(MAPI, wide=False))
    connection.say(1, answer, acknowledged=False).repeat(1, answer, 5)
    network.wait(2)
    connection.reset(0)


@case("39")
def delivered_without_filter(network: Network) -> None:
    """The same farm without a filter: acknowledged at once, and the client works."""
    mapped(network, VIP, MAPI, (DIP, 59531), wide=False)
    called(network, VIP, 59531, MAPI)


@case("41")
def management_rejected(network: Network) -> None:
    """The management interface on port 135 is rejected: invalid checksum."""
    bind = pdu.bind([(0, MANAGEMENT, (NDR20,))])
    network.connect(CLIENT, "192.168.8.4").open().ask(bind, pdu.bind_nak(9)).close()


@case("43")
def overloaded(network: Network) -> None:
    """A bind_nak says local limit exceeded, a fault says too busy."""
    network.connect(CLIENT, SERVER).open().ask(bind_of(wide=False), pdu.bind_nak(2)).close()
    connection = bound(network.connect(CLIENT, SERVER))
    connection.ask(map_question(NETLOGON), pdu.fault(0x6BB, call_id=2, context_id=1)).close()


@case("46", snap_length=96)
def cut_packets(network: Network) -> None:
    """The capture keeps 96 bytes of each packet."""
    mapped(network, VIP, MAPI, (DIP, 59531))


@case("49")
def statuses_of_windows(network: Network) -> None:
    """The status of a response is a Windows number: 1752, 1753, 1723; then 0x16C9A0CD."""
    for status in (0x6D8, 0x6D9, 0x6BB, 0x16C9A0CD):
        bound(network.connect(CLIENT, SERVER)).ask(map_question(NETLOGON), empty_answer(status)).close()


@case("50")
def bad_stub_data(network: Network) -> None:
    """Windows 2003 answers an ept_map with the fault rpc_x_bad_stub_data."""
    connection = bound(network.connect(CLIENT, "10.30.4.3"), wide=False)
    connection.ask(map_question(DRSUAPI, wide=False), pdu.fault(0x6F7, call_id=2)).close()


@case("51")
def flags_zero(network: Network) -> None:
    """PDUs with flags 0, as NT 4.0 sends them: the first client is answered, the second is not."""
    answer = map_answer(MAPI, (VIP, 59531), wide=False)
    bind, question = bind_of(wide=False, flags=0), map_question(MAPI, wide=False, flags=0)
    network.connect(CLIENT, VIP).open().ask(bind, acceptance_of(wide=False)).ask(question, answer).close()
    silent = network.connect("10.20.1.16", VIP).open().ask(bind, acceptance_of(wide=False)).say(0, question)
    network.later(30)
    silent.reset(0)
