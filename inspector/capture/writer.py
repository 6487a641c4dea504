"""Packets written as a capture file (pcapng, draft-ietf-opsawg-pcapng) that Wireshark opens.

A record holds no frame, only what matters of one, so the frame is built anew
(`inspector.capture.frames`). Read back, the file gives the same records, but for the interface
index, which becomes the number of the interface within the file.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Self

from inspector.capture.frames import build_frame
from inspector.errors import CaptureError
from inspector.record import unpack_record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from inspector.model import Segment

__all__ = ["CaptureWriter", "build_frame"]

_SECTION_HEADER: Final = 0x0A0D0D0A
_INTERFACE_DESCRIPTION: Final = 1
_ENHANCED_PACKET: Final = 6
_BYTE_ORDER_MAGIC: Final = 0x1A2B3C4D
_LENGTH_NOT_KNOWN: Final = 2**64 - 1
SECTION_MAGIC: Final = struct.pack("=I", _SECTION_HEADER)
"""The first four bytes of a capture file, the same in both byte orders."""

_BYTE_ORDERS: Final = {struct.pack(order + "I", _BYTE_ORDER_MAGIC): order for order in "<>"}

_OPTION_COMMENT: Final = 1
_OPTION_INTERFACE_NAME: Final = 2
_OPTION_APPLICATION: Final = 4
_OPTION_TIME_RESOLUTION: Final = 9
_NANOSECONDS: Final = 9

_LONGEST_OPTION: Final = 0xFFFF
_ETHERNET: Final = 1


class CaptureBlocks:
    """The blocks of a capture file, section by section.

    `interface_names` maps interface indexes to names; a section's interfaces are in the order of the indexes. The
    mapping may change meanwhile: an interface that is not there yet, or has another name now, gets a description
    when its first packet comes.
    """

    def __init__(self, interface_names: Mapping[int, str]) -> None:
        self._names = interface_names
        self._numbers: dict[tuple[int, str], int] = {}

    def section(self, comment: str | None = None) -> bytes:
        """Return the beginning of a section: its header, with a comment, and its interfaces."""
        self._numbers.clear()
        return _section_header(comment) + b"".join(
            self._interface(index, name) for index, name in sorted(self._names.items())
        )

    def packet(self, segment: Segment, comment: str | None = None) -> bytes:
        """Return the block of a packet, with a comment that Wireshark shows, behind what describes its interface."""
        index = segment.interface_index
        interface = index, self._names.get(index, f"interface {index}")
        description = b"" if interface in self._numbers else self._interface(*interface)
        frame = build_frame(segment)
        original_length = len(frame) + segment.payload_length - len(segment.payload)
        head = struct.pack(
            "=IIIII",
            self._numbers[interface],
            segment.time_ns >> 32,
            segment.time_ns & 0xFFFFFFFF,
            len(frame),
            original_length,
        )
        options = _options((_OPTION_COMMENT, _utf8(comment))) if comment else b""
        return description + _block(_ENHANCED_PACKET, head + _pad(frame) + options)

    def _interface(self, index: int, name: str) -> bytes:
        self._numbers[index, name] = len(self._numbers)
        options = _options((_OPTION_INTERFACE_NAME, _utf8(name)), (_OPTION_TIME_RESOLUTION, bytes([_NANOSECONDS])))
        # Snap length 0: no limit.
        return _block(_INTERFACE_DESCRIPTION, struct.pack("=HxxI", _ETHERNET, 0) + options)


class CaptureWriter:
    """Writes records to a new file, or to a binary stream that the caller closes; interfaces as in `CaptureBlocks`.

    Raises CaptureError when the file cannot be written.
    """

    def __init__(self, target: Path | BinaryIO, interface_names: Mapping[int, str], comment: str | None = None) -> None:
        self.name = str(target) if isinstance(target, Path) else "capture"
        self._own_file = isinstance(target, Path)
        self._blocks = CaptureBlocks(interface_names)
        try:
            self._file: BinaryIO = target.open("wb") if isinstance(target, Path) else target
        except OSError as error:
            raise CaptureError(f"{self.name}: cannot be written: {error.strerror or error}") from None
        self._put(self._blocks.section(comment))
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def write(self, record: bytes | memoryview, comment: str | None = None) -> None:
        """Append one record (`inspector.record`), with a comment on the packet that Wireshark shows."""
        self._put(self._blocks.packet(unpack_record(record), comment))

    def flush(self) -> None:
        """Hand everything written so far to the operating system."""
        try:
            self._file.flush()
        except OSError as error:
            raise self._failed(error) from None

    def close(self) -> None:
        """Flush, and close the file if it was opened here."""
        self.flush()
        if self._own_file:
            self._file.close()

    def _put(self, blocks: bytes) -> None:
        try:
            self._file.write(blocks)
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> CaptureError:
        return CaptureError(f"{self.name}: cannot be written: {error.strerror or error}")


def whole_blocks(file: BinaryIO) -> int:
    """Return how many bytes at the start of a file are whole blocks of a capture file; 0 where there is none.

    What follows them is a block without its end, or nothing that is one.
    """
    position, order = 0, ""
    while True:
        file.seek(position)
        head = file.read(12)
        if len(head) < 12:
            return position
        if head[:4] == SECTION_MAGIC:
            order = _BYTE_ORDERS.get(head[8:12], "")
        if not order:
            return position
        (length,) = struct.unpack_from(order + "I", head, 4)
        file.seek(position + length - 4)
        if length < 12 or length % 4 or file.read(4) != head[4:8]:
            return position
        position += length


def _section_header(comment: str | None) -> bytes:
    body = struct.pack("=IHHQ", _BYTE_ORDER_MAGIC, 1, 0, _LENGTH_NOT_KNOWN)
    comments = [(_OPTION_COMMENT, _utf8(comment))] if comment else []
    return _block(_SECTION_HEADER, body + _options(*comments, (_OPTION_APPLICATION, b"epm-inspector")))


def _block(kind: int, body: bytes) -> bytes:
    length = len(body) + 12
    return struct.pack("=II", kind, length) + body + struct.pack("=I", length)


def _options(*options: tuple[int, bytes]) -> bytes:
    """Return options with their end mark."""
    return b"".join(struct.pack("=HH", code, len(value)) + _pad(value) for code, value in options) + bytes(4)


def _utf8(text: str) -> bytes:
    """Return text as an option's value, cut to what one holds and never within a character."""
    return text.encode("utf-8", "replace")[:_LONGEST_OPTION].decode("utf-8", "ignore").encode()


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
