"""The packets in a Windows event trace, as the bytes of a pcapng file.

`netsh trace` records with ndiscap (Microsoft-Windows-NDIS-PacketCapture), `pktmon` with Microsoft-Windows-PktMon,
which records a packet wherever it passes in the system: the first time counts. Fields are those of the providers'
manifests.
"""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from inspector.capture.pcapng import SECTION_MAGIC
from inspector.protocols import ETHERTYPE_IPV4, ETHERTYPE_IPV6
from inspector.wire.frame import LinkType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from inspector.capture.eventtrace import Event

NDIS: Final = uuid.UUID("2ed6006e-4729-4609-b423-3ee7bcd678ef").bytes_le
PKTMON: Final = uuid.UUID("4d4f80d9-c8bd-4d73-bb5b-19c90402c5ac").bytes_le
PACKET_PROVIDERS: Final = frozenset({NDIS, PKTMON})

_FRAGMENT: Final = 1001
_SWITCH_FRAGMENT: Final = 1003
_PACKET: Final = 160
_DROPPED: Final = 170
# Keywords of ndiscap.
_MOBILE: Final = 0x200
_TUNNEL: Final = 0x8000
_WIRELESS: Final = 0x10000
_CUT: Final = 0x2000000
_START: Final = 0x40000000
_END: Final = 0x80000000
# Interface of the network card, and of the layer above it; the fragment's length.
_FRAGMENT_HEADER: Final = struct.Struct("<III")
# Packet group, number in it, how often seen, direction, packet type, component, edge, filter, why and where it was
# dropped, its length, and that of what was recorded.
_PACKET_HEADER: Final = struct.Struct("<Q7HIIHH")
_80211: Final = 105
_PACKET_LINKS: Final = {2: _80211, 3: int(LinkType.RAW)}

_MOST: Final = 1 << 18
"""Bytes of a packet at most: one of segmentation offload, and its headers."""
_PARTS: Final = 64
_GROUPS: Final = 1 << 16
_INTERFACES: Final = 256
_NAMES: Final = 3


class Frame(NamedTuple):
    """A packet as it was recorded; `interface` is Windows' number of one."""

    time_ns: int
    link_type: int
    interface: int
    data: bytes
    original_length: int


@dataclass(slots=True)
class TracePackets:
    """Takes the packets out of events; `dropped` counts packets that Windows dropped, `incomplete` lost ones."""

    dropped: int = 0
    incomplete: int = 0
    _parts: dict[tuple[int, int, int], list[bytes]] = field(default_factory=dict)
    _seen: dict[tuple[int, int], None] = field(default_factory=dict)

    def frames(self, events: Iterable[Event]) -> Iterator[Frame]:
        """Yield the packets, in order."""
        for event in events:
            frame = self._of_ndis(event) if event.provider == NDIS else self._of_pktmon(event)
            if frame is not None:
                yield frame
        self.incomplete += len(self._parts)

    def _of_ndis(self, event: Event) -> Frame | None:
        """Take a packet, or a part of one: systems before Windows 8.1 have several events for one packet."""
        if event.id not in (_FRAGMENT, _SWITCH_FRAGMENT):
            return None
        at = 0 if event.id == _FRAGMENT else _end_of_ports(event.data)
        if at is None or len(event.data) < at + _FRAGMENT_HEADER.size:
            self.incomplete += 1
            return None
        _, interface, length = _FRAGMENT_HEADER.unpack_from(event.data, at)
        if event.id == _SWITCH_FRAGMENT:
            (interface,) = struct.unpack_from("<I", event.data, 4)
        data = event.data[at + _FRAGMENT_HEADER.size :][:length]
        key = (event.process, event.thread, interface)
        if event.keywords & _START and self._parts.pop(key, None) is not None:
            self.incomplete += 1
        parts = self._parts.pop(key, [])
        if len(data) < length or not (parts or event.keywords & _START) or sum(map(len, parts)) + length > _MOST:
            self.incomplete += 1
            return None
        parts.append(data)
        if not event.keywords & _END:
            self._parts[key] = parts
            if len(self._parts) > _PARTS:
                del self._parts[next(iter(self._parts))]
                self.incomplete += 1
            return None
        whole = b"".join(parts)
        link_type = _link_of(event.keywords)
        original = _original_length(whole, link_type) if event.keywords & _CUT else len(whole)
        return Frame(event.time_ns, link_type, interface, whole, original)

    def _of_pktmon(self, event: Event) -> Frame | None:
        """Take a packet the first time that it is seen."""
        if event.id not in (_PACKET, _DROPPED):
            return None
        if len(event.data) < _PACKET_HEADER.size:
            self.incomplete += 1
            return None
        group, number, _, _, kind, component, _, _, _, _, original, length = _PACKET_HEADER.unpack_from(event.data)
        self.dropped += event.id == _DROPPED
        if (group, number) in self._seen:
            return None
        data = event.data[_PACKET_HEADER.size :][:length]
        if len(data) < length:
            self.incomplete += 1
            return None
        self._seen[group, number] = None
        if len(self._seen) > _GROUPS:
            del self._seen[next(iter(self._seen))]
        link_type = _PACKET_LINKS.get(kind, int(LinkType.ETHERNET))
        return Frame(event.time_ns, link_type, component, data, max(original, length))


def pcapng_of(frames: Iterable[Frame]) -> Iterator[bytes]:
    """Yield the blocks of a pcapng file, with an interface for each link type and number; times in nanoseconds."""
    yield SECTION_MAGIC + struct.pack("<IIHHqI", 28, 0x1A2B3C4D, 1, 0, -1, 28)
    known: dict[tuple[int, int], int] = {}
    for frame in frames:
        number = known.get((frame.link_type, frame.interface))
        if number is None:
            number = len(known)
            if number >= _INTERFACES:
                number = next(index for (link, _), index in known.items() if link == frame.link_type)
            else:
                known[frame.link_type, frame.interface] = number
                # if_tsresol (option 9): 10 to the power of -9 seconds.
                body = struct.pack("<HHIHHB3xHH", frame.link_type, 0, 0, 9, 1, 9, 0, 0)
                yield struct.pack("<II", 1, len(body) + 12) + body + struct.pack("<I", len(body) + 12)
        data, length = frame.data, len(frame.data)
        total = 32 + length + (-length & 3)
        head = (6, total, number, frame.time_ns >> 32, frame.time_ns & 0xFFFFFFFF, length, frame.original_length)
        yield struct.pack("<7I", *head) + data + bytes(-length & 3) + struct.pack("<I", total)


def _link_of(keywords: int) -> int:
    if keywords & _WIRELESS:
        return _80211
    return int(LinkType.RAW if keywords & (_MOBILE | _TUNNEL) else LinkType.ETHERNET)


def _original_length(data: bytes, link_type: int) -> int:
    """Return the length that the IP header says; ndiscap says only that a packet was cut."""
    at, kind = 0, 0
    if link_type == LinkType.ETHERNET:
        at, kind = 14, int.from_bytes(data[12:14], "big")
    elif data:
        kind = {4: ETHERTYPE_IPV4, 6: ETHERTYPE_IPV6}.get(data[0] >> 4, 0)
    length = 0
    if kind == ETHERTYPE_IPV4:
        length = at + int.from_bytes(data[at + 2 : at + 4], "big")
    elif kind == ETHERTYPE_IPV6:
        length = at + 40 + int.from_bytes(data[at + 4 : at + 6], "big")
    return max(length, len(data))


def _end_of_ports(data: bytes) -> int | None:
    """Return where the length of a virtual switch's packet is, less the two numbers that precede it elsewhere.

    Before it stand the source's port with three names, and the destinations' ports with as many.
    """
    at = _end_of_names(data, 12)
    if at is None or len(data) < at + 4:
        return None
    (destinations,) = struct.unpack_from("<I", data, at)
    at += 4
    for _ in range(destinations):
        following = _end_of_names(data, at + 4)
        if following is None:
            return None
        at = following
    return at - 8


def _end_of_names(data: bytes, at: int) -> int | None:
    """Return where three texts of UTF-16 with a zero behind each end."""
    for _ in range(_NAMES):
        while data[at : at + 2] != b"\0\0":
            if at + 2 > len(data):
                return None
            at += 2
        at += 2
    return at
