"""What the producer sends of a mix: its frames one after the other, in each round as if of new clients."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from inspector.record import Attribute
from tests.bench.mix import FRAME_HEADERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.mix import Mix, Records

FRAME_BYTES: Final = 1536
CHANGES: Final = 6
"""Fields of one packet of which the producer makes others in each round; those that are left keep their bytes."""

_MASK_BYTES: Final = 8
_CHANGE: Final = struct.Struct("=QQ")
_END: Final = struct.Struct("=IIII")
_STATE: Final = struct.Struct("=QQII")


@dataclass(frozen=True, slots=True)
class FrameWorkload:
    """A mix for `tests.bench.producer.Producer`, with what `tests.bench.workloads.Workload` has.

    `exact` says that all answers are counted: not so of a hostile mix.
    """

    mix: Mix
    exact: bool

    program = "produce_frames"
    source = "producer_frames.c"
    frame_bytes = FRAME_BYTES

    @property
    def flags(self) -> list[str]:
        """What the program is compiled with."""
        return [
            f"-DPRODUCER_FRAME_BYTES={FRAME_BYTES}",
            f"-DPRODUCER_TEMPLATES={self.mix.records}",
            f"-DPRODUCER_CHANGES={CHANGES}",
        ]

    def entries(self) -> Iterator[bytes]:
        """Yield the frames with where they change: struct producer_frame."""
        data, starts = self.mix.frames()
        ends: dict[int, bytes] = {}
        for part, start, end in zip(self.mix.parts_in_order(), starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            key = id(part)
            if key not in ends:
                ends[key] = _end(part, end - start)
            yield data[start:end].tobytes().ljust(FRAME_BYTES, b"\0") + ends[key]

    def state(self, first_round: int) -> bytes:
        """Return the state of a run's beginning: struct producer_state."""
        return _STATE.pack(0, 0, 0, first_round)

    def used(self, made: int) -> int:
        """Return how many rounds so many packets were of."""
        return made // self.mix.records + 1


def _end(part: Records, length: int) -> bytes:
    changes = changes_of(part)
    packed = b"".join(_CHANGE.pack(*change) for change in changes).ljust(CHANGES * _CHANGE.size, b"\0")
    from_server = bool(part.segment.attributes & Attribute.FROM_SERVER)
    return packed + _END.pack(-(-length // 8), len(changes), from_server, part.answers)


def changes_of(part: Records) -> list[tuple[int, int]]:
    """Return offset within the frame and mask of the first bytes of each whole field, of `CHANGES` at most.

    A field is changed in all packets that have it or in none: those which a conversation took first go first.
    """
    place = part.template.places[part.step]
    changes = []
    for start, length in part.template.fields:
        count = min(length, _MASK_BYTES)
        for index in np.flatnonzero(place.value == start).tolist():
            at, value = place.at[index : index + count], place.value[index : index + count]
            if len(at) == count and at[-1] - at[0] == value[-1] - start == count - 1:
                changes.append((FRAME_HEADERS + int(at[0]), (1 << 8 * count) - 1))
    return changes[:CHANGES]
