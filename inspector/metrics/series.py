"""Which series a finding is counted in, and which labels have a value of their own.

No packet can mint a series without end: interfaces and VIPs are learned up to a number, services have well-known names,
and verdicts, outcomes and causes are closed sets. Everything else is `other`.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, NamedTuple

from inspector.consequence import HARMFUL, Cause, FindingKind, Outcome
from inspector.decode.grouping import GroupCounts
from inspector.errors import AttachmentLoss
from inspector.metrics.labels import ATTACH_FAILURES, OTHER, is_mismatch, service_name
from inspector.model import OTHER_INTERFACES, Direction, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client import Counter

    from inspector.decode.batch import FindingBatch
    from inspector.metrics.families import Families
    from inspector.model import Finding, IPAddress

LEARNED_INTERFACES: Final = 64
ANSWERING: Final = 1024
"""Addresses at most whose answers are remembered, so that they get a label when they fail."""

FOLLOW_UP_OUTCOMES: Final = tuple(one for one in Outcome if one is not Outcome.UNDELIVERED)
MAPPER_OUTCOMES: Final = tuple(one for one in Outcome if one in HARMFUL and one is not Outcome.WRONG_SERVER)
_ALIKE: Final = 8192


class _Key(NamedTuple):
    """All of a finding that its counters depend on."""

    kind: FindingKind
    source: str
    direction: Direction
    asked: IPAddress
    verdict: Verdict
    mismatch: bool
    service: str | None
    outcome: Outcome | None
    cause: Cause | None
    late: bool


def _key_of(finding: Finding) -> _Key:
    return _Key(
        finding.kind,
        finding.source,
        finding.direction,
        finding.asked,
        finding.verdict,
        is_mismatch(finding),
        service_name(finding),
        finding.outcome,
        finding.consequence.cause if finding.consequence is not None else None,
        finding.supersedes is not None,
    )


class Series:
    """The series of findings. `vips` always have a label of their own; `learned_vips` more get one when they harm.

    Without `follow_up` no series of outcomes exists before its first event: 0 would mean that nobody was hurt.
    """

    def __init__(self, families: Families, vips: Iterable[str], learned_vips: int, *, follow_up: bool) -> None:
        self._families = families
        self._follow_up = follow_up
        self._interfaces: set[str] = set()
        self._vips = {str(ip_address(vip)) for vip in vips}
        self._learned_vips = self._vips_left = learned_vips
        self._answering: set[str] = set()
        self._groups = GroupCounts(self._counters_of)
        self._alike: dict[_Key, list[Counter]] = {}
        self._prepared: set[tuple[str, ...]] = set()

    def totals(self, batch: FindingBatch) -> Iterator[tuple[Counter, int]]:
        """Yield the counters of a batch's findings and of their follow-ups, and by how much each grows."""
        return self._groups.totals(batch)

    def _counters_of(self, finding: Finding) -> list[Counter]:
        """Return the counters of a finding and of its follow-up: looked up once for findings that are counted alike."""
        return [counter for one in finding.with_follow_up() for counter in self._counters_alike(one)]

    def _counters_alike(self, finding: Finding) -> list[Counter]:
        key = _key_of(finding)
        counters = self._alike.get(key)
        if counters is None:
            counters = self._counters(finding)
            if len(self._alike) >= _ALIKE:
                self._alike.clear()
            self._alike[key] = counters
        return counters

    def _forget(self) -> None:
        """Forget which counters findings go to: a label has a value of its own from now on."""
        self._groups.forget()
        self._alike.clear()

    def reconfigure(self, vips: Iterable[str], learned_vips: int) -> None:
        """Set the configured VIPs and the number of learned ones; addresses with a label keep it."""
        self._vips |= {str(ip_address(vip)) for vip in vips}
        self._vips_left += learned_vips - self._learned_vips
        self._learned_vips = learned_vips
        self._forget()

    def interface(self, name: str) -> str | None:
        """Return the label of an interface, None when none is left; creates the series of a new interface."""
        if name in self._interfaces:
            return name
        if len(self._interfaces) >= LEARNED_INTERFACES:
            return None
        self._interfaces.add(name)
        families = self._families
        for direction in Direction:
            families.packets.labels(name, str(direction))
        for verdict in Verdict:
            families.responses.labels(name, str(verdict))
        for reason in (*ATTACH_FAILURES.values(), OTHER):
            families.attach_failures.labels(name, reason)
        for loss in AttachmentLoss:
            families.attachments_lost.labels(name, str(loss))
        families.reattachments.labels(name)
        return name

    def _counters(self, finding: Finding) -> list[Counter]:
        """Return the counters of a finding, with those of labels that have no value for it."""
        counters = self._of_answer(finding) if finding.kind is FindingKind.ANSWER else []
        return counters + self._of_outcome(finding, finding.outcome) if finding.outcome is not None else counters

    def _of_answer(self, finding: Finding) -> list[Counter]:
        families = self._families
        mismatch, asked, service = is_mismatch(finding), str(finding.asked), service_name(finding)
        if finding.direction is Direction.FROM_SERVER:
            self._note_answering(asked)
        interface = self.interface(finding.source)
        if finding.supersedes is not None:
            # Its question was counted when it was given up.
            labels = (interface or OTHER_INTERFACES, asked if asked in self._vips else OTHER)
            return [families.late.labels(*labels), *self._overflow({"interface": interface})]
        vip = self._learn_vip(asked) if mismatch else asked if asked in self._vips else None
        of_interface = interface or OTHER_INTERFACES
        of_service = (of_interface, vip or OTHER, service or OTHER)
        self._prepare(of_interface, vip or OTHER)
        self._prepare_service(*of_service)
        counters = [
            families.responses.labels(of_interface, str(finding.verdict)),
            families.vip_responses.labels(of_interface, vip or OTHER, str(finding.verdict)),
            families.service_responses.labels(*of_service),
        ]
        named = {"interface": interface}
        if mismatch:
            counters.append(families.mismatches.labels(*of_service))
            named |= {"vip": vip, "service": service}
        elif vip is not None and service is not None:
            # While all is well, so that the first mismatch of this service is a step from 0.
            families.mismatches.labels(*of_service)
        return counters + self._overflow(named)

    def _note_answering(self, address: str) -> None:
        if address not in self._answering and len(self._answering) < ANSWERING:
            self._answering.add(address)
            self._forget()

    def _of_outcome(self, finding: Finding, outcome: Outcome) -> list[Counter]:
        families, asked, service = self._families, str(finding.asked), service_name(finding)
        interface = self.interface(finding.source)
        # An address that never answered is no endpoint mapper: whoever scans a network asks thousands.
        harmful = outcome in HARMFUL and (finding.kind is not FindingKind.CONNECTION or asked in self._answering)
        vip = self._learn_vip(asked) if harmful else asked if asked in self._vips else None
        labels = (interface or OTHER_INTERFACES, vip or OTHER)
        self._prepare(*labels)
        if finding.kind is FindingKind.FOLLOW_UP:
            self._prepare_service(*labels, service or OTHER)
            counters = [families.follow_ups.labels(*labels, service or OTHER, str(outcome))]
        elif finding.kind is FindingKind.DELIVERY:
            counters = [families.undelivered.labels(*labels)]
        else:
            counters = [families.mapper_failures.labels(*labels, str(outcome))]
        named = {"interface": interface}
        if harmful:
            named |= {"vip": vip}
        if outcome in HARMFUL:
            cause = finding.consequence.cause if finding.consequence is not None else None
            counters.append(families.causes.labels(*labels, str(cause or Cause.UNKNOWN)))
            if finding.kind is FindingKind.FOLLOW_UP:
                named |= {"service": service}
        return counters + self._overflow(named)

    def not_followed(self, finding: Finding) -> Counter:
        """Return the counter of an answer that nobody followed: no harm, so no address gets a label by it."""
        asked = str(finding.asked)
        interface = self.interface(finding.source) or OTHER_INTERFACES
        labels = (interface, asked if asked in self._vips else OTHER, service_name(finding) or OTHER)
        self._prepare_service(*labels)
        return self._families.follow_ups.labels(*labels, str(Outcome.NOT_FOLLOWED))

    def _overflow(self, named: dict[str, str | None]) -> list[Counter]:
        return [self._families.overflow.labels(label) for label, value in named.items() if value is None]

    def _prepare(self, interface: str, vip: str) -> None:
        """Make the series of a VIP on an interface exist on first sight."""
        if (interface, vip) in self._prepared:
            return
        self._prepared.add((interface, vip))
        families = self._families
        for verdict in Verdict:
            families.vip_responses.labels(interface, vip, str(verdict))
        if self._follow_up:
            families.undelivered.labels(interface, vip)
            families.late.labels(interface, vip)
            families.causes.labels(interface, vip, str(Cause.UNKNOWN))
            for outcome in MAPPER_OUTCOMES:
                families.mapper_failures.labels(interface, vip, str(outcome))

    def _prepare_service(self, interface: str, vip: str, service: str) -> None:
        """Make the series of a service's follow-ups exist on first sight."""
        if not self._follow_up or (interface, vip, service) in self._prepared:
            return
        self._prepared.add((interface, vip, service))
        for outcome in FOLLOW_UP_OUTCOMES:
            self._families.follow_ups.labels(interface, vip, service, str(outcome))

    def _learn_vip(self, address: str) -> str | None:
        """Return the label of a virtual address that a mismatch or harm names, None when none is left."""
        if address in self._vips:
            return address
        if self._vips_left <= 0:
            return None
        self._vips_left -= 1
        self._vips.add(address)
        # What was asked of this address so far was counted under `other`.
        self._forget()
        return address
