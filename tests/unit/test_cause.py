"""The table of causes: each row on the evidence that it is for, and on none."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from inspector.consequence import HARMFUL, Cause, Outcome, Target
from inspector.judge.cause import ROWS, diagnose
from inspector.judge.diagnosis import Row, listed, sender_of
from inspector.judge.evidence import Evidence, Reset, hops_away
from inspector.model import Verdict
from tests.build.causes import CASES
from tests.build.causes_of_answers import Case
from tests.build.evidence import DIP, FOLLOW_UP, OPEN, SENT_AGAIN, VIP, evidence
from tests.build.neighbours import OTHER_CASES


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.row.__name__)
def test_a_row_holds_on_its_evidence(case: Case) -> None:
    """The row alone, and the table: no row before it takes its evidence."""
    found = case.row(case.evidence)
    assert found is not None
    assert found.cause is case.cause
    text = "; ".join((*found.evidence_seen, found.remedy))
    assert [words for words in case.words if words not in text] == []
    assert diagnose(case.evidence) == found


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.__name__)
def test_no_evidence_no_cause(row: Row) -> None:
    """A plain match and a client that got through have no cause, in any row and in the table."""
    for healthy in (
        evidence(verdict=Verdict.MATCH, offered=(VIP,), latency_ns=1_000_000),
        evidence(FOLLOW_UP, outcome=Outcome.REACHED, target=Target.ASKED, offered=(VIP,), attempt=OPEN),
        evidence(FOLLOW_UP, outcome=Outcome.REACHED, target=Target.OFFERED, offered=(DIP,), attempt=OPEN),
        evidence(verdict=Verdict.MISMATCH, offered=(DIP,)),
    ):
        assert row(healthy) is None
        assert diagnose(healthy) is None


def test_every_row_has_a_case() -> None:
    """A row without a case would be untested."""
    assert {case.row for case in CASES} == set(ROWS)


@pytest.mark.parametrize(("given", "cause", "words"), OTHER_CASES)
def test_a_row_tells_neighbours_apart(given: Evidence, cause: Cause, words: str) -> None:
    """Evidence of which one fact differs from that of another case."""
    found = diagnose(given)
    assert found is not None
    assert found.cause is cause
    assert words in "; ".join((*found.evidence_seen, found.remedy))


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_is_reached_and_documented(cause: Cause) -> None:
    """Some evidence leads to each cause of the closed set, and docs/causes.md has a section for it."""
    reached = [diagnose(case.evidence) for case in CASES] + [diagnose(case.values[0]) for case in OTHER_CASES]  # type: ignore[arg-type]
    assert cause in {found.cause for found in reached if found is not None}
    text = (Path(__file__).parents[2] / "docs" / "causes.md").read_text()
    section = text.partition(f"\n## `{cause}`\n")[2].partition("\n## ")[0]
    for part in ("**Means**", "**Evidence**", "**What to do**"):
        assert part in section


def test_the_documentation_has_no_other_cause() -> None:
    """A cause that went takes its section along."""
    text = (Path(__file__).parents[2] / "docs" / "causes.md").read_text()
    assert {line[4:-1] for line in text.splitlines() if line.startswith("## `")} == set(Cause)


@pytest.mark.parametrize("outcome", sorted(HARMFUL))
def test_a_harmful_outcome_never_stays_without_a_cause(outcome: Outcome) -> None:
    """At least what was seen is told, as `unknown`."""
    found = diagnose(evidence(FOLLOW_UP, outcome=outcome, target=Target.OTHER, attempt=OPEN, delivery=SENT_AGAIN))
    assert found is not None
    assert found.evidence_seen


def test_hops_of_usual_initial_hop_limits() -> None:
    """Windows begins with 128, Linux with 64, devices with 255."""
    assert [hops_away(limit) for limit in (64, 63, 128, 126, 254, 255)] == [0, 1, 0, 2, 1, 0]


def test_words_of_a_sender_and_of_many_addresses() -> None:
    """A reset from farther away, one of unknown TTL, and a list that is cut."""
    assert "2 hops farther" in sender_of(Reset(True, 60, 62), "10.11.2.2")
    assert sender_of(Reset(True), "10.11.2.2") == "reset from 10.11.2.2"
    assert sender_of(Reset(True, 60), "10.11.2.2") == "reset from 10.11.2.2, TTL 60"
    many = tuple(IPv4Address(number) for number in range(1, 7))
    assert listed(many) == "0.0.0.1, 0.0.0.2, 0.0.0.3, 0.0.0.4 and 2 more"
    assert listed(()) == "no address"
