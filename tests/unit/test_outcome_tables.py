"""Tables behind outcomes: moments, offers and what the answers of an address said."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_address

import pytest

from inspector.consequence import Target
from inspector.model import RpcInterface, Verdict
from inspector.outcomes.agenda import Agenda
from inspector.outcomes.connection import Connection, Flow
from inspector.outcomes.limits import OutcomeLimits
from inspector.outcomes.offers import Answer, Offers
from inspector.outcomes.servers import Server, Servers
from tests.build.connection import raw_address
from tests.build.findings import MAPI, UNNAMED, finding, mapping

SECOND = 1_000_000_000
CLIENT, VIP = raw_address("10.1.1.1"), ip_address("10.11.2.2")


def connection(number: int) -> Connection:
    """Return a connection from a port of its own."""
    return Connection(Flow(CLIENT, number, raw_address("10.11.2.2"), 135), 0, 1)


def test_moments_come_in_their_order() -> None:
    """Each connection once; an earlier moment replaces a later one, and never the other way."""
    agenda: Agenda[Connection] = Agenda(10)
    first, second = connection(1), connection(2)
    for one in (first, second):
        agenda.add(one)
    agenda.schedule(first, 50)
    agenda.schedule(second, 20)
    agenda.schedule(first, 10)
    agenda.schedule(first, 90)
    agenda.schedule(first, None)
    assert list(agenda.due(9)) == []
    assert list(agenda.due(60)) == [first, second]
    assert list(agenda.due(1000)) == []


def test_the_one_that_was_silent_for_longest_goes() -> None:
    """It is given back, and its moment never comes."""
    agenda: Agenda[Connection] = Agenda(2)
    old, used, new = (connection(number) for number in range(3))
    agenda.add(used)
    agenda.add(old)
    agenda.touch(used.flow)
    agenda.schedule(old, 1)
    assert agenda.add(new) is old
    assert (len(agenda), list(agenda.due(5))) == (2, [])


def test_stale_moments_are_bounded() -> None:
    """However often connections come and go, or are scheduled earlier."""
    agenda: Agenda[Connection] = Agenda(3)
    for number in range(1000):
        one = connection(number)
        agenda.add(one)
        for due_ns in (10_000 - number, 5_000 - number):
            agenda.schedule(one, due_ns)
    assert agenda.size <= 3 + 4 * 3 + 1
    assert len(list(agenda.due(20_000))) == 3


def answer(*ports: int, time_ns: int = 0, verdict: Verdict = Verdict.MISMATCH) -> Answer:
    """Return an answer of the VIP which offers 10.11.2.7 at these ports."""
    made = finding(verdict, mappings=tuple(replace(mapping(), port=port) for port in ports))
    return Answer(replace(made, time_ns=time_ns), 1, 1, 0)


@pytest.mark.parametrize(
    ("address", "port", "after", "target"),
    [
        ("10.11.2.2", 1000, 0, Target.ASKED),
        ("10.11.2.7", 1000, 30, Target.OFFERED),
        ("10.11.2.8", 1000, -1, Target.OTHER),
        ("10.11.2.9", 1000, 0, None),
        ("10.11.2.2", 1001, 0, None),
        ("10.11.2.2", 1000, 31, None),
    ],
)
def test_which_connection_follows_an_offer(address: str, port: int, after: float, target: Target | None) -> None:
    """By client, port, address and time."""
    offers, server = Offers(OutcomeLimits()), Server(VIP)
    server.addresses[IPv4Address("10.11.2.8")] = None
    offers.add(answer(1000), CLIENT)
    found = offers.find(CLIENT, ip_address(address), port, round(after * SECOND), server)
    assert (found.target if found is not None else None) is target
    assert offers.find(raw_address("10.1.1.2"), VIP, 1000, 0, server) is None


def test_the_latest_answer_is_the_one_that_is_followed() -> None:
    """A client that asks again follows the newer answer."""
    offers, answers = Offers(OutcomeLimits()), [answer(1000, time_ns=number) for number in range(2)]
    for one in answers:
        offers.add(one, CLIENT)
    found = offers.find(CLIENT, VIP, 1000, 5, None)
    assert found is not None
    assert found.answer is answers[1]


def test_a_listing_adds_a_few_endpoints() -> None:
    """Of one answer, and of one client, so many; what is let go is counted."""
    offers = Offers(OutcomeLimits(per_answer=3, per_client=4))
    assert offers.add(answer(*range(1, 500)), CLIENT) == [1, 2, 3]
    offers.add(answer(11, 12, 13), CLIENT)
    assert [offers.find(CLIENT, VIP, port, 0, None) is not None for port in (1, 2, 3, 11, 12, 13)] == [
        False, False, True, True, True, True,
    ]  # fmt: skip
    assert offers.evicted == 2


def test_answers_expire_once() -> None:
    """30 seconds after they came."""
    offers, one = Offers(OutcomeLimits()), answer(1000)
    offers.add(one, CLIENT)
    assert [list(offers.expired(at * SECOND)) for at in (30, 31, 99)] == [[], [one], []]


def test_what_answers_said_of_an_interface() -> None:
    """Versions and counts by interface, addresses of all."""
    server = Server(VIP)
    server.note_answer(finding())
    server.note_answer(finding(Verdict.NOT_REGISTERED, mappings=()))
    server.note_answer(finding(Verdict.MATCH, requested=UNNAMED, mappings=(mapping(interface=UNNAMED),)))
    server.note_answer(finding(Verdict.UNANSWERED, mappings=()))
    siblings = server.siblings(str(MAPI.uuid), None, 0)
    assert (siblings.answers, siblings.named, siblings.versions) == (2, 1, (("0.81", 0),))
    assert server.siblings(str(MAPI.uuid), None, 66 * SECOND).answers == 0
    assert siblings.addresses == (IPv4Address("10.11.2.7"),)
    assert siblings.mapper_answered
    assert server.siblings(None, None, 0).answers == 0


def test_forged_answers_cannot_make_it_grow() -> None:
    """Interfaces, versions, addresses, refusals and servers: each has a bound."""
    servers = Servers(3)
    for number in range(500):
        server = servers.of(ip_address(f"10.0.{number >> 8}.{number & 255}"))
        interface = RpcInterface(MAPI.uuid, number)
        other = replace(mapping(interface=interface), address=IPv4Address(number + 1))
        servers.of(VIP).note_answer(finding(mappings=(other,), requested=interface))
        server.note_refusal(VIP, number)
        servers.of(VIP).note_refusal(VIP, number)
    assert len(servers) == 3
    siblings = servers.of(VIP).siblings(str(MAPI.uuid), (VIP, 499), 0)
    assert (len(siblings.addresses), len(siblings.versions), siblings.refusals) == (16, 8, 1)
    assert servers.of(VIP).siblings(None, (VIP, 0), 0).refusals == 0
