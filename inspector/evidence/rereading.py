"""The records of a file of evidence read again before it is written, as `epm-inspector read` will do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inspector.decode.batch import singly
from inspector.outcomes.records import packet_of
from inspector.outcomes.sides import tie
from inspector.outcomes.sightings import Sightings
from inspector.outcomes.tracker import Tracker
from inspector.pipeline import Pipeline
from inspector.record import unpack_record
from inspector.wire.headers import Header

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from inspector.config import Config
    from inspector.model import Finding
    from inspector.outcomes.sides import Ties


def end_of(records: Sequence[bytes], finding: Finding, config: Config) -> int | None:
    """Return after how many of the records the same finding comes out of a decoder; None where it does not."""
    pipeline = Pipeline(config.policy(), lambda _: finding.source, config.decoder_limits())
    for number, record in enumerate(records):
        if finding in singly(pipeline.feed([record])):
            return number + 1
    return len(records) if finding in singly(pipeline.flush()) else None


def gives(records: Sequence[bytes], finding: Finding, outcomes: Iterable[Finding], config: Config) -> bool:
    """Return whether the records of a conversation and its follow-up lead to these outcomes, with their causes."""
    wanted = {_meaning(one) for one in outcomes}
    if not wanted:
        return True
    pipeline = Pipeline(config.policy(), lambda _: finding.source, config.decoder_limits())
    tracker = Tracker(config.policy(), finding.source, config.ports, ties=_ties(records, finding, config))
    found: list[Finding] = []
    for number, record in enumerate(records, 1):
        segment = unpack_record(record)
        answers = singly(pipeline.feed([record]))
        found += tracker.take(packet_of(segment), answers, segment.time_ns, number)
    found += tracker.flush(singly(pipeline.flush()))
    return wanted <= {_meaning(one) for told in found for one in told.with_follow_up()}


def _ties(records: Sequence[bytes], finding: Finding, config: Config) -> Ties:
    """Return what the interfaces say of each other, as of one source."""
    sides: dict[int, Sightings] = {}
    for record in records:
        packet = packet_of(unpack_record(record))
        if isinstance(packet, Header):
            side = sides.setdefault(packet.interface, Sightings(str(packet.interface), config.ports))
            side.take(packet)
    last_ns = max((side.last_ns for side in sides.values()), default=0)
    for side in sides.values():
        side.last_ns = last_ns
    return tie(list(sides.values()), config.policy().nat64_prefixes, together=True).as_of(finding.source)


def _meaning(finding: Finding) -> tuple[object, ...]:
    """Return what counts of a finding with an outcome."""
    consequence = finding.consequence
    cause = None if consequence is None else consequence.cause
    return finding.kind, finding.client_port, finding.server_port, finding.outcome, cause
