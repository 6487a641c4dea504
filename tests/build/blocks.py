"""Records as blocks, as a ring's pages or a capture file give them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from inspector.decode.batch import FindingBatch, singly
from inspector.model import Finding
from inspector.pipeline import Pipeline

ENTRY_HEADER = 8
COMPACT_WORDS = 32


def block_of(records: Sequence[bytes], words: int = 0) -> npt.NDArray[np.uint64]:
    """Return records as a block; what follows their payload is not zero, as in a ring that is used again.

    `words` is the width of its rows; by default that of the compact ring, or what the longest record needs.
    """
    longest = max(map(len, records), default=0) + ENTRY_HEADER
    words = words or max(COMPACT_WORDS, -(-longest // 8))
    block = np.full((len(records), words), 0xA5A5A5A5A5A5A5A5, np.uint64)
    for row, record in zip(block.view(np.uint8), records, strict=True):
        row[ENTRY_HEADER : ENTRY_HEADER + len(record)] = np.frombuffer(record, np.uint8)
    return block


def findings_of_batch(pipeline: Pipeline, batch: npt.NDArray[np.uint64] | bytes) -> Iterator[Finding]:
    """Yield the findings of a block or record, one by one."""
    yield from singly(pipeline.feed([batch]))


def batch_of(*findings: Finding) -> FindingBatch:
    """Return findings as outputs take them."""
    return FindingBatch.of(findings)
