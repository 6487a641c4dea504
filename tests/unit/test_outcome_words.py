"""From facts to outcomes and to the words for them: pure functions."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from inspector.consequence import FindingKind, Outcome, Target
from inspector.judge.evidence import Attempt, CaptureLimits, Delivery, Evidence, IcmpError, OtherSide, Question, Reset
from inspector.judge.outcome import attempt_outcome, delivery_outcome, explain_outcome, slow_words

CLIENT, VIP, DIP = map(ip_address, ("10.1.1.1", "10.11.2.2", "10.11.2.7"))
ROUTER = ip_address("10.1.1.254")
NOBODY = Attempt(VIP, 49155, syns=3, span_ns=9_000_000_000)
OPEN = Attempt(VIP, 49155, syns=1, answered=True, syn_ack_ttl=126, bind_contexts=3)
REFUSAL = Reset(from_server=True, ttl=126, usual_ttl=126, after_ns=2_000_000, count=3)
SILENCE = Question(sent=4, span_ns=2_100_000_000, waited_ns=10_000_000_000, acknowledged=False)
FACTS = Evidence(FindingKind.FOLLOW_UP, CLIENT, VIP, VIP, target=Target.ASKED, service="SAMR")


@pytest.mark.parametrize(
    ("attempt", "question", "outcome"),
    [
        (NOBODY, None, Outcome.TIMED_OUT),
        (replace(NOBODY, syns=0), None, None),
        (replace(NOBODY, reset=REFUSAL), None, Outcome.REFUSED),
        (replace(NOBODY, reset=replace(REFUSAL, from_server=False)), None, Outcome.TIMED_OUT),
        (replace(NOBODY, icmp=IcmpError(ROUTER, 3, 13)), None, Outcome.UNREACHABLE),
        (replace(NOBODY, icmp=IcmpError(ROUTER, 3, 4)), None, Outcome.TIMED_OUT),
        (OPEN, None, Outcome.REACHED),
        (OPEN, SILENCE, Outcome.BROKEN),
        (replace(OPEN, reset=REFUSAL), None, Outcome.BROKEN),
        (replace(OPEN, reset=replace(REFUSAL, from_server=False)), None, Outcome.REACHED),
        (replace(OPEN, reset=REFUSAL, bind_contexts=0), None, Outcome.BROKEN),
        (replace(OPEN, reset=replace(REFUSAL, after_ns=60_000_000_000), bind_contexts=0), None, Outcome.REACHED),
        (replace(OPEN, rejection="local limit exceeded"), None, Outcome.DENIED),
        (replace(OPEN, fault=5), None, Outcome.DENIED),
        (replace(OPEN, fault=0x1C010003), None, Outcome.WRONG_SERVER),
        (replace(OPEN, fault=0x1C010002), None, Outcome.REACHED),
        (replace(OPEN, icmp=IcmpError(ROUTER, 3, 13)), None, Outcome.REACHED),
    ],
)
def test_outcome_of_an_attempt(attempt: Attempt, question: Question | None, outcome: Outcome | None) -> None:
    """What answered, if anything did, and what it said."""
    assert attempt_outcome(attempt, question) is outcome


def test_what_was_accepted_or_is_unknown() -> None:
    """A rejected abstract syntax is another server; a reset after an accepted bind is the end of a connection."""
    rejected = replace(OPEN, rejection="abstract syntax not supported")
    assert attempt_outcome(rejected, None, unknown_interface=True) is Outcome.WRONG_SERVER
    assert attempt_outcome(replace(OPEN, reset=REFUSAL), None, accepted=True) is Outcome.REACHED


@pytest.mark.parametrize(
    ("delivery", "ended", "waited", "lost"),
    [
        (Delivery(sent=3), False, 0, True),
        (Delivery(sent=2), False, 60, False),
        (Delivery(sent=2), True, 0, True),
        (Delivery(sent=1), True, 0.5, False),
        (Delivery(sent=1), True, 1, True),
        (Delivery(sent=1, client_hole=True), False, 0, True),
        (Delivery(sent=9, acknowledged=True), True, 60, False),
    ],
)
def test_outcome_of_a_delivery(delivery: Delivery, *, ended: bool, waited: float, lost: bool) -> None:
    """Sent again and again, or never acknowledged before the end."""
    found = delivery_outcome(delivery, ended=ended, waited_ns=round(waited * 1e9))
    assert found is (Outcome.UNDELIVERED if lost else None)


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        (
            replace(FACTS, outcome=Outcome.TIMED_OUT, attempt=NOBODY),
            "10.1.1.1 connected to 10.11.2.2:49155 as it was told: 3 SYNs in 9.0 s, no answer",
        ),
        (
            replace(FACTS, outcome=Outcome.REFUSED, attempt=replace(NOBODY, reset=REFUSAL)),
            (
                "10.1.1.1 connected to 10.11.2.2:49155 as it was told and was refused 3 times: reset from 10.11.2.2 "
                "with TTL 126, as its SYN-ACK: sent by the server or a device beside it"
            ),
        ),
        (
            replace(
                FACTS,
                outcome=Outcome.UNREACHABLE,
                target=Target.OFFERED,
                attempt=replace(NOBODY, address=DIP, syns=1, icmp=IcmpError(ROUTER, 3, 13)),
            ),
            (
                "10.1.1.1 asked 10.11.2.2 and went to the tower's address 10.11.2.7:49155 (it does not conform): 1 "
                "SYN, 10.1.1.254 sent ICMP type 3 code 13: communication administratively prohibited"
            ),
        ),
        (
            replace(FACTS, outcome=Outcome.REACHED, target=Target.OTHER, attempt=replace(OPEN, address=DIP)),
            "10.1.1.1 asked 10.11.2.2 and connected to 10.11.2.7:49155, another address of it, which accepted SAMR",
        ),
        (
            replace(FACTS, outcome=Outcome.WRONG_SERVER, attempt=replace(OPEN, rejection="no such syntax")),
            "10.1.1.1 connected to 10.11.2.2:49155 as it was told, which rejects SAMR: no such syntax",
        ),
        (
            replace(FACTS, outcome=Outcome.DENIED, attempt=replace(OPEN, fault=5)),
            "10.1.1.1 connected to 10.11.2.2:49155 as it was told, which rejects SAMR: access denied",
        ),
        (
            replace(FACTS, outcome=Outcome.BROKEN, attempt=OPEN, question=SILENCE),
            (
                "10.1.1.1 connected to 10.11.2.2:49155 as it was told, and its call was sent 4 times in 2.1 s, not "
                "even acknowledged, not answered in 10.0 s"
            ),
        ),
        (
            replace(
                FACTS,
                kind=FindingKind.DELIVERY,
                outcome=Outcome.UNDELIVERED,
                delivery=Delivery(sent=6, span_ns=9_300_000_000, largest_segment=1384),
            ),
            (
                "this answer did not reach 10.1.1.1: sent 6 times in 9.3 s and never acknowledged (largest segment "
                "1384 bytes)"
            ),
        ),
        (
            replace(
                FACTS,
                kind=FindingKind.DELIVERY,
                outcome=Outcome.UNDELIVERED,
                delivery=Delivery(),
                other_side=OtherSide("eth0", "eth1", DIP, dropped=True),
            ),
            "this answer came in at eth1 and did not leave at eth0: it was dropped in between",
        ),
        (
            replace(FACTS, kind=FindingKind.CONNECTION, outcome=Outcome.TIMED_OUT, attempt=replace(NOBODY, port=135)),
            "10.11.2.2:135 does not answer: 3 SYNs in 9.0 s",
        ),
        (
            replace(
                FACTS,
                kind=FindingKind.CONNECTION,
                operation="bind",
                question=SILENCE,
                capture=CaptureLimits(ended_after_ns=4_500_000_000),
            ),
            "bind: not answered when the capture ended 4.5 s later, sent 4 times",
        ),
        (
            replace(FACTS, kind=FindingKind.CONNECTION, capture=CaptureLimits(one_way=1)),
            (
                "1 connection of 10.11.2.2 was seen from the client alone: answers take another way, and nothing can "
                "be said of them here"
            ),
        ),
        (
            replace(FACTS, kind=FindingKind.CONNECTION, capture=CaptureLimits(snap_length=96, unread=2)),
            "the capture keeps 96 bytes of each packet: 2 answers of 10.11.2.2 could not be read",
        ),
        (
            replace(
                FACTS,
                kind=FindingKind.ANSWER,
                outcome=Outcome.BROKEN,
                operation="bind",
                question=replace(SILENCE, interface="EPM", acknowledged=True, client_ended=True),
            ),
            (
                "the bind of EPM was sent 4 times in 2.1 s, acknowledged, not answered in 10.0 s, then 10.1.1.1 ended "
                "the connection"
            ),
        ),
    ],
)
def test_words(evidence: Evidence, words: str) -> None:
    """One sentence with numbers: who, where, what happened."""
    assert explain_outcome(evidence) == words


def test_slow_answers_say_so() -> None:
    """From half a second on."""
    assert [slow_words(one) for one in (None, 499_999_999, 8_000_000_000)] == ["", "", " (answered after 8.0 s)"]
