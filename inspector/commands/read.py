"""`epm-inspector read`: findings of capture files, with neither root nor bcc."""

from __future__ import annotations

import sys
from collections import Counter as Totals
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inspector.commands.output import Output, tally_of
from inspector.config import Config
from inspector.errors import CaptureTruncatedError
from inspector.model import Finding, Verdict
from inspector.pipeline import Pipeline
from inspector.record import Counter
from inspector.sinks.progress import show_progress
from inspector.sources.pcap import read_records

FOUND = 3


@dataclass(frozen=True, slots=True)
class ReadArguments:
    """What the command line of `read` says."""

    files: Sequence[Path]
    config: Config
    json: bool
    fail_on: frozenset[Verdict]


@dataclass(slots=True)
class FileReader:
    """One capture file on its way through a decoder of its own: connections of different files are not related."""

    path: Path
    config: Config
    counters: Totals[Counter] = field(default_factory=Totals)
    pipeline: Pipeline = field(init=False)

    def __post_init__(self) -> None:
        self.pipeline = Pipeline(self.config.policy(), lambda _: str(self.path), self.config.decoder_limits())

    def findings(self, output: Output) -> Iterator[Finding]:
        """Yield the findings; a file cut short is a warning on standard error, and its findings count."""
        with show_progress(str(self.path), console=output.console) as progress:
            try:
                for record in read_records(
                    self.path,
                    ports=self.config.ports,
                    counters=self.counters,
                    progress=progress,
                    tunnels=self.config.tunnels,
                ):
                    yield from self.pipeline.feed(record)
            except CaptureTruncatedError as error:
                print(f"epm-inspector: warning: {error}", file=sys.stderr)
        yield from self.pipeline.flush()


def run(arguments: ReadArguments) -> int:
    """Run the command; returns 3 where a verdict of `fail_on` was found. Raises CaptureError."""
    readers = [FileReader(path, arguments.config) for path in arguments.files]
    with Output(json=arguments.json) as output:
        for reader in readers:
            for finding in reader.findings(output):
                if not output.show(finding):
                    return 0
        tally = tally_of((reader.counters for reader in readers), (reader.pipeline for reader in readers))
        output.summary(tally)
    return FOUND if any(tally.verdicts.get(verdict) for verdict in arguments.fail_on) else 0
