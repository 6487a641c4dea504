# cython: boundscheck=True, wraparound=False, initializedcheck=False
"""The compiled loop over the packets of a capture file: from raw bytes to the rows of a block.

It does what `inspector.capture.pcap`, `inspector.capture.pcapng` and `inspector.wire.frame` do for packets in which
nothing is unusual, and stops before the first unusual packet. Every access to the file's bytes is checked against their
length, at the price of a comparison. Without a C compiler the module runs as it is, slowly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cython

from inspector.capture import layout
from inspector.decode import hints

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def joined(low: int, high: int) -> int:
    """Return a 64-bit number of its halves."""
    return cython.cast(cython.ulonglong, low) | cython.cast(cython.ulonglong, high) << 32


class Scan:
    """The state of the loop.

    `at` is the offset of the next packet, `count` the number of rows written, `time` the time of the last packet;
    `packets`, `to_server` and `from_server` count packets, the last two those of interest, with or without a record.
    """

    def __init__(self, ports: npt.NDArray[np.uint8]) -> None:
        self.ports = ports.data
        self.at = self.count = self.packets = self.to_server = self.from_server = self.time = 0
        self.interfaces = self.first_interface = 0
        self.classic = self.big_endian = False

    def run(self, data: memoryview, table: npt.NDArray[np.int64], rows: npt.NDArray[np.uint64]) -> bool:
        """Read packets from the start of `data` on, and write rows from `count` on; return whether the rows are full.

        It stops before a packet that is unusual or not whole. `table` has the interfaces. `at` and the counts of
        packets are those of this call.
        """
        self.at = self.packets = self.to_server = self.from_server = 0
        self.size = len(data)
        if self.size < layout.SLACK:
            return False
        # An offset at which one byte may be read is one at which eight bytes are there.
        self.data = data[: self.size - layout.SLACK + 1]
        if not cython.compiled:
            self.whole = data
        self.table = table.data
        self.rows = rows.data
        self.octets = rows.view("u1").data
        try:
            with cython.nogil:
                full = self.loop()
            return bool(full)
        finally:
            self.data = self.table = self.rows = self.octets = None

    def read_8(self, at: int) -> int:
        """Return the 8-bit number at an offset."""
        return self.data[at]

    def read_16_big(self, at: int) -> int:
        """Return the big-endian 16-bit number at an offset."""
        if cython.compiled:
            value = hints.short_at(cython.address(self.data[at]), 0)
            return (value & 0xFF) << 8 | value >> 8
        return self.read_32_big(at) >> 16

    def read_32(self, at: int) -> int:
        """Return the little-endian 32-bit number at an offset."""
        if cython.compiled:
            return hints.long_at(cython.address(self.data[at]), 0)
        return self.read_64(at) & 0xFFFFFFFF

    def read_32_big(self, at: int) -> int:
        """Return the big-endian 32-bit number at an offset."""
        value = cython.cast(cython.uint, self.read_32(at))
        return (value & 0xFF) << 24 | (value >> 8 & 0xFF) << 16 | (value >> 16 & 0xFF) << 8 | value >> 24

    def read_64(self, at: int) -> int:
        """Return the little-endian 64-bit number at an offset."""
        if cython.compiled:
            return hints.hyper_at(cython.address(self.data[at]), 0)
        else:  # noqa: RET505 - compiled code has no second branch
            if not 0 <= at < len(self.data):
                raise IndexError(at)
            return hints.hyper_at(self.whole, at)

    def read_number(self, at: int) -> int:
        """Return a 32-bit number in the file's byte order."""
        return self.read_32_big(at) if self.big_endian else self.read_32(at)

    def loop(self) -> int:
        """Do what `run` says."""
        number = cython.cast(cython.longlong, 0)
        while self.count < self.rows.shape[0]:
            at = self.at
            left = self.size - at
            if self.classic:
                if left < layout.CLASSIC_HEADER + layout.SLACK:
                    return 0
                ticks = self.read_number(at) * self.table[0, layout.SECOND] + self.read_number(at + 4)
                length = self.read_number(at + 8)
                frame = at + layout.CLASSIC_HEADER
                total = layout.CLASSIC_HEADER + length
            else:
                if left < layout.BLOCK_OVERHEAD + layout.SLACK or self.read_number(at) != layout.ENHANCED_PACKET:
                    return 0
                total = self.read_number(at + 4)
                number = self.read_number(at + 8)
                high = self.read_number(at + 12)
                # Such times are beyond what any clock says.
                if high > layout.HIGHEST_TICKS:
                    return 0
                ticks = high << 32 | self.read_number(at + 16)
                length = self.read_number(at + 20)
                frame = at + layout.ENHANCED_HEADER
                if total & 3 or total > layout.MAXIMUM_PIECE or length + layout.BLOCK_OVERHEAD > total:
                    return 0
                if total + layout.SLACK > left:
                    return 0
                if number >= self.interfaces or self.read_number(at + total - 4) != total:
                    return 0
            if (
                length > layout.MAXIMUM_PIECE
                or total + layout.SLACK > left
                or ticks > self.table[number, layout.LAST_TICK]
            ):
                return 0
            time_ns = ticks * self.table[number, layout.NANOSECONDS]
            done = self.read_frame(frame, length, number, time_ns)
            if done == layout.UNUSUAL:
                return 0
            self.packets += 1
            self.time = time_ns
            if done == layout.WRITTEN:
                self.count += 1
            self.at = at + total
        return 1

    def network_at(self, at: int, length: int, number: int) -> int:
        """Return offset and ethertype of the network header, offset << 16; or SKIPPED, or UNUSUAL."""
        ethertype_at = self.table[number, layout.LINK_ETHERTYPE_AT]
        network = self.table[number, layout.LINK_NETWORK_AT]
        if ethertype_at == layout.BY_VERSION:
            if length == 0:
                return layout.UNUSUAL
            version = self.read_8(at) >> 4
            if version == 4:
                return at << 16 | layout.IPV4
            return at << 16 | layout.IPV6 if version == 6 else layout.UNUSUAL
        if length < network:
            return layout.SKIPPED
        ethertype = self.read_16_big(at + ethertype_at)
        for _ in range(2):
            if ethertype not in (layout.VLAN, layout.VLAN_SERVICE, layout.VLAN_OLD):
                break
            if length < network + 4:
                return layout.SKIPPED
            ethertype = self.read_16_big(at + network + 2)
            network += 4
        if ethertype not in (layout.IPV4, layout.IPV6):
            # What may carry IP is read by `inspector.wire.encapsulation`.
            if ethertype < layout.LOWEST_TYPE or ethertype in (
                layout.VLAN,
                layout.VLAN_SERVICE,
                layout.VLAN_OLD,
                layout.MPLS,
                layout.MPLS_UPSTREAM,
                layout.PPPOE,
                layout.PBB,
            ):
                return layout.UNUSUAL
            return layout.SKIPPED
        return (at + network) << 16 | ethertype

    def transport_at(self, at: int, frame_end: int, ethertype: int) -> int:
        """Return the offset of a transport header << 8 and its protocol; UNUSUAL: fragments, extension headers."""
        if ethertype == layout.IPV4:
            if frame_end < at + 20:
                return layout.UNUSUAL
            first = self.read_8(at)
            transport = at + (first & 15) * 4
            if first >> 4 != 4 or transport < at + 20 or transport > frame_end:
                return layout.UNUSUAL
            if self.read_16_big(at + 6) & 0x3FFF or at + self.read_16_big(at + 2) < transport:
                return layout.UNUSUAL
            return transport << 8 | self.read_8(at + 9)
        if frame_end < at + 40 or self.read_8(at) >> 4 != 6:
            return layout.UNUSUAL
        protocol = self.read_8(at + 6)
        # Extension headers which `inspector.wire.frame` follows.
        if protocol in (0, 43, 44, 51, 60, 135):
            return layout.UNUSUAL
        return (at + 40) << 8 | protocol

    def is_datagram_of_others(self, at: int, frame_end: int, end: int) -> int:
        """Return whether a UDP header can be read and neither port is of interest."""
        if frame_end < at + 8 or at + 8 > end:
            return 0
        length = self.read_16_big(at + 4)
        if length and (length < 8 or at + length > end):
            return 0
        return not (self.ports[self.read_16_big(at)] or self.ports[self.read_16_big(at + 2)])

    def read_frame(self, at: int, length: int, number: int, time_ns: int) -> int:
        """Read a frame of `length` bytes, as `inspector.wire.frame.read_frame` does: SKIPPED, WRITTEN or UNUSUAL."""
        frame_end = at + length
        found = self.network_at(at, length, number)
        if found <= layout.UNUSUAL:
            return found
        network = found >> 16
        ethertype = found & 0xFFFF
        found = self.transport_at(network, frame_end, ethertype)
        if found == layout.UNUSUAL:
            return layout.UNUSUAL
        transport = found >> 8
        protocol = found & 0xFF
        attributes = cython.cast(cython.longlong, 0)
        if ethertype == layout.IPV4:
            end = network + self.read_16_big(network + 2)
        else:
            end = network + 40 + self.read_16_big(network + 4)
            attributes = layout.OF_IPV6
        if protocol == layout.TCP:
            interface = self.first_interface + number
            return self.read_segment(network, transport, frame_end, end, attributes, interface, time_ns)
        # These are tunnels; those over UDP have a port in `ports`.
        if protocol in (4, 41, 47):
            return layout.UNUSUAL
        if protocol == layout.UDP and not self.is_datagram_of_others(transport, frame_end, end):
            return layout.UNUSUAL
        return layout.SKIPPED

    def read_segment(
        self, network: int, transport: int, frame_end: int, end: int, attributes: int, interface: int, time_ns: int
    ) -> int:
        """Read a TCP segment; `end` is where the IP header says that the packet ends."""
        if frame_end < transport + 20:
            return layout.UNUSUAL
        payload = transport + (self.read_8(transport + 12) >> 4) * 4
        if payload < transport + 20 or payload > frame_end or payload > end:
            return layout.UNUSUAL
        if not self.ports[self.read_16_big(transport + 2)] & layout.OF_INTEREST:
            if not self.ports[self.read_16_big(transport)] & layout.OF_INTEREST:
                return layout.SKIPPED
            attributes |= layout.FROM_SERVER
        payload_length = end - payload
        captured = min(payload_length, frame_end - payload)
        if captured > (self.rows.shape[1] - layout.ROW_PAYLOAD) * 8:
            return layout.UNUSUAL
        if attributes & layout.FROM_SERVER:
            self.from_server += 1
        else:
            self.to_server += 1
        if payload_length == 0 and not self.read_8(transport + 13) & layout.FIN_SYN_RST:
            return layout.SKIPPED
        self.write_row(network, transport, payload, payload_length, captured, attributes, interface, time_ns)
        return layout.WRITTEN

    def write_row(
        self,
        network: int,
        transport: int,
        payload: int,
        payload_length: int,
        captured: int,
        attributes: int,
        interface: int,
        time_ns: int,
    ) -> int:
        """Write a record: header and payload."""
        number = self.count
        self.rows[number, layout.ROW_TIME] = time_ns
        if attributes & layout.OF_IPV6:
            for word in range(4):
                self.rows[number, layout.ROW_SOURCE + word] = self.read_64(network + 8 + 8 * word)
        else:
            self.rows[number, layout.ROW_SOURCE] = 0
            self.rows[number, layout.ROW_SOURCE + 1] = joined(layout.MAPPED, self.read_32(network + 12))
            self.rows[number, layout.ROW_DESTINATION] = 0
            self.rows[number, layout.ROW_DESTINATION + 1] = joined(layout.MAPPED, self.read_32(network + 16))
        sequence = self.read_32_big(transport + 4)
        self.rows[number, layout.ROW_SEQUENCES] = joined(sequence, self.read_32_big(transport + 8))
        ports = self.read_16_big(transport) | self.read_16_big(transport + 2) << 16
        self.rows[number, layout.ROW_PORTS] = joined(ports, payload_length)
        flags = captured | self.read_8(transport + 13) << 16 | attributes << 24
        self.rows[number, layout.ROW_LENGTHS] = joined(flags, interface)
        self.rows[number, layout.ROW_HOP_LIMIT] = self.read_8(network + (7 if attributes & layout.OF_IPV6 else 8))
        if captured:
            self.copy(number, payload, captured)
        return 0

    def copy(self, number: int, at: int, count: int) -> int:
        """Copy bytes from `at` on to the payload of a row. Copying the last one first checks both ends."""
        start = 8 * layout.ROW_PAYLOAD
        self.octets[number, start + count - 1] = self.data[at + count - 1]
        if cython.compiled:
            hints.copy(cython.address(self.octets[number, start]), cython.address(self.data[at]), count - 1)
        else:
            for offset in range(count - 1):
                self.octets[number, start + offset] = self.data[at + offset]
        return 0
