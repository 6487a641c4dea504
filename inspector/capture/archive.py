"""Captures within archives (zip, tar), read in a stream as if the archive were a folder: ARCHIVE/MEMBER is such a file.

Nothing is written anywhere, and members' names are compared only. A tar archive, which may be compressed as a whole, is
read from its start to its end: the members of one that is read in order are read in one pass.
"""

from __future__ import annotations

import tarfile
import zipfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from inspector.capture.kinds import HEAD, is_tar
from inspector.capture.stored import STANDARD_INPUT, StoredFile, head_of, open_pieces, open_stored
from inspector.capture.tarstream import TarStream, key_of, open_tar_member
from inspector.errors import CaptureError

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator
    from pathlib import Path

    from inspector.capture.stored import PieceReader, Progress

MAXIMUM_MEMBERS: Final = 10_000

_ZIP_MAGIC: Final = b"PK\x03\x04"
_ENCRYPTED: Final = 1
# Beyond this a member is none of a capture that was compressed.
_HELD: Final = 1 << 30
_HELD_TIMES: Final = 2000
_DAMAGED: Final = (tarfile.TarError, zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError)


class Member(NamedTuple):
    """A file in an archive, with its first bytes."""

    path: Path
    head: bytes


def members_of(archive: Path) -> list[Member] | None:
    """Return the files in an archive, None of anything else; raises CaptureError where they cannot be listed."""
    if archive == STANDARD_INPUT or not archive.is_file():
        return None
    try:
        with open_pieces(archive) as pieces:
            head = bytes(pieces.look(HEAD))
    except CaptureError:
        # Reading it says so.
        return None
    try:
        if head.startswith(_ZIP_MAGIC):
            return _members_of_zip(archive)
        return _members_of_tar(archive) if is_tar(head) else None
    except _DAMAGED as error:
        raise CaptureError(f"{archive}: the archive is damaged: {error}") from None


def is_member(path: Path) -> bool:
    """Return whether a path leads into an archive."""
    return _split(path) is not None


@contextmanager
def open_source(path: Path, progress: Progress | None = None) -> Iterator[PieceReader]:
    """Open a file as `open_pieces` does, or a member of an archive."""
    found = _split(path)
    if found is None:
        with open_pieces(path, progress) as pieces:
            yield pieces
        return
    archive, name = found
    try:
        with _open_zipped(archive, name) if _is_zip(archive) else open_tar_member(archive, name) as (file, size):
            stored = StoredFile(file, size, progress)  # type: ignore[arg-type]  # it is read from alone
            with open_stored(stored, str(path), size) as pieces:
                yield pieces
    except _DAMAGED as error:
        raise CaptureError(f"{path}: the archive is damaged: {error}") from None
    except OSError as error:
        raise CaptureError(f"{path}: {error.strerror or error}") from None


def _split(path: Path) -> tuple[Path, str] | None:
    """Return archive and member of a path that leads through a file."""
    if path == STANDARD_INPUT or path.exists():
        return None
    for parent in path.parents:
        if parent.is_file():
            return parent, str(path.relative_to(parent))
    return None


def _members_of_zip(archive: Path) -> list[Member]:
    with zipfile.ZipFile(archive) as container:
        found = [one for one in container.infolist() if not one.is_dir() and key_of(one.filename)]
        _check_count(archive, len(found))
        return [Member(archive / key_of(one.filename), _head_of_zipped(container, one)) for one in found]


def _head_of_zipped(container: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Return the first bytes of a member; none where it cannot be opened, which reading it says."""
    if member.flag_bits & _ENCRYPTED:
        return b""
    try:
        with container.open(member) as file:
            return file.read(HEAD)
    except (*_DAMAGED, OSError, EOFError):
        return b""


def _is_zip(archive: Path) -> bool:
    return head_of(archive).startswith(_ZIP_MAGIC)


@contextmanager
def _open_zipped(archive: Path, name: str) -> Iterator[tuple[io.BufferedIOBase, int]]:
    """Give a member and its size."""
    with zipfile.ZipFile(archive) as container:
        member = next((one for one in container.infolist() if key_of(one.filename) == name), None)
        if member is None:
            raise CaptureError(f"{archive}: has no member {name}")
        if member.flag_bits & _ENCRYPTED:
            raise CaptureError(f"{archive / name}: is encrypted; unpack it with its password")
        if member.file_size > _HELD + _HELD_TIMES * member.compress_size:
            raise CaptureError(
                f"{archive / name}: holds {member.file_size} bytes, out of proportion to its {member.compress_size}"
            )
        with container.open(member) as file:
            yield file, member.file_size  # type: ignore[misc]  # typeshed says IO[bytes]


def _check_count(archive: Path, count: int) -> None:
    if count > MAXIMUM_MEMBERS:
        raise CaptureError(f"{archive}: has more than {MAXIMUM_MEMBERS} members; unpack it and read the captures in it")


def _members_of_tar(archive: Path) -> list[Member]:
    found = []
    with TarStream(archive) as stream:
        for name, file, _ in stream:
            if key_of(name):
                found.append(Member(archive / key_of(name), file.read(HEAD)))
                _check_count(archive, len(found))
    return found
