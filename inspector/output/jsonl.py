"""Findings as JSON, one to a line, for programs. The keys and their order are `Finding.as_dict`'s."""

from __future__ import annotations

import contextlib
import os
from typing import IO, TYPE_CHECKING, AnyStr, BinaryIO, Final, Protocol, TextIO

from inspector.errors import OutputError
from inspector.losses import reason_of
from inspector.output.jsonform import lines_of

if TYPE_CHECKING:
    from inspector.decode.batch import FindingBatch
    from inspector.output.batchlines import BatchLines

_LIKE_ASCII: Final = frozenset({"ascii", "us-ascii", "utf-8", "utf8", "iso8859-1", "iso-8859-1", "latin-1"})


class Lines(Protocol):
    """Where lines of ASCII go."""

    def write(self, lines: bytes, /) -> bool:
        """Write whole lines; return False when nobody can read them any more."""


class StreamLines:
    """A text stream, flushed with each write. Raises OutputError where it cannot be written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        # What is all ASCII needs no encoder where that would change nothing.
        self._binary: BinaryIO | None = getattr(stream, "buffer", None) if is_like_ascii(stream) else None

    def write(self, lines: bytes) -> bool:
        """Write whole lines; return False when nobody reads them any more."""
        if self._binary is None:
            return write_or_close(self._stream, str(lines, "ascii"))
        return write_or_close(self._stream, "") and write_or_close(self._binary, lines)


class JsonLines:
    """Writes findings as lines, each as soon as it is complete.

    Everything outside ASCII is escaped, so no line depends on a stream's encoding and none
    holds a control character.
    """

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._batch_lines: BatchLines | None = None
        self.open = True

    def show(self, batch: FindingBatch) -> bool:
        """Write findings, a long one as several lines; return False, for good, once nobody reads any more."""
        if not batch.lasting:
            return self.show_text("".join(f"{line}\n" for one in batch.findings() for line in lines_of(one)))
        if self._batch_lines is None:
            from inspector.output.batchlines import BatchLines

            self._batch_lines = BatchLines()
        for lines in self._batch_lines.make(batch):
            self.open = self.open and self._lines.write(lines)
        return self.open

    def show_text(self, text: str) -> bool:
        """Write lines that another of these has made; return what `show` does."""
        self.open = self.open and self._lines.write(text.encode("ascii"))
        return self.open


def is_like_ascii(stream: TextIO) -> bool:
    """Return whether a stream's encoding leaves ASCII as it is."""
    return (getattr(stream, "encoding", None) or "").lower() in _LIKE_ASCII


def write_or_close(stream: IO[AnyStr], text: AnyStr) -> bool:
    """Write and flush; return False when the reader has gone, and make sure that nothing complains later.

    Raises OutputError where it cannot be written for another reason: then nothing complains later either.
    """
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        _close(stream)
        return False
    except OSError as error:
        _close(stream)
        raise OutputError(f"standard output cannot be written: {reason_of(error)}") from None
    return True


def _close(stream: IO[AnyStr]) -> None:
    """Let what is left in a stream's buffer go nowhere: it would fail again when the interpreter ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
