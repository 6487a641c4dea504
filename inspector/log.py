"""Messages: the standard `logging`, a logger for each module under `inspector`, and one handler: standard error.

This is the one place at which messages leave the process. Whatever they quote (file names, interfaces, addresses,
answers of other programs) is escaped here, so that each message is one line of printable text. Where standard error is
the journal, each line has the priority of its level (sd-daemon(3)); elsewhere that would only be in the way.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import traceback
from typing import TYPE_CHECKING, Final

from inspector.escape import harmless, shorten

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

AREA: Final = "inspector"

_STANDARD_ERROR: Final = 2
# Levels of `logging` from the highest, with priorities of syslog(3) and how a line begins. INFO is a notice: what an
# operator wants to see of a normal run.
_LEVELS: Final = (
    (logging.ERROR, 3, "epm-inspector: "),
    (logging.WARNING, 4, "epm-inspector: warning: "),
    (logging.INFO, 5, ""),
    (logging.NOTSET, 7, ""),
)
# The journal divides lines of 48 KiB (journald.conf(5), LineMax=).
_LINE: Final = 8192
_LAST_LINES: Final = 20


def is_journal(descriptor: int, environment: Mapping[str, str] = os.environ) -> bool:
    """Say whether a descriptor goes to the journal: $JOURNAL_STREAM names its device and inode (systemd.exec(5))."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class StandardError(logging.Handler):
    """Writes each record as one line to what `sys.stderr` is at that time; never raises.

    With `verbose` the traceback of a record's exception follows, otherwise the exception ends the line.
    """

    def __init__(self, *, verbose: bool = False) -> None:
        super().__init__()
        self._verbose = verbose

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; a closed or full standard error, or a terminal that has gone, loses it."""
        priority, start = next((number, start) for level, number, start in _LEVELS if record.levelno >= level)
        prefix = f"<{priority}>" if is_journal(_STANDARD_ERROR) else ""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            lines = (f"{prefix}{shorten(harmless(line), _LINE)}\n" for line in self._lines(record, start))
            sys.stderr.write("".join(lines))
            sys.stderr.flush()

    def _lines(self, record: logging.LogRecord, start: str) -> Iterator[str]:
        try:
            text = record.getMessage()
        except (TypeError, ValueError):
            # Arguments of some library's which do not fit its text.
            text = str(record.msg)
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not self._verbose:
            text += f": {type(error).__name__}: {error}"
        yield start + text
        if error is not None and self._verbose:
            told = traceback.TracebackException.from_exception(error)
            # `report` has shown them.
            told.__notes__ = None
            for part in told.format():
                yield from part.splitlines()


def report(logger: logging.Logger, error: Exception) -> None:
    """Log an error which ends a command: one line, then the last lines of what it quotes (a compiler, the verifier).

    All of what it quotes, and where it comes from, is for `verbose`.
    """
    logger.error("%s", error)
    for line in quoted_lines(error):
        logger.info("  %s", line)
    logger.debug("traceback of this error", exc_info=error)


def quoted_lines(error: Exception) -> Iterator[str]:
    """Yield the last lines of what an error quotes in its notes; all of them if the user wants to know more."""
    verbose = logging.getLogger(AREA).isEnabledFor(logging.DEBUG)
    for note in getattr(error, "__notes__", ()):
        lines = [line for line in note.splitlines() if line.strip()]
        if len(lines) > _LAST_LINES and not verbose:
            yield f"... ({len(lines) - _LAST_LINES} earlier lines: use --verbose)"
        yield from lines if verbose else lines[-_LAST_LINES:]


def set_up(*, verbose: bool = False) -> None:
    """Let all messages go to standard error: of this program from INFO on, of libraries errors.

    With `verbose` it is DEBUG and WARNING. Warnings of libraries are for developers: pyroute2 gives one where the
    unit's limits hide a file of /proc.
    """
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, StandardError)]:
        root.removeHandler(handler)
    root.addHandler(StandardError(verbose=verbose))
    root.setLevel(logging.WARNING if verbose else logging.ERROR)
    logging.getLogger(AREA).setLevel(logging.DEBUG if verbose else logging.INFO)
