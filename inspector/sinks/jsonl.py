"""Findings as JSON, one to a line, for programs. The keys and their order are `Finding.as_dict`'s."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from inspector.model import Finding, FindingBatch


class JsonLines:
    """Writes findings to a text stream, each line flushed as soon as it is complete.

    Everything outside ASCII is escaped, so no line depends on the stream's encoding and none
    holds a control character.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.open = True

    def show(self, finding: Finding) -> bool:
        """Write one finding; return False, then and ever after, once nobody reads any more."""
        if self.open:
            line = json.dumps(finding.as_dict(), separators=(",", ":"))
            self.open = write_or_close(self._stream, line + "\n")
        return self.open

    def show_batch(self, batch: FindingBatch) -> bool:
        """Write many findings; return what `show` does."""
        for finding in batch.findings():
            if not self.show(finding):
                break
        return self.open


def write_or_close(stream: TextIO, text: str) -> bool:
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
