# cython: boundscheck=True, wraparound=False, initializedcheck=False
"""The compiled loop over the packets of a capture file: from raw bytes to the rows of a block.

It does what `inspector.capture.pcap`, `inspector.capture.pcapng` and `inspector.wire.frame` do for packets in which
nothing is unusual, and stops before the first unusual packet. Every access to the file's bytes is checked against their
length, at the price of a comparison. Without a C compiler the module runs as it is, slowly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cython
import numpy as np

from inspector.capture import layout
from inspector.capture.triage import Triage

if TYPE_CHECKING:
    import numpy.typing as npt


class Scan(Triage):
    """The state of the loop.

    `at` is the offset of the next packet, `count` the number of rows written, `time_ns` the time of the last packet;
    `packets`, `to_server` and `from_server` count packets, the last two those of interest, with or without a record.
    With `flows` the loop follows that many connections (see `Triage`), and stops before time reaches `due`. After
    `keep_followed` it writes packets which are not of a healthy one to `followed_rows`, too, of which
    `followed_count` are in use; otherwise it stops before each. `clients` and `secret` are those of an earlier run.
    """

    def __init__(
        self,
        ports: npt.NDArray[np.uint8],
        *,
        flows: int = 0,
        clients: npt.NDArray[np.uint8] | None = None,
        secret: int = 0,
    ) -> None:
        Triage.__init__(self, flows, clients, secret)
        self.ports = np.bitwise_and(ports, layout.OF_INTEREST).data
        self.udp_ports = ports.data
        self.follows = flows > 0
        self.time_due = 0
        self.at = self.packets = self.to_server = self.from_server = self.time_ns = 0
        self.interfaces = self.first_interface = 0
        self.classic = self.big_endian = False

    def run(self, data: memoryview, table: npt.NDArray[np.int64], rows: npt.NDArray[np.uint64]) -> int:
        """Read packets from the start of `data` on, and write rows from `count` on; return why it stopped.

        ROWS_FULL: there is no room for rows or events. TIME_DUE: time would reach `due`, and be `time_due`. PACKET:
        before a packet that is unusual, or not whole. `table` has the interfaces. `at` and the counts of packets are
        those of this call.
        """
        self.at = self.packets = self.to_server = self.from_server = 0
        self.size = len(data)
        if self.size < layout.SLACK:
            return layout.PACKET
        # An offset at which one byte may be read is one at which eight bytes are there.
        self.data = data[: self.size - layout.SLACK + 1]
        if not cython.compiled:
            self.whole = data
        self.table = table.data
        self.rows = rows.data
        self.octets = rows.view("u1").data
        try:
            with cython.nogil:
                stopped = self.loop()
            return int(stopped)
        finally:
            self.data = self.table = self.rows = self.octets = None

    def read_one(
        self,
        frame: bytes,
        table: npt.NDArray[np.int64],
        rows: npt.NDArray[np.uint64],
        time_ns: int,
        interface: int,
    ) -> bool:
        """Read a single frame, as `run` does; return whether that was possible. `table` has its link type."""
        self.to_server = self.from_server = 0
        data = frame + bytes(layout.SLACK)
        self.data = data[: len(frame) + 1]
        if not cython.compiled:
            self.whole = data
        self.table = table.data
        self.rows = rows.data
        self.octets = rows.view("u1").data
        first, self.first_interface = self.first_interface, interface
        try:
            done = self.read_frame(0, len(frame), 0, time_ns)
        finally:
            self.data = self.table = self.rows = self.octets = None
            self.first_interface = first
        if done == layout.UNUSUAL:
            return False
        self.frame += 1
        self.count += done == layout.WRITTEN
        return True

    def read_number(self, at: int) -> int:
        """Return a 32-bit number in the file's byte order."""
        return self.read_32_big(at) if self.big_endian else self.read_32(at)

    def loop(self) -> int:
        """Do what `run` says."""
        number = cython.cast(cython.longlong, 0)
        while (
            self.count < self.rows.shape[0]
            and self.event_count < layout.EVENTS - 4
            and self.followed_count < self.followed_limit
        ):
            at = self.at
            left = self.size - at
            if self.classic:
                if left < layout.CLASSIC_HEADER + layout.SLACK:
                    return layout.PACKET
                ticks = self.read_number(at) * self.table[0, layout.SECOND] + self.read_number(at + 4)
                length = self.read_number(at + 8)
                frame = at + layout.CLASSIC_HEADER
                total = layout.CLASSIC_HEADER + length
            else:
                if left < layout.BLOCK_OVERHEAD + layout.SLACK or self.read_number(at) != layout.ENHANCED_PACKET:
                    return layout.PACKET
                total = self.read_number(at + 4)
                number = self.read_number(at + 8)
                high = self.read_number(at + 12)
                # Such times are beyond what any clock says.
                if high > layout.HIGHEST_TICKS:
                    return layout.PACKET
                ticks = high << 32 | self.read_number(at + 16)
                length = self.read_number(at + 20)
                frame = at + layout.ENHANCED_HEADER
                if total & 3 or total > layout.MAXIMUM_PIECE or length + layout.BLOCK_OVERHEAD > total:
                    return layout.PACKET
                if total + layout.SLACK > left:
                    return layout.PACKET
                if number >= self.interfaces or self.read_number(at + total - 4) != total:
                    return layout.PACKET
            if (
                length > layout.MAXIMUM_PIECE
                or total + layout.SLACK > left
                or ticks > self.table[number, layout.LAST_TICK]
            ):
                return layout.PACKET
            time_ns = ticks * self.table[number, layout.NANOSECONDS]
            if self.frame >= self.known_frames:
                self.everything = True
            if self.follows and time_ns > self.latest:
                if time_ns > layout.LATEST_TIME:
                    return layout.PACKET
                if time_ns >= self.due:
                    self.time_due = time_ns
                    return layout.TIME_DUE
                self.latest = time_ns
            done = self.read_frame(frame, length, number, time_ns)
            if done == layout.UNUSUAL:
                return layout.PACKET
            self.packets += 1
            self.frame += 1
            self.time_ns = time_ns
            if done == layout.WRITTEN:
                self.count += 1
            self.at = at + total
        return layout.ROWS_FULL

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
        """Return whether a UDP header can be read and neither port is of interest, or of tunnels."""
        if frame_end < at + 8 or at + 8 > end:
            return 0
        length = self.read_16_big(at + 4)
        if length and (length < 8 or at + length > end):
            return 0
        return not (self.udp_ports[self.read_16_big(at)] or self.udp_ports[self.read_16_big(at + 2)])

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
            return self.read_segment(at, network, transport, frame_end, end, attributes, interface, time_ns)
        if self.follows and protocol in (layout.ICMP, layout.ICMP6):
            return self.read_error(transport, frame_end, attributes)
        # These may be tunnels; those over UDP have a port of their own.
        if protocol in (4, 41, 47):
            return layout.UNUSUAL
        if protocol == layout.UDP and not self.is_datagram_of_others(transport, frame_end, end):
            return layout.UNUSUAL
        return layout.SKIPPED

    def read_error(self, at: int, frame_end: int, attributes: int) -> int:
        """Leave ICMP errors to Python: those of RFC 792 that quote a packet, and all of RFC 4443."""
        if frame_end < at + 8:
            return layout.SKIPPED
        kind = self.read_8(at)
        if attributes & layout.OF_IPV6:
            return layout.UNUSUAL if kind < 128 else layout.SKIPPED
        return layout.UNUSUAL if kind in (3, 11, 12) else layout.SKIPPED

    def read_segment(
        self,
        frame: int,
        network: int,
        transport: int,
        frame_end: int,
        end: int,
        attributes: int,
        interface: int,
        time_ns: int,
    ) -> int:
        """Read a TCP segment; `end` is where the IP header says that the packet ends."""
        if frame_end < transport + 20:
            return layout.UNUSUAL
        payload = transport + (self.read_8(transport + 12) >> 4) * 4
        if payload < transport + 20 or payload > frame_end or payload > end:
            return layout.UNUSUAL
        payload_length = end - payload
        captured = min(payload_length, frame_end - payload)
        if self.follows:
            self.select(network, transport, attributes, time_ns)
            self.payload_at = payload
            self.payload_length = payload_length
            self.captured = captured
            found = self.classify()
            if self.survey or found == layout.OF_OTHERS:
                return layout.SKIPPED
            if captured > (self.rows.shape[1] - layout.ROW_PAYLOAD) * 8:
                return layout.UNUSUAL
            if found == layout.FOR_PYTHON:
                if self.followed_limit == 1:
                    return layout.UNUSUAL
                self.write_row(network, transport, payload, payload_length, captured, attributes, interface, time_ns)
                self.write_followed(frame_end - frame, captured, time_ns)
        if not self.ports[self.read_16_big(transport + 2)]:
            if not self.ports[self.read_16_big(transport)]:
                return layout.SKIPPED
            attributes |= layout.FROM_SERVER
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

    def select(self, network: int, transport: int, attributes: int, time_ns: int) -> int:
        """Note what a segment's headers say, for its triage."""
        self.time = time_ns
        if attributes & layout.OF_IPV6:
            self.source_high = self.read_64(network + 8)
            self.source_low = self.read_64(network + 16)
            self.destination_high = self.read_64(network + 24)
            self.destination_low = self.read_64(network + 32)
            self.hop_limit = self.read_8(network + 7)
        else:
            self.source_high = self.destination_high = 0
            self.source_low = self.joined(layout.MAPPED, self.read_32(network + 12))
            self.destination_low = self.joined(layout.MAPPED, self.read_32(network + 16))
            self.hop_limit = self.read_8(network + 8)
        self.source_port = self.read_16_big(transport)
        self.destination_port = self.read_16_big(transport + 2)
        self.sequence = self.read_32_big(transport + 4)
        self.acknowledgment = self.read_32_big(transport + 8)
        self.tcp_flags = self.read_8(transport + 13)
        return 0
