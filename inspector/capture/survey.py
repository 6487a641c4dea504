"""A capture file looked through before it is read: which clients have healthy connections only."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from inspector.capture import layout
from inspector.capture.pcap import SegmentReader, open_packets
from inspector.capture.scan import Scan
from inspector.capture.scanner import Scanner, port_flags
from inspector.decode import is_compiled
from inspector.errors import CaptureError
from inspector.protocols import ACK, SYN
from inspector.record import LATEST_TIME_NS
from inspector.wire.headers import Header, IcmpQuote, read_header

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

    from inspector.capture.packet import Packet

FLOWS: Final = 65_536
"""Connections that are followed at once."""

_FLOOR: Final = 7
_FLOORS: Final = frozenset({layout.FLOOR_TCP, layout.FLOOR_HTTP})


class Survey(NamedTuple):
    """`scan` has learned which clients are healthy; the latest time of the file is `last_ns`."""

    scan: Scan
    last_ns: int


def survey_files(
    paths: Iterable[Path], *, ports: Collection[int], tunnels: bool, clients: Iterable[bytes] = ()
) -> Survey:
    """Return what files that are one show; of one that cannot be read to its end what comes before.

    `clients`, addresses of 16 bytes, are left to Python whatever they do.
    """
    segments = SegmentReader(ports, [0] * 64, tunnels=tunnels)
    loop = Scan(port_flags(ports), flows=FLOWS)
    loop.survey = True
    for path in paths:
        with suppress(CaptureError):
            _survey(path, loop, segments)
    loop.finish()
    for client in clients:
        loop.mark(*address_words(client), layout.CLIENT_PYTHON)
    return Survey(loop, int(loop.latest))


def _survey(path: Path, loop: Scan, segments: SegmentReader) -> None:
    scanner = Scanner(segments, 1, loop)
    with open_packets(path) as (pieces, reader):
        while True:
            scanner.scan(pieces, reader)
            packet = reader.next_packet()
            if packet is None:
                return
            packet = segments.unwrap(packet)
            loop.latest = max(loop.latest, min(packet.time_ns, LATEST_TIME_NS))
            if not is_compiled() or not scanner.read_packet(packet):
                loop.frame += 1
                _look_at(loop, segments, packet)


def mapper_headers(paths: Iterable[Path], ports: Collection[int], *, tunnels: bool) -> Iterator[Header | int]:
    """Yield the headers of packets to and from endpoint mappers in files that are one, and the latest time at last."""
    loop = Scan(port_flags(ports), flows=1)
    loop.everything = loop.mappers_only = True
    segments = SegmentReader(ports, [0] * 64, tunnels=tunnels)
    for path in paths:
        with suppress(CaptureError):
            yield from _mapper_headers(path, loop, segments)
    yield int(loop.latest)


def _mapper_headers(path: Path, loop: Scan, segments: SegmentReader) -> Iterator[Header]:
    scanner = Scanner(segments, 1, loop)
    compiled = is_compiled()
    with open_packets(path) as (pieces, reader):
        while True:
            if compiled:
                scanner.scan(pieces, reader)
            packet = reader.next_packet()
            if packet is None:
                return
            packet = segments.unwrap(packet)
            loop.frame += 1
            time_ns = min(packet.time_ns, LATEST_TIME_NS)
            loop.latest = max(loop.latest, time_ns)
            header = read_header(
                packet.data,
                link_type=packet.link_type,
                time_ns=time_ns,
                number=int(loop.frame),
                wire_length=packet.original_length,
                tunnels=segments.tunnels,
            )
            if isinstance(header, Header):
                yield header


def follow_scan(survey: Survey | None, *, ports: Collection[int]) -> Scan:
    """Return the loop that reads a file after its survey; without one every connection is left to Python."""
    if survey is None:
        loop = Scan(port_flags(ports), flows=FLOWS)
        loop.everything = True
        return loop
    clients = survey.scan.client_flags
    np.bitwise_and(clients, 0xFF ^ layout.CLIENT_KNOWN, out=clients)
    loop = Scan(port_flags(ports), flows=FLOWS, clients=clients, secret=survey.scan.secret)
    loop.known_frames = survey.scan.frame
    loop.offered_ports[:] = survey.scan.offered_ports
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
    found = read_header(
        packet.data,
        link_type=packet.link_type,
        time_ns=0,
        number=0,
        wire_length=packet.original_length,
        tunnels=segments.tunnels,
    )
    if isinstance(found, IcmpQuote):
        for address in (found.source, found.destination):
            loop.mark(*address_words(address), layout.CLIENT_PYTHON)
    elif found is not None:
        _condemn(loop, segments.ports, found)


def _condemn(loop: Scan, ports: Collection[int], header: Header) -> None:
    source, destination = address_words(header.source), address_words(header.destination)
    flags = layout.CLIENT_PYTHON | layout.CLIENT_KNOWN
    if header.destination_port in ports:
        loop.mark(*source, flags)
    elif header.source_port in ports:
        loop.mark(*destination, flags)
    elif opens(header):
        if loop.flags_of(*source) & layout.CLIENT_KNOWN:
            loop.mark(*source, flags)
    elif loop.has_flow(*source, *destination, header.source_port | header.destination_port << 16):
        loop.mark(*source, flags)
    elif loop.has_flow(*destination, *source, header.destination_port | header.source_port << 16):
        loop.mark(*destination, flags)


def _note_offers(loop: Scan, payload: bytes) -> None:
    """Note the ports in the towers of an answer, as the compiled loop does."""
    for at in range(len(payload) - _FLOOR + 1):
        if payload[at] == 1 and int.from_bytes(payload[at : at + 5], "big") in _FLOORS:
            loop.offered_ports[int.from_bytes(payload[at + 5 : at + _FLOOR], "big")] = 1
