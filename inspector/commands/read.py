"""`epm-inspector read`: findings of capture files, with neither root nor bcc."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter as Totals
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from inspector.ahead import read_ahead
from inspector.commands.evidence import Evidence, open_evidence
from inspector.commands.output import Output, tally_of, warn
from inspector.config import Config
from inspector.decode import is_compiled
from inspector.errors import Anomaly, CaptureError, CaptureTruncatedError
from inspector.model import Finding, FindingBatch, Verdict
from inspector.pipeline import Pipeline
from inspector.record import Counter
from inspector.sinks.console import Tally
from inspector.sinks.jsonl import write_or_close
from inspector.sinks.progress import Shares, show_progress
from inspector.sources.columns import read_batches
from inspector.sources.stored import STANDARD_INPUT

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from inspector.sources.stored import Progress

    Block = npt.NDArray[np.uint64]

FOUND: Final = 3

PARALLEL_FROM: Final = 512 << 20
"""Bytes of all files from which on another process is worth being started, unless the command line says."""

THREADS_FROM: Final = 16 << 20
"""Bytes of a file from which on other threads are worth being started."""

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
    fail_on: frozenset[Verdict]
    summary: bool = False
    jobs: int | None = None
    evidence: Path | None = None


@dataclass(frozen=True, slots=True)
class FileCounts:
    """What is left of a file that was read."""

    counters: Totals[Counter]
    records: int
    verdicts: Totals[Verdict]
    anomalies: Totals[Anomaly]


@dataclass(slots=True)
class FileReader:
    """One capture file on its way through a decoder of its own: connections of different files are not related.

    `threads` are up to two more: one reads the file, the other decodes while findings are shown.
    """

    path: Path
    config: Config
    evidence: Evidence | None = None
    threads: int = 0
    counters: Totals[Counter] = field(default_factory=Totals)
    pipeline: Pipeline = field(init=False)

    def __post_init__(self) -> None:
        self.pipeline = Pipeline(
            self.config.policy(), lambda _: str(self.path), self.config.decoder_limits(), engine=is_compiled()
        )

    def findings(
        self, warn: Callable[[str], None], progress: Progress | None = None
    ) -> Iterator[Finding | FindingBatch]:
        """Yield what is found, batches valid until the next; of a file cut short the findings count, with a warning."""
        found = self._findings(warn, progress)
        if self.evidence is not None:
            self.evidence.forget()
            return self.evidence.name(found)
        return read_ahead(_gather(found), _BATCHES_AHEAD) if self.threads > 1 else found

    def _findings(self, warn: Callable[[str], None], progress: Progress | None) -> Iterator[Finding | FindingBatch]:
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
            )
            for batch in read_ahead(batches, _BLOCKS_AHEAD) if self.threads else batches:
                if self.evidence is not None:
                    self.evidence.keep(batch)
                gathered.append(batch)
                if len(gathered) >= most:
                    yield from self.pipeline.feed_batches(gathered, hold=most > 1)
                    gathered.clear()
        except CaptureError as error:
            yield from self.pipeline.feed_batches(gathered)
            if not isinstance(error, CaptureTruncatedError):
                raise
            warn(str(error))
        else:
            yield from self.pipeline.feed_batches(gathered)
        yield from self.pipeline.flush()

    def counts(self) -> FileCounts:
        """Return what was counted."""
        return FileCounts(self.counters, self.pipeline.records, self.pipeline.verdicts, self.pipeline.anomalies)


def _gather(found: Iterator[Finding | FindingBatch]) -> Iterator[Finding | FindingBatch]:
    """Yield what stays valid: findings, and few long batches of them instead of many short ones."""
    held: list[FindingBatch] = []
    for one in found:
        fits = not isinstance(one, Finding) and held and one.judgements is held[0].judgements
        if held and (not fits or sum(map(len, held)) >= _BATCH):
            yield held[0].joined(held[1:])
            held = []
        if isinstance(one, Finding):
            yield one
        else:
            held.append(one.kept())
    if held:
        yield held[0].joined(held[1:])


def run(arguments: ReadArguments) -> int:
    """Run the command; returns 3 where a verdict of `fail_on` was found. Raises CaptureError."""
    sizes = [_size(path) for path in arguments.files]
    jobs = _jobs(arguments, sizes)
    with Output(json=arguments.json) as output:
        name = str(arguments.files[0]) if len(sizes) == 1 else f"{len(sizes)} files"
        with show_progress(name, console=output.console) as update:
            shares = Shares(update, sizes)
            if jobs == 1:
                counts = _read_here(arguments, output, shares)
            else:
                from inspector.commands.readers import read_in_parallel

                counts = read_in_parallel(arguments, jobs, output, shares)
        if counts is None:
            return 0
        tally = tally_of((one.counters for one in counts), counts)
        if arguments.summary and arguments.json:
            write_or_close(sys.stdout, json.dumps(_as_dict(tally)) + "\n")
        else:
            output.summary(tally)
    return FOUND if any(tally.verdicts.get(verdict) for verdict in arguments.fail_on) else 0


def _read_here(arguments: ReadArguments, output: Output, shares: Shares) -> list[FileCounts] | None:
    """Read one file after the other; return what was counted, None where nobody reads the findings any more."""
    counts = []
    evidence = open_evidence(arguments.evidence, arguments.config, {}, live=False)
    for number, path in enumerate(arguments.files):
        threads = 0
        if _cores() > 1 and (_size(path) or 0) >= THREADS_FROM:
            # What is only counted is not shown meanwhile.
            threads = 1 if arguments.summary else 2
        reader = FileReader(path, arguments.config, evidence, threads)
        for found in reader.findings(warn, shares.of(number)):
            if arguments.summary:
                continue
            if not (output.show(found) if isinstance(found, Finding) else output.show_batch(found)):
                return None
        counts.append(reader.counts())
    if evidence is not None:
        evidence.close()
        print(evidence.summary(), file=sys.stderr)
    return counts


def _size(path: Path) -> int | None:
    """Return a file's length, None where it has none that is known or cannot be had (which reading it will tell)."""
    try:
        return path.stat().st_size if path != STANDARD_INPUT and path.is_file() else None
    except OSError:
        return None


def _jobs(arguments: ReadArguments, sizes: Sequence[int | None]) -> int:
    """Return how many processes are to read: 1 is this one; standard input and evidence are this one's alone."""
    if STANDARD_INPUT in arguments.files or arguments.evidence is not None:
        return 1
    wanted = arguments.jobs
    if wanted is None:
        wanted = _cores() if sum(size or 0 for size in sizes) >= PARALLEL_FROM else 1
    return max(1, min(wanted, len(sizes)))


def _cores() -> int:
    """Return how many cores this process may use; not every system says."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _as_dict(tally: Tally) -> dict[str, object]:
    """Return the counts of a run as JSON has them; the keys are an interface which people build on."""
    return {
        "packets_seen": tally.seen,
        "records_decoded": tally.decoded,
        "findings": sum(tally.verdicts.values()),
        "verdicts": {str(verdict): tally.verdicts[verdict] for verdict in Verdict if tally.verdicts.get(verdict)},
        "anomalies": {reason: count for reason, count in sorted(tally.anomalies.items()) if count},
    }
