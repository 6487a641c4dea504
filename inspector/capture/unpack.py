"""Decompression in a stream, in memory that does not depend on what the file says."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import zipfile
import zlib
from typing import TYPE_CHECKING, Final, Protocol

if sys.version_info >= (3, 14):
    from compression.zstd import DecompressionParameter, ZstdError, ZstdFile
else:
    from backports.zstd import DecompressionParameter, ZstdError, ZstdFile

if TYPE_CHECKING:
    from collections.abc import Callable

_GZIP_MAGIC: Final = b"\x1f\x8b"
_BZIP2_MAGIC: Final = b"BZh"
_XZ_MAGIC: Final = b"\xfd7zX"
_ZSTANDARD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
# A frame to be skipped, as parallel compressors put in front: its first byte is 0x50 to 0x5f.
_ZSTANDARD_SKIPPABLE: Final = b"\x2a\x4d\x18"

# 128 MiB: the longest window that `zstd --long` writes and that decompressors accept without being told to (RFC 8878
# section 3.1.1.1.2 leaves the bound to them).
_ZSTANDARD_OPTIONS: Final[dict[int, int]] = {DecompressionParameter.window_log_max: 27}
# `xz -9` needs 65 MiB.
_XZ_MEMORY: Final = 160 << 20
_DECOMPRESSED: Final = 1 << 18
# Short, since each of many small streams copies what is behind it.
_COMPRESSED: Final = 1 << 15

DAMAGE: Final = (gzip.BadGzipFile, lzma.LZMAError, zipfile.BadZipFile, zlib.error, ZstdError)
"""What reading damaged data raises, beside OSError."""


class _Decompressor(Protocol):
    """What the decompressors of the standard library have in common."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""

    @property
    def needs_input(self) -> bool:
        """Whether there is nothing to be returned without more input."""

    @property
    def unused_data(self) -> bytes:
        """What came behind the stream's end."""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """Decompress, and keep what is more than `max_length`."""


class _Streams(io.RawIOBase):
    """Streams of one compression behind each other; zero bytes behind them are padding.

    Raises EOFError where the last one ends early, and what the decompressor raises.
    """

    def __init__(self, file: io.BufferedIOBase, make: Callable[[], _Decompressor]) -> None:
        self._file = file
        self._make = make
        self._decompressor = make()

    def readable(self) -> bool:
        """Return True."""
        return True

    def close(self) -> None:
        """Close the file beneath as well."""
        self._file.close()
        super().close()

    def readinto(self, buffer: object) -> int:
        """Decompress at most as many bytes as `buffer` holds; 0 is the end."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # the buffer protocol has no type before 3.12
        while True:
            rest = b""
            if self._decompressor.eof:
                rest = self._decompressor.unused_data or self._file.read1(_COMPRESSED)
                while rest and not rest.strip(b"\0"):
                    rest = self._file.read1(_COMPRESSED)
                if not rest:
                    return 0
                rest = rest.lstrip(b"\0")
                self._decompressor = self._make()
            elif self._decompressor.needs_input:
                rest = self._file.read1(_COMPRESSED)
                if not rest:
                    raise EOFError
            data = self._decompressor.decompress(rest, len(view))
            if data:
                view[: len(data)] = data
                return len(data)


def decompress(file: io.BufferedIOBase, magic: bytes) -> io.BufferedIOBase:
    """Return what a file holds whose first four bytes are `magic`: itself, where these name no compression."""
    if magic.startswith(_GZIP_MAGIC):
        return gzip.GzipFile(fileobj=file)
    if magic == _ZSTANDARD_MAGIC or magic[1:] == _ZSTANDARD_SKIPPABLE:
        return ZstdFile(file, options=_ZSTANDARD_OPTIONS)
    if magic.startswith(_BZIP2_MAGIC):
        return io.BufferedReader(_Streams(file, bz2.BZ2Decompressor), _DECOMPRESSED)
    if magic == _XZ_MAGIC:
        return io.BufferedReader(_Streams(file, _xz_decompressor), _DECOMPRESSED)
    return file


def _xz_decompressor() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
