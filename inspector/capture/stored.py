"""The bytes of a stored file: opened, decompressed, counted, and handed out in exact pieces.

Memory is bounded whatever the file says: input is read in chunks of a fixed size, pieces
longer than `MAXIMUM_PIECE` are refused, and a decompressor's window is limited.
Compressed files: gzip (RFC 1952) and Zstandard (RFC 8878), recognised by their first bytes.
"""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from inspector.errors import CaptureError, CaptureTruncatedError

if sys.version_info >= (3, 14):
    from compression.zstd import DecompressionParameter, ZstdError, ZstdFile
else:
    from backports.zstd import DecompressionParameter, ZstdError, ZstdFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Progress = Callable[[int, int | None], None]

CHUNK: Final = 1024 * 1024
"""Bytes asked for at once."""

MAXIMUM_PIECE: Final = 16 * 1024 * 1024
"""Longest packet or block, in bytes: above it a length is taken for damage or malice."""

STANDARD_INPUT: Final = Path("-")

_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZSTANDARD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
# A frame to be skipped, as parallel compressors put in front: its first byte is 0x50 to 0x5f.
_ZSTANDARD_SKIPPABLE: Final = b"\x2a\x4d\x18"
_MAGIC_LENGTH: Final = 4

# 128 MiB: the longest window that `zstd --long` writes and that decompressors accept without being told to (RFC 8878
# section 3.1.1.1.2 leaves the bound to them).
_ZSTANDARD_OPTIONS: Final[dict[int, int]] = {DecompressionParameter.window_log_max: 27}


class EndOfFileError(Exception):
    """The file ends before the piece asked for does; `available` is how many bytes of it there were."""

    def __init__(self, available: int) -> None:
        super().__init__(available)
        self.available = available


class StoredFile(io.RawIOBase):
    """The file as stored: counts what is read of it, and lets its first bytes be seen without taking them."""

    def __init__(self, file: io.RawIOBase, total: int | None, progress: Progress | None) -> None:
        self._file = file
        self._total = total
        self._progress = progress
        self._count = 0
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
        self._count += count
        if self._progress is not None:
            self._progress(self._count, self._total)
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

    `total` is the length of the file as stored, where it is known.
    """

    def __init__(self, file: io.BufferedIOBase, name: str, total: int | None = None) -> None:
        self.name = name
        self.total = total
        self._file = file
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
        try:
            return self._file.read1(CHUNK)
        except EOFError:
            raise CaptureTruncatedError(
                f"{self.name}: the compressed data end early; everything before was read"
            ) from None
        except (gzip.BadGzipFile, zlib.error, ZstdError) as error:
            raise CaptureError(f"{self.name}: the compressed data are damaged: {error}") from None
        except OSError as error:
            raise CaptureError(f"{self.name}: cannot be read: {error.strerror or error}") from None


@contextmanager
def open_pieces(path: Path, progress: Progress | None = None) -> Iterator[PieceReader]:
    """Open a file, or standard input for "-", decompressed where its first bytes say so.

    `progress` is called with the number of stored bytes read so far, and their total where
    it is known. Raises CaptureError when the file cannot be opened.
    """
    name = display_name(path)
    try:
        file = _open(path)
        total = _total(path)
        stored = StoredFile(file, total, progress)
    except OSError as error:
        raise CaptureError(f"{name}: {error.strerror or error}") from None
    with stored, _decompress(stored) as plain:
        yield PieceReader(plain, name, total)


def display_name(path: Path) -> str:
    """Return what to call a file in a message."""
    return "standard input" if path == STANDARD_INPUT else str(path)


def _open(path: Path) -> io.RawIOBase:
    if path == STANDARD_INPUT:
        return io.FileIO(0, closefd=False)
    return io.FileIO(path)


def _total(path: Path) -> int | None:
    """Return a regular file's size; None for pipes and the like."""
    return path.stat().st_size if path != STANDARD_INPUT and path.is_file() else None


def _decompress(stored: StoredFile) -> io.BufferedIOBase:
    if stored.magic.startswith(_GZIP_MAGIC):
        return gzip.GzipFile(fileobj=io.BufferedReader(stored, CHUNK))
    if stored.magic == _ZSTANDARD_MAGIC or stored.magic[1:] == _ZSTANDARD_SKIPPABLE:
        return ZstdFile(io.BufferedReader(stored, CHUNK), options=_ZSTANDARD_OPTIONS)
    return io.BufferedReader(stored, CHUNK)
