"""A batch counted by group is what its templates, counted one by one, add up to."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np

from inspector.decode import layout
from inspector.decode.batch import FindingBatch
from inspector.decode.grouping import GroupCounts
from inspector.model import Finding, Verdict
from tests.build.findings import finding


def numbered(number: int) -> Finding:
    """Return a finding that has a number."""
    return replace(finding(), client_port=number)


def batch_of(templates: list[Finding], numbers: list[int], *, lasting: bool = True) -> FindingBatch:
    """Return a batch with a row for each number."""
    rows = np.zeros((len(numbers), layout.FOUND_WORDS), np.int64)
    rows[:, layout.FOUND_TEMPLATE] = numbers
    return FindingBatch(rows, templates, lasting=lasting)


def totals(counts: GroupCounts[str], batch: FindingBatch) -> dict[str, int]:
    """Return the sum for each group."""
    sums: dict[str, int] = {}
    for group, count in counts.totals(batch):
        sums[group] = sums.get(group, 0) + count
    return sums


def test_groups_are_counted() -> None:
    """Templates with no, one and several groups, in batches that meet new ones, and of another numbering."""
    random = Random(1)  # noqa: S311  # numbers for a test
    asked: list[int] = []

    def groups_of(template: Finding) -> list[str]:
        number = template.client_port
        asked.append(number)
        return [f"group {divisor}" for divisor in (2, 3, 5) if number % divisor == 0]

    counts = GroupCounts(groups_of)
    for numbering in range(2):
        templates = [numbered(7 * numbering + number) for number in range(200)]
        asked.clear()
        for most in (1, 10, 200, 50):
            numbers = [random.randrange(most) for _ in range(random.choice((5, 500)))]
            expected: dict[str, int] = {}
            for number in numbers:
                for divisor in (2, 3, 5):
                    if templates[number].client_port % divisor == 0:
                        expected[f"group {divisor}"] = expected.get(f"group {divisor}", 0) + 1
            assert totals(counts, batch_of(templates, numbers)) == expected
        assert len(asked) == len(set(asked))
    assert totals(counts, batch_of(templates, [])) == {}


def test_templates_that_do_not_last_are_asked_about_each_time() -> None:
    """Their numbers are those of other templates in the next batch."""
    counts = GroupCounts(lambda template: [str(template.verdict)])
    for verdict in (Verdict.MATCH, Verdict.MISMATCH):
        assert totals(counts, batch_of([finding(verdict=verdict)], [0, 0], lasting=False)) == {str(verdict): 2}


def test_what_is_forgotten_while_it_is_asked_is_asked_again() -> None:
    """In a batch of many: a template by which something is learned changes what was said of those before it."""
    learned: set[int] = set()

    def groups_of(template: Finding) -> list[str]:
        port = template.client_port
        if port % 3 == 2 and port not in learned:
            learned.add(port)
            counts.forget()
        return [f"{len(learned)} known"]

    counts = GroupCounts(groups_of)
    templates = [numbered(number) for number in range(9)]
    assert totals(counts, batch_of(templates, [*range(9)] * 3)) == {"3 known": 27}
