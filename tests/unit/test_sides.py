"""Two sides, one question: what is tied, what is learned and dropped, and what must not be tied."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Network, ip_address

import pytest

from inspector.consequence import Cause, FindingKind, Outcome
from inspector.judge.cause import diagnose
from inspector.judge.evidence import Evidence
from inspector.outcomes.sides import Ties, tie
from inspector.outcomes.sightings import Sightings
from inspector.wire.headers import Header, read_header
from tests.build import pdu
from tests.build.connection import ACK, PSH, RST, Wire, raw_address
from tests.cases import connections, gateways  # noqa: F401  # each registers its cases
from tests.cases.case import CASES
from tests.cases.dialogue import (
    CLIENT,
    DIP,
    SAMR,
    SERVER,
    VIP,
    acceptance_of,
    bind_of,
    bound,
    map_answer,
    map_question,
    mapped,
)
from tests.cases.network import Network
from tests.golden.layers import frame_of

CLIENTS, SERVERS = "clients", "servers"
PREFIXES = (IPv6Network("2002:a14:168:8001::/96"),)


def sighted(network: Network, *, most: int = 1000) -> list[Sightings]:
    """Return what the points of capture of a network saw."""
    sides = []
    for name, scene in zip((CLIENTS, SERVERS), network.scenes, strict=False):
        side = Sightings(name, {135}, most)
        for number, frame in enumerate(sorted(scene.frames, key=lambda one: one.time_ns), 1):
            header = read_header(
                frame.data, link_type=1, time_ns=frame.time_ns, number=number, wire_length=frame.wire_length
            )
            if isinstance(header, Header):
                side.take(header)
        sides.append(side)
    return sides


def built(number: str) -> list[Sightings]:
    """Return what both ports of a case's gateway saw."""
    network = Network(gateway=CASES[number].gateway)
    CASES[number].build(network)
    return sighted(network)


@pytest.mark.parametrize("number", [number for number, case in CASES.items() if case.gateway])
def test_each_conversation_of_a_gateway_is_one_question(number: str) -> None:
    """Whatever went wrong: what both ports saw is shown once."""
    sides = built(number)
    assert len(tie(sides, PREFIXES).repeated) == len(sides[0]) == len(sides[1])


@pytest.mark.parametrize("number", ["01-healthy", "02a-all-ports", "14c-very-slow", "17a-down", "18b-device"])
def test_nothing_was_dropped_nor_learned(number: str) -> None:
    """The servers' side is the copy; the asked address is the same on both."""
    ties = tie(built(number), PREFIXES)
    assert (ties.dropped, ties.learned) == ({}, {})
    assert {side for side, *_ in ties.repeated} == {SERVERS}


def test_a_gateway_that_balances_is_learned() -> None:
    """Ports and sequence numbers are the same, the server's address is not."""
    assert tie(built("20a-balancer")).learned == {IPv4Address(VIP): (IPv4Address(DIP),)}


def test_a_swallowed_answer_was_dropped_here() -> None:
    """It came in at the servers' side, is not at the clients' side, and the client acknowledges less."""
    ties = tie(built("07a-strict-silent"))
    assert [(one.here, one.there, one.replaced_by) for one in ties.dropped.values()] == [(CLIENTS, SERVERS, None)] * 2
    assert {side for side, *_ in ties.repeated} == {CLIENTS}


def test_a_replaced_answer_names_what_came_instead() -> None:
    """NAT64 in between, and a bind_nak of 24 bytes for the answer."""
    ties = tie(built("08a-original"), PREFIXES)
    assert len(ties.dropped) == 2
    for side in ties.dropped.values():
        assert (side.replaced_by, str(side.client)) == ("bind_nak of 24 bytes", "2001:0:a14:168:388e:fcb:4337:1876")
        assert side.after_ns is not None
        assert side.after_ns < 10_000_000


def test_a_proxy_passes_on_the_same_bytes() -> None:
    """The original case in one capture: the inner connection is another one, with the same bind."""
    (ties,) = [tie(built("01"), PREFIXES)]
    (side,) = ties.dropped.values()
    assert (side.here, side.there, side.replaced_by) == (CLIENTS, CLIENTS, "bind_nak of 24 bytes")
    found = diagnose(
        Evidence(
            FindingKind.DELIVERY,
            ip_address("10.30.1.5"),
            ip_address(VIP),
            ip_address(VIP),
            outcome=Outcome.UNDELIVERED,
            offered=(IPv4Address(DIP),),
            other_side=side,
        )
    )
    assert found is not None
    assert found.cause is Cause.STRICT_RPC_FILTER
    assert "came to 10.30.1.5 and did not reach 2001:0:a14:168:388e:fcb:4337:1876: dropped in between" in "; ".join(
        found.evidence_seen
    )


def proxied(network: Network, *, requests: bool, servers: tuple[str, str] = (VIP, DIP)) -> None:
    """Let a proxy pass on a conversation, to another server address."""
    outer, inner = network.connect(CLIENT, servers[0]).open(), network.connect("10.30.1.5", servers[1])
    question, answer = map_question(SAMR, wide=False), map_answer(SAMR, (DIP, 49152), wide=False)
    outer.say(0, bind_of(wide=False))
    inner.open().ask(bind_of(wide=False), acceptance_of(wide=False))
    outer.say(1, acceptance_of(wide=False))
    if requests:
        outer.say(0, question)
        inner.ask(question, answer)
        outer.say(1, answer)


def test_a_proxy_is_learned_from_the_request() -> None:
    """Another client address, another server address, the same bind and the same request."""
    network = Network()
    proxied(network, requests=True)
    ties = tie(sighted(network))
    assert ties.learned == {IPv4Address(VIP): (IPv4Address(DIP),)}
    assert ties.dropped == {}


def test_a_bind_alone_ties_no_other_server() -> None:
    """Every client of a kind sends the same bind."""
    network = Network()
    proxied(network, requests=False)
    assert not tie(sighted(network))


def test_two_clients_at_once_are_no_proxy() -> None:
    """The same bind and request to the same server in the same moment, by two clients, at one point of capture."""
    network = Network()
    first, second = network.connect(CLIENT, VIP).open(), network.connect("10.20.1.16", VIP).open()
    question, answer = map_question(SAMR, wide=False), map_answer(SAMR, (DIP, 49152), wide=False)
    first.say(0, bind_of(wide=False))
    second.ask(bind_of(wide=False), acceptance_of(wide=False))
    first.say(1, acceptance_of(wide=False)).say(0, question)
    second.ask(question, answer)
    first.say(1, answer)
    assert not tie(sighted(network))


def test_two_that_could_be_meant_are_not_tied() -> None:
    """Two clients ask a proxy the same in the same moment: which connection is whose cannot be known."""
    network = Network()
    outer = [network.connect(client, VIP).open() for client in (CLIENT, "10.20.1.16")]
    inner = [network.connect("10.30.1.5", DIP) for _ in outer]
    question = map_question(SAMR, wide=False)
    for one in (*outer, *inner):
        (one if one in outer else one.open()).say(0, bind_of(wide=False))
    for one in (*inner, *outer):
        one.say(1, acceptance_of(wide=False))
    for one in (*outer, *inner):
        one.say(0, question)
    assert not tie(sighted(network))


def gateway_that_drops(*, ends_early: bool = False, acknowledged: bool = False) -> Ties:
    """Return the ties of a gateway whose first port did not see an answer."""
    network = Network(gateway=True)
    connection = bound(network.connect(CLIENT, VIP), wide=False).send(0, PSH | ACK, map_question(SAMR, wide=False))
    connection.send(1, PSH | ACK, map_answer(SAMR, (DIP, 49152), wide=False), at=(1,), arrives=acknowledged)
    network.wait(1)
    if not ends_early:
        connection.send(0, ACK)
    return tie(sighted(network))


def test_what_the_client_acknowledges_was_not_dropped() -> None:
    """The other port's capture has a gap, the client has the answer."""
    assert len(gateway_that_drops().dropped) == 1
    assert gateway_that_drops(acknowledged=True).dropped == {}


def test_a_capture_that_had_ended_proves_no_drop() -> None:
    """The answer came after the last packet of the other file."""
    assert gateway_that_drops(ends_early=True).dropped == {}


def test_a_reset_in_the_answers_place_proves_a_drop() -> None:
    """The filter resets the client in the server's name, and both captures end there: nothing more was to come."""
    network = Network(gateway=True)
    connection = bound(network.connect(CLIENT, VIP), wide=False).say(0, map_question(SAMR, wide=False))
    answer = map_answer(SAMR, (DIP, 49152), wide=False)
    connection.send(1, PSH | ACK, answer, at=(1,), arrives=False)
    connection.back(1, len(answer)).send(1, RST | ACK, at=(0,))
    assert len(tie(sighted(network)).dropped) == 1


def test_an_answer_cut_otherwise_was_not_dropped() -> None:
    """One port sees one large segment of receive offload, the other its parts."""
    network = Network(gateway=True)
    answer = map_answer(SAMR, (DIP, 49152), (DIP, 49153), wide=False)
    connection = bound(network.connect(CLIENT, VIP), wide=False).say(0, map_question(SAMR, wide=False))
    connection.send(1, PSH | ACK, answer, at=(1,), arrives=False)
    connection.back(1, len(answer)).say(1, answer, 100, acknowledged=False)
    network.later(5)
    ties = tie(sighted(network))
    assert ties.dropped == {}


def test_the_same_port_of_another_time_is_not_tied() -> None:
    """A client's port comes again with other sequence numbers, on the other side."""
    network = Network(gateway=True)
    for side in (0, 1):
        mapped(network, VIP, SAMR, (DIP, 49152))
        frames = network.scenes[1 - side].frames
        del frames[len(frames) // (1 + side) * side :]
    sides = sighted(network)
    assert [len(side) for side in sides] == [1, 1]
    assert not tie(sides)


def header(**changes: object) -> Header:
    """Return a SYN to port 135."""
    frame = frame_of(Wire(CLIENT, SERVER, client_port=50000, client_sequence=7).open().segments[0])
    base = read_header(frame.data, link_type=1, time_ns=1, number=1, wire_length=frame.wire_length)
    assert isinstance(base, Header)
    return base._replace(**changes)  # type: ignore[arg-type]


def test_sightings_are_bounded() -> None:
    """Forged SYNs and forged messages: the oldest conversations go and are counted, later messages are not kept."""
    side = Sightings(CLIENTS, {135}, most=10)
    for port in range(1000, 1100):
        side.take(header(source_port=port))
    assert (len(side), side.evicted) == (10, 90)
    for number in range(1000):
        payload = pdu.bind(call_id=number)
        side.take(header(source_port=1099, flags=ACK, sequence=8 + number, payload_length=72, payload=payload))
    assert max(len(one.messages) for one in side.conversations()) == 64
    side.take(header(destination_port=443))
    assert len(side) == 10


def packets(count: int) -> Iterator[Header]:
    """Yield binds of many clients to one server in the same moment."""
    for number in range(count):
        ends = {"source": raw_address(f"10.21.{number >> 8}.{number & 255}"), "time_ns": number}
        yield header(**ends)
        yield header(**ends, sequence=8, flags=ACK, payload_length=72, payload=pdu.bind())


def test_many_of_the_same_bind_take_little_time() -> None:
    """Work grows with the conversations, not with their square; forged ones with the same numbers tie nothing."""
    side = Sightings(CLIENTS, {135})
    for packet in packets(3000):
        side.take(packet)
    assert not tie([side])
