"""Conversations as templates: built once by the tests' builders, then stamped with values of each one's own.

A maker builds a conversation of `Values`, from which it takes every byte that is different in each real conversation:
context handles, association groups, call ids, tokens. It is called with marked values, and where the marks stand in
the segments is where each conversation's own values go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry

from inspector.metrics.updates import Metrics
from inspector.model import Segment
from inspector.record import pack_record
from tests.bench.consumer import judged, new_pipeline, observe
from tests.build.connection import Wire

MOST_VALUES: Final = 1 << 12
"""Bytes of its own which a conversation has at most."""

_CALL_ID_BYTES: Final = 3


class Values:
    """Bytes which are a conversation's own, handed out in turn; each part is used as it is, as often as needed."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.fields: list[tuple[int, int]] = []
        self._used = 0

    def take(self, count: int) -> bytes:
        """Return the next so many bytes, and note where they stand in `fields`: start and length."""
        if self._used + count > len(self._data):
            raise ValueError(f"a conversation has more than {len(self._data)} bytes of its own")
        self.fields.append((self._used, count))
        self._used += count
        return self._data[self._used - count : self._used]

    def number(self) -> int:
        """Return an integer of 32 bits, little-endian on the wire."""
        return int.from_bytes(self.take(4), "little")

    def call_ids(self) -> Callable[[int], int]:
        """Return what numbers the calls of the conversation, from a start of its own."""
        upper = self.take(_CALL_ID_BYTES)
        return lambda number: int.from_bytes(bytes([number]) + upper, "little")


Maker = Callable[[Values], Wire]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a conversation's own bytes stand in a segment's payload, and which of its values they are: int64[n]."""

    at: npt.NDArray[np.int64]
    value: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Template:
    """A conversation to stamp. `answers` says of each segment how many answers the metrics count with it.

    `fields` are start and length of each of its values, of which there are `values` bytes.
    """

    segments: tuple[Segment, ...]
    places: tuple[Place, ...]
    answers: tuple[int, ...]
    fields: tuple[tuple[int, int], ...]
    values: int


def _marked(maker: Maker, marks: npt.NDArray[np.int64]) -> tuple[list[Segment], Values]:
    values = Values(marks.astype(np.uint8).tobytes())
    return maker(values).segments, values


def learn(maker: Maker) -> Template:
    """Build a conversation three times with marked values; return it with the places where the marks are found.

    Raises ValueError where the shape of the conversation depends on its values.
    """
    numbers = np.arange(MOST_VALUES)
    low, values = _marked(maker, numbers & 0xFF)
    inverse, _ = _marked(maker, ~numbers & 0xFF)
    high, _ = _marked(maker, numbers >> 8)
    shapes = {tuple(segment._replace(payload=b"") for segment in built) for built in (low, inverse, high)}
    if len(shapes) > 1:
        raise ValueError("lengths or headers of a conversation depend on its values")
    places = []
    for segments in zip(low, inverse, high, strict=True):
        lower, inverted, upper = (np.frombuffer(segment.payload, np.uint8).astype(np.int64) for segment in segments)
        at = np.flatnonzero(lower != inverted)
        places.append(Place(at, lower[at] | upper[at] << 8))
    used = sum(length for _, length in values.fields)
    return Template(tuple(low), tuple(places), _answers(low), tuple(values.fields), used)


def _answers(segments: Sequence[Segment]) -> tuple[int, ...]:
    """Return how many answers the metrics count with each segment: the scalar decoder is the reference."""
    registry = CollectorRegistry()
    metrics, pipeline = Metrics(registry), new_pipeline(decoder="scalar")
    counts, before = [], 0
    for segment in segments:
        observe(metrics, pipeline.feed([pack_record(segment)]))
        now = judged(registry)
        counts.append(now - before)
        before = now
    return tuple(counts)


def stamp(template: Template, values: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.uint8]]:
    """Return the payload of each segment for each conversation, uint8[n, length]; `values` is uint8[n, values]."""
    stamped = []
    for segment, place in zip(template.segments, template.places, strict=True):
        rows = np.frombuffer(segment.payload, np.uint8)[None].repeat(len(values), axis=0)
        rows[:, place.at] = values[:, place.value]
        stamped.append(rows)
    return stamped
