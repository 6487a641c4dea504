"""What people look at without Grafana: who offers what for which address, and the last findings.

Both are bounded, whatever comes: so many kinds of offers, so many findings of each verdict, and no more findings made
in a second than somebody can read. Written by the main loop, read by the metrics server's thread.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from inspector.metrics.labels import service_name
from inspector.model import Verdict, format_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from inspector.decode.batch import FindingBatch
    from inspector.model import Finding

OFFERS: Final = 512
"""Kinds of offers at most: those which were seen last."""

FINDINGS: Final = 50
"""The last findings of each verdict which are kept."""

MAPPINGS: Final = 8
"""Mappings of a finding which are kept: a listing has up to 500, and there are up to 600 findings."""

_PER_SECOND: Final = 50
_REMEMBERED: Final = 65_536


class Offer(NamedTuple):
    """An asked address, the service that was asked for, the address that was offered, and what that means."""

    asked: str
    service: str | None
    offered: str | None
    verdict: Verdict


@dataclass(slots=True)
class _Count:
    """How many answers there were of a kind, and when the last came."""

    answers: int = 0
    last_ns: int = 0


def _offer_of(finding: Finding) -> Offer:
    offered = next(
        (str(one.address) for one in finding.mappings if one.verdict is finding.verdict and one.address), None
    )
    return Offer(str(finding.asked), service_name(finding), offered, finding.verdict)


class Overview:
    """Counts offers and keeps findings; `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        # Those which were seen last are at the end.
        self._offers: OrderedDict[Offer, _Count] = OrderedDict()
        self._beyond = 0
        self._findings: dict[Verdict, deque[Finding]] = {verdict: deque(maxlen=FINDINGS) for verdict in Verdict}
        self._offer_of: dict[int, tuple[Finding, Offer]] = {}
        self._second = 0.0
        self._room: dict[Verdict, int] = {}

    def observe(self, batch: FindingBatch) -> None:
        """Take findings: all are counted, as many are kept as there is room for."""
        if not len(batch):
            return
        newest_ns = batch.newest_ns
        with self._lock:
            for template, count in batch.counts():
                offer = self._remembered(template) if batch.lasting else _offer_of(template)
                self._count(offer, count, newest_ns)
            self._keep(batch)

    def _count(self, offer: Offer, answers: int, time_ns: int) -> None:
        count = self._offers.get(offer)
        if count is None:
            if len(self._offers) >= OFFERS:
                # What is forged comes once; what is real comes again.
                _, forgotten = self._offers.popitem(last=False)
                self._beyond += forgotten.answers
            count = self._offers[offer] = _Count()
        count.answers += answers
        count.last_ns = max(count.last_ns, time_ns)
        self._offers.move_to_end(offer)

    def _remembered(self, judgement: Finding) -> Offer:
        """Return the offer of a judgement, which comes again and again."""
        known = self._offer_of.get(id(judgement))
        if known is None:
            if len(self._offer_of) >= _REMEMBERED:
                self._offer_of.clear()
            # Held, so that no other comes by its identity.
            known = self._offer_of[id(judgement)] = judgement, _offer_of(judgement)
        return known[1]

    def _take_room(self, verdict: Verdict, wanted: int) -> int:
        """Return how many findings of a verdict may be kept now."""
        now = self._clock()
        if now - self._second >= 1:
            self._second, self._room = now, {}
        left = self._room.get(verdict, _PER_SECOND)
        taken = min(wanted, left)
        self._room[verdict] = left - taken
        return taken

    def _keep(self, batch: FindingBatch) -> None:
        """Keep the newest findings of each verdict, as far as there is room."""
        for verdict in {template.verdict: None for template, _ in batch.counts()}:
            if not self._take_room(verdict, 1):
                continue
            rows = batch.rows_with(verdict)
            count = 1 + self._take_room(verdict, len(rows) - 1)
            for row in rows[-count:].tolist():
                self._findings[verdict].extend(one.shortened(MAPPINGS) for one in batch[row : row + 1].findings())

    def findings(self) -> list[Finding]:
        """Return the findings which are kept, the newest first."""
        with self._lock:
            found = [finding for of_verdict in self._findings.values() for finding in of_verdict]
        return sorted(found, key=lambda finding: finding.time_ns, reverse=True)

    def offers(self) -> tuple[list[dict[str, Any]], int]:
        """Return a row for each kind of offer, those with most answers first; and the answers of kinds beyond these."""
        with self._lock:
            rows = [(offer, count.answers, count.last_ns) for offer, count in self._offers.items()]
            beyond = self._beyond
        rows.sort(key=lambda row: -row[1])
        return [
            {
                "asked": offer.asked,
                "service": offer.service,
                "offered": offer.offered,
                "verdict": str(offer.verdict),
                "answers": answers,
                "last": format_time(last_ns),
            }
            for offer, answers, last_ns in rows
        ], beyond
