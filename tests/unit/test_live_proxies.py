"""Two interfaces of one running inspection: what a proxy between them did, told once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inspector.consequence import Cause, FindingKind, Outcome
from inspector.model import Verdict
from inspector.outcomes.livesides import LiveSides
from tests.build import pdu
from tests.build.connection import ACK, FIN, PSH
from tests.build.livefollowing import LiveInspection
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
)
from tests.cases.network import Connection, Network

if TYPE_CHECKING:
    from inspector.model import Finding

PORT = 49152
GATEWAY = "10.30.1.5"
QUESTION, ANSWER = map_question(SAMR, wide=False), map_answer(SAMR, (DIP, PORT), wide=False)
BIND, ACCEPTED = bind_of(wide=False), acceptance_of(wide=False)


def seen_at(network: Network, tap: int, client: str, server: str) -> Connection:
    """Return a connection that passes one interface alone."""
    connection = network.connect(client, server)
    connection._taps = [connection._taps[tap]]
    return connection


def inspected(network: Network) -> LiveInspection:
    """Return an inspection of both interfaces of a gateway."""
    live = LiveInspection(interfaces=2)
    frames = [(frame, number) for number, scene in enumerate(network.scenes, 1) for frame in scene.frames]
    for frame, interface in sorted(frames, key=lambda one: one[0].time_ns):
        live.take(frame.data, frame.time_ns, interface)
    live.wait()
    live.close()
    return live


def of_mapper(live: LiveInspection) -> list[Finding]:
    """Return the findings about answers and their delivery."""
    return [one for one in live.findings if one.kind in (FindingKind.ANSWER, FindingKind.DELIVERY)]


def proxied(network: Network, *, passes: bool, client: str = CLIENT) -> None:
    """Let a proxy in the gateway pass on a question to another address, and pass the answer back or refuse it."""
    outer, inner = seen_at(network, 0, client, VIP), seen_at(network, 1, GATEWAY, SERVER)
    outer.open().say(0, BIND)
    inner.open().ask(BIND, ACCEPTED)
    outer.say(1, ACCEPTED).say(0, QUESTION)
    inner.ask(QUESTION, ANSWER)
    if passes:
        outer.say(1, ANSWER).close()
    else:
        outer.send(1, FIN | PSH | ACK, pdu.bind_nak())
    inner.close()


def test_a_proxy_is_one_question() -> None:
    """Its client's conversation is told, once; the server behind is learned."""
    network = Network(gateway=True)
    proxied(network, passes=True)
    [answer] = of_mapper(inspected(network))
    assert (str(answer.client), str(answer.asked), answer.source) == (CLIENT, VIP, "eth1")
    assert answer.consequence is not None
    assert answer.consequence.cause is Cause.LOAD_BALANCER
    assert SERVER in "; ".join(answer.consequence.evidence_seen)


def test_an_answer_that_a_proxy_refuses_was_dropped_here() -> None:
    """The original case: the client gets a bind_nak in the answer's place, which is no finding of its own."""
    network = Network(gateway=True)
    proxied(network, passes=False)
    answer, delivery = of_mapper(inspected(network))
    assert (str(answer.client), answer.source, answer.verdict) == (GATEWAY, "eth2", Verdict.MISMATCH)
    assert delivery.outcome is Outcome.UNDELIVERED
    assert "came in at eth2 and did not leave at eth1: it was dropped in between" in delivery.why
    assert CLIENT in delivery.why
    assert "bind_nak" in delivery.why


def test_two_that_could_be_meant_are_not_tied() -> None:
    """Two clients ask the proxy the same in one moment: each conversation is told by itself, and none was dropped."""
    network = Network(gateway=True)
    outers = [seen_at(network, 0, client, VIP).open() for client in (CLIENT, "10.20.1.16")]
    inners = [seen_at(network, 1, GATEWAY, SERVER) for _ in outers]
    for outer in outers:
        outer.say(0, BIND)
    for inner in inners:
        inner.open().ask(BIND, ACCEPTED)
    for outer, inner in zip(outers, inners, strict=True):
        outer.say(1, ACCEPTED).say(0, QUESTION)
        inner.ask(QUESTION, ANSWER)
        outer.say(1, ANSWER).close()
        inner.close()
    found = of_mapper(inspected(network))
    assert len(found) == 4
    assert not [one for one in found if one.kind is FindingKind.DELIVERY]


def test_a_bind_alone_ties_nothing() -> None:
    """Every client of a kind sends the same bind: a client behind another interface is no proxy's."""
    network = Network(gateway=True)
    outer, inner = seen_at(network, 0, CLIENT, VIP).open(), seen_at(network, 1, GATEWAY, VIP)
    outer.say(0, BIND)
    inner.open().ask(BIND, ACCEPTED).ask(QUESTION, ANSWER)
    outer.say(1, ACCEPTED)
    network.wait(3)
    outer.close()
    inner.close()
    [answer] = of_mapper(inspected(network))
    assert str(answer.client) == GATEWAY


def test_an_answer_that_comes_out_later_was_not_dropped() -> None:
    """A gateway with a slow filter: the client gets the answer half a second later, and one side is told."""
    network = Network(gateway=True)
    connection = bound(network.connect(CLIENT, VIP, translated=(GATEWAY, SERVER)), wide=False)
    connection.send(0, PSH | ACK, QUESTION)
    connection.send(1, PSH | ACK, ANSWER, at=(1,), arrives=False)
    for number in range(5):
        # The sides are compared when other packets come.
        network.wait(0.1)
        network.connect("10.20.9.9", f"10.30.9.{number}").open().close()
    connection.send(1, PSH | ACK, ANSWER, at=(0,), again=True)
    connection.send(0, ACK).close()
    network.wait(5)
    found = of_mapper(inspected(network))
    assert [(one.kind, one.source) for one in found] == [(FindingKind.ANSWER, "eth1")]


def test_what_is_compared_is_bounded() -> None:
    """Conversations go a while after their last packet, and what was tied goes when more is."""
    network = Network(gateway=True)
    for number in range(40):
        proxied(network, passes=number % 2 == 0, client=f"10.20.1.{number}")
        network.wait(1)
    live = inspected(network)
    sides = live.following._sides
    assert isinstance(sides, LiveSides)
    assert len(sides) == 0
    assert len([one for one in of_mapper(live) if one.kind is FindingKind.DELIVERY]) == 20
