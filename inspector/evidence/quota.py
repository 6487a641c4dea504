"""How many files of evidence there may be: in a minute, of a VIP, of one client at a VIP.

A minute of a VIP begins with its first file. In it only so many clients can use up their share as the VIP has files,
so that a storm of findings is looked through with few comparisons of whole columns.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Hashable

    import numpy.typing as npt

MINUTE_NS: Final = 60_000_000_000
_MOST_VIPS: Final = 1024


class LeftOut(enum.StrEnum):
    """Why a mismatch has no file of evidence. A closed set: it labels a metric."""

    CLIENT_LIMIT = "client_limit"
    VIP_LIMIT = "vip_limit"
    TOTAL_LIMIT = "total_limit"
    SAMPLED = "sampled"
    OVERWRITTEN = "overwritten"
    WRITER_BEHIND = "writer_behind"
    WRITE_FAILED = "write_failed"


@dataclass(slots=True)
class _Minute:
    """Files which are left for this minute, and how many each client has had."""

    start_ns: int
    left: int
    clients: dict[bytes, int] = field(default_factory=dict)

    def holds(self, time_ns: int) -> bool:
        """Return whether a moment is in this minute, or shortly before it: findings may come out of order."""
        return abs(time_ns - self.start_ns) < MINUTE_NS


class Allowance:
    """Grants files; what is not granted is counted in `left_out`. Times are those of the findings."""

    def __init__(self, per_minute: int, per_vip: int, per_client: int, left_out: Counter[LeftOut]) -> None:
        self._per_minute = per_minute
        self._per_vip = per_vip
        self._per_client = per_client
        self._left_out = left_out
        self._total = _Minute(0, per_minute)
        self._vips: dict[Hashable, _Minute] = {}

    def has_any(self, vip: Hashable, time_ns: int, count: int) -> bool:
        """Return whether a VIP may have files; if not, `count` findings are left out."""
        minute = self._minute_of(vip, time_ns)
        if self._total.left and minute is not None and minute.left:
            return True
        exhausted = minute is not None and not minute.left
        self._left_out[LeftOut.VIP_LIMIT if exhausted else LeftOut.TOTAL_LIMIT] += count
        return False

    def grant(self, vip: Hashable, clients: npt.NDArray[np.int64], time_ns: int) -> list[int]:
        """Return which of a VIP's findings get a file, by row of their clients' addresses, int64[n, 2]."""
        granted: list[int] = []
        open_rows = np.arange(len(clients))
        while len(open_rows) and self.has_any(vip, time_ns, len(open_rows)):
            first = int(open_rows[0])
            minute = self._vips[vip]
            client = clients[first].tobytes()
            had = minute.clients.get(client, 0)
            if had < self._per_client:
                minute.clients[client] = had + 1
                minute.left -= 1
                self._total.left -= 1
                granted.append(first)
                open_rows = open_rows[1:]
                continue
            others = (clients[open_rows] != clients[first]).any(axis=1)
            self._left_out[LeftOut.CLIENT_LIMIT] += int(len(others) - others.sum())
            open_rows = open_rows[others]
        return granted

    def _minute_of(self, vip: Hashable, time_ns: int) -> _Minute | None:
        """Return a VIP's minute; None where there is no room for another VIP."""
        if not self._total.holds(time_ns):
            self._total = _Minute(time_ns, self._per_minute)
        minute = self._vips.get(vip)
        if minute is None and len(self._vips) >= _MOST_VIPS:
            self._vips = {name: one for name, one in self._vips.items() if one.holds(time_ns)}
            if len(self._vips) >= _MOST_VIPS:
                return None
        if minute is None or not minute.holds(time_ns):
            minute = self._vips[vip] = _Minute(time_ns, self._per_vip)
        return minute
