"""Where the findings of a running inspection go: standard output, a file, the journal. None of them can end it."""

from __future__ import annotations

import logging
import sys
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, Self

from inspector.errors import OutputError
from inspector.losses import Loss, reason_of
from inspector.output.console import Console
from inspector.output.journal import SOCKET, Journal
from inspector.output.jsonl import JsonLines, StreamLines, is_like_ascii
from inspector.output.lineoutput import LineFile, LineOutput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from inspector.capture.recording import Recording
    from inspector.config import Config
    from inspector.decode.batch import FindingBatch
    from inspector.evidence.recorder import Evidence
    from inspector.http.overview import Overview
    from inspector.metrics.updates import Metrics
    from inspector.output.console import Tally


_LOG: Final = logging.getLogger(__name__)


class _Sink(Protocol):
    """One place where findings go."""

    def show(self, batch: FindingBatch) -> bool:
        """Take findings; return False once nobody reads any more."""


class Delivery:
    """Takes every finding to all places which `config` names, and to standard output.

    There they are lines with `json`; otherwise a table, if it is on a terminal or nothing else is asked for.
    `warn` is told what cannot be written. Raises OutputError where the file cannot be opened.
    """

    def __init__(self, *, json: bool, config: Config, warn: Callable[[str], None]) -> None:
        # Faster than this nobody reads, and a slow terminal would hold up the inspection.
        self.console = Console(sys.stderr if json else sys.stdout, rows_per_second=200)
        self._warn = warn
        self._given_up: list[_Sink] = []
        self._outputs: dict[Loss, LineOutput] = {}
        self._journal: Journal | None = None
        self._sinks: list[_Sink] = []
        if config.findings_file is not None:
            self._add_lines(Loss.FILE_FAILED, LineFile(config.findings_file, warn))
        if config.findings_journal:
            self._journal = Journal(warn, verdicts=config.journal_verdicts, path=SOCKET)
            self._sinks.append(self._journal)
        if json:
            self._add_standard_output()
        elif not self._sinks or self.console.terminal:
            self._sinks.append(self.console)

    def _add_lines(self, loss: Loss, output: LineOutput) -> None:
        self._outputs[loss] = output
        self._sinks.append(JsonLines(output))

    def _add_standard_output(self) -> None:
        try:
            descriptor = sys.stdout.fileno()
        except (OSError, ValueError):
            descriptor = None
        if descriptor is None or not is_like_ascii(sys.stdout):
            self._sinks.append(JsonLines(StreamLines(sys.stdout)))
            return
        sys.stdout.flush()
        self._add_lines(Loss.STDOUT_FAILED, LineOutput(descriptor, "standard output", self._warn))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._guard(self.console, self.console.close)
        for output in self._outputs.values():
            output.close()
        if self._journal is not None:
            self._journal.close()

    def show(self, batch: FindingBatch) -> None:
        """Take findings to all places."""
        for sink in self._sinks:
            self._guard(sink, partial(sink.show, batch))

    def _guard(self, sink: _Sink, show: Callable[[], object]) -> None:
        """Show something; give the place up for ever where that fails: a terminal has gone, a stream's disk is full."""
        if sink in self._given_up:
            return
        try:
            show()
        except (OSError, OutputError) as error:
            self._given_up.append(sink)
            reason = reason_of(error) if isinstance(error, OSError) else str(error)
            self._warn(f"{reason}: output disabled, inspection continues")

    def reopen(self) -> None:
        """Open the file anew, as after a rotation."""
        for output in self._outputs.values():
            output.reopen()

    def losses(self) -> Iterator[tuple[Loss, int]]:
        """Yield how many findings could not be taken to a place, by place and reason."""
        for loss, output in self._outputs.items():
            yield loss, output.lost
        if self._journal is not None:
            yield Loss.JOURNAL_FAILED, self._journal.failed
            yield Loss.JOURNAL_RATE, self._journal.left_out

    def note(self, text: str) -> None:
        """Say something about the run, on standard error."""
        # The line of state is drawn anew below.
        self._guard(self.console, self.console.close)
        _LOG.info("%s", text)

    def status(self, tally: Tally) -> None:
        """Show how the run stands, on a terminal."""
        self._guard(self.console, partial(self.console.status, tally))

    def summary(self, tally: Tally) -> None:
        """Show the closing table."""
        self._guard(self.console, partial(self.console.summary, tally))


class Sinks(NamedTuple):
    """Where what is found goes."""

    metrics: Metrics
    overview: Overview
    output: Delivery
    recording: Recording | None
    evidence: Evidence | None
