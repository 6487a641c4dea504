"""What answers led to, kept for people: who was hurt, which servers stand behind an address, the last hour.

All of it is bounded, whatever comes. Time is that of the packets.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from inspector.consequence import HARMFUL, Cause, FindingKind, Outcome
from inspector.metrics.labels import service_name
from inspector.model import format_time

if TYPE_CHECKING:
    from inspector.model import Finding

HURT: Final = 128
"""Kinds of harm at most: those which were seen last."""

CLIENTS: Final = 16
"""Clients of a kind of harm which are told apart."""

LASTING_NS: Final = 600_000_000_000
"""Harm of which nothing came for so long before the newest is over."""

SERVERS: Final = 256
"""Pairs of an asked and an offered address whose outcomes are kept: those which were seen last."""

MINUTES: Final = 60

_MINUTE_NS: Final = 60_000_000_000
_OPEN: Final = None
"""The key of answers of which no outcome is known: not followed, or not yet."""


class Hurt(NamedTuple):
    """A kind of harm: the asked address, the service, where the client went, what became of it, and why."""

    asked: str
    service: str | None
    target: str | None
    outcome: Outcome
    cause: Cause


@dataclass(slots=True)
class _Harm:
    """How often a kind of harm was seen, since when, and what the last finding said."""

    first_ns: int
    last_ns: int = 0
    count: int = 0
    clients: set[str] = field(default_factory=set)
    more_clients: bool = False
    remedy: str | None = None
    why: str = ""


class OutcomeHistory:
    """Counts outcomes of findings. `outcomes` has all of them, `causes` those of outcomes that hurt a client."""

    def __init__(self) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        self.causes: Counter[Cause] = Counter()
        # Those which were seen last are at the end.
        self._hurt: OrderedDict[Hurt, _Harm] = OrderedDict()
        self._servers: OrderedDict[tuple[str, str | None], Counter[Outcome]] = OrderedDict()
        self._minutes: dict[int, Counter[Outcome | None]] = {}
        self._newest = 0

    def add(self, finding: Finding, count: int, time_ns: int) -> None:
        """Count findings of one template, which has the outcomes; `time_ns` is the time of the newest."""
        told = [one for one in finding.with_follow_up() if one.outcome is not None]
        for one in told:
            self._add_outcome(one, count)
        # The question of a late answer is in the count of the minute in which it was given up.
        if finding.kind is FindingKind.ANSWER and finding.supersedes is None:
            self._count_minute(time_ns, told[-1].outcome if told else _OPEN, count)
        else:
            for one in told:
                self._settle(one, count)

    def hurt(self) -> list[dict[str, Any]]:
        """Return a row for each kind of harm: what lasts first, the most frequent of it, then what was seen last."""
        newest_ns = max((harm.last_ns for harm in self._hurt.values()), default=0)

        def order(item: tuple[Hurt, _Harm]) -> tuple[bool, int]:
            harm = item[1]
            lasts = harm.last_ns > newest_ns - LASTING_NS
            return not lasts, -harm.count if lasts else -harm.last_ns

        return [
            {
                "asked": hurt.asked,
                "service": hurt.service,
                "target": hurt.target,
                "outcome": str(hurt.outcome),
                "cause": str(hurt.cause),
                "remedy": harm.remedy,
                "why": harm.why,
                "count": harm.count,
                "clients": sorted(harm.clients),
                "more_clients": harm.more_clients,
                "since": format_time(harm.first_ns),
                "last": format_time(harm.last_ns),
            }
            for hurt, harm in sorted(self._hurt.items(), key=order)
        ]

    def servers(self) -> list[dict[str, Any]]:
        """Return asked and offered address with counts by outcome; `offered` is null for port 135 itself."""
        return [
            {"asked": asked, "offered": offered, "outcomes": _named(counts)}
            for (asked, offered), counts in self._servers.items()
        ]

    def minutes(self) -> list[dict[str, Any]]:
        """Return the minutes of the last hour in which something came, with counts by outcome; `open`: none known."""
        return [
            {"start": format_time(minute * _MINUTE_NS), "outcomes": _named(self._minutes[minute])}
            for minute in sorted(self._minutes)
        ]

    def _add_outcome(self, finding: Finding, count: int) -> None:
        outcome = finding.outcome
        assert outcome is not None  # noqa: S101 - of findings without one nothing is added
        self.outcomes[outcome] += count
        if outcome in HARMFUL:
            self._add_harm(finding, outcome, count)
        pair = (str(finding.asked), _server_of(finding))
        counts = self._servers.setdefault(pair, Counter())
        counts[outcome] += count
        self._servers.move_to_end(pair)
        if len(self._servers) > SERVERS:
            self._servers.popitem(last=False)

    def _add_harm(self, finding: Finding, outcome: Outcome, count: int) -> None:
        known = finding.consequence
        cause = known.cause if known is not None and known.cause is not None else Cause.UNKNOWN
        target = str(known.target) if known is not None and known.target is not None else None
        self.causes[cause] += count
        hurt = Hurt(str(finding.asked), service_name(finding), target, outcome, cause)
        harm = self._hurt.get(hurt)
        if harm is None:
            if len(self._hurt) >= HURT:
                # What is forged comes once; what is real comes again.
                self._hurt.popitem(last=False)
            harm = self._hurt[hurt] = _Harm(finding.time_ns)
        self._hurt.move_to_end(hurt)
        harm.count += count
        harm.last_ns = max(harm.last_ns, finding.time_ns)
        harm.remedy = known.remedy if known is not None else None
        harm.why = finding.why
        client = str(finding.client)
        if len(harm.clients) < CLIENTS:
            harm.clients.add(client)
        elif client not in harm.clients:
            harm.more_clients = True

    def _settle(self, finding: Finding, count: int) -> None:
        """Count a later outcome in the minute of its answer, which is not open any more then."""
        answer = finding.consequence.answer if finding.consequence is not None else None
        time_ns = _ns_of(answer.time) if answer is not None else finding.time_ns
        counts = self._minutes.get(time_ns // _MINUTE_NS)
        if answer is not None and counts is not None and counts[_OPEN]:
            counts[_OPEN] -= min(count, counts[_OPEN])
        self._count_minute(time_ns, finding.outcome, count)

    def _count_minute(self, time_ns: int, outcome: Outcome | None, count: int) -> None:
        minute = time_ns // _MINUTE_NS
        if minute > self._newest:
            self._newest = minute
            self._minutes = {one: counts for one, counts in self._minutes.items() if one > minute - MINUTES}
        if minute > self._newest - MINUTES:
            self._minutes.setdefault(minute, Counter())[outcome] += count


def _server_of(finding: Finding) -> str | None:
    """Return the server that an outcome is about: the offered address, the asked one, or None for port 135 itself."""
    if finding.kind in (FindingKind.CONNECTION, FindingKind.ANSWER):
        return None
    return next((str(one.address) for one in finding.mappings if one.address is not None), str(finding.asked))


def _named(counts: Counter[Any]) -> dict[str, int]:
    """Return counts by outcome in the order of the set, `open` last; only those that are not 0."""
    ordered = [(str(outcome), counts[outcome]) for outcome in Outcome]
    return {name: count for name, count in (*ordered, ("open", counts[_OPEN])) if count}


def _ns_of(time: str) -> int:
    """Return a time, as findings have it, in nanoseconds; below a second it does not matter."""
    return int(datetime.fromisoformat(time[:19] + "+00:00").timestamp()) * 1_000_000_000
