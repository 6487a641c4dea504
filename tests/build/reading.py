"""Capture files read in both ways: packet by packet in Python, and in blocks by compiled code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from inspector.capture.blocks import read_batches
from inspector.capture.pcap import read_records
from inspector.errors import CaptureError
from inspector.record import HEADER_SIZE, KernelCounter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

PORTS: Final = frozenset({135, 593, 65535})
_SKIPPED_WORD: Final = 8
_CAPTURED_LENGTH: Final = 56


def unroll(batch: npt.NDArray[np.uint64] | bytes) -> Iterator[bytes]:
    """Yield the records of a batch."""
    if isinstance(batch, bytes):
        yield batch
        return
    for row in batch.view(np.uint8)[:, _SKIPPED_WORD:]:
        captured = int.from_bytes(row[_CAPTURED_LENGTH : _CAPTURED_LENGTH + 2].tobytes(), "little")
        yield row[: HEADER_SIZE + captured].tobytes()


def outcome(records: Iterator[bytes]) -> tuple[list[bytes], str]:
    """Return records, and the error that came after them."""
    found = []
    try:
        for record in records:
            found.append(record)  # noqa: PERF402 - those before an error count
    except CaptureError as error:
        return found, f"{type(error).__name__}: {error}"
    return found, ""


def compare(path: Path, *, tunnels: bool = False) -> list[bytes]:
    """Read a file in both ways, compare all that comes out, and return the records."""
    one_by_one, in_blocks = [0] * len(KernelCounter), [0] * len(KernelCounter)
    expected = outcome(read_records(path, ports=PORTS, counters=one_by_one, tunnels=tunnels))
    batches = read_batches(path, ports=PORTS, counters=in_blocks, tunnels=tunnels)
    assert outcome(record for batch in batches for record in unroll(batch)) == expected
    assert in_blocks == one_by_one
    return expected[0]
