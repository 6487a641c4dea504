"""Capture files read by several processes, and shown as if one had been read after the other.

What belongs to a later file waits: up to a limit here, and then in the process that found it.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections import deque
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Final

from inspector.decode.batch import FindingBatch
from inspector.output.standard import fail, warn
from inspector.reading.filereader import FileCounts, ReadArguments, ReadFiles
from inspector.reading.sighting import Surveyed, survey_files
from inspector.reading.worker import Failed, Lines, Message, Reached, Rows, Wanted, Warned, work

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    from inspector.output.progress import Shares
    from inspector.output.standard import Output

HELD: Final = 64 << 20
"""Characters of later files which are kept here at most, but for one piece of each process."""

# A finding, in characters: what it takes in memory.
_FINDING: Final = 2000
_END_SECONDS: Final = 5


class _Readers:
    """The processes: each reads one file at a time. Files are numbered; `first` is the one being shown."""

    def __init__(self, arguments: ReadArguments, wanted: Wanted, jobs: int, shares: Shares, surveyed: Surveyed) -> None:
        self._shares = shares
        self._surveys = surveyed.surveys
        self._files = arguments.files
        self._next = 0
        self._held = 0
        self.first = 0
        self._waiting: dict[int, deque[Message]] = {}
        self._file_of: dict[Connection, int] = {}
        self._processes: list[SpawnProcess] = []
        # Neither threads nor locks of this process are to be found in another.
        self._context = multiprocessing.get_context("spawn")
        self._wanted = wanted
        for _ in range(jobs):
            self._start()

    def _start(self) -> None:
        """Start a process, and give it a file."""
        here, there = self._context.Pipe()
        process = self._context.Process(target=work, args=(there, self._wanted), daemon=True)
        process.start()
        there.close()
        self._processes.append(process)
        self._assign(here)

    def _assign(self, connection: Connection) -> None:
        """Give the next file to a process, or let it end."""
        if self._next < len(self._files):
            path = self._files[self._next]
            connection.send((path, self._surveys.pop(path, None)))
            self._file_of[connection] = self._next
            self._waiting[self._next] = deque()
            self._next += 1
        else:
            connection.close()

    def next_message(self) -> Message:
        """Return the next of the file being shown."""
        waiting = self._waiting[self.first]
        while not waiting:
            full = self._held >= HELD
            readable = [one for one, number in self._file_of.items() if number == self.first or not full]
            for connection in wait(readable):
                assert isinstance(connection, Connection)  # noqa: S101 - nothing else was waited for
                self._receive(connection)
        message = waiting.popleft()
        self._held -= _weight(message)
        return message

    def _receive(self, connection: Connection) -> None:
        number = self._file_of[connection]
        try:
            message: Message = connection.recv()
        except (EOFError, ConnectionResetError):
            del self._file_of[connection]
            connection.close()
            self._waiting[number].append(Failed(f"{self._files[number]}: the process that read it has ended"))
            if self._next < len(self._files):
                self._start()
            return
        if isinstance(message, Reached):
            self._shares.report(number, message.done)
            return
        self._waiting[number].append(message)
        self._held += _weight(message)
        if isinstance(message, FileCounts | Failed):
            del self._file_of[connection]
            self._assign(connection)

    def forget_first(self) -> None:
        """Go on to the next file."""
        del self._waiting[self.first]
        self.first += 1

    def close(self) -> None:
        """End all processes, whatever they do."""
        for connection in self._file_of:
            connection.close()
        for process in self._processes:
            if self._file_of:
                process.terminate()
            process.join(_END_SECONDS)
            process.kill()
            process.join()
            process.close()


def read_in_parallel(arguments: ReadArguments, jobs: int, output: Output, shares: Shares) -> ReadFiles | None:
    """Read and show all files; return what was counted, None where nobody reads the findings any more."""
    terminal = output.console.terminal and not arguments.json
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    surveyed = survey_files(arguments.files, arguments.config, arguments.follow_on)
    wanted = Wanted(
        arguments.config,
        arguments.json,
        arguments.summary,
        terminal,
        encoding,
        surveyed.ties,
        arguments.follow_on,
        arguments.selection,
        arguments.needs_sums,
        arguments.report is not None,
    )
    readers = _Readers(arguments, wanted, jobs, shares, surveyed)
    try:
        read = ReadFiles()
        while readers.first < len(arguments.files):
            message = readers.next_message()
            if isinstance(message, FileCounts):
                read.counts.append(message)
                readers.forget_first()
            elif isinstance(message, Failed):
                fail(message.message)
                read.add_failed(message.counts)
                readers.forget_first()
            elif not _show(message, output):
                return None
        return read
    finally:
        readers.close()


def _show(message: Message, output: Output) -> bool:
    """Show what was found; return False once nobody reads any more."""
    if isinstance(message, Warned):
        warn(message.message)
        return True
    if isinstance(message, Lines):
        return output.show_text(message.text)
    if not isinstance(message, Rows):
        return True
    shown = output.show(FindingBatch.of(message.findings))
    output.console.leave_out(message.left_out)
    return shown


def _weight(message: Message) -> int:
    """Return how much a message holds, in characters."""
    if isinstance(message, Lines):
        return len(message.text)
    return _FINDING * len(message.findings) if isinstance(message, Rows) else 0
