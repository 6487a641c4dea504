"""Findings of a block: rows which say which judgement was met by whom and when. Findings are made when asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from inspector.decode import layout
from inspector.judge.addresses import address_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from inspector.model import Finding


class Columns(NamedTuple):
    """What differs between findings of one template, a column each; `clients` are addresses, uint64[n, 2].

    `asked` is the time of the question, or -1.
    """

    templates: npt.NDArray[np.int64]
    clients: npt.NDArray[np.uint64]
    ports: npt.NDArray[np.int64]
    calls: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    asked: npt.NDArray[np.int64]


class FindingBatch:
    """Findings of many records, made only when they are asked for; valid until the next ones are.

    `rows` is int64[n, FOUND_WORDS]: the number of a judgement, and what differs between its findings; `judgements` are
    findings without client, call identifier and times.
    """

    def __init__(self, rows: npt.NDArray[np.int64], judgements: Sequence[Finding]) -> None:
        self.rows = rows
        self.judgements = judgements

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> FindingBatch:
        return FindingBatch(self.rows[part], self.judgements)

    def columns(self) -> Columns:
        """Return the columns, valid as long as the batch."""
        rows = self.rows
        return Columns(
            rows[:, layout.FOUND_TEMPLATE],
            rows[:, layout.FOUND_CLIENT : layout.FOUND_CLIENT + 2].view(np.uint64),
            rows[:, layout.FOUND_PORT],
            rows[:, layout.FOUND_CALL],
            rows[:, layout.FOUND_TIME],
            rows[:, layout.FOUND_ASKED],
        )

    def kept(self) -> FindingBatch:
        """Return a copy that stays valid."""
        return FindingBatch(self.rows.copy(), self.judgements)

    def joined(self, others: Sequence[FindingBatch]) -> FindingBatch:
        """Return one batch of this and others which have the same judgements."""
        return FindingBatch(np.concatenate([self.rows, *(other.rows for other in others)]), self.judgements)

    def counts(self) -> Iterator[tuple[Finding, int]]:
        """Yield each finding that is met (without client, call id and times) and how often."""
        counts = np.bincount(self.rows[:, layout.FOUND_TEMPLATE], minlength=0)
        for number in np.flatnonzero(counts).tolist():
            yield self.judgements[number], int(counts[number])

    def latencies_ns(self) -> npt.NDArray[np.int64]:
        """Return the time from question to answer of all findings which have both, int64[m]."""
        asked = self.rows[:, layout.FOUND_ASKED]
        latencies = (self.rows[:, layout.FOUND_TIME] - asked)[asked >= 0]
        return latencies[latencies >= 0]

    def findings(self) -> Iterator[Finding]:
        """Yield the findings, made one by one."""
        clients = self.rows[:, layout.FOUND_CLIENT : layout.FOUND_CLIENT + 2].tobytes()
        for number, row in enumerate(self.rows.tolist()):
            template = self.judgements[row[layout.FOUND_TEMPLATE]]
            asked, time_ns = row[layout.FOUND_ASKED], row[layout.FOUND_TIME]
            yield replace(
                template,
                time_ns=time_ns,
                client=address_of(clients[16 * number : 16 * number + 16]),
                client_port=row[layout.FOUND_PORT],
                call_id=row[layout.FOUND_CALL],
                latency_ns=time_ns - asked if 0 <= asked <= time_ns else None,
            )
