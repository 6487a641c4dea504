"""Conversations in numbers, as frames: SYN, bind, ept_map and FIN of distinct clients, all of them mismatches."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from inspector.capture.writer import CaptureWriter, build_frame
from inspector.record import pack_record
from tests.build import pdu
from tests.build.connection import STEP_NS, Wire
from tests.build.epm import SAMR, map_request, map_response, tcp_tower

_WRITES = (
    (True, pdu.bind()),
    (False, pdu.bind_ack()),
    (True, pdu.request(map_request(tcp_tower(SAMR)), call_id=2)),
    (False, pdu.response(map_response([tcp_tower(SAMR, 49152, "10.11.2.7")]), call_id=2)),
)
SEGMENTS_EACH = 8

_START_NS: Final = 10**18
_FIRST_CLIENT: Final = IPv4Address("10.100.0.0")
_PORTS: Final = 60000
_FIRST_PORT: Final = 1024
_AT_ONCE: Final = 1 << 14

# Offsets within a frame of Ethernet, IPv4 and TCP without options.
_IP_CHECKSUM: Final = 24
_SOURCE: Final = 26
_DESTINATION: Final = 30
_TCP: Final = 34
_TCP_CHECKSUM: Final = 50
_PACKET_HEADER: Final = struct.Struct("<IIII")


def conversation(number: int) -> Wire:
    """Return one of the connections: each is from a client of its own, and one after the other in time."""
    client = str(_FIRST_CLIENT + number // _PORTS)
    return _conversation(client, _FIRST_PORT + number % _PORTS, _START_NS + number * SEGMENTS_EACH * STEP_NS)


def conversations(count: int) -> Iterator[Wire]:
    """Yield `count` connections."""
    for number in range(count):
        yield conversation(number)


def frames(count: int) -> Iterator[bytes]:
    """Yield the Ethernet frames of `count` conversations."""
    for wire in conversations(count):
        for segment in wire.segments:
            yield build_frame(segment)


def write_capture(path: Path, count: int) -> None:
    """Write `count` conversations as a capture file."""
    with CaptureWriter(path, {1: "bench0"}) as writer:
        for wire in conversations(count):
            for segment in wire.segments:
                writer.write(pack_record(segment))


def write_big_capture(path: Path, count: int) -> None:
    """Write the same frames as a classic capture file with nanoseconds, millions a second."""
    # Without a client, who is filled in below.
    segments = _conversation("0.0.0.0", 0, 0).segments  # noqa: S104 - nobody listens
    built = [build_frame(segment) for segment in segments]
    template = np.frombuffer(b"".join(bytes(_PACKET_HEADER.size) + frame for frame in built), np.uint8)
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1))
        for start in range(0, count, _AT_ONCE):
            numbers = np.arange(start, min(start + _AT_ONCE, count))
            rows = np.tile(template, (len(numbers), 1))
            at = 0
            for position, segment in enumerate(segments):
                length = len(built[position])
                _fill_header(rows[:, at:], numbers * SEGMENTS_EACH + position, length)
                at += _PACKET_HEADER.size
                _fill_client(rows[:, at : at + length], numbers, from_server=segment.from_server)
                at += length
            file.write(rows.data)


def _conversation(client: str, client_port: int, start_ns: int) -> Wire:
    wire = Wire(client=client, client_port=client_port, start_ns=start_ns)
    wire.open()
    for from_client, data in _WRITES:
        (wire.client if from_client else wire.server)(data)
    return wire.client_fin().server_fin()


def _fill_header(rows: npt.NDArray[np.uint8], steps: npt.NDArray[np.int64], length: int) -> None:
    """Write the packet headers of a column of frames; `steps` is since the first frame of all."""
    times_ns = _START_NS + steps * STEP_NS
    for at, values in ((0, times_ns // 10**9), (4, times_ns % 10**9), (8, length), (12, length)):
        rows[:, at : at + 4] = np.broadcast_to(values, len(rows)).astype("<u4")[:, None].view(np.uint8)


def _fill_client(rows: npt.NDArray[np.uint8], numbers: npt.NDArray[np.int64], *, from_server: bool) -> None:
    """Write the client's address and port into a column of frames, whose checksums were right without them."""
    addresses, ports = int(_FIRST_CLIENT) + numbers // _PORTS, _FIRST_PORT + numbers % _PORTS
    address_at, port_at = (_DESTINATION, _TCP + 2) if from_server else (_SOURCE, _TCP)
    rows[:, address_at : address_at + 4] = addresses.astype(">u4")[:, None].view(np.uint8)
    _put_16(rows, port_at, ports)
    changed = (addresses >> 16) + (addresses & 0xFFFF)
    _add_to_checksum(rows, _IP_CHECKSUM, changed)
    _add_to_checksum(rows, _TCP_CHECKSUM, changed + ports)


def _add_to_checksum(rows: npt.NDArray[np.uint8], at: int, added: npt.NDArray[np.int64]) -> None:
    """Update a checksum for what took the place of zeros (RFC 1624)."""
    before = rows[0, at].astype(np.int64) << 8 | rows[0, at + 1]
    _put_16(rows, at, (before - added) % 0xFFFF)


def _put_16(rows: npt.NDArray[np.uint8], at: int, values: npt.NDArray[np.int64]) -> None:
    rows[:, at : at + 2] = values.astype(">u2")[:, None].view(np.uint8)
