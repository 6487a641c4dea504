"""A capture file read with what its answers led to.

A file is surveyed first (`inspector.capture.triage`): healthy clients are followed in compiled code, and the tracker
gets their answers and a summary of their follow-ups; the packets of all others go to the tracker one by one. What
cannot be surveyed, as standard input, goes there as a whole.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from inspector.capture import layout
from inspector.capture.pcap import SegmentReader, open_packets
from inspector.capture.scanner import Scanner
from inspector.capture.seen import Seen
from inspector.capture.stored import EndOfFileError
from inspector.capture.survey import Survey, address_words, follow_scan, opens, survey_file
from inspector.consequence import FindingKind, Outcome
from inspector.decode import is_compiled
from inspector.decode.batch import FindingBatch, singly
from inspector.errors import CaptureError, CaptureTruncatedError
from inspector.model import Verdict
from inspector.outcomes.tracker import Tracker
from inspector.output.standard import fail
from inspector.output.sums import CountedBatches
from inspector.pipeline import Pipeline
from inspector.reading.healthy import HealthyFindings
from inspector.record import LATEST_TIME_NS, pack_record
from inspector.wire.headers import Header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from inspector.capture.packet import Packet
    from inspector.capture.scan import Scan
    from inspector.capture.stored import Progress
    from inspector.config import Config
    from inspector.evidence.recorder import Evidence
    from inspector.model import Finding
    from inspector.outcomes.sides import Ties
    from inspector.output.sums import Sums
    from inspector.reading.chain import Chain
    from inspector.record import KernelCounter

_WAIT_NS: Final = 3_600_000_000_000
"""How long a question of an open connection waits for its answer: a file goes on, and may have it."""


class Follower:
    """Reads a file; `pipeline` decodes its answers, `tracker` knows what became of them.

    `ties` are what files that are read together say of each other, `survey` is that of the file. `hidden_verdicts`
    and `hidden_outcomes` count what is shown by another of them; `connection_verdicts` counts connections to port 135
    that came to nothing, and servers of which one direction was seen. Where findings are not `shown` only those are
    made that outcomes depend on, and `sums` are made of what is counted.

    A question is given up when its connection ends or falls silent. What is open at the end of the file is given up
    where the configured time had passed.
    """

    def __init__(
        self,
        files: Chain,
        config: Config,
        source: str,
        ties: Ties,
        survey: Survey | None = None,
        *,
        shown: bool = True,
        sums: Sums | None = None,
    ) -> None:
        self.files = files
        self._survey = survey
        self._config = config
        self._limits = config.decoder_limits()
        waiting = replace(self._limits, unanswered_ns=_WAIT_NS)
        self.pipeline = Pipeline(config.policy(), lambda _: source, waiting, engine=is_compiled())
        self.tracker = Tracker(config.policy(), source, config.ports, ties=ties, shown=shown)
        self.connection_verdicts: Counter[Verdict] = Counter()
        self.hidden_verdicts: Counter[Verdict] = Counter()
        self.hidden_outcomes: Counter[Outcome] = Counter()
        self._ties = ties
        self._shown = shown
        self._sums = sums if not shown else None
        self._counted = CountedBatches(sums, self.tracker.explain) if sums is not None and not shown else None
        if sums is not None:
            self.tracker.count_outcomes_by(sums.add_outcome)
        self.seen = Seen()

    def findings(
        self,
        counters: Counter[KernelCounter],
        evidence: Evidence | None,
        warn: Callable[[str], None],
        progress: Progress | None,
    ) -> Iterator[FindingBatch]:
        """Yield what is found; of a file cut short the findings count, with a warning. Raises CaptureError."""
        config = self._config
        survey, paths = self._survey, self.files.paths
        if survey is None and is_compiled() and self.files.can_be_read_again:
            survey = survey_file(paths[0], ports=config.ports, tunnels=config.tunnels, more=paths[1:])
        segments = SegmentReader(config.ports, counters, tunnels=config.tunnels, seen=self.seen)
        loop = follow_scan(survey, ports=config.ports, clients=self._ties.clients())
        reading = _Reading(self, loop, segments, evidence, survey.last_ns if survey else 0)
        try:
            for path in self.files.paths:
                with self.files.part(path, int(loop.frame), warn, fail):
                    for found in reading.findings(path, progress):
                        yield from self._to_show(found)
            segments.finish(self.files.paths[0])
        except CaptureError:
            yield from self._end(reading.finish(), int(loop.latest))
            raise
        yield from self._end(reading.finish(), int(loop.latest))

    def _end(self, known: list[Finding], last_ns: int) -> Iterator[FindingBatch]:
        """Give up what waited for the configured time, and decide what the end of the file decides."""
        yield from self._to_show(known)
        found = singly(self.pipeline.flush())
        self.pipeline.reconfigure(self._config.policy(), self._limits)
        found += singly(self.pipeline.advance(last_ns))
        yield from self._to_show(self.tracker.flush(found))

    def _to_show(self, found: list[Finding]) -> Iterator[FindingBatch]:
        """Yield the findings but those about questions which another file shows better; these are counted there."""
        shown = [finding for finding in found if not self._hide(finding)] if self._ties else found
        connections = [finding for finding in shown if finding.kind is FindingKind.CONNECTION]
        self.connection_verdicts.update(
            one.verdict for one in connections if one.outcome or one.verdict is Verdict.ONE_WAY
        )
        if self._sums is not None:
            for finding in shown:
                self._sums.add_finding(finding)
        if shown and self._shown:
            shown = [self.files.locate(finding) for finding in shown]
            yield FindingBatch.of(shown)

    def _hide(self, finding: Finding) -> bool:
        """Return whether another file shows a finding; then it is counted as hidden."""
        if not self._ties.hides(finding):
            return False
        if finding.kind is FindingKind.ANSWER:
            self.hidden_verdicts[finding.verdict] += 1
        self.hidden_outcomes.update(finding.outcomes)
        return True


class _Reading:
    """A file on its way through compiled code as far as that goes, then packet by packet."""

    def __init__(
        self,
        follower: Follower,
        loop: Scan,
        segments: SegmentReader,
        evidence: Evidence | None,
        last_ns: int,
    ) -> None:
        self._pipeline = follower.pipeline
        self._tracker = follower.tracker
        self._scanner: Scanner
        self._loop = loop
        self._segments = segments
        self._evidence = evidence
        self._healthy = HealthyFindings(follower.tracker, loop, last_ns, shown=follower._shown, sums=follower._counted)
        self._compiled = is_compiled()
        # Findings that are only counted need not be handed over block by block.
        self._counted = follower._counted
        # Found in between, of findings that were held.
        self._known: list[Finding] = []
        self._hold = self._compiled and not follower._shown and evidence is None

    def findings(self, path: Path, progress: Progress | None) -> Iterator[list[Finding]]:
        """Yield what is found, in order. Raises CaptureError after all that was found before."""
        self._scanner = Scanner(self._segments, 1, self._loop)
        if self._compiled:
            self._scanner.keep_followed()
        with open_packets(path, progress) as (pieces, reader):
            while True:
                stopped = layout.PACKET
                if self._compiled:
                    self._loop.due = self._due_ns()
                    stopped = self._scanner.scan(pieces, reader)
                if stopped == layout.ROWS_FULL:
                    yield self._take_block()
                    continue
                if stopped == layout.TIME_DUE:
                    yield self._take_block() + self._take_due(int(self._loop.time_due))
                    continue
                try:
                    packet = reader.next_packet()
                except (CaptureTruncatedError, EndOfFileError):
                    yield self._take_block()
                    raise
                packet = self._segments.unwrap(packet) if packet is not None else None
                if packet is not None and self._compiled:
                    if self._loop.latest < packet.time_ns <= LATEST_TIME_NS and packet.time_ns >= self._loop.due:
                        yield self._take_block() + self._take_due(packet.time_ns)
                    if self._scanner.read_packet(packet):
                        self._loop.latest = max(self._loop.latest, packet.time_ns)
                        continue
                yield self._take_block()
                if packet is None:
                    return
                yield self._take_packet(packet)

    def finish(self) -> list[Finding]:
        """End the file: what was held or counted is the tracker's; return what is known."""
        found = self._known + self._healthy.take(self._pipeline.feed(()), None, [])
        self._healthy.refresh()
        if self._counted is not None:
            self._counted.finish()
        return found

    def _due_ns(self) -> int:
        times = [one for one in (self._tracker.due_ns, self._pipeline.due_ns) if one is not None]
        return min(times, default=layout.NEVER)

    def _take_block(self) -> list[Finding]:
        """Take what compiled code has read."""
        events, packets = self._scanner.take_events(), self._scanner.take_followed()
        found, self._known = self._known, []
        if len(self._scanner):
            block = self._scanner.take()
            if self._evidence is not None:
                self._evidence.keep(block)
            hold = self._hold and not events and not packets
            found += self._healthy.take(self._pipeline.feed((block,), hold=hold), block, events, packets)
        elif events or packets:
            found += self._healthy.take((), None, events, packets)
        return found + self._tracker.settle(int(self._loop.latest))

    def _take_due(self, time_ns: int) -> list[Finding]:
        """Move time on to that of the next packet, where something waits for it.

        Otherwise the loop has stopped for the tracker to get its packets.
        """
        if time_ns < self._due_ns():
            return []
        self._loop.latest = time_ns
        found = self._completed(self._pipeline.advance(time_ns), self._pipeline.held)
        return self._tracker.take(None, found, time_ns, int(self._loop.frame) + 1)

    def _completed(self, batches: Iterable[FindingBatch], held: int) -> list[Finding]:
        """Return the findings of batches but the first, as many as were `held`: those are of earlier packets."""
        found: list[Finding] = []
        for batch in batches:
            if held:
                self._known += self._healthy.take((batch[:held],), None, [])
                batch, held = batch[held:], held - len(batch[:held])
            found += batch.findings()
        return found

    def _take_packet(self, packet: Packet) -> list[Finding]:
        """Take a packet in Python."""
        loop = self._loop
        loop.frame += 1
        number, time_ns = int(loop.frame), min(packet.time_ns, LATEST_TIME_NS)
        loop.latest = max(int(loop.latest), time_ns)
        segment = self._segments.segment(packet)
        header = self._segments.header(packet, number)
        found = self._read(pack_record(segment) if segment is not None else None, time_ns)
        if isinstance(header, Header) and self._compiled and not self._is_for_tracker(header):
            return [one for finding in found for one in self._healthy.hold(finding, number)]
        return self._tracker.take(header, found, time_ns, number)

    def _read(self, record: bytes | None, time_ns: int) -> list[Finding]:
        """Return what a record completes, or the time of a packet without one."""
        pipeline = self._pipeline
        held = pipeline.held
        if record is None:
            due_ns = pipeline.due_ns
            return self._completed(pipeline.advance(time_ns), held) if due_ns is None or time_ns >= due_ns else []
        if self._evidence is not None:
            self._evidence.keep(record)
        batches = [batch.kept() for batch in pipeline.feed((record,), hold=self._hold)]
        if batches or pipeline.held != held:
            return self._completed(itertools.chain(batches, pipeline.feed(())), held)
        return []

    def _is_for_tracker(self, header: Header) -> bool:
        """Return whether a packet is of a client that the tracker follows, or of no endpoint mapper."""
        loop, ports = self._loop, self._segments.ports
        source, destination = address_words(header.source), address_words(header.destination)
        if header.destination_port in ports:
            return bool(loop.everything or loop.flags_of(*source) & layout.CLIENT_PYTHON)
        if header.source_port in ports:
            return bool(loop.everything or loop.flags_of(*destination) & layout.CLIENT_PYTHON)
        if opens(header) and loop.flags_of(*source) & layout.CLIENT_KNOWN:
            loop.watch(*source, *destination, header.source_port | header.destination_port << 16)
        return True
