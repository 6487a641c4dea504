"""Each answer that offers an endpoint ends in one way that is told or counted, whatever clients do with it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from inspector.consequence import FindingKind, Outcome
from inspector.decode.batch import FindingBatch
from inspector.errors import Anomaly
from inspector.metrics.updates import Metrics
from inspector.outcomes.limits import OutcomeLimits
from tests.build.connection import ACK, SYN
from tests.build.findings import Scraped
from tests.build.livefollowing import LiveInspection
from tests.cases.dialogue import DIP, MAPI, SERVER, VIP, bound, called, map_answer, map_question, mapped
from tests.cases.network import Network

if TYPE_CHECKING:
    from tests.cases.network import Connection

PORT = 49664
_WAYS = (
    "nothing", "reached", "refused", "silent", "unreachable", "accepted", "half", "requests", "answers", "given up",
    "twice", "undelivered",
)  # fmt: skip
_CONVERSATIONS = st.lists(
    st.tuples(st.sampled_from(_WAYS), st.sampled_from([VIP, SERVER]), st.integers(1, 3), st.integers(0, 40)),
    min_size=1,
    max_size=8,
)


def follow(network: Network, client: str, server: str, way: str) -> None:
    """Let a client do something with the port that it was offered."""

    def connect() -> Connection:
        return network.connect(client, server, PORT)

    if way in ("reached", "twice"):
        called(network, server, PORT, MAPI, client=client)
    if way == "twice":
        connect().refused(1)
    elif way == "refused":
        connect().refused()
    elif way == "silent":
        connect().syns(2)
    elif way == "unreachable":
        connect().unreachable("10.30.0.1")
    elif way == "accepted":
        connect().open()
    elif way == "half":
        connect().send(0, SYN).send(1, SYN | ACK)
    elif way == "requests":
        connect().send(0, SYN).send(1, SYN | ACK, at=()).send(0, ACK)
    elif way == "answers":
        connect().send(0, SYN, at=()).send(1, SYN | ACK)
    elif way == "given up":
        connect().syns(1).reset(0)


def play(
    conversations: list[tuple[str, str, int, int]], limits: OutcomeLimits | None = None
) -> tuple[LiveInspection, int]:
    """Let clients ask and go on; return the inspection, and how many answers offered an endpoint."""
    live, network = LiveInspection(limits=limits), Network()
    for way, server, client, seconds in conversations:
        name = f"10.20.1.{client}"
        if way == "undelivered":
            answer = map_answer(MAPI, (DIP, PORT))
            connection = bound(network.connect(name, server)).say(0, map_question(MAPI))
            connection.say(1, answer, acknowledged=False).repeat(1, answer, 4)
        else:
            mapped(network, server, MAPI, (DIP, PORT), client=name)
            follow(network, name, server, way)
        network.wait(seconds)
    for frame in sorted(network.scenes[0].frames, key=lambda frame: frame.time_ns):
        live.take(frame.data, frame.time_ns)
    live.wait(120_000_000_000)
    return live, len(conversations)


def ended(live: LiveInspection) -> tuple[int, int, int]:
    """Return of how many answers an outcome was told, how many nobody followed, and what was let go."""
    told = {
        one.consequence.answer
        for one in live.findings
        if one.kind in (FindingKind.FOLLOW_UP, FindingKind.DELIVERY) and one.consequence is not None
    }
    let_go = live.following.anomalies
    return (
        len(told),
        live.following.outcomes.get(Outcome.NOT_FOLLOWED, 0),
        let_go[Anomaly.OUTCOME_EVICTED] + let_go[Anomaly.OUTCOME_UNDECIDED],
    )


@settings(deadline=None, max_examples=60)
@given(_CONVERSATIONS)
def test_answers_are_the_sum_of_what_became_of_them(conversations: list[tuple[str, str, int, int]]) -> None:
    """Nothing is lost unsaid, and nothing is counted twice but an answer which several connections followed."""
    live, answers = play(conversations)
    told, not_followed, let_go = ended(live)
    assert answers - let_go <= told + not_followed <= answers
    if not let_go:
        assert told + not_followed == answers
    metrics = Metrics(CollectorRegistry(), vips=[VIP, SERVER])
    metrics.observe(FindingBatch.of([one for one in live.findings if one.follow_up is None]))
    metrics.observe_not_followed(live.following.take_not_followed())
    counted = Counter[str]()
    for (name, labels), value in Scraped(metrics).samples.items():
        if name == "follow_ups_total":
            counted[dict(labels)["outcome"]] += int(value)
    assert counted["not_followed"] == not_followed
    assert live.following.take_not_followed() == []


def test_with_small_tables_what_is_let_go_is_counted() -> None:
    """Offers of more clients than are kept: none is said to have connected nowhere."""
    live, answers = play([("nothing", VIP, client, 0) for client in range(1, 21)], OutcomeLimits(clients=4))
    told, not_followed, let_go = ended(live)
    assert (told, not_followed, let_go) == (0, 4, answers - 4)
