"""A capture file read packet by packet, with what its answers led to: `read --follow-up`."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from inspector.capture.pcap import SegmentReader
from inspector.capture.seen import Seen
from inspector.consequence import FindingKind, Outcome
from inspector.decode.batch import FindingBatch
from inspector.errors import CaptureError
from inspector.outcomes.tracker import Tracker
from inspector.output.standard import fail
from inspector.pipeline import Pipeline
from inspector.record import LATEST_TIME_NS, pack_record
from inspector.wire.headers import read_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from inspector.capture.stored import Progress
    from inspector.config import Config
    from inspector.evidence.recorder import Evidence
    from inspector.model import Finding, Verdict
    from inspector.outcomes.sides import Ties
    from inspector.reading.chain import Chain
    from inspector.record import KernelCounter

_WAIT_NS: Final = 3_600_000_000_000
"""How long a question of an open connection waits for its answer: a file goes on, and may have it."""


class Follower:
    """Reads a file; `pipeline` decodes its answers one by one, `tracker` knows what became of them.

    `ties` are what files that are read together say of each other; `hidden_verdicts` and `hidden_outcomes` count what
    is shown by another of them.

    A question is given up when its connection ends or falls silent. What is open at the end of the file is given up
    where the configured time had passed.
    """

    def __init__(self, files: Chain, config: Config, source: str, ties: Ties) -> None:
        self.files = files
        self._config = config
        self._limits = config.decoder_limits()
        waiting = replace(self._limits, unanswered_ns=_WAIT_NS)
        self.pipeline = Pipeline(config.policy(), lambda _: source, waiting)
        self.tracker = Tracker(config.policy(), source, config.ports, ties=ties)
        self.hidden_verdicts: Counter[Verdict] = Counter()
        self.hidden_outcomes: Counter[Outcome] = Counter()
        self._ties = ties
        self.seen = Seen()

    def findings(
        self,
        counters: Counter[KernelCounter],
        evidence: Evidence | None,
        warn: Callable[[str], None],
        progress: Progress | None,
    ) -> Iterator[FindingBatch]:
        """Yield what is found; of a file cut short the findings count, with a warning. Raises CaptureError."""
        segments = SegmentReader(self._config.ports, counters, tunnels=self._config.tunnels, seen=self.seen)
        last_ns = 0
        try:
            for number, one in enumerate(self.files.packets(warn, fail, progress), 1):
                packet = segments.unwrap(one)
                segment = segments.segment(packet)
                time_ns = min(packet.time_ns, LATEST_TIME_NS)
                header = read_header(
                    packet.data,
                    link_type=packet.link_type,
                    time_ns=time_ns,
                    number=number,
                    wire_length=packet.original_length,
                    tunnels=self._config.tunnels,
                )
                if segment is None:
                    batches = self.pipeline.advance(time_ns)
                else:
                    record = pack_record(segment)
                    if evidence is not None:
                        evidence.keep(record)
                    batches = self.pipeline.feed((record,))
                last_ns = max(last_ns, time_ns)
                yield from self._shown(self.tracker.take(header, _singly(batches), time_ns, number))
            segments.finish(self.files.paths[0])
        except CaptureError:
            yield from self._end(last_ns)
            raise
        yield from self._end(last_ns)

    def _end(self, last_ns: int) -> Iterator[FindingBatch]:
        """Give up what waited for the configured time, and decide what the end of the file decides."""
        found = _singly(self.pipeline.flush())
        self.pipeline.reconfigure(self._config.policy(), self._limits)
        found += _singly(self.pipeline.advance(last_ns))
        yield from self._shown(self.tracker.flush(found))

    def _shown(self, found: list[Finding]) -> Iterator[FindingBatch]:
        """Yield the findings but those about questions which another file shows better; these are counted there."""
        shown = [self.files.locate(finding) for finding in found if not self._hide(finding)]
        if shown:
            yield FindingBatch.of(shown)

    def _hide(self, finding: Finding) -> bool:
        """Return whether another file shows a finding; then it is counted as hidden."""
        if not self._ties.hides(finding):
            return False
        if finding.kind is FindingKind.ANSWER:
            self.hidden_verdicts[finding.verdict] += 1
        for one in (finding, finding.follow_up):
            if one is not None and one.consequence is not None and one.consequence.outcome is not None:
                self.hidden_outcomes[one.consequence.outcome] += 1
        return True


def _singly(batches: Iterable[FindingBatch]) -> list[Finding]:
    return [finding for batch in batches for finding in batch.findings()]
