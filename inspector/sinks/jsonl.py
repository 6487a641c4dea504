"""Findings as JSON, one to a line, for programs. The keys and their order are `Finding.as_dict`'s."""

from __future__ import annotations

import contextlib
import json
import os
from typing import IO, TYPE_CHECKING, AnyStr, BinaryIO, Final, TextIO

if TYPE_CHECKING:
    from inspector.model import Finding, FindingBatch
    from inspector.sinks.batchlines import BatchLines

_LIKE_ASCII: Final = frozenset({"ascii", "us-ascii", "utf-8", "utf8", "iso8859-1", "iso-8859-1", "latin-1"})


class JsonLines:
    """Writes findings to a text stream, each line flushed as soon as it is complete.

    Everything outside ASCII is escaped, so no line depends on the stream's encoding and none
    holds a control character.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._batch_lines: BatchLines | None = None
        # What is all ASCII needs no encoder where that would change nothing.
        encoding = (getattr(stream, "encoding", None) or "").lower()
        self._binary: BinaryIO | None = getattr(stream, "buffer", None) if encoding in _LIKE_ASCII else None
        self.open = True

    def show(self, finding: Finding) -> bool:
        """Write one finding; return False, then and ever after, once nobody reads any more."""
        if self.open:
            line = json.dumps(finding.as_dict(), separators=(",", ":"))
            self.open = write_or_close(self._stream, line + "\n")
        return self.open

    def show_batch(self, batch: FindingBatch) -> bool:
        """Write many findings at once; return what `show` does."""
        if self._batch_lines is None:
            from inspector.sinks.batchlines import BatchLines

            self._batch_lines = BatchLines()
        for lines in self._batch_lines.make(batch):
            if self._binary is None:
                self.show_text(str(lines, "ascii"))
            elif self.open:
                self.open = write_or_close(self._stream, "") and write_or_close(self._binary, lines)
        return self.open

    def show_text(self, text: str) -> bool:
        """Write lines that another of these has made; return what `show` does."""
        if self.open:
            self.open = write_or_close(self._stream, text)
        return self.open


def write_or_close(stream: IO[AnyStr], text: AnyStr) -> bool:
    """Write and flush; return False when the reader has gone, and make sure that nothing complains later."""
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        # What is left in the buffer would fail again when the interpreter flushes it at its end.
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
        return False
    return True
