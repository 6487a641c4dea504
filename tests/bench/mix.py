"""Mixes of stamped conversations, interleaved in time: as the rings' pages, as a capture file, as frames to send.

Everything is done by columns: a million records take seconds. The same seed gives the same bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from inspector.capture.writer import build_frame
from inspector.record import BULK_SMALL_PAYLOAD, COMPACT_PAYLOAD, HEADER_DTYPE, Attribute
from tests.bench.template import Template, stamp
from tests.build.connection import START_NS

if TYPE_CHECKING:
    from pathlib import Path

    from inspector.model import Segment

    Bytes = npt.NDArray[np.uint8]

ENTRY_WORD: Final = 8
HEADER_BYTES: Final = HEADER_DTYPE.itemsize
COMPACT_BYTES: Final = ENTRY_WORD + HEADER_BYTES + COMPACT_PAYLOAD
BULK_BYTES: Final = ENTRY_WORD + HEADER_BYTES + BULK_SMALL_PAYLOAD

# A conversation begins each 10 us; its packets are 0.2 to 0.8 ms apart: about 500 are open at a time.
_SPACING_NS: Final = 10_000
_PACE_NS: Final = (200_000, 800_000)
_CLIENTS: Final = 50_000
_EPHEMERAL: Final = (49152, 16384)
_REAL_CLIENT: Final = IPv4Address("10.64.0.0")
_OTHER_CLIENT: Final = IPv4Address("172.16.0.0")
FRAME_HEADERS: Final = 54
_PACKET_HEADER: Final = 16
_AT_ONCE: Final = 4096
# A capture file is made of mixes of so many conversations; between two of them is time for so many more, so that the
# last packets of one come before the first of the next.
_CAPTURE_AT_ONCE: Final = 40_000
_PAUSE: Final = 5_000


@dataclass(frozen=True, slots=True)
class Records:
    """The records of one segment of a template: HEADER_DTYPE[n], payloads uint8[n, length], answers of each."""

    template: Template
    step: int
    headers: npt.NDArray[np.void]
    payloads: Bytes
    answers: int

    @property
    def segment(self) -> Segment:
        """The segment of which these are."""
        return self.template.segments[self.step]


class Mix:
    """So many conversations of weighted templates, by seed.

    Weights are shares of conversations, of any sum. `hostile` templates are those of other clients than the honest
    ones. `records` is how many there are, `answers` how many answers to honest clients the metrics must count.
    With `repeated`, all conversations of a template have the same bytes, as in most tests: for comparison only.
    `first` is the number of the first conversation, from which clients and times go on; one begins each `spacing_ns`.
    """

    def __init__(
        self,
        honest: Sequence[tuple[float, Template]],
        count: int,
        hostile: Sequence[tuple[float, Template]] = (),
        seed: int = 1,
        *,
        repeated: bool = False,
        first: int = 0,
        spacing_ns: int = _SPACING_NS,
    ) -> None:
        self._repeated, self._first, self._spacing_ns = repeated, first, spacing_ns
        self._templates = [template for _, template in (*honest, *hostile)]
        self._honest = len(honest)
        self._random = np.random.default_rng(seed)
        weights = np.array([weight for weight, _ in (*honest, *hostile)])
        self._chosen = self._random.choice(len(weights), count, p=weights / weights.sum())
        self._parts = [part for number in range(len(weights)) for part in self._stamp(number)]
        self.answers = sum(len(part.headers) * part.answers for part in self._parts)
        self.records = sum(len(part.headers) for part in self._parts)

    def _stamp(self, number: int) -> Iterator[Records]:
        template, random = self._templates[number], self._random
        is_honest = number < self._honest
        serials = self._first + np.flatnonzero(self._chosen == number)
        values = random.integers(0, 256, (len(serials), template.values), np.uint8)
        if self._repeated:
            values[:] = values[:1]
        starts = random.integers(0, 2**32, (2, len(serials)), np.int64)
        paces = random.integers(*_PACE_NS, len(serials))
        payloads = stamp(template, values)
        for step, segment in enumerate(template.segments):
            headers = _headers(segment, serials, starts, first_client=_REAL_CLIENT if is_honest else _OTHER_CLIENT)
            headers["time_ns"] = START_NS + serials * self._spacing_ns + step * paces
            answers = template.answers[step] if is_honest else 0
            yield Records(template, step, headers, payloads[step], answers)

    @cached_property
    def _order(self) -> npt.NDArray[np.int64]:
        """The records of all parts in the order of time."""
        return np.argsort(np.concatenate([part.headers["time_ns"] for part in self._parts]), kind="stable")

    def rings(self, *, together: bool = False) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
        """Return the pages of the compact and of the bulk ring, uint64[n, words], each in the order of time.

        The entry's own word, which says how long it is or in which turn it was written, is zero. With `together`, all
        records are in entries of the bulk ring, which no kernel does: for comparison only.
        """
        limit = -1 if together else COMPACT_PAYLOAD
        rings = []
        for size, is_bulk in ((COMPACT_BYTES, False), (BULK_BYTES, True)):
            parts = [part for part in self._parts if (part.payloads.shape[1] > limit) == is_bulk]
            pages = np.zeros((sum(len(part.headers) for part in parts), size), np.uint8)
            at = 0
            for part in parts:
                rows = pages[at : at + len(part.headers)]
                rows[:, ENTRY_WORD : ENTRY_WORD + HEADER_BYTES] = _raw(part.headers)
                rows[:, ENTRY_WORD + HEADER_BYTES :][:, : part.payloads.shape[1]] = part.payloads
                at += len(rows)
            words = pages.view(np.uint64)
            rings.append(words[np.argsort(words[:, 1], kind="stable")])
        return rings[0], rings[1]

    def frames(self) -> tuple[Bytes, npt.NDArray[np.int64]]:
        """Return all frames in the order of time, one behind the other, and where each begins: int64[n + 1]."""
        return self._lay_out(0)

    def packets(self) -> Bytes:
        """Return the packets of a classic capture file in the order of time, behind its header."""
        data, _ = self._lay_out(_PACKET_HEADER)
        return data

    def parts_in_order(self) -> list[Records]:
        """Return of each record, in the order of time, the part that it belongs to."""
        parts = np.repeat(np.arange(len(self._parts)), [len(part.headers) for part in self._parts])
        return [self._parts[number] for number in parts[self._order].tolist()]

    def answers_in_order(self) -> npt.NDArray[np.int64]:
        """Return how many answers the metrics count with each record, in the order of time: int64[n]."""
        return np.concatenate([np.full(len(part.headers), part.answers) for part in self._parts])[self._order]

    def _lay_out(self, reserved: int) -> tuple[Bytes, npt.NDArray[np.int64]]:
        """Lay the frames out in the order of time; `reserved` bytes of packet header stand before each."""
        lengths = [reserved + FRAME_HEADERS + part.payloads.shape[1] for part in self._parts]
        of_record = np.repeat(lengths, [len(part.headers) for part in self._parts])
        ends = np.cumsum(of_record[self._order])
        starts = np.empty(len(ends), np.int64)
        starts[self._order] = ends - of_record[self._order]
        data = np.zeros(int(ends[-1]), np.uint8)
        at = 0
        for part, length in zip(self._parts, lengths, strict=True):
            for first in range(0, len(part.headers), _AT_ONCE):
                headers, payloads = part.headers[first : first + _AT_ONCE], part.payloads[first : first + _AT_ONCE]
                rows = np.zeros((len(headers), length), np.uint8)
                if reserved:
                    _fill_packet_header(rows, headers["time_ns"].astype(np.int64), length - reserved)
                _fill_frame(rows[:, reserved:], part.segment, headers, payloads)
                data[starts[at : at + len(rows), None] + np.arange(length)] = rows
                at += len(rows)
        return data, np.concatenate([[0], ends])


def write_capture(path: Path, templates: Sequence[tuple[float, Template]], conversations: int) -> tuple[int, int]:
    """Write so many conversations as a classic capture file with nanoseconds; return its packets and their answers."""
    packets = answers = 0
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1))
        for number, first in enumerate(range(0, conversations, _CAPTURE_AT_ONCE)):
            count = min(_CAPTURE_AT_ONCE, conversations - first)
            mix = Mix(templates, count, seed=number + 1, first=first + number * _PAUSE)
            file.write(mix.packets().data)
            packets, answers = packets + mix.records, answers + mix.answers
    return packets, answers


def _raw(headers: npt.NDArray[np.void]) -> Bytes:
    return headers.view(np.uint8).reshape(len(headers), HEADER_BYTES)


def _headers(
    segment: Segment, serials: npt.NDArray[np.int64], starts: npt.NDArray[np.int64], first_client: IPv4Address
) -> npt.NDArray[np.void]:
    """Return headers of a segment for conversations of these numbers, without time; `starts` are sequence numbers."""
    headers = np.zeros(len(serials), HEADER_DTYPE)
    is_server = bool(segment.attributes & Attribute.FROM_SERVER)
    for name in HEADER_DTYPE.names or ():
        value = 0 if name == "padding" else getattr(segment, name, len(segment.payload))
        headers[name] = np.frombuffer(value, np.uint8) if isinstance(value, bytes) else value
    client = "destination" if is_server else "source"
    addresses = int(first_client) + serials % _CLIENTS
    headers[f"{client}_address"][:, 12:] = addresses.astype(">u4").view(np.uint8).reshape(-1, 4)
    first, ports = _EPHEMERAL
    headers[f"{client}_port"] = first + (serials // _CLIENTS + serials * 31) % ports
    headers["sequence"] = (segment.sequence + starts[int(is_server)]) % 2**32
    if segment.acknowledgment:
        headers["acknowledgment"] = (segment.acknowledgment + starts[1 - int(is_server)]) % 2**32
    return headers


def _fill_packet_header(rows: Bytes, times_ns: npt.NDArray[np.int64], length: int) -> None:
    for at, values in ((0, times_ns // 10**9), (4, times_ns % 10**9), (8, length), (12, length)):
        rows[:, at : at + 4] = np.broadcast_to(values, len(rows)).astype("<u4")[:, None].view(np.uint8)


def _fill_frame(rows: Bytes, segment: Segment, headers: npt.NDArray[np.void], payloads: Bytes) -> None:
    """Write Ethernet, IPv4 and TCP headers, checksums included, and payloads."""
    rows[:, :FRAME_HEADERS] = np.frombuffer(build_frame(segment), np.uint8)[:FRAME_HEADERS]
    rows[:, 26:30], rows[:, 30:34] = headers["source_address"][:, 12:], headers["destination_address"][:, 12:]
    for at, name in ((34, "source_port"), (36, "destination_port"), (38, "sequence"), (42, "acknowledgment")):
        values = headers[name]
        raw = values.astype(f">u{values.itemsize}")[:, None].view(np.uint8)
        rows[:, at : at + values.itemsize] = raw
    rows[:, FRAME_HEADERS:] = payloads
    rows[:, 24:26], rows[:, 50:52] = 0, 0
    _put_checksum(rows, 24, _sum(rows[:, 14:34]))
    pseudo = _sum(rows[:, 26:34]) + 6 + rows.shape[1] - 34
    _put_checksum(rows, 50, _sum(rows[:, 34:]) + pseudo)


def _sum(data: Bytes) -> npt.NDArray[np.int64]:
    """Return the sum of the 16-bit words of each row (RFC 1071)."""
    padded = np.pad(data, ((0, 0), (0, data.shape[1] % 2)))
    sums: npt.NDArray[np.int64] = np.ascontiguousarray(padded).view(">u2").sum(axis=1, dtype=np.int64)
    return sums


def _put_checksum(rows: Bytes, at: int, sums: npt.NDArray[np.int64]) -> None:
    folded = (sums & 0xFFFF) + (sums >> 16)
    folded = (folded & 0xFFFF) + (folded >> 16)
    rows[:, at : at + 2] = (~folded & 0xFFFF).astype(">u2")[:, None].view(np.uint8)
