"""Capture files: from a file of either format to packets, and to the records which the kernel program would make.

This file reads the classic format (draft-ietf-opsawg-pcap), `inspector.capture.pcapng` the newer one.
"""

from __future__ import annotations

import struct
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from inspector.capture.archive import open_source
from inspector.capture.foreign import convert
from inspector.capture.packet import Packet, clamp_time
from inspector.capture.pcapng import SECTION_MAGIC, PcapngReader
from inspector.capture.seen import Seen
from inspector.capture.stored import MAXIMUM_PIECE, EndOfFileError, PieceReader, display_name
from inspector.errors import CaptureError, CaptureTruncatedError
from inspector.record import LATEST_TIME_NS, Attribute, KernelCounter, pack_record
from inspector.wire.encapsulation import CARRIED_LINKS, link_name, tunnel_name, unwrap
from inspector.wire.frame import LINK_TYPES, LinkType, read_frame
from inspector.wire.headers import read_header

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from inspector.capture.stored import Progress
    from inspector.model import Segment
    from inspector.wire.headers import Header, IcmpQuote

__all__ = ["Packet", "SegmentReader", "open_packets", "read_packets", "read_records"]

# First bytes: byte order, and nanoseconds per unit of a packet's fraction of a second.
_MAGICS: Final = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}
_FILE_HEADER_REST: Final = 20
_FROM_SERVER: Final = int(Attribute.FROM_SERVER)
_ETHERNET: Final = int(LinkType.ETHERNET)
_IP: Final = frozenset({b"\x08\x00", b"\x86\xdd"})
_PROTOCOL_AT: Final = {0x08: 23, 0x86: 20}
_TCP: Final = b"\x06"


class ClassicReader:
    """The packets behind a file header of 24 bytes: each 16 bytes and the frame.

    `order` is that of struct; `unit` is how many nanoseconds a packet's fraction of a second counts.
    """

    def __init__(self, pieces: PieceReader, magic: bytes) -> None:
        self._pieces = pieces
        self.order, self.unit = _MAGICS[magic]
        major, _minor, link_type = struct.unpack(f"{self.order}HH12xI", pieces.take(_FILE_HEADER_REST))
        if major != 2:
            raise CaptureError(f"{pieces.name}: is of pcap version {major}, only version 2 is known")
        # The upper bits tell of a trailing checksum, which IP's own length leaves out.
        self.link_type: int = link_type & 0xFFFF
        self._header = struct.Struct(f"{self.order}IIII")

    def next_packet(self) -> Packet | None:
        """Return the next packet, None at the end of the file; raises CaptureError and EndOfFileError."""
        pieces, header = self._pieces, self._header
        try:
            start = pieces.take(header.size)
        except EndOfFileError as end:
            if end.available:
                raise
            return None
        seconds, fraction, captured_length, original_length = header.unpack(start)
        if captured_length > MAXIMUM_PIECE:
            raise CaptureError(
                f"{pieces.name}: damaged at byte {pieces.offset - 8}: a packet of {captured_length} bytes"
            )
        data = pieces.take(captured_length)
        time_ns = clamp_time(seconds * 1_000_000_000 + fraction * self.unit)
        return Packet(time_ns, self.link_type, data, max(original_length, captured_length), 0)


@contextmanager
def open_packets(
    path: Path, progress: Progress | None = None
) -> Iterator[tuple[PieceReader, ClassicReader | PcapngReader]]:
    """Open a capture file: its bytes, and the reader of its packets, which takes them from there.

    Raises CaptureError where it is none, and CaptureTruncatedError in place of any EndOfFileError within.
    """
    with open_source(path, progress) as pieces, ExitStack() as stack:
        try:
            magic = bytes(pieces.take(4))
        except EndOfFileError as end:
            what = "is no capture file (pcap or pcapng)" if end.available else "is empty"
            raise CaptureError(f"{pieces.name}: {what}") from None
        try:
            if magic in _MAGICS:
                yield pieces, ClassicReader(pieces, magic)
                return
            if magic != SECTION_MAGIC:
                pieces = stack.enter_context(convert(path, pieces, magic))
                pieces.skip(4)
            yield pieces, PcapngReader(pieces)
        except EndOfFileError:
            raise CaptureTruncatedError(
                f"{pieces.name}: ends within a packet, after byte {pieces.offset}; everything before was read"
            ) from None


def read_packets(path: Path, *, progress: Progress | None = None) -> Iterator[Packet]:
    """Yield the packets of a capture file (compressed, in an archive or of another format; "-" is standard input).

    `progress` is called with stored bytes read and their total (None where unknown).
    Raises CaptureError when the file cannot be opened, is no capture or is damaged, and
    CaptureTruncatedError where it ends within a packet, after all packets before that.
    """
    with open_packets(path, progress) as (_, reader):
        while (packet := reader.next_packet()) is not None:
            yield packet


class SegmentReader:
    """Reads packets, and counts them as the kernel program does: every record is matched and submitted.

    `readable` becomes True with the first packet of a link type that can be read. `seen` counts what packets were in.
    """

    def __init__(
        self,
        ports: Collection[int],
        counters: dict[KernelCounter, int] | list[int],
        *,
        tunnels: bool = False,
        seen: Seen | None = None,
    ) -> None:
        self.readable = False
        self.ports = ports
        self.counters = counters
        self.tunnels = tunnels
        self.seen = seen or Seen()
        self._unknown: set[int] = set()

    def unwrap(self, packet: Packet) -> Packet:
        """Return a packet without what the kernel program does not read around packets; the same, mostly."""
        data, seen = packet.data, self.seen
        if packet.time_ns > seen.latest_ns:
            seen.latest_ns = packet.time_ns
        # Most packets are TCP in IP in Ethernet.
        if (
            packet.link_type == _ETHERNET
            and data[12:14] in _IP
            and data[(at := _PROTOCOL_AT[data[12]]) : at + 1] == _TCP
        ):
            return packet
        found = unwrap(data, packet.link_type, tunnels=self.tunnels)
        if found is None:
            return packet
        if found.unread is not None:
            seen.unread[found.unread] += 1
            return packet
        seen.taken_off.update(found.names)
        original_length = max(packet.original_length - found.taken, len(found.data))
        return packet._replace(link_type=found.link_type, data=found.data, original_length=original_length)

    def header(self, packet: Packet, number: int) -> Header | IcmpQuote | None:
        """Return the TCP header or the ICMP error of a packet from `unwrap`; `number` is the packet's."""
        return read_header(
            packet.data,
            link_type=packet.link_type,
            time_ns=min(packet.time_ns, LATEST_TIME_NS),
            number=number,
            wire_length=packet.original_length,
            tunnelled=self.ports if self.tunnels else None,
        )

    def segment(self, packet: Packet) -> Segment | None:
        """Return the segment of a packet of interest, one from `unwrap`; its interface index is its within the file."""
        if packet.link_type in LINK_TYPES:
            self.readable = True
        elif packet.link_type in CARRIED_LINKS:
            # Without IP in it.
            self.readable = True
            return None
        else:
            self._unknown.add(packet.link_type)
        found = read_frame(
            packet.data,
            link_type=packet.link_type,
            time_ns=packet.time_ns,
            interface_index=packet.interface,
            ports=self.ports,
            wire_length=packet.original_length,
            tunnels=self.tunnels,
        )
        if found is None:
            if not self.tunnels and (name := tunnel_name(packet.data, packet.link_type)) is not None:
                self.seen.tunnels[name] += 1
            return None
        counters = self.counters
        if isinstance(found, KernelCounter):
            counters[found] += 1
            return None
        counters[
            KernelCounter.PACKETS_FROM_SERVER if found.attributes & _FROM_SERVER else KernelCounter.PACKETS_TO_SERVER
        ] += 1
        counters[KernelCounter.MATCHED] += 1
        counters[KernelCounter.SUBMITTED] += 1
        return found

    def finish(self, path: Path) -> None:
        """End a file; raises CaptureError where its packets were all of link types that cannot be read."""
        if self._unknown and not self.readable:
            types = ", ".join(f"{one} ({link_name(one)})" for one in sorted(self._unknown))
            what = f"its packets are of link type {types}, which cannot be read (Ethernet, IP and PPP can)"
            raise CaptureError(f"{display_name(path)}: {what}")


def read_records(
    path: Path,
    *,
    ports: Collection[int],
    counters: dict[KernelCounter, int] | list[int],
    progress: Progress | None = None,
    tunnels: bool = False,
    seen: Seen | None = None,
) -> Iterator[bytes]:
    """Yield the records of a capture file, byte for byte as a ring would carry them.

    `counters` is indexed by `KernelCounter` and kept as the kernel program keeps its own; `tunnels`
    looks into tunnels. Raises what `read_packets` and `SegmentReader.finish` do.
    """
    segments = SegmentReader(ports, counters, tunnels=tunnels, seen=seen)
    for packet in read_packets(path, progress=progress):
        segment = segments.segment(segments.unwrap(packet))
        if segment is not None:
            yield pack_record(segment)
    segments.finish(path)
