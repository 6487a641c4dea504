"""What people look at without Grafana: who was hurt, who offers what for which address, and the last findings.

All is bounded, whatever comes: so many kinds of harm and of offers, so many findings of each verdict and of each
outcome that hurts, and no more findings made in a second than somebody can read. Written by the main loop, read by the
metrics server's thread.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, defaultdict, deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from inspector.consequence import FindingKind, Outcome
from inspector.decode import layout
from inspector.http.outcomes import OutcomeHistory
from inspector.metrics.labels import service_name
from inspector.model import Verdict, format_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from inspector.consequence import Cause
    from inspector.decode.batch import FindingBatch
    from inspector.model import Finding, OfferedEndpoint

OFFERS: Final = 512
"""Kinds of offers at most: those which were seen last."""

FINDINGS: Final = 50
"""The last findings of each verdict, and of each outcome that hurts a client, which are kept."""

MAPPINGS: Final = 8
"""Mappings of a finding which are kept: a listing has up to 500, and there are up to 950 findings."""

_PER_SECOND: Final = 50
# As many as there are templates of answers.
_REMEMBERED: Final = layout.TEMPLATES


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
    texts = (_text_of(one) for one in finding.mappings if one.verdict is finding.verdict)
    offered = next(filter(None, texts), None)
    return Offer(str(finding.asked), service_name(finding), offered, finding.verdict)


def _text_of(mapping: OfferedEndpoint) -> str | None:
    """Return what a mapping offers: an address, or the name in a string binding of DCOM."""
    return str(mapping.address) if mapping.address is not None else mapping.host


def word_of(finding: Finding) -> Verdict | Outcome:
    """Return what is said of a finding in one word: the outcome that hurt a client, else the verdict."""
    return finding.harm or finding.verdict


def _says(word: Verdict | Outcome, finding: Finding) -> bool:
    return word_of(finding) is word


class Overview:
    """Counts offers and outcomes, and keeps findings; `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        # Those which were seen last are at the end.
        self._offers: OrderedDict[Offer, _Count] = OrderedDict()
        self._beyond = 0
        self._findings: defaultdict[Verdict | Outcome, deque[Finding]] = defaultdict(lambda: deque(maxlen=FINDINGS))
        self._history = OutcomeHistory()
        self._offer_of: dict[int, tuple[Finding, Offer]] = {}
        self._second = 0.0
        self._room: dict[Verdict | Outcome, int] = {}

    def observe(self, batch: FindingBatch) -> None:
        """Take findings: all are counted, as many are kept as there is room for."""
        if not len(batch):
            return
        newest_ns = batch.newest_ns
        with self._lock:
            for template, count in batch.counts():
                self._history.add(template, count, newest_ns)
                if template.kind is FindingKind.ANSWER:
                    offer = self._remembered(template) if batch.lasting else _offer_of(template)
                    self._count(offer, count, newest_ns)
            self._keep(batch)

    def _count(self, offer: Offer, answers: int, time_ns: int) -> None:
        count = self._offers.get(offer)
        if count is None:
            if len(self._offers) >= OFFERS:
                # Evict the offer that was seen longest ago: forged offers do not recur, real ones do.
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
            # The finding is kept, since the cache is keyed by id().
            known = self._offer_of[id(judgement)] = judgement, _offer_of(judgement)
        return known[1]

    def _take_room(self, word: Verdict | Outcome, wanted: int) -> int:
        """Return how many findings of a verdict or outcome may be kept now."""
        now = self._clock()
        if now - self._second >= 1:
            self._second, self._room = now, {}
        left = self._room.get(word, _PER_SECOND)
        taken = min(wanted, left)
        self._room[word] = left - taken
        return taken

    def _keep(self, batch: FindingBatch) -> None:
        """Keep the newest findings of each verdict and harmful outcome, as far as there is room."""
        for word in {word_of(template): None for template, _ in batch.counts()}:
            if not self._take_room(word, 1):
                continue
            rows = batch.rows_where(partial(_says, word))
            count = 1 + self._take_room(word, len(rows) - 1)
            for row in rows[-count:].tolist():
                self._findings[word].extend(one.shortened(MAPPINGS) for one in batch[row : row + 1].findings())

    def findings(self) -> list[Finding]:
        """Return the findings which are kept, the newest first; a follow-up may be within its answer."""
        with self._lock:
            found = [finding for of_verdict in self._findings.values() for finding in of_verdict]
        return sorted(found, key=lambda finding: finding.time_ns, reverse=True)

    def outcomes(self) -> dict[str, Any]:
        """Return who was hurt, outcomes by server, and the minutes of the last hour, as lists of JSON objects."""
        with self._lock:
            history = self._history
            return {"hurt": history.hurt(), "servers": history.servers(), "minutes": history.minutes()}

    def sums(self) -> tuple[dict[Outcome, int], dict[Cause, int]]:
        """Return how often each outcome was found, and each cause of one that hurt a client.

        No finding says `not_followed`.
        """
        with self._lock:
            outcomes, causes = self._history.outcomes, self._history.causes
            found: dict[Outcome, int] = {one: outcomes[one] for one in Outcome if one is not Outcome.NOT_FOLLOWED}
            return found, {one: count for one, count in causes.items() if count}

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
