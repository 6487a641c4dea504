"""Standard input, output and error as every command may expect them: there, whatever the process was started with."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Final, TextIO

from inspector.errors import OutputError

# Input and output in the wrong direction: using them is an error still (EBADF), not silence. Errors have nobody
# left who could be told.
_DIRECTIONS: Final = (os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)


def open_standard_streams() -> None:
    """Take the numbers of closed standard streams, before a socket or a capture file gets them and is written to.

    Python has None for the stream of a closed descriptor: it gets one. With PYTHONUNBUFFERED a write of standard output
    may write a part and not say so: it gets a buffer, which everything here flushes.
    """
    for descriptor, flags in enumerate(_DIRECTIONS):
        try:
            os.fstat(descriptor)
        except OSError:
            _fill(descriptor, flags)
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False, errors="backslashreplace")
    if isinstance(getattr(sys.stdout, "buffer", None), io.RawIOBase):
        sys.stdout = open(  # noqa: SIM115 - as long as the process
            1, "w", closefd=False, encoding=sys.stdout.encoding, errors=sys.stdout.errors, buffering=1
        )


def _fill(descriptor: int, flags: int) -> None:
    opened = os.open(os.devnull, flags)
    if opened != descriptor:
        os.dup2(opened, descriptor)
        os.close(opened)


def finish_output() -> None:
    """Write what is still buffered, so that nothing complains when the interpreter ends; raises OutputError."""
    with contextlib.suppress(OSError, ValueError):
        _flush(sys.stderr)
    try:
        _flush(sys.stdout)
    except BrokenPipeError:
        # Whoever read it has seen enough.
        return
    except OSError as error:
        raise OutputError(f"standard output cannot be written: {error.strerror or error}") from None


def _flush(stream: TextIO) -> None:
    try:
        stream.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
        raise
