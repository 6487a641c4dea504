"""What is kept for people: bounded whatever comes, and never without what matters."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import numpy as np
import pytest

from inspector.decode import layout
from inspector.decode.batch import FindingBatch
from inspector.http.overview import FINDINGS, OFFERS, Overview
from inspector.model import Finding, Verdict
from tests.build.blocks import batch_of
from tests.unit.test_console import FINDING, Clock

MATCH = replace(FINDING, verdict=Verdict.MATCH, mappings=(replace(FINDING.mappings[0], verdict=Verdict.MATCH),))


def batch(judgements: list[Finding], numbers: list[int]) -> FindingBatch:
    """Return a batch in which these judgements are met in this order, a nanosecond apart."""
    rows = np.zeros((len(numbers), layout.FOUND_WORDS), np.int64)
    rows[:, layout.FOUND_TEMPLATE] = numbers
    rows[:, layout.FOUND_TIME] = np.arange(len(numbers))
    rows[:, layout.FOUND_ASKED] = -1
    return FindingBatch(rows, judgements)


def rows_of(overview: Overview) -> list[tuple[Any, ...]]:
    """Return what was offered, without the time."""
    return [tuple(row.values())[:5] for row in overview.offers()[0]]


def test_offers_are_counted_by_kind() -> None:
    """Asked and offered address, service and verdict make a kind; single findings and batches count alike."""
    overview = Overview()
    overview.observe(batch_of(FINDING))
    overview.observe(batch([FINDING, MATCH], [0, 1, 1, 1, 0]))
    overview.observe(batch_of(replace(FINDING, verdict=Verdict.UNANSWERED, mappings=(), requested=None)))
    assert rows_of(overview) == [
        ("10.11.2.2", "MAPI", "10.11.2.7", "mismatch", 3),
        ("10.11.2.2", "MAPI", "10.11.2.7", "match", 3),
        ("10.11.2.2", None, None, "unanswered", 1),
    ]
    assert overview.offers()[1] == 0


def test_forged_offers_do_not_displace_real_ones() -> None:
    """However many kinds come, so many are kept: those which come again stay, and nothing goes uncounted."""
    overview = Overview()
    for number in range(3 * OFFERS):
        overview.observe(batch_of(replace(FINDING, asked=IPv4Address(number))))
        if number % 100 == 0:
            overview.observe(batch_of(FINDING))
    offers, beyond = overview.offers()
    assert len(offers) == OFFERS
    assert offers[0]["answers"] == -(-3 * OFFERS // 100)
    assert sum(offer["answers"] for offer in offers) + beyond == 3 * OFFERS + -(-3 * OFFERS // 100)


def test_the_last_findings_of_each_verdict_are_kept() -> None:
    """Those that come often displace none of the others; the newest come first."""
    overview, clock = Overview(clock := Clock()), clock
    overview.observe(batch_of(replace(FINDING, time_ns=5)))
    for number in range(10 * FINDINGS):
        clock.now += 1
        overview.observe(batch_of(replace(MATCH, time_ns=10 + number)))
    found = overview.findings()
    assert len(found) == FINDINGS + 1
    assert found[-1].verdict is Verdict.MISMATCH
    assert [one.time_ns for one in found] == sorted((one.time_ns for one in found), reverse=True)


def test_a_rare_finding_of_a_batch_is_kept() -> None:
    """One mismatch among thousands of matches is there, with its client's data."""
    overview = Overview()
    overview.observe(batch([MATCH, FINDING], [*[0] * 5000, 1, *[0] * 3000]))
    assert [one.time_ns for one in overview.findings() if one.verdict is Verdict.MISMATCH] == [5000]


def test_no_more_findings_are_made_than_somebody_can_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """At line rate a second's room is used up and the rest only counted; the next second there is room again."""
    overview, clock = Overview(clock := Clock()), clock
    made = 0
    findings = FindingBatch.findings

    def counting(self: FindingBatch) -> Any:
        nonlocal made
        made += len(self)
        return findings(self)

    monkeypatch.setattr(FindingBatch, "findings", counting)
    for _ in range(100):
        overview.observe(batch([FINDING], [0] * 1000))
    assert 0 < made <= 50
    clock.now += 1
    overview.observe(batch([FINDING], [0]))
    assert rows_of(overview)[0][4] == 100_001
