"""Follow-ups in captured frames: which packets of connections to endpoints are recorded. The twin of bpf/epm_follow.h.

An endpoint is an address and a port which an answer of an endpoint mapper offered, or a high port of an address that
answered as an endpoint mapper, to which a client opened a connection. Of its connections SYN, FIN, RST and segments
whose first PDU opens or refuses an association (C706 section 12.6.4) are recorded. ICMP errors (RFC 792, RFC 4443)
that quote a packet of an endpoint mapper or of an endpoint are recorded with what they quote. The kernel program has
a budget for errors, and forgets what was not used for longest; a file is bounded by itself, so here the oldest goes.
"""

from __future__ import annotations

import struct
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from inspector.model import Segment
from inspector.protocols import ACK, FIN, RST, SYN
from inspector.record import ENDPOINTS, FLOWS, LOWEST_ENDPOINT, SERVERS, Attribute, KernelCounter
from inspector.wire.addresses import read_addresses

if TYPE_CHECKING:
    from collections.abc import Collection

OPENING_PDUS: Final = frozenset({3, 11, 12, 13, 14, 15, 16})
"""PDU types: fault, bind, bind_ack, bind_nak, alter_context and its response, auth3."""

_TCP: Final = 6
_ICMP: Final = 1
_ICMPV6: Final = 58
ICMP_PROTOCOLS: Final = frozenset({_ICMP, _ICMPV6})
_UNREACHABLE, _TIME_EXCEEDED = 3, 11
_TOO_BIG: Final = 2
_FRAGMENTATION_NEEDED: Final = 4
_ERRORS: Final = {_ICMP: frozenset({_UNREACHABLE, _TIME_EXCEEDED}), _ICMPV6: frozenset({1, _TOO_BIG, 3})}
_OFFSET: Final = 0x1FFF
_QUOTED_IPV4: Final = struct.Struct(">BxxxxxHxB")
_QUOTED_TCP: Final = struct.Struct(">HHI")
_ICMP_HEADER: Final = struct.Struct(">BBxxI")
_ERROR: Final = struct.Struct("=16sBBxxI")

_FROM_SERVER: Final = int(Attribute.FROM_SERVER)
_IS_IPV6: Final = int(Attribute.IPV6)
_IS_UDP: Final = int(Attribute.UDP)
_TUNNELLED: Final = int(Attribute.TUNNELLED)
_ENDPOINT: Final = int(Attribute.ENDPOINT)
_ICMP_ERROR: Final = int(Attribute.ICMP)
_FIN_SYN_RST: Final = FIN | SYN | RST

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

Endpoint = tuple[bytes, int]
"""Address, 16 bytes, and port."""
Flow = tuple[bytes, bytes, int, int]
"""Addresses of client and server, ports of client and server."""


class IcmpError(NamedTuple):
    """What the payload of a record with `Attribute.ICMP` says: struct epm_icmp_error."""

    reporter: bytes
    type: int
    code: int
    mtu: int


def pack_error(error: IcmpError) -> bytes:
    """Return the payload of an error's record."""
    return _ERROR.pack(*error)


def unpack_error(payload: bytes) -> IcmpError:
    """Return the error of which this is the record's payload; struct.error if it is too short."""
    return IcmpError(*_ERROR.unpack_from(payload))


def opens_association(payload: bytes) -> bool:
    """Say whether a payload starts with a PDU that opens or refuses an association."""
    return len(payload) > 3 and payload[0] == 5 and payload[1] == 0 and payload[2] in OPENING_PDUS


class FollowUps:
    """What is known of endpoints, in the order of a file's packets.

    `counted` has what the kernel program counts of its maps.
    """

    def __init__(self) -> None:
        self.counted: Counter[KernelCounter] = Counter()
        self._servers: OrderedDict[bytes, None] = OrderedDict()
        self._endpoints: OrderedDict[Endpoint, None] = OrderedDict()
        self._ports: set[int] = set()
        self._acknowledged: OrderedDict[Flow, int] = OrderedDict()

    def add(self, address: bytes, port: int) -> None:
        """Note an endpoint that was offered."""
        _note(self._endpoints, (address, port), None, ENDPOINTS)
        self._ports.add(port)

    def add_server(self, address: bytes) -> None:
        """Note an address of an endpoint mapper."""
        _note(self._servers, address, None, SERVERS)

    def acknowledged(self, flow: Flow) -> int | None:
        """Return what the client has acknowledged without payload at most, None if nothing is known."""
        return self._acknowledged.get(flow)

    def may_be_one(self, source_port: int, destination_port: int, flags: int) -> bool:
        """Say whether a TCP packet may be of a follow-up, by its ports, or because it opens a connection."""
        return bool(flags & SYN) or destination_port in self._ports or source_port in self._ports

    def check(self, segment: Segment) -> Segment | None:
        """Keep what matters of a segment; return it, with the side of an endpoint, or None if it is not recorded."""
        if segment.attributes & _ENDPOINT:
            return self._follow_up(segment)
        if not segment.attributes & _IS_UDP:
            self._note_served(segment)
        return segment

    def read_error(
        self,
        frame: bytes | memoryview,
        at: int,
        network: tuple[int, int, int, int],
        ports: Collection[int],
        time_and_interface: tuple[int, int],
    ) -> Segment | KernelCounter | None:
        """Return the record of an ICMP error, a counter, or None; `network` as in `inspector.wire.frame`."""
        protocol, icmp_at, end, attributes = network
        if (protocol == _ICMPV6) != bool(attributes & _IS_IPV6):
            return None
        if len(frame) < icmp_at + 8:
            return KernelCounter.UNREADABLE_HEADERS
        kind, code, rest = _ICMP_HEADER.unpack_from(frame, icmp_at)
        if kind not in _ERRORS[protocol]:
            return None
        tcp_at = _quoted_tcp(frame, icmp_at + 8, end, ipv6=protocol == _ICMPV6)
        if not tcp_at:
            return KernelCounter.UNREADABLE_HEADERS if tcp_at is None else None
        source_port, destination_port, sequence = _QUOTED_TCP.unpack_from(frame, tcp_at)
        source, destination = read_addresses(frame, icmp_at + 8, attributes)
        known = self._quoted((source, source_port), (destination, destination_port), ports)
        if known is None:
            return None
        reporter, _ = read_addresses(frame, at, attributes)
        payload = pack_error(IcmpError(reporter, kind, code, _mtu(protocol, kind, code, rest)))
        return Segment(
            time_and_interface[0],
            source,
            destination,
            sequence,
            0,
            source_port,
            destination_port,
            len(payload),
            0,
            attributes & ~_TUNNELLED | known | _ICMP_ERROR,
            time_and_interface[1],
            payload,
            None,
            frame[at + 7] if protocol == _ICMPV6 else frame[at + 8],
        )

    def _quoted(self, source: Endpoint, destination: Endpoint, ports: Collection[int]) -> int | None:
        """Return the attributes of a quoted packet, None if it is of no interest."""
        if destination[1] in ports:
            return 0
        if source[1] in ports:
            return _FROM_SERVER
        if destination[1] not in self._ports and source[1] not in self._ports:
            return None
        side = self._side(source, destination)
        return None if side is None else side | _ENDPOINT

    def _side(self, source: Endpoint, destination: Endpoint) -> int | None:
        """Return 0 where the destination is an endpoint, FROM_SERVER where the source is one, None without."""
        for endpoint, side in ((destination, 0), (source, _FROM_SERVER)):
            if endpoint in self._endpoints:
                self._endpoints.move_to_end(endpoint)
                return side
        return None

    def _follow_up(self, segment: Segment) -> Segment | None:
        flags = segment.tcp_flags
        if not flags & _FIN_SYN_RST and not opens_association(segment.payload):
            return None
        source = segment.source_address, segment.source_port
        destination = segment.destination_address, segment.destination_port
        side = self._side(source, destination)
        if side is None and flags & SYN:
            side = _FROM_SERVER if flags & ACK else 0
            address, port = source if side else destination
            if port < LOWEST_ENDPOINT or address not in self._servers:
                return None
            self._servers.move_to_end(address)
            self.add(address, port)
            self.counted[KernelCounter.ENDPOINTS_NOTED] += 1
        return None if side is None else segment._replace(attributes=segment.attributes | side)

    def _note_served(self, segment: Segment) -> None:
        """Note a server that answers, and what a client acknowledges without payload."""
        flags = segment.tcp_flags
        if segment.attributes & _FROM_SERVER:
            if flags & SYN or opens_association(segment.payload):
                address = segment.source_address
                if address not in self._servers:
                    self.counted[KernelCounter.SERVERS_NOTED] += 1
                self.add_server(address)
            return
        flow = segment.source_address, segment.destination_address, segment.source_port, segment.destination_port
        if flags & SYN:
            self._acknowledged.pop(flow, None)
        elif not segment.payload_length and flags & (ACK | FIN | RST) == ACK:
            known = self._acknowledged.get(flow)
            if known is None:
                self.counted[KernelCounter.FLOWS_NOTED] += 1
                _note(self._acknowledged, flow, segment.acknowledgment, FLOWS)
            elif 0 < (segment.acknowledgment - known) & 0xFFFFFFFF < 1 << 31:
                _note(self._acknowledged, flow, segment.acknowledgment, FLOWS)


def _note(known: OrderedDict[_Key, _Value], key: _Key, value: _Value, most: int) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > most:
        known.popitem(last=False)


def _mtu(protocol: int, kind: int, code: int, rest: int) -> int:
    """Return the next link's MTU, 0 if the error does not say it."""
    if protocol == _ICMPV6:
        return rest if kind == _TOO_BIG else 0
    return rest & 0xFFFF if (kind, code) == (_UNREACHABLE, _FRAGMENTATION_NEEDED) else 0


def _quoted_tcp(frame: bytes | memoryview, at: int, end: int, *, ipv6: bool) -> int | None:
    """Return the offset of a quoted TCP header, 0 if another protocol is quoted, None if the quotation is cut."""
    length = 40 if ipv6 else 20
    if len(frame) < at + length or frame[at] >> 4 != (6 if ipv6 else 4):
        return None
    if ipv6:
        protocol, offset = frame[at + 6], 0
    else:
        first, fragment, protocol = _QUOTED_IPV4.unpack_from(frame, at)
        offset = fragment & _OFFSET
        length = (first & 15) * 4
        if length < 20 or len(frame) < at + length:
            return None
    if protocol != _TCP or offset:
        return 0
    tcp_at = at + length
    return tcp_at if tcp_at + 8 <= min(len(frame), end) else None
