"""Tar archives read from start to end, whatever compressed them, in memory that does not depend on what they say."""

from __future__ import annotations

import io
import tarfile
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from inspector.capture.stored import CHUNK, MAXIMUM_PIECE, EndOfFileError, PieceReader, open_pieces
from inspector.errors import CaptureError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class _Forward(io.RawIOBase):
    """What `tarfile` reads from: bytes in order, no more of them at once than a packet may have."""

    def __init__(self, pieces: PieceReader) -> None:
        self._pieces = pieces

    def tell(self) -> int:
        """Return how many bytes were read."""
        return self._pieces.offset

    def seek(self, offset: int, whence: int = 0) -> int:
        """Read up to an offset, which is not before this one."""
        if whence or offset < self.tell():
            raise tarfile.ReadError("its members are not in order")
        while self.tell() < offset and self.read(min(CHUNK, offset - self.tell())):
            pass
        return self.tell()

    def read(self, size: int = -1) -> bytes:
        """Read as many bytes, or as there are."""
        if not 0 <= size <= MAXIMUM_PIECE:
            raise tarfile.ReadError(f"a header of {size} bytes")
        try:
            return bytes(self._pieces.take(size))
        except EndOfFileError as end:
            return bytes(self._pieces.take(end.available))


class TarStream:
    """An archive on its way from start to end: gives the name, the bytes and the size of each file.

    Links and devices are left out, and files with holes, which hold more than is stored. Raises `tarfile.TarError`
    where the archive is damaged.
    """

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        self._stack = ExitStack()
        with ExitStack() as stack:
            pieces = stack.enter_context(open_pieces(archive))
            self._tar = tarfile.TarFile(fileobj=_Forward(pieces), mode="r")
            self._stack = stack.pop_all()

    def __enter__(self) -> TarStream:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def __iter__(self) -> TarStream:
        return self

    def __next__(self) -> tuple[str, io.BufferedIOBase, int]:
        while (member := self._tar.next()) is not None:
            # What came before is not asked for again.
            self._tar.members.clear()  # type: ignore[attr-defined]  # typeshed does not know it
            if member.isreg() and not member.issparse():
                file = self._tar.extractfile(member)
                assert file is not None  # noqa: S101 - it is a file
                return member.name, file, member.size  # type: ignore[return-value]  # typeshed says IO[bytes]
        raise StopIteration

    def close(self) -> None:
        """Close the archive."""
        self._stack.close()


_last: list[TarStream] = []


@contextmanager
def open_tar_member(archive: Path, name: str) -> Iterator[tuple[io.BufferedIOBase, int]]:
    """Give a member by its key, and its size.

    The archive stays open behind it: asked for in their order, all members are found in one pass. A process has one
    archive open, and reads one member at a time.
    """
    if not _last or _last[0].archive != archive:
        _reopen(archive)
    found = _find(name)
    if found is None:
        _reopen(archive)
        found = _find(name)
    if found is None:
        raise CaptureError(f"{archive}: has no member {name}")
    yield found


def _reopen(archive: Path) -> None:
    while _last:
        _last.pop().close()
    _last.append(TarStream(archive))


def _find(name: str) -> tuple[io.BufferedIOBase, int] | None:
    return next(((file, size) for key, file, size in _last[0] if key_of(key) == name), None)


def key_of(name: str) -> str:
    """Return the name of an archive's member without what could lead out of the archive."""
    parts = name.replace("\0", "").split("/")
    return "/".join(part for part in parts if part not in ("", ".", ".."))
