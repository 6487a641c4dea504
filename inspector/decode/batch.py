"""What leaves the decoder: findings in batches, in the order of their answers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from inspector.decode import layout
from inspector.judge.addresses import address_of
from inspector.protocols import IPV4_MAPPED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy.typing as npt

    from inspector.model import Finding, IPAddress

    Numbers = npt.NDArray[np.int64]

_ADDRESS_BYTES: Final = 16


class Columns(NamedTuple):
    """The columns of a batch: numbers of templates, and what differs between findings of one template.

    `clients` are addresses, uint64[n, 2]; `asked` is the time of the question, or -1; `frames` are packets'
    numbers in a file, or 0.
    """

    templates: Numbers
    clients: npt.NDArray[np.uint64]
    ports: Numbers
    calls: Numbers
    times: Numbers
    asked: Numbers
    frames: Numbers


class FindingBatch:
    """Findings of many records, made only when they are asked for; valid until the next batch is asked for.

    `rows` is int64[n, FOUND_WORDS]. A row names a template, which is a finding without client, call identifier and
    times. Templates are `lasting`: later batches have them again, under the same number. `of` makes a batch whose
    templates are whole findings, each met once: it stays valid.
    """

    def __init__(
        self, rows: Numbers, templates: Sequence[Finding], *, lasting: bool = True, frames: Numbers | None = None
    ) -> None:
        self._rows = rows
        self._templates = templates
        self._frames = frames
        self.lasting = lasting

    @classmethod
    def of(cls, findings: Sequence[Finding]) -> FindingBatch:
        """Return a batch of findings which are there already."""
        rows = np.full((len(findings), layout.FOUND_WORDS), -1, np.int64)
        for number, (row, one) in enumerate(zip(rows, findings, strict=True)):
            row[layout.FOUND_TEMPLATE] = number
            row[layout.FOUND_CLIENT : layout.FOUND_CLIENT + 2] = np.frombuffer(packed(one.client), np.int64)
            row[layout.FOUND_PORT] = one.client_port
            row[layout.FOUND_TIME] = one.time_ns
        return cls(rows, findings, lasting=False)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, part: slice) -> FindingBatch:
        frames = self._frames[part] if self._frames is not None else None
        return FindingBatch(self._rows[part], self._templates, lasting=self.lasting, frames=frames)

    def servers(self) -> npt.NDArray[np.uint64]:
        """Return the asked addresses as packets have them, uint64[n, 2]."""
        rows = self._rows[:, layout.FOUND_TEMPLATE]
        servers = np.zeros((int(rows.max(initial=0)) + 1, 2), np.uint64)
        for number, template, _ in self.numbered():
            servers[number] = np.frombuffer(packed(template.asked_raw), np.uint64)
        found: npt.NDArray[np.uint64] = servers[rows]
        return found

    def chosen(self, rows: npt.NDArray[np.bool_]) -> FindingBatch:
        """Return a copy of some rows."""
        frames = self._frames[rows] if self._frames is not None else None
        return FindingBatch(self._rows[rows], self._templates, lasting=self.lasting, frames=frames)

    def kept(self) -> FindingBatch:
        """Return a copy that stays valid."""
        return FindingBatch(self._rows.copy(), self._templates, frames=self._frames) if self.lasting else self

    def framed(self, frames: Numbers) -> FindingBatch:
        """Return the batch with the numbers of its findings' packets, 0 where that is not known."""
        if self.lasting:
            return FindingBatch(self._rows, self._templates, frames=frames)
        findings = zip(self.findings(), frames.tolist(), strict=True)
        return FindingBatch.of([replace(one, frame=one.frame or frame or None) for one, frame in findings])

    def joins(self, other: FindingBatch) -> bool:
        """Return whether this batch and another may become one."""
        return self.lasting and other.lasting and self._templates is other._templates

    def joined(self, others: Sequence[FindingBatch]) -> FindingBatch:
        """Return one batch of this and of others which join it."""
        if not others:
            return self
        batches = (self, *others)
        rows = np.concatenate([one._rows for one in batches])
        if all(one._frames is None for one in batches):
            return FindingBatch(rows, self._templates)
        frames = np.concatenate([one.columns().frames for one in batches])
        return FindingBatch(rows, self._templates, frames=frames)

    @property
    def newest_ns(self) -> int:
        """The time of the newest finding; there must be one."""
        return int(self._rows[:, layout.FOUND_TIME].max())

    @property
    def first_ns(self) -> int:
        """The time of the first finding; there must be one."""
        return int(self._rows[0, layout.FOUND_TIME])

    @property
    def numbering(self) -> object:
        """An object which batches share in which a number means the same template."""
        return self._templates

    def template(self, number: int) -> Finding:
        """Return the template of that number."""
        return self._templates[number]

    def by_row(self) -> list[int]:
        """Return the number of each row's template."""
        numbers: list[int] = self._rows[:, layout.FOUND_TEMPLATE].tolist()
        return numbers

    def by_template(self) -> tuple[Numbers, Numbers]:
        """Return the numbers of the templates that are met, the lowest first, and how often each is met."""
        counts = np.bincount(self._rows[:, layout.FOUND_TEMPLATE])
        numbers = np.flatnonzero(counts)
        return numbers, counts[numbers]

    def numbered(self) -> Iterator[tuple[int, Finding, int]]:
        """Yield the number of each template that is met, the template, and how often it is met."""
        for number, count in zip(*(column.tolist() for column in self.by_template()), strict=True):
            yield number, self._templates[number], count

    def counts(self) -> Iterator[tuple[Finding, int]]:
        """Yield each template that is met, and how often."""
        for _, template, count in self.numbered():
            yield template, count

    def rows_of(self, number: int) -> Numbers:
        """Return which rows have the template of that number."""
        return np.flatnonzero(self._rows[:, layout.FOUND_TEMPLATE] == number)

    def rows_where(self, wanted: Callable[[Finding], bool]) -> Numbers:
        """Return which rows have a template that is wanted."""
        numbers = [number for number, template, _ in self.numbered() if wanted(template)]
        if not numbers:
            return np.zeros(0, np.int64)
        return np.flatnonzero(np.isin(self._rows[:, layout.FOUND_TEMPLATE], numbers))

    def clients(self, rows: Numbers) -> Numbers:
        """Return the clients' addresses of some rows, int64[n, 2]."""
        return self._rows[rows, layout.FOUND_CLIENT : layout.FOUND_CLIENT + 2]

    def ports(self, rows: Numbers) -> npt.NDArray[np.uint16]:
        """Return the clients' ports of some rows."""
        ports: npt.NDArray[np.uint16] = self._rows[rows, layout.FOUND_PORT].astype(np.uint16)
        return ports

    def columns(self) -> Columns:
        """Return the columns, valid as long as the batch; those of calls and questions only of a `lasting` one."""
        rows = self._rows
        return Columns(
            rows[:, layout.FOUND_TEMPLATE],
            rows[:, layout.FOUND_CLIENT : layout.FOUND_CLIENT + 2].view(np.uint64),
            rows[:, layout.FOUND_PORT],
            rows[:, layout.FOUND_CALL],
            rows[:, layout.FOUND_TIME],
            rows[:, layout.FOUND_ASKED],
            self._frames if self._frames is not None else np.zeros(len(rows), np.int64),
        )

    def latencies_ns(self) -> Numbers:
        """Return the time from question to answer of all findings which have both, int64[m].

        Those of DCOM are left out: an activation may start a process, which says nothing of the mapper.
        """
        if not self.lasting:
            found = (one.latency_ns for one in self.findings() if one.dcom is None)
            return np.array([latency for latency in found if latency is not None], np.int64)
        asked = self._rows[:, layout.FOUND_ASKED]
        counts = asked >= 0
        counts[self.rows_where(lambda template: template.dcom is not None)] = False
        latencies = (self._rows[:, layout.FOUND_TIME] - asked)[counts]
        return latencies[latencies >= 0]

    def findings(self) -> Iterator[Finding]:
        """Yield the findings, made one by one."""
        if not self.lasting:
            yield from (self._templates[number] for number in self._rows[:, layout.FOUND_TEMPLATE].tolist())
            return
        clients = self._rows[:, layout.FOUND_CLIENT : layout.FOUND_CLIENT + 2].tobytes()
        frames = self.columns().frames.tolist()
        for number, row in enumerate(self._rows.tolist()):
            asked, time_ns = row[layout.FOUND_ASKED], row[layout.FOUND_TIME]
            yield replace(
                self._templates[row[layout.FOUND_TEMPLATE]],
                time_ns=time_ns,
                client=address_of(clients[_ADDRESS_BYTES * number : _ADDRESS_BYTES * (number + 1)]),
                client_port=row[layout.FOUND_PORT],
                call_id=row[layout.FOUND_CALL],
                latency_ns=time_ns - asked if 0 <= asked <= time_ns else None,
                frame=frames[number] or None,
            )


def packed(address: IPAddress) -> bytes:
    """Return an address as records have it."""
    octets = address.packed
    return octets if len(octets) == _ADDRESS_BYTES else IPV4_MAPPED + octets


def singly(batches: Iterable[FindingBatch]) -> list[Finding]:
    """Return the findings of batches, one by one."""
    return [finding for batch in batches for finding in batch.findings()]
