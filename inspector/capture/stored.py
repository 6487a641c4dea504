"""The bytes of a stored file: opened, decompressed, counted, and handed out in exact pieces.

Memory is bounded whatever the file says: input is read in chunks of a fixed size, pieces
longer than `MAXIMUM_PIECE` are refused, and a decompressor's window is limited; time is bounded by what a file may hold
in proportion to its size. Compressed files are recognised by their first bytes.
"""

from __future__ import annotations

import io
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from inspector.capture.kinds import HEAD
from inspector.capture.unpack import DAMAGE, decompress
from inspector.errors import CaptureError, CaptureTruncatedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Progress = Callable[[int, int | None], None]

CHUNK: Final = 1024 * 1024
"""Bytes asked for at once."""

MAXIMUM_PIECE: Final = 16 * 1024 * 1024
"""Longest packet or block, in bytes: above it a length is taken for damage or malice."""

STANDARD_INPUT: Final = Path("-")

_MAGIC_LENGTH: Final = 4

# What a file may hold: so much, and so many times what was read of it as stored. Captures are compressed to 1/100.
_HELD: Final = 1 << 30
_HELD_TIMES: Final = 2000


class EndOfFileError(Exception):
    """The file ends before the piece asked for does; `available` is how many bytes of it there were."""

    def __init__(self, available: int) -> None:
        super().__init__(available)
        self.available = available


class StoredFile(io.RawIOBase):
    """The file as stored: `count` is what was read of it, `magic` its first bytes, which are read again."""

    def __init__(self, file: io.RawIOBase, total: int | None, progress: Progress | None) -> None:
        self._file = file
        self._total = total
        self._progress = progress
        self.count = 0
        self.magic = self._read_magic()
        self._pending = self.magic

    def readable(self) -> bool:
        """Return True: there is nothing else to do with it."""
        return True

    def readinto(self, buffer: object) -> int:
        """Read at most as many bytes as `buffer` holds; 0 is the end of the file."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # the buffer protocol has no type before 3.12
        if self._pending:
            count = min(len(view), len(self._pending))
            view[:count] = self._pending[:count]
            self._pending = self._pending[count:]
        else:
            count = self._file.readinto(view) or 0
        self.count += count
        if self._progress is not None:
            self._progress(self.count, self._total)
        return count

    def close(self) -> None:
        """Close the file beneath as well."""
        self._file.close()
        super().close()

    def _read_magic(self) -> bytes:
        """Return the first bytes; a pipe may deliver them one by one."""
        magic = b""
        while len(magic) < _MAGIC_LENGTH:
            more = self._file.read(_MAGIC_LENGTH - len(magic))
            if not more:
                break
            magic += more
        return magic


class PieceReader:
    """Hands out a file's bytes in pieces of exactly the length asked for, without copying most of them.

    `total` is the length of the file as stored, where it is known; `most` returns how many bytes it may hold by now.
    """

    def __init__(
        self,
        file: io.BufferedIOBase,
        name: str,
        total: int | None = None,
        most: Callable[[], int] | None = None,
    ) -> None:
        self.name = name
        self.total = total
        self._file = file
        self._most = most
        self._read_in_all = 0
        self._chunk = memoryview(b"")
        self._at = 0
        self._before = 0

    @property
    def offset(self) -> int:
        """How many bytes (after decompression) have been handed out."""
        return self._before + self._at

    def ahead(self) -> memoryview:
        """Return what was read of the file and not yet handed out: any number of bytes."""
        return self._chunk[self._at :]

    def skip(self, length: int) -> None:
        """Count bytes as handed out, of those which `ahead` returned."""
        self._at += length

    def look(self, length: int) -> memoryview:
        """Return the next `length` bytes without handing them out, fewer at the end of the file. Raises as `take`."""
        while len(self._chunk) - self._at < length:
            more = self._read()
            if not more:
                break
            self._before, self._chunk, self._at = self.offset, memoryview(bytes(self.ahead()) + more), 0
        return self._chunk[self._at : self._at + length]

    def take(self, length: int) -> memoryview:
        """Return the next `length` bytes.

        Raises EndOfFileError when there are fewer, CaptureError when the length is beyond
        any packet or the compressed data are damaged, CaptureTruncatedError when compressed
        data end early. What was returned stays valid.
        """
        end = self._at + length
        if end > len(self._chunk):
            return self._take_across(length)
        piece = self._chunk[self._at : end]
        self._at = end
        return piece

    def _take_across(self, length: int) -> memoryview:
        """Return bytes of which some are still to be read; only these are copied, and not the chunk they are from."""
        if length > MAXIMUM_PIECE:
            raise CaptureError(f"{self.name}: damaged at byte {self.offset}: a length of {length} bytes")
        pieces = [self._chunk[self._at :]]
        available = len(pieces[0])
        while available < length:
            more = self._read()
            if not more:
                raise EndOfFileError(available)
            pieces.append(memoryview(more))
            available += len(more)
        chunk = pieces.pop()
        used = length - (available - len(chunk))
        self._before, self._chunk, self._at = self.offset + length - used, chunk, used
        pieces.append(chunk[:used])
        return memoryview(b"".join(pieces))

    def _read(self) -> bytes:
        """Return what is there, at most a chunk; nothing at the end of the file."""
        if self._most is not None and self._read_in_all > self._most():
            raise CaptureError(
                f"{self.name}: holds more than {self._read_in_all} bytes, out of proportion to its size; stopped here"
            )
        try:
            more = self._file.read1(CHUNK)
        except EOFError:
            raise CaptureTruncatedError(
                f"{self.name}: the compressed data end early; everything before was read"
            ) from None
        except DAMAGE as error:
            raise CaptureError(f"{self.name}: the compressed data are damaged: {error}") from None
        except OSError as error:
            raise CaptureError(f"{self.name}: cannot be read: {error.strerror or error}") from None
        self._read_in_all += len(more)
        return more


@contextmanager
def open_pieces(path: Path, progress: Progress | None = None) -> Iterator[PieceReader]:
    """Open a file, or standard input for "-", decompressed where its first bytes say so.

    `progress` is called with the number of stored bytes read so far, and their total where
    it is known. Raises CaptureError when the file cannot be opened.
    """
    name = display_name(path)
    try:
        file = _open(path)
        total = size_of(path)
        stored = StoredFile(file, total, progress)
    except OSError as error:
        raise CaptureError(f"{name}: {error.strerror or error}") from None
    with open_stored(stored, name, total) as pieces:
        yield pieces


@contextmanager
def open_stored(stored: StoredFile, name: str, total: int | None) -> Iterator[PieceReader]:
    """Give the pieces of what is stored, decompressed; it is closed then."""
    with stored, decompress(io.BufferedReader(stored, CHUNK), stored.magic) as plain:
        yield PieceReader(plain, name, total, lambda: _HELD + _HELD_TIMES * stored.count)


def head_of(path: Path) -> bytes:
    """Return the first bytes of a file as stored, up to HEAD. Raises OSError."""
    with path.open("rb") as file:
        return file.read(HEAD)


def display_name(path: Path) -> str:
    """Return what to call a file in a message."""
    return "standard input" if path == STANDARD_INPUT else str(path)


def _open(path: Path) -> io.RawIOBase:
    if path == STANDARD_INPUT:
        return io.FileIO(0, closefd=False)
    return io.FileIO(path)


def size_of(path: Path) -> int | None:
    """Return a regular file's size; None for pipes and the like."""
    return path.stat().st_size if path != STANDARD_INPUT and path.is_file() else None
