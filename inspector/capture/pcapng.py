"""Capture files of the newer format (draft-ietf-opsawg-pcapng): sections, interfaces, packets, and blocks to skip.

A block is its type, its length, a body and its length again, padded to 4 bytes. Numbers are
in the byte order of the section they stand in.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from inspector.capture.packet import Packet, clamp_time
from inspector.capture.stored import MAXIMUM_PIECE, EndOfFileError
from inspector.errors import CaptureError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from inspector.capture.stored import PieceReader

SECTION_MAGIC: Final = b"\x0a\x0d\x0d\x0a"
"""The type of a section header: a palindrome, so that it reads the same in both byte orders."""

MAXIMUM_INTERFACES: Final = 65536
"""Interfaces of one section: as many as an obsolete packet block can name."""

_BYTE_ORDERS: Final = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}

_SECTION_HEADER: Final = 0x0A0D0D0A
_INTERFACE_DESCRIPTION: Final = 1
_OBSOLETE_PACKET: Final = 2
_SIMPLE_PACKET: Final = 3
_ENHANCED_PACKET: Final = 6

_OPTION_END: Final = 0
_OPTION_TIME_RESOLUTION: Final = 9
_OPTION_TIME_OFFSET: Final = 14

_NANOSECONDS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class CaptureInterface:
    """One interface description: `units` of its clock make a second, counted from `offset` seconds after 1970."""

    number: int
    link_type: int
    snap_length: int
    units: int
    offset: int

    def time_ns(self, high: int, low: int) -> int:
        """Return nanoseconds since 1970 of a timestamp in two halves."""
        return clamp_time((high << 32 | low) * _NANOSECONDS // self.units + self.offset * _NANOSECONDS)


class Section:
    """What the blocks of one section refer to: byte order and interfaces."""

    def __init__(self, order: str, first_interface: int, time_ns: int) -> None:
        self.order = order
        self.interfaces: list[CaptureInterface] = []
        self.first_interface = first_interface
        # A simple packet carries no time; that of the packet before it is the closest known.
        self.time_ns = time_ns

    @property
    def next_interface(self) -> int:
        """The number of the next interface within the file: how many there are so far."""
        return self.first_interface + len(self.interfaces)

    def unpack(self, layout: str, body: memoryview) -> tuple[int, ...]:
        """Return the numbers at the start of a block's body; raises struct.error when it is too short."""
        return struct.unpack_from(self.order + layout, body)

    def add_interface(self, body: memoryview) -> None:
        """Read an interface description block."""
        if len(self.interfaces) == MAXIMUM_INTERFACES:
            raise ValueError(f"more than {MAXIMUM_INTERFACES} interfaces")
        link_type, snap_length = self.unpack("H2xI", body)
        units, offset = 1_000_000, 0
        for code, value in self._options(body[8:]):
            if code == _OPTION_TIME_RESOLUTION and len(value) == 1:
                units = 2 ** (value[0] & 0x7F) if value[0] & 0x80 else 10 ** value[0]
            elif code == _OPTION_TIME_OFFSET and len(value) == 8:
                (offset,) = self.unpack("q", value)
        self.interfaces.append(CaptureInterface(self.next_interface, link_type, snap_length, units, offset))

    def enhanced_packet(self, body: memoryview) -> Packet:
        """Read an enhanced packet block."""
        interface, high, low, captured_length, original_length = self.unpack("IIIII", body)
        return self._packet(interface, (high, low), body[20:], captured_length, original_length)

    def obsolete_packet(self, body: memoryview) -> Packet:
        """Read a packet block as it was before the enhanced one."""
        interface, _drops, high, low, captured_length, original_length = self.unpack("HHIIII", body)
        return self._packet(interface, (high, low), body[20:], captured_length, original_length)

    def simple_packet(self, body: memoryview) -> Packet:
        """Read a simple packet block: of the first interface, cut at its snap length."""
        (original_length,) = self.unpack("I", body)
        snap_length = self.interfaces[0].snap_length or original_length
        captured_length = min(original_length, snap_length, len(body) - 4)
        return self._packet(0, None, body[4:], captured_length, original_length)

    def _packet(
        self,
        interface_number: int,
        timestamp: tuple[int, int] | None,
        data: memoryview,
        captured_length: int,
        original_length: int,
    ) -> Packet:
        """Return the packet; raises ValueError or IndexError where its block contradicts itself."""
        if captured_length > len(data):
            raise ValueError("a packet longer than its block")
        interface = self.interfaces[interface_number]
        if timestamp is not None:
            self.time_ns = interface.time_ns(*timestamp)
        return Packet(
            self.time_ns,
            interface.link_type,
            data[:captured_length],
            max(original_length, captured_length),
            interface.number,
        )

    def _options(self, options: memoryview) -> Iterator[tuple[int, memoryview]]:
        """Yield code and value of each option; a list that ends without its end mark is taken as it is."""
        while len(options) >= 4:
            code, length = self.unpack("HH", options)
            if code == _OPTION_END or 4 + length > len(options):
                return
            yield code, options[4 : 4 + length]
            options = options[4 + (length + 3 & ~3) :]


_PACKETS: Final[dict[int, Callable[[Section, memoryview], Packet]]] = {
    _ENHANCED_PACKET: Section.enhanced_packet,
    _OBSOLETE_PACKET: Section.obsolete_packet,
    _SIMPLE_PACKET: Section.simple_packet,
}


class PcapngReader:
    """The packets of a file whose first four bytes, `SECTION_MAGIC`, were already taken.

    Interfaces are numbered through all sections of the file; `section` is the one being read.
    """

    def __init__(self, pieces: PieceReader) -> None:
        self._pieces = pieces
        self.section = _read_section_header(pieces, None)

    def next_packet(self) -> Packet | None:
        """Return the next packet, None at the end of the file.

        Raises CaptureError where the file is damaged, EndOfFileError where it ends within a block.
        """
        while True:
            try:
                block_type = self._pieces.take(4)
            except EndOfFileError as end:
                if end.available:
                    raise
                return None
            packet = self._read_block(block_type)
            if packet is not None:
                return packet

    def _read_block(self, block_type: memoryview) -> Packet | None:
        """Read one block, and return the packet that it is, if it is one."""
        pieces, section = self._pieces, self.section
        (number,) = struct.unpack(section.order + "I", block_type)
        if number == _SECTION_HEADER:
            self.section = _read_section_header(pieces, section)
            return None
        (total,) = struct.unpack(section.order + "I", pieces.take(4))
        body = _read_body(pieces, total, section.order)
        try:
            if number == _INTERFACE_DESCRIPTION:
                section.add_interface(body)
                return None
            read = _PACKETS.get(number)
            return read(section, body) if read is not None else None
        except (struct.error, ValueError) as error:
            raise CaptureError(f"{pieces.name}: damaged before byte {pieces.offset}: {error}") from None
        except IndexError:
            raise CaptureError(
                f"{pieces.name}: damaged before byte {pieces.offset}: a packet of an interface that is not described"
            ) from None


def _read_section_header(pieces: PieceReader, before: Section | None) -> Section:
    """Read the rest of a section header block, which decides the byte order of its own length."""
    length = pieces.take(4)
    order = _BYTE_ORDERS.get(bytes(pieces.take(4)))
    if order is None:
        raise CaptureError(f"{pieces.name}: damaged at byte {pieces.offset - 4}: a section without byte order")
    # 4 bytes of the body are taken already, as if the block were that much shorter.
    (total,) = struct.unpack(order + "I", length)
    body = _read_body(pieces, total, order, taken=4)
    if len(body) < 12:
        raise CaptureError(f"{pieces.name}: damaged before byte {pieces.offset}: a section header too short")
    (major,) = struct.unpack_from(order + "H", body)
    if major != 1:
        raise CaptureError(f"{pieces.name}: is of pcapng version {major}, only version 1 is known")
    if before is None:
        return Section(order, 0, 0)
    return Section(order, before.next_interface, before.time_ns)


def _read_body(pieces: PieceReader, total: int, order: str, taken: int = 0) -> memoryview:
    """Return a block's body and check the length behind it; of the body `taken` bytes were read before."""
    padded = total + 3 & ~3
    if total < 12 + taken or padded > MAXIMUM_PIECE:
        raise CaptureError(f"{pieces.name}: damaged at byte {pieces.offset}: a block of {total} bytes")
    rest = pieces.take(padded - 8 - taken)
    (again,) = struct.unpack_from(order + "I", rest, len(rest) - 4)
    if again != total:
        raise CaptureError(f"{pieces.name}: damaged before byte {pieces.offset}: a block with two lengths")
    return rest[:-4]
