"""A process that reads capture files for another, and sends it what it finds in bounded pieces."""

from __future__ import annotations

import io
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Final, Protocol

from inspector import log
from inspector.errors import CaptureError
from inspector.model import Finding
from inspector.outcomes.sides import Ties
from inspector.output.filetable import FileTable
from inspector.output.jsonl import JsonLines, StreamLines
from inspector.output.sums import Sums
from inspector.reading.filereader import FileCounts, FileReader
from inspector.reading.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from inspector.capture.survey import Survey
    from inspector.config import Config
    from inspector.decode.batch import FindingBatch

PIECE: Final = 1 << 18
"""Characters from which on a piece is sent."""

# More rows than that a second no terminal is shown; the rest is counted.
_ROWS: Final = 200
_FINDINGS: Final = 4096
_REPORT_EVERY: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to make of findings: nothing for a `summary`, lines for `json`, rows for a `terminal`, or plain text.

    `ties` are what the files say of each other, `follow_on` are files which go on where others end. With `page`
    examples are wanted.
    """

    config: Config
    json: bool
    summary: bool
    terminal: bool
    encoding: str
    ties: Ties = field(default_factory=Ties)
    follow_on: Mapping[Path, tuple[Path, ...]] = field(default_factory=dict)
    selection: Selection = field(default_factory=Selection)
    sums: bool = False
    page: bool = False


@dataclass(frozen=True, slots=True)
class Lines:
    """Text for standard output."""

    text: str


@dataclass(frozen=True, slots=True)
class Rows:
    """Findings for a terminal, and how many rows more there would have been."""

    findings: list[Finding]
    left_out: int


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning about a file."""

    message: str


@dataclass(frozen=True, slots=True)
class Reached:
    """How many bytes of a file were read."""

    done: int


@dataclass(frozen=True, slots=True)
class Failed:
    """A file cannot be read any further; the last that is said of it, with what was counted before."""

    message: str
    counts: FileCounts | None = None


Message = Lines | Rows | Warned | Reached | Failed | FileCounts


class _Sink(Protocol):
    """Where a reading process puts what it finds."""

    def show(self, batch: FindingBatch) -> bool:
        """Take findings."""


class _Text(io.TextIOBase):
    """A text stream into a connection, in pieces."""

    def __init__(self, connection: Connection, encoding: str) -> None:
        self._connection = connection
        self._encoding = encoding
        self._parts: list[str] = []
        self._length = 0

    @property
    def encoding(self) -> str:  # type: ignore[override]  # the base has an attribute
        """That of the standard output on which the text ends."""
        return self._encoding

    def write(self, text: str) -> int:
        """Keep a text, and send all of it once there is enough."""
        self._parts.append(text)
        self._length += len(text)
        if self._length >= PIECE:
            self.finish()
        return len(text)

    def finish(self) -> None:
        """Send what was kept."""
        if self._parts:
            self._connection.send(Lines("".join(self._parts)))
        self._parts, self._length = [], 0


class _Terminal:
    """Findings for a terminal: as many as could be shown, and the number of the others."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._findings: list[Finding] = []
        self._rows = self._taken = 0

    def show(self, batch: FindingBatch) -> bool:
        """Take findings."""
        room = _ROWS - len(self._findings)
        self._findings += batch[:room].findings()
        self._rows += sum(count * max(len(template.mappings), 1) for template, count in batch[room:].counts())
        self._taken += len(batch)
        if self._taken >= _FINDINGS:
            self.finish()
        return True

    def finish(self) -> None:
        """Send what was kept."""
        if self._taken:
            self._connection.send(Rows(self._findings, self._rows))
        self._findings, self._rows, self._taken = [], 0, 0


class _Nowhere:
    """Findings that are only counted."""

    def show(self, _batch: FindingBatch) -> bool:
        """Leave findings."""
        return True


def work(connection: Connection, wanted: Wanted) -> None:
    """Read the files that come through the connection, and send all of it as `Message`; end when it is closed.

    With each path comes its survey, or None. Ctrl-C is for the other end, which the terminal tells as well.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    log.set_up()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            path, survey = connection.recv()
            _read(path, survey, connection, wanted)


def _read(path: Path, survey: Survey | None, connection: Connection, wanted: Wanted) -> None:
    """Read one file and send what is found, what was counted at last."""
    more = wanted.follow_on.get(path, ())
    sums = Sums() if wanted.sums else None
    reader = FileReader(
        path,
        wanted.config,
        ties=wanted.ties,
        shown=not wanted.summary or wanted.page,
        survey=survey,
        more=more,
        selection=wanted.selection,
        sums=sums,
    )
    text, rows = _Text(connection, wanted.encoding), _Terminal(connection)
    sink: _Sink = _Nowhere()
    if wanted.json:
        # All that it uses of a stream is there.
        sink = JsonLines(StreamLines(text))  # type: ignore[arg-type]
    elif wanted.terminal:
        sink = rows
    else:
        sink = FileTable(text, terminal=False, header=False)  # type: ignore[arg-type]  # the same
    if wanted.summary:
        sink = _Nowhere()
    reached = 0

    def progress(done: int, _total: int | None) -> None:
        nonlocal reached
        # Often enough that a process whose other end has gone notices.
        if done - reached >= _REPORT_EVERY:
            reached = done
            connection.send(Reached(done))

    last: Message
    try:
        for batch in reader.findings(lambda message: _send_after(connection, text, rows, Warned(message)), progress):
            sink.show(batch)
        last = reader.counts()
    except CaptureError as error:
        last = Failed(str(error), reader.counts())
    _send_after(connection, text, rows, last)


def _send_after(connection: Connection, text: _Text, rows: _Terminal, message: Message) -> None:
    """Send a message after what was found before it."""
    text.finish()
    rows.finish()
    connection.send(message)
