"""Captures of other formats, as pcapng: Windows event traces, and by `editcap` in a pipe what Wireshark reads.

The converter reads files of strangers, so it runs without privileges, without plug-ins or settings of a user, and
within bounds of memory, processor time and output.
"""

from __future__ import annotations

import io
import os
import shutil
import struct
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING, Final

from inspector.capture.eventtrace import EventTrace
from inspector.capture.kinds import EVENT_TRACE, HEAD, LISTING, Kind, conversion, kind_of
from inspector.capture.stored import CHUNK, STANDARD_INPUT, EndOfFileError, PieceReader
from inspector.capture.tracepackets import PACKET_PROVIDERS, TracePackets, pcapng_of
from inspector.errors import CaptureError, CaptureTruncatedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_TOOL: Final = "editcap"
# 512-byte blocks of what it may write to files: its messages. Kilobytes of memory; seconds, and bytes for one more.
_LIMITED: Final = 'ulimit -f 128; ulimit -v 2097152; ulimit -t "$1"; shift; exec "$@"'
_SECONDS: Final = 30
_BYTES_A_SECOND: Final = 1 << 20
_WRITTEN: Final = 64 << 20
_WRITTEN_TIMES: Final = 64
_COPIED: Final = 1 << 30
_NOBODY: Final = 65534
_MESSAGE: Final = 4096
_ENHANCED_PACKET: Final = 6
_CUT_SHORT: Final = "cut short"
# Longer than what precedes the first packet.
_HEADERS: Final = 512


@contextmanager
def convert(path: Path, pieces: PieceReader, magic: bytes) -> Iterator[PieceReader]:
    """Give the file, of whose bytes the first four, `magic`, were taken, as the bytes of a pcapng file.

    Raises CaptureError where it is nothing that can be read, in words that lead on, and CaptureTruncatedError at the
    end where the converter could not read all of it.
    """
    head = magic + bytes(pieces.look(HEAD - len(magic)))
    kind = kind_of(head, path)
    if kind is not None and kind.advice is not None:
        raise CaptureError(f"{pieces.name}: is {kind.name}; {kind.advice}")
    if kind in (EVENT_TRACE, LISTING):
        with _converted(path, pieces, head, kind) as converted:
            yield converted
        return
    tool = shutil.which(_TOOL)
    with ExitStack() as stack:
        source = plain_source(path, pieces, head, stack, copy=kind is not None) if tool is not None else None
        if tool is None or source is None:
            if kind is None:
                raise CaptureError(f"{pieces.name}: is no capture file (pcap or pcapng)")
            raise CaptureError(
                f"{pieces.name}: is {kind.name}: install Wireshark's editcap and read it again, or convert it with: "
                f"{conversion(path, kind)}"
            )
        with _converter(tool, source, pieces.name, kind) as converted:
            yield converted


def plain_source(path: Path, pieces: PieceReader, head: bytes, stack: ExitStack, *, copy: bool) -> IO[bytes] | None:
    """Return the plain file: itself, or where it was compressed or comes through a pipe, with `copy` a copy."""
    if path != STANDARD_INPUT and path.is_file():
        file = stack.enter_context(path.open("rb", buffering=0))
        if file.read(len(head)) == head:
            file.seek(0)
            return file
    if not copy:
        return None
    target = stack.enter_context(tempfile.TemporaryFile(buffering=0))  # noqa: SIM115 - the stack closes it
    target.write(head)
    try:
        pieces.skip(len(head) - 4)
        while target.tell() <= _COPIED:
            target.write(pieces.take(CHUNK))
    except EndOfFileError as end:
        target.write(pieces.take(end.available))
        target.seek(0)
        return target
    raise CaptureError(f"{pieces.name}: is larger than {_COPIED >> 20} MiB: unpack it first")


class _Blocks(io.RawIOBase):
    """Bytes that are made when they are asked for."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: object) -> int:
        """Make at most as many bytes as `buffer` holds; 0 is the end."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # the buffer protocol has no type before 3.12
        count = 0
        while count < len(view):
            if not self._rest:
                self._rest = memoryview(next(self._blocks, b""))
                if not self._rest:
                    break
            part = self._rest[: len(view) - count]
            view[count : count + len(part)] = part
            self._rest, count = self._rest[len(part) :], count + len(part)
        return count


@contextmanager
def _converted(path: Path, pieces: PieceReader, head: bytes, kind: Kind) -> Iterator[PieceReader]:
    """Give the packets of an event trace; a listing has none."""
    if kind == LISTING:
        converted = PieceReader(io.BufferedReader(_Blocks(pcapng_of(()))), pieces.name, 0)
        converted.look(4)
        yield converted
        return
    with ExitStack() as stack:
        source = plain_source(path, pieces, head, stack, copy=True)
        assert source is not None  # noqa: S101 - a copy was asked for
        frames = TracePackets().frames(EventTrace(source, pieces.name).events(PACKET_PROVIDERS))
        size = os.fstat(source.fileno()).st_size
        converted = PieceReader(io.BufferedReader(_Blocks(pcapng_of(frames)), CHUNK), pieces.name, size)
        # The caller hands out the first four bytes.
        converted.look(4)
        yield converted


@contextmanager
def _converter(tool: str, source: IO[bytes], name: str, kind: Kind | None) -> Iterator[PieceReader]:
    """Give what the converter writes."""
    size = os.fstat(source.fileno()).st_size
    options = kind.options if kind is not None else ()
    with (
        tempfile.TemporaryFile() as said,
        _process([tool, *options, "-F", "pcapng", "-", "-"], source, said) as process,
    ):
        assert isinstance(process.stdout, io.BufferedReader)  # noqa: S101 - a pipe of bytes
        converted = PieceReader(process.stdout, name, size, lambda: _WRITTEN + _WRITTEN_TIMES * size)
        start = converted.look(_HEADERS)
        # Few bytes of anything may look like some format without magic.
        if len(start) < _HEADERS and (not start or (kind is None and not _has_packet(start))):
            if kind is None:
                raise CaptureError(f"{name}: is no capture file (pcap or pcapng)")
            raise CaptureError(f"{name}: is {kind.name}: {_last_line(said)}")
        yield converted
        # The end was read; where nothing more is wanted this is not reached.
        status, line = process.wait(), _last_line(said)
        if _CUT_SHORT in line:
            raise CaptureTruncatedError(f"{name}: {line}; everything before was read")
        if status:
            raise CaptureError(f"{name}: {line}")


@contextmanager
def _process(command: Sequence[str], source: IO[bytes], said: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a converter within bounds, and end it. Raises CaptureError where it cannot be run."""
    seconds = _SECONDS + os.fstat(source.fileno()).st_size // _BYTES_A_SECOND
    root = os.geteuid() == 0
    try:
        process = subprocess.Popen(  # noqa: S603 - the tool's path was found, and no name of a file is given to it
            ["/bin/sh", "-c", _LIMITED, "sh", str(seconds), *command],
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=said,
            cwd="/",
            env={"PATH": os.defpath, "HOME": "/nonexistent", "LC_ALL": "C"},
            user=_NOBODY if root else None,
            group=_NOBODY if root else None,
            extra_groups=() if root else None,
        )
    except OSError as error:
        raise CaptureError(f"{command[0]}: cannot be run: {error.strerror or error}") from None
    try:
        yield process
    finally:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        process.stdout.close()
        process.kill()
        process.wait()


def _has_packet(blocks: memoryview) -> bool:
    """Return whether a whole pcapng file of few bytes has a packet."""
    while len(blocks) >= 12:
        kind, length = struct.unpack_from("II", blocks)
        if kind == _ENHANCED_PACKET:
            return True
        blocks = blocks[max(length, 12) :]
    return False


def _last_line(said: IO[bytes]) -> str:
    """Return the last line of what the converter said."""
    said.seek(0)
    lines = said.read(_MESSAGE).decode(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), f"{_TOOL} ended early")
