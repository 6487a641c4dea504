"""A capture file on its way through a decoder, and what `read` is asked to do with it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

from inspector.capture.archive import is_member
from inspector.capture.blocks import NumberedRecord, read_batches
from inspector.capture.seen import Seen
from inspector.capture.stored import STANDARD_INPUT
from inspector.capture.windows import read_windows
from inspector.config import Config
from inspector.consequence import Outcome
from inspector.decode import is_compiled
from inspector.errors import Anomaly, CaptureError, CaptureTruncatedError
from inspector.escape import display_name
from inspector.evidence.recorder import Evidence
from inspector.model import Verdict
from inspector.outcomes.facts import CutAnswers
from inspector.outcomes.sides import Ties
from inspector.output.standard import fail
from inspector.output.sums import Sums
from inspector.pipeline import Pipeline
from inspector.reading.ahead import read_ahead
from inspector.reading.chain import Chain
from inspector.reading.following import Follower
from inspector.reading.framenumbers import FrameNumbers
from inspector.reading.selection import Selected, Selection
from inspector.reading.stackview import StackView
from inspector.reading.strangers import find_strangers, line_of
from inspector.record import LATEST_TIME_NS, KernelCounter

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from inspector.capture.stored import Progress
    from inspector.capture.survey import Survey
    from inspector.decode.batch import FindingBatch

    Block = npt.NDArray[np.uint64]

# Of blocks of records: one is being read, one waits, one is being decoded.
_BLOCKS_AHEAD: Final = 3
_BATCHES_AHEAD: Final = 4
# Blocks of records which are decoded together: large records between them make many of them small.
_GATHERED: Final = 4
# Findings in a batch which is shown at once.
_BATCH: Final = 4096


@dataclass(frozen=True, slots=True)
class ReadArguments:
    """What the command line of `read` says; without `jobs` that is decided by cores and files.

    `report` is where to write a page. `follow_on` has, by file, those which go on where it ends; they are not among
    `files`.
    """

    files: Sequence[Path]
    config: Config
    json: bool
    fail_on: frozenset[Verdict | Outcome]
    summary: bool = False
    jobs: int | None = None
    evidence: Path | None = None
    chained: bool | None = None
    follow_on: Mapping[Path, tuple[Path, ...]] = field(default_factory=dict)
    selection: Selection = field(default_factory=Selection)
    report: Path | None = None

    @property
    def needs_sums(self) -> bool:
        """Whether findings are to be added up."""
        return self.summary or self.report is not None


@dataclass(frozen=True, slots=True)
class FileCounts:
    """What is left of a file that was read."""

    counters: Counter[KernelCounter]
    records: int
    verdicts: Counter[Verdict]
    anomalies: Counter[Anomaly]
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    seen: Seen = field(default_factory=Seen)
    failed: int = 0
    cut: CutAnswers = field(default_factory=CutAnswers)
    path: Path = STANDARD_INPUT
    sums: Sums = field(default_factory=Sums)
    stories: Sequence[str] = ()


@dataclass(slots=True)
class ReadFiles:
    """What is left of all files: the counts of those of which anything was read, and how many failed."""

    counts: list[FileCounts] = field(default_factory=list)
    failed: int = 0

    def add_failed(self, counts: FileCounts | None) -> None:
        """Note a file that could not be read to its end; its findings were shown."""
        self.failed += 1
        if counts is not None and counts.records:
            self.counts.append(counts)


@dataclass(slots=True)
class FileReader:
    """A capture file on its way through a decoder of its own, with those which go on where it ends (`more`).

    Connections of different files are not related, but for these. One of them that cannot be read is counted in
    `failed`, and the next one is read.
    `ties` are what other files say of the same conversations, and `survey` what was seen of this one, both from
    `inspector.reading.sighting`; without it the file is surveyed once more.
    `threads` are up to two more: one reads the file, the other decodes while findings are shown.
    Findings that are not `shown` need not be made.
    """

    path: Path
    config: Config
    evidence: Evidence | None = None
    threads: int = 0
    ties: Ties = field(default_factory=Ties)
    shown: bool = True
    survey: Survey | None = None
    more: Sequence[Path] = ()
    selection: Selection = field(default_factory=Selection)
    sums: Sums | None = None
    failed: int = 0
    stories: list[str] = field(default_factory=list)
    counters: Counter[KernelCounter] = field(default_factory=Counter)
    pipeline: Pipeline = field(init=False)
    follower: Follower | None = field(init=False, default=None)
    seen: Seen = field(init=False, default_factory=Seen)
    source: str = field(init=False)
    selected: Selected = field(init=False)

    def __post_init__(self) -> None:
        self.source = display_name(os.fsencode(self.path))
        self.selected = Selected(self.selection)
        if self.config.follow_up:
            files = Chain((self.path, *self.more))
            # What is selected has to be made.
            self.shown = self.shown or bool(self.selection)
            sums = None if self.selection else self.sums
            self.follower = Follower(
                files, self.config, self.source, self.ties, self.survey, shown=self.shown, sums=sums
            )
            self.pipeline = self.follower.pipeline
            self.seen = self.follower.seen
            return
        self.pipeline = Pipeline(
            self.config.policy(), lambda _: self.source, self.config.decoder_limits(), engine=is_compiled()
        )

    def findings(self, warn: Callable[[str], None], progress: Progress | None = None) -> Iterator[FindingBatch]:
        """Yield what is found, batches valid until the next; of a file cut short the findings count, with a warning."""
        found = self._findings(warn, progress)
        if self.follower is not None:
            found = self.follower.findings(self.counters, self.evidence, warn, progress)
        found = chain(found, self._end(warn))
        if self.evidence is not None:
            self.evidence.forget()
            found = self.evidence.name(found)
        if self.selection:
            found = self.selected.of(found)
        if self.sums is not None and (self.shown or self.follower is None):
            found = self.sums.take(found)
        if self.evidence is not None:
            return found
        return read_ahead(_gather(found), _BATCHES_AHEAD) if self.threads > 1 else found

    def _findings(self, warn: Callable[[str], None], progress: Progress | None) -> Iterator[FindingBatch]:
        gathered: list[Block | NumberedRecord] = []
        # Evidence takes a number for that of the last packet of an answer, and keeps none that came later.
        frames = FrameNumbers() if (self.shown or self.selection) and self.evidence is None else None
        # What comes through a pipe is shown at once, and evidence has to be kept just before it is needed.
        most = _GATHERED if self.evidence is None and self.path.is_file() else 1
        batches = self._batches(most + (_BLOCKS_AHEAD if self.threads else 0), warn, progress)
        try:
            for batch in read_ahead(batches, _BLOCKS_AHEAD) if self.threads else batches:
                if isinstance(batch, str):
                    yield from self._feed(gathered, frames)
                    gathered.clear()
                    self.source = batch
                    self.pipeline.forget_judgements()
                    continue
                if self.evidence is not None:
                    self.evidence.keep(batch)
                gathered.append(batch)
                if len(gathered) >= most:
                    yield from self._feed(gathered, frames, hold=most > 1)
                    gathered.clear()
        except CaptureError:
            yield from self._finish(gathered, frames, warn)
            raise
        yield from self._finish(gathered, frames, warn)

    def _feed(
        self, gathered: list[Block | NumberedRecord], frames: FrameNumbers | None, *, hold: bool = False
    ) -> Iterator[FindingBatch]:
        """Decode records; findings with the numbers of their packets do not wait for those of later records."""
        if frames is None:
            return self.pipeline.feed(gathered, hold=hold)
        frames.note(gathered)
        return frames.framed(self.pipeline.feed(gathered))

    def _batches(
        self, blocks: int, warn: Callable[[str], None], progress: Progress | None
    ) -> Iterator[Block | NumberedRecord | str]:
        """Yield the batches of all files, and before those of each but the first its name."""
        for path in (self.path, *self.more):
            if path != self.path:
                yield display_name(os.fsencode(path))
            try:
                yield from read_batches(
                    path,
                    ports=self.config.ports,
                    counters=self.counters,
                    progress=progress,
                    tunnels=self.config.tunnels,
                    blocks=blocks,
                    seen=self.seen,
                )
            except CaptureTruncatedError as error:
                warn(str(error))
            except CaptureError as error:
                if not self.more:
                    raise
                fail(str(error))
                self.failed += 1

    def _finish(
        self, gathered: list[Block | NumberedRecord], frames: FrameNumbers | None, warn: Callable[[str], None]
    ) -> Iterator[FindingBatch]:
        """End the input at the time of its latest packet, of whatever kind, and say what was open then."""
        yield from self._feed(gathered, frames)
        latest_ns = min(self.seen.latest_ns, LATEST_TIME_NS)
        last = chain(self.pipeline.advance(latest_ns), self.pipeline.flush())
        yield from last if frames is None else frames.framed(last)
        # Time must go on for any to be given up.
        count = self.pipeline.count_open(latest_ns + 2)
        if count:
            warn(f"{self.source}: ended before these were answered, or could be called unanswered: {count} questions")

    def _end(self, warn: Callable[[str], None]) -> Iterator[FindingBatch]:
        """Say what was not looked into, once all was read; yields nothing."""
        name = display_name(os.fsencode(self.path))
        for line in self.seen.notes():
            warn(f"{name}: {line}")
        if not (self.path.is_file() or is_member(self.path)):
            return
        view = StackView(self.config.ports)
        notes = [note for path in (self.path, *self.more) for note in read_windows(path, view)]
        self.stories += view.lines()
        for line in (*notes, *self.stories):
            warn(f"{name}: {line}")
        if self.pipeline.anomalies[Anomaly.STREAM_NOT_RPC]:
            strangers = sum((find_strangers(path, self.config) for path in (self.path, *self.more)), Counter[str]())
            if strangers:
                warn(f"{name}: sent to a port of the endpoint mapper, and no RPC: {line_of(strangers)}")
        yield from ()

    def counts(self) -> FileCounts:
        """Return what was counted."""
        pipeline, follower = self.pipeline, self.follower
        counts = FileCounts(
            self.counters,
            pipeline.records,
            Counter(pipeline.verdicts),
            Counter(pipeline.anomalies),
            seen=self.seen,
            failed=self.failed if follower is None else follower.files.failed,
            path=self.path,
            sums=self.sums or Sums(),
            stories=self.stories,
        )
        if follower is not None:
            counts.anomalies.update(follower.tracker.anomalies)
            counts.outcomes.update(follower.tracker.outcomes - follower.hidden_outcomes)
            counts.verdicts.update(follower.connection_verdicts)
            counts.verdicts.subtract(follower.hidden_verdicts)
            counts = replace(counts, cut=follower.tracker.cut)
        if self.selection:
            counts = replace(counts, verdicts=self.selected.verdicts, outcomes=self.selected.outcomes)
        return counts


def _gather(found: Iterator[FindingBatch]) -> Iterator[FindingBatch]:
    """Yield batches that stay valid, few long ones instead of many short ones."""
    held: list[FindingBatch] = []
    for one in found:
        if held and (not held[0].joins(one) or sum(map(len, held)) >= _BATCH):
            yield held[0].joined(held[1:])
            held = []
        held.append(one.kept())
    if held:
        yield held[0].joined(held[1:])
