"""A block of records that is filled from a capture file: by compiled code as far as it comes, then one by one."""

from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING, Final

import numpy as np

from inspector.capture import layout
from inspector.capture.pcap import ClassicReader
from inspector.capture.scan import Scan
from inspector.record import Attribute, KernelCounter, pack_record
from inspector.wire.encapsulation import CARRIER_PORTS
from inspector.wire.frame import LinkType
from inspector.wire.headers import Header

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy.typing as npt

    from inspector.capture.packet import Packet
    from inspector.capture.pcap import SegmentReader
    from inspector.capture.pcapng import CaptureInterface, PcapngReader, Section
    from inspector.capture.stored import PieceReader
    from inspector.model import Segment

ROWS: Final = 1024
"""Records in a block at most."""

WORDS: Final = 193
"""64-bit words of a row: one that means nothing, 9 of header, 1464 bytes of payload, as an Ethernet frame has."""

_HEADER: Final = 8
_NANOSECONDS: Final = 1_000_000_000
_LATEST: Final = 2**63 - 1
_PORTS: Final = 65536
# A row for the tracker: number, time, addresses, sequence numbers, ports, lengths, flags, attributes, interface, hop
# limit, and length of the frame.
_FOLLOWED: Final = struct.Struct("=QQ16s16sIIHHIHBBIII")
# Of the link types whose frames compiled code reads: offset of the ethertype, and of what that names.
_LINKS: Final = {
    int(LinkType.ETHERNET): (12, 14),
    int(LinkType.LINUX_SLL): (14, 16),
    int(LinkType.LINUX_SLL2): (0, 20),
    int(LinkType.RAW): (layout.BY_VERSION, 0),
    int(LinkType.RAW_BSD): (layout.BY_VERSION, 0),
    int(LinkType.RAW_OPENBSD): (layout.BY_VERSION, 0),
}


class Scanner:
    """Reads a file's packets into the rows of blocks, which are used again and again, each in its turn.

    What it reads is noted in `segments`, which also says what is of interest. `loop` may be one that follows
    connections.
    """

    def __init__(self, segments: SegmentReader, blocks: int = 1, loop: Scan | None = None) -> None:
        self._segments = segments
        self._blocks = itertools.cycle([np.zeros((ROWS, WORDS), np.uint64) for _ in range(blocks)])
        self._block = next(self._blocks)
        self.loop = loop or Scan(port_flags(segments.ports))
        self._interfaces = np.zeros((1, layout.INTERFACE_WORDS), np.int64)
        self._section: Section | None = None
        self._known = 0

    def __len__(self) -> int:
        """How many records the block holds."""
        return int(self.loop.count)

    def take(self) -> npt.NDArray[np.uint64]:
        """Return the records so far, uint64[n, WORDS], valid until the block's next turn; another one begins."""
        taken = self._block[: len(self)]
        self.loop.count = 0
        self._block = next(self._blocks)
        return taken

    def read_packet(self, packet: Packet) -> bool:
        """Read a packet that stood at the end of what was read of the file; return whether compiled code could."""
        before = len(self)
        if packet.link_type not in _LINKS or before == len(self._block) or packet.time_ns > layout.LATEST_TIME:
            return False
        if self.loop.followed_count >= self.loop.followed_limit:
            return False
        table = np.array([_interface(packet.link_type, 1)], np.int64)
        if not self.loop.read_one(bytes(packet.data), table, self._block, packet.time_ns, packet.interface):
            return False
        self.loop.time_ns = packet.time_ns
        self._note(len(self) - before)
        return True

    def take_events(self) -> list[list[int]]:
        """Return what happened so far, rows as in `inspector.capture.layout`."""
        count = int(self.loop.event_count)
        self.loop.event_count = 0
        events: list[list[int]] = self.loop.event_rows[:count].tolist()
        return events

    def count_packet(self) -> int:
        """Count a packet that is not read in compiled code; return its number in the file."""
        self.loop.frame += 1
        return int(self.loop.frame)

    def keep_followed(self) -> None:
        """Keep packets for the tracker instead of stopping before each."""
        self.loop.keep_followed(np.zeros((layout.FOLLOWED, WORDS), np.uint64))

    def take_followed(self) -> list[Header]:
        """Return the packets for the tracker so far."""
        count = int(self.loop.followed_count)
        self.loop.followed_count = 0
        rows = self.loop.followed_rows
        if not count or rows is None:
            return []
        octets = rows[:count].view(np.uint8)
        found = []
        for number, row in enumerate(_FOLLOWED.iter_unpack(octets[:, : _FOLLOWED.size].tobytes())):
            frame, time_ns, source, destination, sequence, acknowledgment, ports, to_port, length, captured = row[:10]
            flags, _, _, hop_limit, frame_length = row[10:]
            payload = octets[number, _FOLLOWED.size : _FOLLOWED.size + captured].tobytes() if captured else b""
            found.append(
                Header(
                    time_ns, frame, source, destination, ports, to_port, sequence, acknowledgment, flags, hop_limit,
                    length, frame_length, payload,
                )
            )  # fmt: skip
        return found

    def add(self, segment: Segment) -> bool:
        """Append the record of the packet that was counted last, if it fits; one from a tunnel never does."""
        count, record = len(self), pack_record(segment)
        if count == len(self._block) or segment.attributes & Attribute.TUNNELLED:
            return False
        if _HEADER + len(record) > WORDS * 8:
            return False
        self._block[count, layout.ROW_FRAME] = self.loop.frame
        self._block[count].view(np.uint8)[_HEADER : _HEADER + len(record)] = np.frombuffer(record, np.uint8)
        self.loop.count += 1
        return True

    def scan(self, pieces: PieceReader, reader: ClassicReader | PcapngReader) -> int:
        """Read packets until the block is full, or one comes that `reader` must read; return why, as `Scan.run`."""
        ahead, before = pieces.ahead(), len(self)
        if not ahead or before == len(self._block):
            return layout.ROWS_FULL if before == len(self._block) else layout.PACKET
        self._describe(reader)
        stopped = self.loop.run(ahead, self._interfaces, self._block)
        pieces.skip(int(self.loop.at))
        if self.loop.packets:
            self._note(len(self) - before)
        return int(stopped)

    def _note(self, records: int) -> None:
        """Note what was read, as if it had been read one by one."""
        counters = self._segments.counters
        counters[KernelCounter.PACKETS_TO_SERVER] += int(self.loop.to_server)
        counters[KernelCounter.PACKETS_FROM_SERVER] += int(self.loop.from_server)
        counters[KernelCounter.MATCHED] += records
        counters[KernelCounter.SUBMITTED] += records
        self._segments.readable = True
        self._segments.seen.latest_ns = max(self._segments.seen.latest_ns, int(self.loop.time_ns))
        if self._section is not None:
            self._section.time_ns = int(self.loop.time_ns)

    def _describe(self, reader: ClassicReader | PcapngReader) -> None:
        """Tell the loop what format the file is of, and what its interfaces are."""
        scan = self.loop
        if isinstance(reader, ClassicReader):
            if not self._known:
                self._known = 1
                scan.classic, scan.big_endian, scan.first_interface = True, reader.order == ">", 0
                self._interfaces[0] = _interface(reader.link_type, reader.unit)
            return
        section = reader.section
        if section is not self._section:
            self._section, self._known = section, 0
            scan.classic, scan.big_endian = False, section.order == ">"
            scan.first_interface = section.first_interface
        count = len(section.interfaces)
        if count > self._known:
            if count > len(self._interfaces):
                more = np.zeros((2 * count, layout.INTERFACE_WORDS), np.int64)
                more[: self._known] = self._interfaces[: self._known]
                self._interfaces = more
            for number in range(self._known, count):
                self._interfaces[number] = _interface_of(section.interfaces[number])
            self._known = count
        scan.interfaces = count


def port_flags(ports: Collection[int]) -> npt.NDArray[np.uint8]:
    """Return what each port number is: OF_INTEREST, OF_TUNNELS, both, or 0."""
    flags = np.zeros(_PORTS, np.uint8)
    flags[list(CARRIER_PORTS)] = layout.OF_TUNNELS
    flags[list(ports)] |= layout.OF_INTEREST
    return flags


def _interface_of(interface: CaptureInterface) -> tuple[int, int, int, int, int]:
    """Return the row of a pcapng interface: compiled code reads clocks whose ticks are whole nanoseconds."""
    if interface.offset or _NANOSECONDS % interface.units:
        return 0, 0, 0, -1, 0
    return _interface(interface.link_type, _NANOSECONDS // interface.units)


def _interface(link_type: int, unit_ns: int) -> tuple[int, int, int, int, int]:
    """Return the row of an interface whose ticks are of `unit_ns`."""
    if link_type not in _LINKS:
        return 0, 0, 0, -1, 0
    return *_LINKS[link_type], unit_ns, _LATEST // unit_ns, _NANOSECONDS // unit_ns
