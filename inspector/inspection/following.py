"""What answers of a running inspection led to: from records and findings to findings with outcomes.

Only records of connections that `inspector.decode.followed` chooses are read in Python, and only their findings wait
for an outcome; all others go on at once. Endpoints that answers offer are given to the kernel program.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Final

from inspector.consequence import Outcome
from inspector.decode import layout
from inspector.decode.batch import FindingBatch, packed
from inspector.decode.followed import Followed
from inspector.errors import Anomaly
from inspector.inspection.kernelview import KernelView
from inspector.outcomes.limits import OutcomeLimits
from inspector.outcomes.livesides import LiveSides
from inspector.outcomes.offers import followed_mappings
from inspector.outcomes.records import packet_of
from inspector.outcomes.tracker import Tracker
from inspector.record import unpack_record
from inspector.wire.headers import Header

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from inspector.config import Config
    from inspector.live.bpf.followups import FollowUpMaps
    from inspector.live.rings.ringbuf import Block
    from inspector.live.session import Session
    from inspector.model import Finding

_FINDINGS: Final = 4096
"""Findings of one part of the records that wait for their outcome: one record may carry many answers."""

_OFFERED: Final = 16_384
_OFFERED_AGAIN_NS: Final = 10_000_000_000
"""An endpoint that was given to the kernel is given once more after this time: it may have been forgotten."""

_FILLED: Final = 4
"""Above this part of the rings no more connections are followed, until the records have been read."""


class Following:
    """Follows answers of a session; `select` rows, then `take` the findings that they complete."""

    def __init__(
        self, session: Session, maps: FollowUpMaps, config: Config, limits: OutcomeLimits | None = None
    ) -> None:
        self._session = session
        self._maps = maps
        self._view = KernelView(session, maps)
        prefixes = config.policy().nat64_prefixes
        self._sides = LiveSides(config.ports, prefixes, self._view.name_of) if self._view.has_sides else None
        ties = None if self._sides is None else self._sides.ties
        self._limits = limits or OutcomeLimits()
        self._tracker = Tracker(config.policy(), "", config.ports, self._limits, ties, self._view)
        self._hidden: Counter[Outcome] = Counter()
        self._followed = Followed()
        self._followed.with_copies = self._sides is not None
        self._given: OrderedDict[tuple[bytes, int], int] = OrderedDict()
        self._losing = False
        self._rows: list[int] = []
        self._passed = 0
        self._give_servers(config)

    @property
    def outcomes(self) -> Mapping[Outcome, int]:
        """How often each outcome was found."""
        return self._tracker.outcomes - self._hidden

    @property
    def anomalies(self) -> Counter[Anomaly]:
        """What was not followed, or not to its end."""
        refused = self._followed.refused + self._passed
        return self._tracker.anomalies + Counter({Anomaly.FOLLOW_UP_QUOTA: refused})

    @property
    def maps(self) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """How many entries the kernel's maps have, and have forgotten, as `KernelView` estimates it."""
        return self._view.used, self._view.evicted

    def reconfigure(self, config: Config) -> None:
        """Judge by another policy from now on."""
        self._tracker.reconfigure(config.policy(), config.ports)
        self._give_servers(config)

    def refresh(self) -> None:
        """Bring what is known of the kernel's maps up to date; to be called about once a second."""
        self._view.refresh()

    def select(self, blocks: Sequence[Block]) -> Iterator[FindingBatch]:
        """Choose the rows that are followed, before they are decoded.

        Where records get lost nothing is followed, and what was followed is given out as it is.
        """
        losing = self._session.losing
        if losing and not self._losing:
            found = self._tracker.forget_all()
            self._followed.clear()
            if self._sides is not None:
                self._sides.clear()
            yield from self._shown(found)
        self._losing = losing
        used, size = self._session.ring_usage()
        self._followed.is_open = not losing and used * _FILLED < size
        self._rows = self._followed.select(blocks).tolist()

    def take(self, batches: Iterable[FindingBatch], newest_ns: int) -> Iterator[FindingBatch]:
        """Take what the selected rows complete; yield what is not followed at once, and what is known by now.

        `newest_ns` is the time of the last row.
        """
        findings: list[Finding] = []
        for batch in batches:
            yield from self._divide(batch, findings)
        found = self._track(findings)
        if self._sides is not None:
            self._sides.refresh(newest_ns)
        found += self._tracker.take(None, (), newest_ns, 0)
        yield from self._shown(found)

    def advance(self, batches: Iterable[FindingBatch], now_ns: int) -> Iterator[FindingBatch]:
        """Move time on without records; `batches` are what this has completed."""
        findings: list[Finding] = []
        for batch in batches:
            yield from self._divide(batch, findings)
        if self._sides is not None:
            self._sides.refresh(now_ns)
        yield from self._shown(self._tracker.take(None, findings, now_ns, 0))

    def close(self, batches: Iterable[FindingBatch]) -> Iterator[FindingBatch]:
        """Give out what still waits: the end of the inspection is no silence."""
        findings: list[Finding] = []
        for batch in batches:
            yield from self._divide(batch, findings)
        yield from self._shown(self._tracker.close(findings))

    def take_not_followed(self) -> list[Finding]:
        """Return the findings of answers that nobody has followed, since the last call."""
        found = self._tracker.take_not_followed()
        return [finding for finding in found if not self._hide(finding, (Outcome.NOT_FOLLOWED,))]

    def _shown(self, found: list[Finding]) -> Iterator[FindingBatch]:
        """Yield the findings but those about questions which another interface shows better."""
        shown = [finding for finding in found if not self._hide(finding, finding.outcomes)]
        if shown:
            yield FindingBatch.of(shown)

    def _hide(self, finding: Finding, outcomes: Iterable[Outcome]) -> bool:
        """Return whether another interface shows a finding better; then count these outcomes as hidden."""
        if self._sides is None or not self._sides.ties.hides(finding):
            return False
        self._hidden.update(outcomes)
        return True

    def _divide(self, batch: FindingBatch, findings: list[Finding]) -> Iterator[FindingBatch]:
        """Append the findings of followed connections, and yield the others."""
        columns = batch.columns()
        followed = self._followed.may_be_followed(columns.clients, columns.ports)
        if followed.any():
            some = batch.chosen(followed)
            columns = some.columns()
            followed[followed] = self._followed.are_followed(columns.clients, columns.ports, some.servers())
        count = int(followed.sum())
        if count == 0:
            yield batch
            return
        if len(findings) + count > _FINDINGS:
            self._passed += count
            yield batch
            return
        findings += batch.chosen(followed).findings()
        if count < len(batch):
            yield batch.chosen(~followed)

    def _track(self, findings: list[Finding]) -> list[Finding]:
        """Give the tracker rows and findings, in the order of time."""
        found: list[Finding] = []
        given = 0
        for number in self._rows:
            row = number % layout.FOLLOWED_COPY if number >= 0 else ~number
            segment = unpack_record(self._followed.record_of(row))
            packet = packet_of(segment)
            if self._sides is not None and isinstance(packet, Header):
                self._sides.take(packet)
            if number >= layout.FOLLOWED_COPY:
                continue
            if number < 0:
                ends = (segment.source_address, segment.source_port)
                others = (segment.destination_address, segment.destination_port)
                self._tracker.forget(*(*others, *ends) if segment.from_server else (*ends, *others))
                continue
            start = given
            while given < len(findings) and findings[given].time_ns <= segment.time_ns:
                given += 1
            # An answer is found in the packet that completes it.
            found += self._tracker.take(packet, self._offered(findings[start:given]), segment.time_ns, 0)
        if given < len(findings):
            found += self._tracker.take(None, self._offered(findings[given:]), findings[-1].time_ns, 0)
        self._rows = []
        return found

    def _offered(self, findings: list[Finding]) -> list[Finding]:
        """Have the kernel record what clients do with endpoints that they were offered."""
        for finding in findings:
            if not finding.mappings:
                continue
            now_ns, asked, wanted = finding.time_ns, packed(finding.asked_raw), []
            for mapping in followed_mappings(finding, self._limits.per_answer):
                if mapping.port is not None:
                    wanted.append((asked, mapping.port))
                    if mapping.address is not None and not mapping.address.is_unspecified:
                        wanted.append((packed(mapping.address), mapping.port))
            wanted = [one for one in dict.fromkeys(wanted) if self._is_due(one, now_ns)]
            if wanted:
                self._view.added += self._maps.add_endpoints(wanted, time.time_ns())
        return findings

    def _is_due(self, endpoint: tuple[bytes, int], now_ns: int) -> bool:
        """Return whether the kernel was not given an endpoint lately; note that it is now."""
        given_ns = self._given.get(endpoint)
        if given_ns is not None and 0 <= now_ns - given_ns < _OFFERED_AGAIN_NS:
            return False
        self._given[endpoint] = now_ns
        self._given.move_to_end(endpoint)
        if len(self._given) > _OFFERED:
            self._given.popitem(last=False)
        return True

    def _give_servers(self, config: Config) -> None:
        """Have connections to high ports of the declared addresses recorded: their answers may be encrypted."""
        addresses = [packed(address) for virtual in config.vip for address in virtual.address]
        self._maps.add_servers(addresses, time.time_ns())
