"""Lines that are appended to a file or to standard output, whatever is done to it meanwhile.

A file may be renamed, removed or emptied while it is written (logrotate does all of that): before each write the name
is looked up again, and each write goes to the end. A full disk costs lines, which are counted, and nothing else; a
line that was written in part is completed first when there is room again, so that readers see whole lines only.
"""

from __future__ import annotations

import errno
import os
import select
import stat
from typing import TYPE_CHECKING, Final

from inspector.errors import OutputError
from inspector.losses import Trouble, is_of_the_disk, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_MODE: Final = 0o640
_FOLDER_MODE: Final = 0o750
_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


class LineOutput:
    """Appends lines to a descriptor which the caller keeps open; `lost` counts those that found no room."""

    def __init__(self, descriptor: int | None, name: str, warn: Callable[[str], None]) -> None:
        self.lost = 0
        self._descriptor = descriptor
        self._trouble = Trouble(name, warn)
        # The rest of a line that was written in part.
        self._rest = b""

    def write(self, lines: bytes) -> bool:
        """Write whole lines; return False when nobody can read them any more."""
        try:
            self._prepare()
        except OSError as error:
            self._lose(lines, error)
            return True
        begun, data, done = len(self._rest), memoryview(self._rest + lines), 0
        try:
            while done < len(data):
                done += self._write_some(data[done:])
        except BrokenPipeError:
            return False
        except OSError as error:
            left = bytes(data[done:])
            # After a whole line, or where the rest from before was not moved, nothing is begun.
            is_begun = done > begun and data[done - 1] != ord("\n")
            cut = left.index(b"\n") + 1 if is_begun or done < begun else 0
            self._rest = left[:cut]
            self._lose(left[cut:], error)
            return True
        self._rest = b""
        self._trouble.succeeded()
        return True

    def _prepare(self) -> None:
        """Make sure that there is something to write to."""

    def _write_some(self, data: memoryview) -> int:
        descriptor = self._descriptor
        assert descriptor is not None  # noqa: S101 - prepared
        while True:
            try:
                return os.write(descriptor, data)
            except BlockingIOError:
                # Whoever shares a pipe may have made it so; a slow reader holds us up all the same.
                select.select((), (descriptor,), ())

    def _lose(self, lines: bytes, error: OSError) -> None:
        self.lost += lines.count(b"\n")
        self._trouble.failed(reason_of(error))

    def _give_up_rest(self) -> None:
        """Let a line go that was begun in another file, or in one that was emptied."""
        self.lost += self._rest not in (b"", b"\n")
        self._rest = b""

    def reopen(self) -> None:
        """Open anew what has a name."""

    def close(self) -> None:
        """Close what was opened here."""


class LineFile(LineOutput):
    """Appends lines to the file of a name, which is made where there is none, and so is its folder.

    Raises OutputError where it cannot be opened, unless the disk is to blame: then it is tried again with each write.
    """

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        super().__init__(None, str(path), warn)
        self._path = path
        self._identity = (0, 0)
        try:
            path.parent.mkdir(_FOLDER_MODE, exist_ok=True)
            self._open()
        except OSError as error:
            if not is_of_the_disk(error):
                raise OutputError(f"{path}: cannot be written: {reason_of(error)}") from None
            self._trouble.failed(reason_of(error))

    def _prepare(self) -> None:
        if self._descriptor is not None:
            try:
                found = self._path.stat()
            except FileNotFoundError:
                self.close()
            except PermissionError:
                # The folder is closed to this process by now. What it has open it may write to.
                pass
            else:
                if (found.st_dev, found.st_ino) != self._identity:
                    self.close()
                elif not found.st_size:
                    self._give_up_rest()
        if self._descriptor is None:
            self._open()

    def _open(self) -> None:
        descriptor = os.open(self._path, _FLAGS, _MODE)
        found = os.fstat(descriptor)
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISCHR(found.st_mode)):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file")
        self._descriptor, self._identity = descriptor, (found.st_dev, found.st_ino)
        self._give_up_rest()
        if stat.S_ISREG(found.st_mode) and found.st_size and not self._ends_with_line():
            # A killed process, or a full disk before a restart, left a part of a line: the next begins on its own.
            self._rest = b"\n"

    def _ends_with_line(self) -> bool:
        """Return whether the file's last byte ends a line; True where that cannot be read."""
        try:
            with self._path.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                return file.read(1) == b"\n"
        except OSError:
            return True

    def reopen(self) -> None:
        """Open the file of that name anew with the next write."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
