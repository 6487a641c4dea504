"""A capture file looked through before it is read: which clients have healthy connections only."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from inspector.capture import layout
from inspector.capture.pcap import SegmentReader, open_packets
from inspector.capture.pcapng import PcapngReader
from inspector.capture.scan import Scan
from inspector.capture.scanner import Scanner, port_flags
from inspector.decode import is_compiled
from inspector.errors import CaptureError
from inspector.protocols import ACK, SYN
from inspector.record import LATEST_TIME_NS
from inspector.wire.headers import Header, IcmpQuote

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from inspector.capture.packet import Packet

FLOWS: Final = 65_536
"""Connections that are followed at once."""

_FLOOR: Final = 7
_FLOORS: Final = frozenset({layout.FLOOR_TCP, layout.FLOOR_HTTP})
_BINDING: Final = re.compile(rb"\[([0-9]{1,5})\]")
_PORTS: Final = 65536


class Survey(NamedTuple):
    """What a file shows: flags of clients and of ports that answers offer, and conversations with endpoint mappers.

    `sights` are uint64[n, layout.SIGHT_WORDS]. `frames` packets were read, the latest of them at `last_ns`; `secret` is
    that of the hashes. The packets may be of so many `interfaces`.
    """

    clients: npt.NDArray[np.uint8]
    offered_ports: npt.NDArray[np.uint8]
    sights: npt.NDArray[np.uint64]
    frames: int
    last_ns: int
    secret: int
    interfaces: int = 1


def survey_file(
    path: Path, *, ports: Collection[int], tunnels: bool, secret: int = 0, more: Iterable[Path] = ()
) -> Survey:
    """Return what a file shows, with those which go on where it ends; of one that is damaged what comes before.

    What is compared with other files must have one `secret`.
    """
    segments = SegmentReader(ports, [0] * 64, tunnels=tunnels)
    loop = Scan(port_flags(ports), flows=FLOWS, secret=secret)
    loop.survey = True
    interfaces = 1
    for one in (path, *more):
        interfaces = max(interfaces, _survey(one, loop, segments))
    loop.finish()
    clients = loop.client_flags
    np.bitwise_and(clients, 0xFF ^ layout.CLIENT_KNOWN, out=clients)
    sights = loop.sight_rows[: min(loop.sight_count + 1, layout.SIGHTS)]
    sights = sights[sights[:, layout.SIGHT_SERIAL] != 0]
    return Survey(clients, loop.offered_ports, sights, int(loop.frame), int(loop.latest), loop.secret, interfaces)


def _survey(path: Path, loop: Scan, segments: SegmentReader) -> int:
    """Look through a file; return how many interfaces it has."""
    opened: object = None
    scanner = Scanner(segments, 1, loop)
    with suppress(CaptureError), open_packets(path) as (pieces, reader):
        opened = reader
        while True:
            scanner.scan(pieces, reader)
            packet = reader.next_packet()
            if packet is None:
                break
            packet = segments.unwrap(packet)
            loop.latest = max(loop.latest, min(packet.time_ns, LATEST_TIME_NS))
            if not is_compiled() or not scanner.read_packet(packet):
                loop.frame += 1
                _look_at(loop, segments, packet)
    return opened.section.next_interface if isinstance(opened, PcapngReader) else 1


def mapper_headers(
    path: Path,
    ports: Collection[int],
    flows: Sequence[Sequence[int]] | None = None,
    *,
    tunnels: bool = False,
    more: Iterable[Path] = (),
) -> Iterator[Header | int]:
    """Yield the headers of packets to and from endpoint mappers in a file and `more`, and the latest time at last.

    The interface of a header is the number within the file. With `flows` those of these connections: client's address,
    server's address, of two words each, and ports. Without, no compiled code is used.
    """
    loop = Scan(port_flags(ports), flows=max(1, len(flows or ())))
    loop.watched_only = True
    for high, low, server_high, server_low, both_ports in flows or ():
        loop.watch(high, low, server_high, server_low, both_ports)
    segments = SegmentReader(ports, [0] * 64, tunnels=tunnels)
    for one in (path, *more):
        with suppress(CaptureError):
            yield from _headers(one, loop, segments, chosen=flows is not None)
    yield int(loop.latest)


def _headers(path: Path, loop: Scan, segments: SegmentReader, *, chosen: bool) -> Iterator[Header]:
    """Yield the headers of a file; `chosen`: those of connections which the loop watches."""
    scanner = Scanner(segments, 1, loop)
    with open_packets(path) as (pieces, reader):
        while True:
            if chosen:
                scanner.scan(pieces, reader)
            packet = reader.next_packet()
            if packet is None:
                return
            packet = segments.unwrap(packet)
            loop.frame += 1
            loop.latest = max(loop.latest, min(packet.time_ns, LATEST_TIME_NS))
            header = segments.header(packet, int(loop.frame))
            if isinstance(header, Header) and (not chosen or loop.has_flow(*_flow_of(header, segments.ports)[0])):
                yield header._replace(interface=packet.interface)


def follow_scan(survey: Survey | None, *, ports: Collection[int], clients: Iterable[bytes] = ()) -> Scan:
    """Return the loop that reads a file after its survey; without one every connection is left to Python.

    `clients`, addresses of 16 bytes, are left to Python whatever they do.
    """
    if survey is None:
        loop = Scan(port_flags(ports), flows=FLOWS)
        loop.everything = True
        return loop
    loop = Scan(port_flags(ports), flows=FLOWS, clients=survey.clients, secret=survey.secret)
    loop.known_frames = survey.frames
    loop.offered_ports[:] = survey.offered_ports
    for client in clients:
        loop.mark(*address_words(client), layout.CLIENT_PYTHON)
    return loop


def address_words(address: bytes) -> tuple[int, int]:
    """Return an address of 16 bytes as the compiled loop has it."""
    return int.from_bytes(address[:8], "little"), int.from_bytes(address[8:], "little")


def opens(header: Header) -> bool:
    """Return whether a packet is a client's SYN."""
    return header.flags & (SYN | ACK) == SYN


def _look_at(loop: Scan, segments: SegmentReader, packet: Packet) -> None:
    """Take a packet that compiled code does not read: its connection is not healthy."""
    segment = segments.segment(packet)
    if segment is not None and segment.from_server:
        _note_offers(loop, segment.payload)
    found = segments.header(packet, 0)
    if isinstance(found, IcmpQuote):
        for address in (found.source, found.destination):
            loop.mark(*address_words(address), layout.CLIENT_PYTHON)
    elif found is not None:
        _condemn(loop, segments.ports, found)


def _condemn(loop: Scan, ports: Collection[int], header: Header) -> None:
    source, destination = address_words(header.source), address_words(header.destination)
    flags = layout.CLIENT_PYTHON | layout.CLIENT_KNOWN
    if header.destination_port in ports or header.source_port in ports:
        flow, from_server = _flow_of(header, ports)
        loop.mark(*flow[:2], flags)
        loop.watch(*flow)
        loop.sight_header(flow, header, from_server=from_server)
    elif opens(header):
        if loop.flags_of(*source) & layout.CLIENT_KNOWN:
            loop.mark(*source, flags)
    elif loop.has_flow(*source, *destination, header.source_port | header.destination_port << 16):
        loop.mark(*source, flags)
    elif loop.has_flow(*destination, *source, header.destination_port | header.source_port << 16):
        loop.mark(*destination, flags)


def _flow_of(header: Header, ports: Collection[int]) -> tuple[tuple[int, int, int, int, int], bool]:
    """Return the connection of a packet as the compiled loop has it, and whether the packet is of its server."""
    source, destination = address_words(header.source), address_words(header.destination)
    if header.destination_port in ports:
        return (*source, *destination, header.source_port | header.destination_port << 16), False
    return (*destination, *source, header.destination_port | header.source_port << 16), True


def _note_offers(loop: Scan, payload: bytes) -> None:
    """Note the ports in the towers and string bindings of an answer, as the compiled loop does."""
    for at in range(len(payload) - _FLOOR + 1):
        if payload[at] == 1 and int.from_bytes(payload[at : at + 5], "big") in _FLOORS:
            loop.offered_ports[int.from_bytes(payload[at + 5 : at + _FLOOR], "big")] = 1
    for port in _BINDING.findall(payload.replace(b"\0", b"")):
        loop.offered_ports[int(port) % _PORTS] = 1
