"""Batches counted by group: what is said of each template is looked up in arrays, not asked for each one and batch.

A thousand servers make thousands of templates, and each batch meets most of them. What is counted of them - verdicts,
series of metrics - are far fewer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from inspector.decode.batch import FindingBatch, Numbers
    from inspector.model import Finding

Group = TypeVar("Group", bound="Hashable")

# Arrays pay for more rows than these.
_FEW: Final = 16
# In place of a group: of a template that was not asked about yet, or has none.
_UNKNOWN: Final = 0
_NONE: Final = 1


class GroupCounts(Generic[Group]):
    """Counts findings by the groups of their templates: `groups_of` is asked once for each template that lasts.

    It may call `forget`, where what it said of other templates does not hold any more.
    """

    def __init__(self, groups_of: Callable[[Finding], Sequence[Group]]) -> None:
        self._groups_of = groups_of
        self._numbering: object = None
        self._of: dict[int, tuple[Group, ...]] = {}
        self._numbers: dict[Group, int] = {}
        self._groups: list[Group] = []
        # For each template the numbers of its groups.
        self._table = np.zeros((0, 1), np.int32)

    def forget(self) -> None:
        """Ask again about all templates."""
        self._of.clear()
        self._table[:] = _UNKNOWN

    def totals(self, batch: FindingBatch) -> Iterator[tuple[Group, int]]:
        """Yield each group and how many findings of a batch are of it; a group may come again."""
        if not batch.lasting:
            for template, count in batch.counts():
                for group in self._groups_of(template):
                    yield group, count
            return
        if batch.numbering is not self._numbering:
            self._numbering = batch.numbering
            self.forget()
        if len(batch) > _FEW:
            yield from self._totals_of_many(batch)
            return
        for number in batch.by_row():
            for group in self._ask(batch, number):
                yield group, 1

    def _totals_of_many(self, batch: FindingBatch) -> Iterator[tuple[Group, int]]:
        numbers, counts = batch.by_template()
        self._know(batch, numbers)
        table = self._table[numbers]
        by_group = np.bincount(table.ravel(), np.repeat(counts, table.shape[1]))
        for number in np.flatnonzero(by_group).tolist():
            if number > _NONE:
                yield self._groups[number - _NONE - 1], int(by_group[number])

    def _ask(self, batch: FindingBatch, number: int) -> tuple[Group, ...]:
        """Return the groups of a template."""
        groups = self._of.get(number)
        if groups is None:
            groups = tuple(self._groups_of(batch.template(number)))
            self._of[number] = groups
        return groups

    def _know(self, batch: FindingBatch, numbers: Numbers) -> None:
        """Put the templates which are new into the table."""
        rows = int(numbers[-1]) + 1
        if rows > len(self._table):
            self._widen(2 * rows, self._table.shape[1])
        while len(new := numbers[self._table[numbers, 0] == _UNKNOWN]):
            for number in new.tolist():
                groups = [self._number_of(group) for group in self._ask(batch, number)] or [_NONE]
                if len(groups) > self._table.shape[1]:
                    self._widen(len(self._table), len(groups))
                # What is no group's is counted under _NONE.
                self._table[number] = _NONE
                self._table[number, : len(groups)] = groups

    def _widen(self, rows: int, columns: int) -> None:
        table = np.zeros((rows, columns), np.int32)
        table[:, self._table.shape[1] :] = _NONE
        table[: len(self._table), : self._table.shape[1]] = self._table
        self._table = table

    def _number_of(self, group: Group) -> int:
        number = self._numbers.get(group)
        if number is None:
            self._groups.append(group)
            number = self._numbers[group] = len(self._groups) + _NONE
        return number
