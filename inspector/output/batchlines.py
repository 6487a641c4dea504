"""The JSON lines of a batch of findings, many at once."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Final

import numpy as np

from inspector.output.jsonform import lines_of
from inspector.output.layout import LONGEST, PIECES, VARIANTS
from inspector.output.lines import LineWriter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inspector.decode.batch import FindingBatch
    from inspector.model import Finding

JUDGEMENTS: Final = 4096
"""Judgements whose text is kept, at most; those of one batch may be more."""

OUTPUT: Final = 1 << 18
"""Bytes made at once, at most, unless a line is longer."""

# What differs between the findings of one judgement, in the order of the JSON form, and whether it is quoted.
_DIFFERING: Final = {
    "time": True,
    "client": True,
    "client_port": False,
    "call_id": False,
    "frame": False,
    "latency_ms": False,
}


class BatchLines:
    """Makes lines; the text of a judgement is made once, and kept as long as its number means the same."""

    def __init__(self) -> None:
        self._output = np.zeros(OUTPUT, np.uint8)
        self._forget()

    def _forget(self) -> None:
        self._judgements: dict[int, Finding] = {}
        self._templates = np.zeros(1, np.int64)
        self._pieces = np.zeros((0, PIECES + 1), np.int64)
        self._text = np.zeros(0, np.uint8)

    def make(self, batch: FindingBatch) -> Iterator[bytes]:
        """Yield the lines of a batch's findings, in order."""
        columns = batch.columns()
        # Some texts each; also those of judgements which have been replaced.
        if len(self._pieces) > VARIANTS * JUDGEMENTS:
            self._forget()
        for number, judgement, _ in batch.numbered():
            if self._judgements.get(number) is not judgement:
                self._add(number, judgement)
        at, writer = 0, LineWriter(self._output)
        while at < len(batch):
            at = writer.write(columns, self._templates, self._text, self._pieces, at)
            if writer.at:
                yield self._output[: writer.at].tobytes()
            elif at < len(batch):
                yield from (f"{line}\n".encode() for one in batch[at : at + 1].findings() for line in lines_of(one))
                at += 1

    def _add(self, number: int, judgement: Finding) -> None:
        """Make the text of a judgement; of another which had its number before, the text stays behind unused."""
        self._judgements[number] = judgement
        if number >= len(self._templates):
            more = np.zeros(2 * number, np.int64)
            more[: len(self._templates)] = self._templates
            self._templates = more
        self._templates[number] = len(self._pieces)
        full = _pieces(replace(judgement, client=IPv4Address(0), call_id=0, frame=1, latency_ns=0))
        untimed = _without(full, "latency_ms")
        variants = full, untimed, _without(full, "frame"), _without(untimed, "frame")
        lengths = np.array([[len(piece) for piece in pieces] for pieces in variants])
        ends = len(self._text) + np.concatenate(([0], np.cumsum(lengths)))
        width = lengths.shape[1]
        rows = [ends[at : at + width + 1] for at in range(0, len(ends) - 1, width)]
        self._pieces = np.vstack((self._pieces, *rows))
        text = b"".join(piece for pieces in variants for piece in pieces)
        self._text = np.concatenate((self._text, np.frombuffer(text, np.uint8)))
        longest = int(lengths.sum(1).max()) + LONGEST
        if longest > len(self._output):
            self._output = np.zeros(longest, np.uint8)


def _pieces(finding: Finding) -> list[bytes]:
    """Return the line of a finding, which has all that differs, in pieces between these."""
    pieces, piece = [], "{"
    for number, (key, value) in enumerate(finding.as_dict().items()):
        piece += f"{',' if number else ''}{json.dumps(key)}:"
        if key not in _DIFFERING:
            piece += json.dumps(value, separators=(",", ":"))
            continue
        quote = '"' if _DIFFERING[key] else ""
        pieces.append(piece + quote)
        piece = quote
    pieces.append(piece + "}\n")
    return [piece.encode() for piece in pieces]


def _without(pieces: list[bytes], key: str) -> list[bytes]:
    """Return the pieces where a number is missing: an empty one before it, then what stands on both sides of it."""
    at = list(_DIFFERING).index(key)
    before = pieces[at].removesuffix(f",{json.dumps(key)}:".encode())
    return [*pieces[:at], b"", before + pieces[at + 1], *pieces[at + 2 :]]
