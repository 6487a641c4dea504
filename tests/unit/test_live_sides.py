"""Sides of a running inspection: what is called dropped while more may come, and which side shows a conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inspector.outcomes.livesides import LiveSides
from inspector.wire.headers import Header, read_header
from tests.build.connection import ACK, PSH
from tests.cases import connections, gateways  # noqa: F401  # each registers its cases
from tests.cases.case import CASES
from tests.cases.dialogue import CLIENT, DIP, SAMR, VIP, bound, map_answer, map_question
from tests.cases.network import Network
from tests.unit.test_sides import PREFIXES

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = ("clients0", "servers0")


def packets(network: Network) -> Iterator[Header]:
    """Yield what both interfaces see, in the order of time."""
    frames = [(frame, number) for number, scene in enumerate(network.scenes) for frame in scene.frames]
    for frame, number in sorted(frames, key=lambda one: one[0].time_ns):
        header = read_header(frame.data, link_type=1, time_ns=frame.time_ns, number=0, wire_length=frame.wire_length)
        if isinstance(header, Header):
            yield header._replace(interface=number)


def take(network: Network, sides: LiveSides) -> int:
    """Let the sides see all packets, compared at each of them, and half a second later; return that time."""
    time_ns = 0
    for header in packets(network):
        sides.take(header)
        time_ns = header.time_ns
        # It compares every 0.4 s.
        sides.refresh(time_ns)
        sides.due_ns = 0
    sides.refresh(time_ns + 500_000_000)
    return time_ns


def live() -> LiveSides:
    """Return the sides of two interfaces."""
    return LiveSides({135}, PREFIXES, NAMES.__getitem__)


def answered(copies: int) -> Network:
    """Return a gateway that loses so many copies of an answer."""
    network = Network(gateway=True)
    connection = bound(network.connect(CLIENT, VIP), wide=False).say(0, map_question(SAMR, wide=False))
    answer = map_answer(SAMR, (DIP, 49152), wide=False)
    for number in range(copies):
        network.wait(0.3)
        if number:
            connection.back(1, len(answer))
        connection.send(1, PSH | ACK, answer, at=(1,), arrives=False)
    return network


def test_a_lost_copy_is_no_dropped_answer() -> None:
    """TCP sends it again."""
    sides = live()
    take(answered(1), sides)
    assert sides.ties.dropped == {}


def test_an_answer_that_is_lost_again_and_again_was_dropped() -> None:
    """Three copies came in, and none left."""
    sides = live()
    take(answered(3), sides)
    [other] = sides.ties.dropped.values()
    assert (other.here, other.there) == NAMES


def test_the_side_that_shows_more_may_become_the_other_one() -> None:
    """Until the answer is dropped the clients' side shows more, then the servers': it is not hidden as well."""
    network = Network(gateway=True)
    CASES["08a-original"].build(network)
    sides = live()
    take(network, sides)
    assert {side for side, *_ in sides.ties.repeated} == {NAMES[0]}
