"""Findings of batches added up by template, in arrays: a batch costs no Python for each of its findings."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from inspector.decode.batch import FindingBatch
    from inspector.model import Finding

PARTS: Final = 4
"""Buckets of latencies in a power of two."""

_BUCKETS: Final = 63 * PARTS
_BOUNDS: Final = np.array([int(2 ** (number / PARTS)) for number in range(_BUCKETS - 1)], np.int64)
_CLIENTS: Final = 257
"""Clients of a template that are kept: one more than sums keep."""


class TemplateSum(NamedTuple):
    """A template, how often it was met, its latencies by bucket, the longest, and, where wanted, clients."""

    template: Finding
    times: int
    latencies: Counter[int]
    longest_ns: int
    clients: tuple[str, ...]


class TemplateSums:
    """`add` batches, `give` what they are in sum; of templates that are `hurtful` clients are kept."""

    def __init__(self, hurtful: Callable[[Finding], bool]) -> None:
        self._hurtful = hurtful
        self._templates: dict[int, Finding] = {}
        self._clients: dict[int, set[bytes]] = {}
        self._counts = np.zeros(0, np.int64)
        self._longest = np.zeros(0, np.int64)
        self._latencies = np.zeros((0, _BUCKETS), np.int32)

    def fits(self, batch: FindingBatch) -> bool:
        """Return whether a batch's numbers mean the templates that they meant before, and note new ones."""
        known = self._templates
        new = []
        for number, template, _ in batch.numbered():
            before = known.get(number)
            if before is None:
                new.append((number, template))
            elif before is not template:
                return False
        for number, template in new:
            known[number] = template
            if self._hurtful(template):
                self._clients[number] = set()
        return True

    def add(self, batch: FindingBatch) -> None:
        """Count the findings of a lasting batch, of parts that fit."""
        columns = batch.columns()
        numbers, asked = columns.templates, columns.asked
        self._grow(max(self._templates))
        self._counts += np.bincount(numbers, minlength=len(self._counts))
        timed = asked >= 0
        latencies = (columns.times - asked)[timed]
        numbers = numbers[timed]
        np.maximum.at(self._longest, numbers, latencies)
        np.add.at(self._latencies, (numbers, np.searchsorted(_BOUNDS, latencies)), 1)
        for number, clients in self._clients.items():
            if len(clients) < _CLIENTS:
                _keep(clients, columns.clients[columns.templates == number])

    def give(self) -> Iterator[TemplateSum]:
        """Yield what was counted, and begin again."""
        for number, template in self._templates.items():
            row = self._latencies[number]
            found = np.flatnonzero(row)
            latencies = Counter(dict(zip(found.tolist(), row[found].tolist(), strict=True)))
            addresses = map(IPv6Address, sorted(self._clients.get(number, ())))
            clients = tuple(str(one.ipv4_mapped or one) for one in addresses)
            times, longest_ns = int(self._counts[number]), int(self._longest[number])
            yield TemplateSum(template, times, latencies, longest_ns, clients)
        self._templates.clear()
        self._clients.clear()
        self._counts[:] = self._longest[:] = 0
        self._latencies[:] = 0

    def _grow(self, highest: int) -> None:
        old = len(self._counts)
        if highest < old:
            return
        size = max(2 * old, highest + 1)
        for name in ("_counts", "_longest", "_latencies"):
            array: npt.NDArray[np.int64] = getattr(self, name)
            more = np.zeros((size, *array.shape[1:]), array.dtype)
            more[:old] = array
            setattr(self, name, more)


def bucket_of(latency_ns: int) -> int:
    """Return the number of a latency's bucket, whose upper bound is 2 to the power of a quarter of it."""
    return int(np.searchsorted(_BOUNDS, latency_ns))


def _keep(clients: set[bytes], addresses: npt.NDArray[np.uint64]) -> None:
    """Keep addresses, uint64[n, 2], up to a bound."""
    octets = addresses.tobytes()
    for at in range(0, len(octets), 16):
        clients.add(octets[at : at + 16])
        if len(clients) >= _CLIENTS:
            return
