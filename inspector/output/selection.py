"""Some of the findings of a batch. Imported with the first batch, which compiled code has made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from inspector.output.lines import FOUND_CLIENT, FOUND_JUDGEMENT, FOUND_PORT, FOUND_TIME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from inspector.model import Finding, FindingBatch

    Numbers = npt.NDArray[np.int64]


def judgements_met(batch: FindingBatch) -> Iterator[tuple[int, Finding, int]]:
    """Yield number, judgement and how often it was met."""
    counts = np.bincount(batch.rows[:, FOUND_JUDGEMENT])
    for number in np.flatnonzero(counts).tolist():
        yield number, batch.judgements[number], int(counts[number])


def rows_of(batch: FindingBatch, number: int) -> Numbers:
    """Return which rows of a batch have a judgement, by its number."""
    return np.flatnonzero(batch.rows[:, FOUND_JUDGEMENT] == number)


def rows_where(batch: FindingBatch, wanted: Callable[[Finding], bool]) -> Numbers:
    """Return which rows of a batch have a judgement that is wanted."""
    numbers = [number for number, judgement, _ in judgements_met(batch) if wanted(judgement)]
    if not numbers:
        return np.zeros(0, np.int64)
    return np.flatnonzero(np.isin(batch.rows[:, FOUND_JUDGEMENT], numbers))


def clients_of(batch: FindingBatch, rows: Numbers) -> Numbers:
    """Return the clients' addresses of some rows, int64[n, 2]."""
    return batch.rows[rows, FOUND_CLIENT : FOUND_CLIENT + 2]


def ports_of(batch: FindingBatch, rows: Numbers) -> npt.NDArray[np.uint16]:
    """Return the clients' ports of some rows."""
    ports: npt.NDArray[np.uint16] = batch.rows[rows, FOUND_PORT].astype(np.uint16)
    return ports


def first_time_ns(batch: FindingBatch) -> int:
    """Return the time of a batch's first finding."""
    return int(batch.rows[0, FOUND_TIME])
