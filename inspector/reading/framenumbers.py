"""Numbers of packets for answers that the decoder finds without them: by time and client's port."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from inspector.capture import layout
from inspector.model import Direction
from inspector.record import unpack_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt

    from inspector.capture.blocks import NumberedRecord
    from inspector.decode.batch import FindingBatch
    from inspector.model import Segment

    Block = npt.NDArray[np.uint64]
    Keys = npt.NDArray[np.uint64]
    Numbers = npt.NDArray[np.int64]

_FROM_SERVER: Final = np.uint64(layout.FROM_SERVER << 24)
_PORTS: Final = np.uint64(65_536)


class FrameNumbers:
    """Knows the packets of the records that are decoded next."""

    def __init__(self) -> None:
        self._answers: tuple[Keys, Numbers] = np.zeros(0, np.uint64), np.zeros(0, np.int64)

    def note(self, batches: Iterable[Block | NumberedRecord]) -> None:
        """Note records: rows of blocks, and single ones."""
        parts = [_keys_of(one) if isinstance(one, np.ndarray) else _key_of(one) for one in batches]
        if not parts:
            return
        keys, frames, from_server = (np.concatenate(column) for column in zip(*parts, strict=True))
        self._answers = _sorted(keys[from_server], frames[from_server])

    def framed(self, batches: Iterable[FindingBatch]) -> Iterator[FindingBatch]:
        """Yield batches with the numbers of the packets that brought answers."""
        for batch in batches:
            columns = batch.columns()
            keys = _key(columns.times.astype(np.uint64), columns.ports.astype(np.uint64))
            frames = _find(self._answers, keys)
            # A question that stays unanswered has the time at which it was given up.
            frames[batch.rows_where(lambda finding: finding.direction is Direction.TO_SERVER)] = 0
            yield batch.framed(frames)


def _key(times: Keys, ports: Keys) -> Keys:
    """Return one number for both: times that are the same modulo three days are of different blocks."""
    return times * _PORTS + ports


def clients_of(block: Block) -> tuple[Keys, npt.NDArray[np.bool_]]:
    """Return the client's port of each row, and whether it is the server's."""
    from_server = (block[:, layout.ROW_LENGTHS] & _FROM_SERVER) != 0
    ports = block[:, layout.ROW_PORTS]
    # Low half: source and destination.
    return np.where(from_server, ports >> np.uint64(16), ports) & np.uint64(0xFFFF), from_server


def _keys_of(block: Block) -> tuple[Keys, Numbers, npt.NDArray[np.bool_]]:
    clients, from_server = clients_of(block)
    return _key(block[:, layout.ROW_TIME], clients), block[:, layout.ROW_FRAME].astype(np.int64), from_server


def _key_of(record: NumberedRecord) -> tuple[Keys, Numbers, npt.NDArray[np.bool_]]:
    segment: Segment = unpack_record(record)
    port = segment.destination_port if segment.from_server else segment.source_port
    key = _key(np.array([segment.time_ns], np.uint64), np.array([port], np.uint64))
    return key, np.array([record.frame], np.int64), np.array([segment.from_server])


def _sorted(keys: Keys, frames: Numbers) -> tuple[Keys, Numbers]:
    order = np.argsort(keys, kind="stable")
    return keys[order], frames[order]


def _find(table: tuple[Keys, Numbers], keys: Keys) -> Numbers:
    """Return the number of the first packet for each key, 0 where there is none."""
    known, frames = table
    if not len(known):
        return np.zeros(len(keys), np.int64)
    at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    found: Numbers = np.where(known[at] == keys, frames[at], 0)
    return found
