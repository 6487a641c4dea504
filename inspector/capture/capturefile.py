"""Packets appended to a capture file, whatever is done to it meanwhile, within a bound.

A file that is there already gets another section (pcapng, section 4.1): it is never emptied. Where it grows too long it
becomes FILE.1, FILE.1 becomes FILE.2 and so on, and the last one goes. A full disk costs packets, which are counted;
what was written of a block in part is taken back, so that readers see whole blocks only. What a process that was
killed left of its last block is taken off when the next one begins.

Anything but a file (a FIFO, a terminal) is written as it is. Without a reader a FIFO is like a full disk.
"""

from __future__ import annotations

import bisect
import contextlib
import errno
import fcntl
import itertools
import os
import select
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from inspector.capture.writer import SECTION_MAGIC, CaptureBlocks, whole_blocks
from inspector.errors import OutputError
from inspector.losses import Trouble, is_of_the_disk, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from inspector.model import Segment

_MODE: Final = 0o640
_COMMON: Final = os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
_APPENDING: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | _COMMON
_STREAMING: Final = os.O_WRONLY | _COMMON
# As much is written at once, and no more is held while nothing can be written.
_AT_ONCE: Final = 256 << 10
_HELD: Final = 1 << 20
_OVERHEAD: Final = 200
# A FIFO whose reader does not keep up is waited for so long, each time.
_WAIT_S: Final = 1.0
# What is taken off behind the last whole block is no longer than one.
_LONGEST_BLOCK: Final = 1 << 20
_NO_READER: Final = frozenset({errno.ENXIO, errno.EPIPE, errno.EAGAIN})


class CaptureFile:
    """Appends packets to a file of at most `max_bytes`, one of at most `files`; `lost` counts those without room.

    `comment` is said at the start of each section. Raises OutputError where the file cannot be opened, is another
    inspector's or no capture file, unless the disk is to blame: then it is tried again with each `flush`.
    """

    def __init__(
        self,
        path: Path,
        interface_names: Mapping[int, str],
        warn: Callable[[str], None],
        *,
        max_bytes: int,
        files: int,
        comment: str | None = None,
    ) -> None:
        self.lost = 0
        self._path = path if _is_special(path) else path.resolve()
        self._warn = warn
        self._trouble = Trouble(str(path), warn)
        self._blocks = CaptureBlocks(interface_names)
        self._max_bytes, self._files, self._comment = max_bytes, files, comment
        self._descriptor: int | None = None
        self._is_file = False
        self._identity = (0, 0)
        self._size = 0
        self._has_packets = False
        self._in_section = self._is_down = False
        self._lost_said = 0
        self._pending: list[tuple[Segment, str | None]] = []
        self._pending_bytes = 0
        # Of a FIFO: blocks that were begun, and how many packets are among them.
        self._rest, self._rest_packets = b"", 0
        try:
            self._open()
            if self._is_file:
                self._append(self._section(), [])
        except OSError as error:
            if not is_of_the_disk(error) and error.errno not in _NO_READER:
                self.close()
                raise OutputError(f"{path}: cannot be written: {reason_of(error)}") from None
            self._fail(error)

    def write(self, segment: Segment, comment: str | None = None) -> None:
        """Append a packet, with a comment on it; with others it is written by the next `flush` at last."""
        if self._pending_bytes > _HELD:
            self.lost += len(self._pending)
            self._forget(len(self._pending))
        self._pending.append((segment, comment))
        self._pending_bytes += len(segment.payload) + _OVERHEAD
        if self._pending_bytes > _AT_ONCE and not self._is_down:
            self.flush()

    def flush(self) -> None:
        """Write what is there; where that fails it is tried again with the next call."""
        if not (self._pending or self._rest or self._is_down):
            return
        try:
            self._prepare()
            self._drain()
            while self._pending:
                self._write_some()
        except OSError as error:
            self._fail(error)
            return
        self._is_down = False
        self._trouble.succeeded()

    def reopen(self) -> None:
        """Open the file of that name anew, with the next `flush`."""
        self.flush()
        if self._is_file:
            self._close()

    def close(self) -> None:
        """Write what is there, if that can be, and close the file."""
        if self._pending or self._rest:
            self.flush()
        self.lost += len(self._pending)
        self._forget(len(self._pending))
        self._close()

    def _forget(self, count: int) -> None:
        del self._pending[:count]
        self._pending_bytes = sum(len(segment.payload) + _OVERHEAD for segment, _ in self._pending)

    def _fail(self, error: OSError) -> None:
        self._is_down = True
        if error.errno == errno.EAGAIN and not self._is_file:
            reason = "its reader does not keep up"
        else:
            # What was described in this section may not be there: begin another.
            self._in_section = False
            reason = "nobody reads it" if error.errno in _NO_READER and not self._is_file else reason_of(error)
        if error.errno == errno.EPIPE:
            self._close()
        self._trouble.failed(reason)

    def _prepare(self) -> None:
        """Make sure that the file of that name is open, as it was left."""
        if self._descriptor is not None and self._is_file:
            try:
                found = self._path.stat()
            except FileNotFoundError:
                self._close()
            except PermissionError:
                # The folder is closed to this account by now. What it has open it may write to.
                pass
            else:
                if (found.st_dev, found.st_ino, found.st_size) != (*self._identity, self._size):
                    self._close()
        if self._descriptor is None:
            self._open()

    def _open(self) -> None:
        flags = _STREAMING if _is_special(self._path) else _APPENDING
        self._descriptor = descriptor = os.open(self._path, flags, _MODE)
        found = os.fstat(descriptor)
        self._is_file = stat.S_ISREG(found.st_mode)
        self._identity, self._size, self._in_section = (found.st_dev, found.st_ino), found.st_size, False
        self._has_packets = self._size > 0
        if not self._is_file:
            return
        try:
            self._lock()
            self._mend()
        except OSError:
            self._close()
            raise

    def _lock(self) -> None:
        """Keep other inspectors out, where the file system knows locks."""
        try:
            fcntl.flock(self._opened(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(errno.EBUSY, "another inspector writes to it") from None
        except OSError as error:
            if error.errno not in (errno.EBADF, errno.ENOLCK, errno.EINVAL, errno.EOPNOTSUPP):
                raise

    def _mend(self) -> None:
        """Take off what is behind the last whole block: a process was killed, or its machine failed, as it wrote it."""
        with os.fdopen(os.dup(self._opened()), "rb") as file:
            whole = whole_blocks(file)
            file.seek(0)
            is_capture = file.read(len(SECTION_MAGIC)) == SECTION_MAGIC
        left = self._size - whole
        if not left:
            return
        if not is_capture:
            raise OSError(errno.EINVAL, "it is there already, and no pcapng file")
        if left > _LONGEST_BLOCK:
            self._warn(f"{self._path}: damaged at byte {whole}: it is kept, and another file begun")
            self._rotate()
            return
        os.ftruncate(self._opened(), whole)
        self._size, self._has_packets = whole, whole > 0
        self._warn(f"{self._path}: {left} bytes of a block that was not finished were taken off")

    def _opened(self) -> int:
        assert self._descriptor is not None  # noqa: S101 - every caller has opened it
        return self._descriptor

    def _write_some(self) -> None:
        """Write as many packets as the file has room for; begin another one where it has for none."""
        header = b"" if self._in_section else self._section()
        size = len(header)
        blocks: list[bytes] = []
        for segment, comment in self._pending:
            block = self._blocks.packet(segment, comment)
            size += len(block)
            if self._is_file and (self._has_packets or blocks) and self._size + size > self._max_bytes:
                break
            blocks.append(block)
        if not blocks:
            self._rotate()
        elif self._is_file:
            self._append(header, blocks)
        else:
            # What is begun will be finished.
            self._forget(len(blocks))
            self._rest, self._rest_packets = header + b"".join(blocks), len(blocks)
            self._in_section = True
            self._drain()

    def _section(self) -> bytes:
        lines = [self._comment] if self._comment else []
        if self.lost > self._lost_said:
            lines.append(f"{self.lost - self._lost_said} packets before these could not be written")
        return self._blocks.section("\n".join(lines) or None)

    def _append(self, header: bytes, blocks: list[bytes]) -> None:
        """Write to a file; where that fails what was written in part is taken back. Raises OSError after that."""
        left = memoryview(header + b"".join(blocks))
        total = len(left)
        try:
            while left:
                left = left[os.write(self._opened(), left) :]
        except OSError:
            self._written(header, blocks, total - len(left))
            try:
                os.ftruncate(self._opened(), self._size)
            except OSError:
                # It is mended when it is opened again.
                self._close()
            raise
        self._written(header, blocks, total)

    def _written(self, header: bytes, blocks: list[bytes], count: int) -> None:
        """Note that so many bytes were written: the packets which are whole are done with."""
        if count < len(header):
            return
        ends = list(itertools.accumulate((len(block) for block in blocks), initial=len(header)))
        whole = bisect.bisect_right(ends, count) - 1
        self._size += ends[whole]
        self._has_packets = self._has_packets or whole > 0
        self._in_section, self._lost_said = True, self.lost
        self._forget(whole)

    def _drain(self) -> None:
        """Write what is left of blocks for a FIFO. Raises BlockingIOError where its reader does not keep up."""
        while self._rest:
            try:
                self._rest = self._rest[os.write(self._opened(), self._rest) :]
            except BlockingIOError:
                if not select.select((), (self._opened(),), (), _WAIT_S)[1]:
                    raise
        self._rest_packets = 0

    def _rotate(self) -> None:
        """Give the file the next name, the others those behind it, and open a new one."""
        last = next((number for number in range(1, self._files) if not self._named(number).exists()), self._files - 1)
        for number in range(last, 0, -1):
            self._named(number - 1).rename(self._named(number))
        if self._files == 1:
            self._path.unlink()
        number = self._files
        while self._named(number).exists():
            # There may have been more before.
            self._named(number).unlink()
            number += 1
        self._close()
        self._open()

    def _named(self, number: int) -> Path:
        return Path(f"{self._path}.{number}") if number else self._path

    def _close(self) -> None:
        self.lost += self._rest_packets
        self._rest, self._rest_packets, self._in_section = b"", 0, False
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None


def _is_special(path: Path) -> bool:
    """Whether there is something else than a file: it has no length, and gets no other name."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False
