"""The folder of evidence: capture files with the packets of one conversation each, bounded in number and size.

A file is written under another name, brought to the disk, and renamed: it is there as a whole or not at all. What a
process that was killed left behind goes when the next one begins. Nothing is ever removed but files with names as
they are made here.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from inspector.errors import OutputError
from inspector.losses import is_of_the_disk, reason_of
from inspector.model import format_time

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from inspector.model import Finding

SUFFIX: Final = ".pcapng"

_NAME: Final = re.compile(r"\d{8}T\d{6}\.\d{9}Z_[0-9a-z.-]+_[0-9a-z.-]+(_\d+)?\.pcapng")
_UNFINISHED: Final = re.compile(rf"\.{_NAME.pattern}\.part")
_MODE: Final = 0o640
_FOLDER_MODE: Final = 0o750
_READ_ONLY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_PROBE: Final = ".00000000T000000.000000000Z_0_0.pcapng.part"


class _File(NamedTuple):
    written_ns: int
    name: str
    size: int


def file_name(finding: Finding, number: int = 0) -> str:
    """Return the name of a finding's file: time, client, VIP, and a number where others have the same.

    IPv6 addresses have dashes for colons. Names sort by time.
    """
    time = re.sub("[-:]", "", format_time(finding.time_ns))
    client, vip = (str(address).replace(":", "-") for address in (finding.client, finding.asked))
    return f"{time}_{client}_{vip}{f'_{number}' if number else ''}{SUFFIX}"


class EvidenceFolder:
    """A folder for at most `most_files` files of together `most_bytes`: the oldest goes first.

    Only one process may have it. Raises OutputError where it cannot be used, unless the disk is to blame: `write`
    opens it when it can.
    """

    def __init__(self, path: Path, most_files: int, most_bytes: int, warn: Callable[[str], None]) -> None:
        self.path = path
        self._most_files = most_files
        self._most_bytes = most_bytes
        self._folder: int | None = None
        self._is_stale = False
        self._files: deque[_File] = deque()
        self._bytes = 0
        try:
            self._open()
        except OSError as error:
            problem = f"{path}: evidence cannot be written: {reason_of(error)}"
            if not is_of_the_disk(error):
                raise OutputError(problem) from None
            warn(f"{problem}; inspection continues, retrying")

    def write(self, name: str, content: bytes) -> None:
        """Write a file, in place of one of that name, and remove the oldest where there are too many.

        Raises OSError; then nothing is left of it.
        """
        if self._folder is None or self._is_stale or not self._is_there():
            self._open()
        unfinished = f".{name}.part"
        try:
            self._write_through(unfinished, content)
            os.rename(unfinished, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(unfinished, dir_fd=self._folder)
            raise
        os.fsync(self._opened())
        self._forget(name)
        self._remember(self._look(name))
        self._prune()

    def reopen(self) -> None:
        """Look anew, before the next file, at what is there; may be called while another thread writes."""
        self._is_stale = True

    def close(self) -> None:
        """Let go of the folder."""
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None

    def _opened(self) -> int:
        assert self._folder is not None  # noqa: S101 - every caller has opened it
        return self._folder

    def _is_there(self) -> bool:
        """Return whether the open folder is still the one of that name."""
        try:
            named, held = self.path.stat(), os.fstat(self._opened())
        except OSError:
            return False
        return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)

    def _open(self) -> None:
        """Make and open the folder, for this process alone; prove that it can be written, and see what is there."""
        self.close()
        self._is_stale = False
        self.path.mkdir(_FOLDER_MODE, parents=True, exist_ok=True)
        self._folder = os.open(self.path, _READ_ONLY)
        try:
            self._lock()
            self._remove_unfinished()
            self._write_through(_PROBE, b"?")
            os.unlink(_PROBE, dir_fd=self._folder)
        except OSError:
            self.close()
            raise
        self._files, self._bytes = deque(), 0
        for file in sorted(map(self._look, self._names(_NAME))):
            self._remember(file)
        self._prune()

    def _lock(self) -> None:
        """Keep other inspectors out, where the file system knows locks on folders."""
        try:
            fcntl.flock(self._opened(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(errno.EAGAIN, "locked by another inspector; give each its own directory") from None
        except OSError as error:
            if error.errno not in (errno.EBADF, errno.ENOLCK, errno.EINVAL, errno.EOPNOTSUPP):
                raise

    def _remove_unfinished(self) -> None:
        for name in self._names(_UNFINISHED):
            os.unlink(name, dir_fd=self._folder)

    def _names(self, pattern: re.Pattern[str]) -> list[str]:
        with os.scandir(self._opened()) as entries:
            return [entry.name for entry in entries if pattern.fullmatch(entry.name)]

    def _write_through(self, name: str, content: bytes) -> None:
        """Write a new file, and return when the disk has it."""
        descriptor = os.open(name, _NEW, _MODE, dir_fd=self._folder)
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _look(self, name: str) -> _File:
        try:
            found = os.stat(name, dir_fd=self._folder, follow_symlinks=False)
        except FileNotFoundError:
            # Somebody took it away at once.
            return _File(0, name, 0)
        return _File(found.st_mtime_ns, name, found.st_size)

    def _remember(self, file: _File) -> None:
        self._files.append(file)
        self._bytes += file.size

    def _forget(self, name: str) -> None:
        """Forget a file which another took the place of."""
        for file in [file for file in self._files if file.name == name]:
            self._files.remove(file)
            self._bytes -= file.size

    def _prune(self) -> None:
        """Remove the oldest files until the rest is within bounds; the newest stays, whatever its size."""
        while len(self._files) > 1 and (len(self._files) > self._most_files or self._bytes > self._most_bytes):
            oldest = self._files.popleft()
            self._bytes -= oldest.size
            with contextlib.suppress(FileNotFoundError):
                os.unlink(oldest.name, dir_fd=self._folder)
