"""A capture file on its way through a decoder, and what `read` is asked to do with it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

from inspector.capture.blocks import read_batches
from inspector.capture.layers import Layers
from inspector.config import Config
from inspector.consequence import Outcome
from inspector.decode import is_compiled
from inspector.errors import Anomaly, CaptureError, CaptureTruncatedError
from inspector.escape import display_name
from inspector.evidence.recorder import Evidence
from inspector.model import Verdict
from inspector.outcomes.sides import Ties
from inspector.pipeline import Pipeline
from inspector.reading.ahead import read_ahead
from inspector.reading.following import Follower
from inspector.record import KernelCounter

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from inspector.capture.stored import Progress
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
    """What the command line of `read` says; without `jobs` that is decided by cores and files."""

    files: Sequence[Path]
    config: Config
    json: bool
    fail_on: frozenset[Verdict | Outcome]
    summary: bool = False
    jobs: int | None = None
    evidence: Path | None = None


@dataclass(frozen=True, slots=True)
class FileCounts:
    """What is left of a file that was read."""

    counters: Counter[KernelCounter]
    records: int
    verdicts: Counter[Verdict]
    anomalies: Counter[Anomaly]
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    layers: Layers = field(default_factory=Layers)


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
    """One capture file on its way through a decoder of its own: connections of different files are not related.

    `ties` are what other files say of the same conversations, from `inspector.reading.sighting`.
    `threads` are up to two more: one reads the file, the other decodes while findings are shown.
    """

    path: Path
    config: Config
    evidence: Evidence | None = None
    threads: int = 0
    ties: Ties = field(default_factory=Ties)
    counters: Counter[KernelCounter] = field(default_factory=Counter)
    pipeline: Pipeline = field(init=False)
    follower: Follower | None = field(init=False, default=None)
    layers: Layers = field(init=False, default_factory=Layers)

    def __post_init__(self) -> None:
        source = display_name(os.fsencode(self.path))
        if self.config.follow_up:
            self.follower = Follower(self.path, self.config, source, self.ties)
            self.pipeline = self.follower.pipeline
            self.layers = self.follower.layers
            return
        self.pipeline = Pipeline(
            self.config.policy(), lambda _: source, self.config.decoder_limits(), engine=is_compiled()
        )

    def findings(self, warn: Callable[[str], None], progress: Progress | None = None) -> Iterator[FindingBatch]:
        """Yield what is found, batches valid until the next; of a file cut short the findings count, with a warning."""
        found = self._findings(warn, progress)
        if self.follower is not None:
            found = self.follower.findings(self.counters, self.evidence, warn, progress)
        found = chain(found, self._end(warn))
        if self.evidence is not None:
            self.evidence.forget()
            return self.evidence.name(found)
        return read_ahead(_gather(found), _BATCHES_AHEAD) if self.threads > 1 else found

    def _findings(self, warn: Callable[[str], None], progress: Progress | None) -> Iterator[FindingBatch]:
        gathered: list[Block | bytes] = []
        # What comes through a pipe is shown at once, and evidence has to be kept just before it is needed.
        most = _GATHERED if self.evidence is None and self.path.is_file() else 1
        try:
            batches = read_batches(
                self.path,
                ports=self.config.ports,
                counters=self.counters,
                progress=progress,
                tunnels=self.config.tunnels,
                blocks=most + (_BLOCKS_AHEAD if self.threads else 0),
                layers=self.layers,
            )
            for batch in read_ahead(batches, _BLOCKS_AHEAD) if self.threads else batches:
                if self.evidence is not None:
                    self.evidence.keep(batch)
                gathered.append(batch)
                if len(gathered) >= most:
                    yield from self.pipeline.feed(gathered, hold=most > 1)
                    gathered.clear()
        except CaptureError as error:
            yield from self.pipeline.feed(gathered)
            if not isinstance(error, CaptureTruncatedError):
                raise
            warn(str(error))
        else:
            yield from self.pipeline.feed(gathered)
        yield from self.pipeline.flush()

    def _end(self, warn: Callable[[str], None]) -> Iterator[FindingBatch]:
        """Say what was not looked into, once all was read; yields nothing."""
        for line in self.layers.notes():
            warn(f"{display_name(os.fsencode(self.path))}: {line}")
        yield from ()

    def counts(self) -> FileCounts:
        """Return what was counted."""
        pipeline, follower = self.pipeline, self.follower
        counts = FileCounts(
            self.counters,
            pipeline.records,
            Counter(pipeline.verdicts),
            Counter(pipeline.anomalies),
            layers=self.layers,
        )
        if follower is not None:
            counts.anomalies.update(follower.tracker.anomalies)
            counts.outcomes.update(follower.tracker.outcomes - follower.hidden_outcomes)
            counts.verdicts.subtract(follower.hidden_verdicts)
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
