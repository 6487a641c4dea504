"""A block of records that is filled from a capture file: by compiled code as far as it comes, then one by one."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import numpy as np

from inspector.capture import layout
from inspector.capture.pcap import ClassicReader
from inspector.capture.scan import Scan
from inspector.record import Attribute, KernelCounter, pack_record
from inspector.wire.encapsulation import CARRIER_PORTS
from inspector.wire.frame import LinkType

if TYPE_CHECKING:
    import numpy.typing as npt

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

    What it reads is noted in `segments`, which also says what is of interest.
    """

    def __init__(self, segments: SegmentReader, blocks: int = 1) -> None:
        self._segments = segments
        ports = np.zeros(_PORTS, np.uint8)
        ports[list(CARRIER_PORTS)] = layout.OF_TUNNELS
        ports[list(segments.ports)] |= layout.OF_INTEREST
        self._blocks = itertools.cycle([np.zeros((ROWS, WORDS), np.uint64) for _ in range(blocks)])
        self._block = next(self._blocks)
        self._scan = Scan(ports)
        self._interfaces = np.zeros((1, layout.INTERFACE_WORDS), np.int64)
        self._section: Section | None = None
        self._known = 0

    def __len__(self) -> int:
        """How many records the block holds."""
        return int(self._scan.count)

    def take(self) -> npt.NDArray[np.uint64]:
        """Return the records so far, uint64[n, WORDS], valid until the block's next turn; another one begins."""
        taken = self._block[: len(self)]
        self._scan.count = 0
        self._block = next(self._blocks)
        return taken

    def add(self, segment: Segment) -> bool:
        """Append one record, if it fits; one which came through a tunnel never does."""
        count, record = len(self), pack_record(segment)
        if count == len(self._block) or segment.attributes & Attribute.TUNNELLED:
            return False
        if _HEADER + len(record) > WORDS * 8:
            return False
        self._block[count].view(np.uint8)[_HEADER : _HEADER + len(record)] = np.frombuffer(record, np.uint8)
        self._scan.count += 1
        return True

    def scan(self, pieces: PieceReader, reader: ClassicReader | PcapngReader) -> bool:
        """Read packets until the block is full, which is said by True, or one comes that `reader` must read."""
        ahead, before = pieces.ahead(), len(self)
        if not ahead or before == len(self._block):
            return before == len(self._block)
        self._describe(reader)
        full = self._scan.run(ahead, self._interfaces, self._block)
        pieces.skip(int(self._scan.at))
        if self._scan.packets:
            self._note(len(self) - before)
        return bool(full)

    def _note(self, records: int) -> None:
        """Note what was read, as if it had been read one by one."""
        counters = self._segments.counters
        counters[KernelCounter.PACKETS_TO_SERVER] += int(self._scan.to_server)
        counters[KernelCounter.PACKETS_FROM_SERVER] += int(self._scan.from_server)
        counters[KernelCounter.MATCHED] += records
        counters[KernelCounter.SUBMITTED] += records
        self._segments.readable = True
        self._segments.seen.latest_ns = max(self._segments.seen.latest_ns, int(self._scan.time))
        if self._section is not None:
            self._section.time_ns = int(self._scan.time)

    def _describe(self, reader: ClassicReader | PcapngReader) -> None:
        """Tell the loop what format the file is of, and what its interfaces are."""
        scan = self._scan
        if isinstance(reader, ClassicReader):
            if not self._known:
                self._known = 1
                scan.classic, scan.big_endian = True, reader.order == ">"
                self._interfaces[0] = _interface(reader.link_type, reader.unit)
            return
        section = reader.section
        if section is not self._section:
            self._section, self._known = section, 0
            scan.big_endian, scan.first_interface = section.order == ">", section.first_interface
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
