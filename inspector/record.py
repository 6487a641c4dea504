"""The record in Python: the same bytes as `struct epm_record` in bpf/epm_record.h.

The layout is declared once here, as a numpy dtype, and everything else in this
module is derived from it. A test compiles the C header and compares the two.
"""

from __future__ import annotations

import enum
import struct
from typing import TYPE_CHECKING, Final

import numpy as np

from inspector.model import Segment, Tunnel, TunnelKind

if TYPE_CHECKING:
    import numpy.typing as npt

COMPACT_PAYLOAD: Final = 176
BULK_SMALL_PAYLOAD: Final = 1472
BULK_MEDIUM_PAYLOAD: Final = 9088
BULK_LARGE_PAYLOAD: Final = 65472
INTERFACES: Final = 16
INTERFACE_BITS: Final = 8
PORT_WORDS: Final = 2048
PORT_SERVED: Final = 1
PORT_ENDPOINT: Final = 2
SERVERS: Final = 4096
ENDPOINTS: Final = 16384
FLOWS: Final = 16384
LOWEST_ENDPOINT: Final = 1024
ICMP_BUDGET: Final = 256
TUNNEL_DEPTH: Final = 2
TUNNEL_REACH: Final = 12288
DISCARDED: Final = 0x40000000
LANE_MARGIN: Final = 4
LATEST_TIME_NS: Final = 2**63 - 2**60
"""The latest time that decoders take from a record, the year 2225; a later one is read as this.

So a time, and a deadline of up to 36 years after it, fit into the signed 64 bits of compiled code.
"""


class Attribute(enum.IntFlag):
    """Bits of the field `attributes`: enum epm_attribute."""

    FROM_SERVER = 1
    IPV6 = 2
    FIRST_FRAGMENT = 4
    UDP = 8
    TUNNELLED = 16
    ENDPOINT = 32
    ICMP = 64


class KernelCounter(enum.IntEnum):
    """Index into `struct epm_counters`: enum epm_counter."""

    PACKETS_TO_SERVER = 0
    PACKETS_FROM_SERVER = 1
    MATCHED = 2
    SUBMITTED = 3
    LOST_COMPACT_FULL = 4
    LOST_BULK_FULL = 5
    LOST_COPY = 6
    LATER_FRAGMENTS = 7
    UNREADABLE_HEADERS = 8
    LOST_ICMP_BUDGET = 9
    ENDPOINT_PACKETS = 10
    ICMP_ERRORS = 11
    SERVERS_NOTED = 12
    ENDPOINTS_NOTED = 13
    FLOWS_NOTED = 14


LOSS_REASONS: Final = (
    KernelCounter.LOST_COMPACT_FULL,
    KernelCounter.LOST_BULK_FULL,
    KernelCounter.LOST_COPY,
    KernelCounter.LOST_ICMP_BUDGET,
)
# Behind the header of a ring's entry.
_ROW_START: Final = 8
# A plain integer: the operators of an enum's members are slow.
_TUNNELLED: Final = int(Attribute.TUNNELLED)

HEADER_DTYPE: Final = np.dtype(
    [
        ("time_ns", "u8"),
        ("source_address", "u1", (16,)),
        ("destination_address", "u1", (16,)),
        ("sequence", "u4"),
        ("acknowledgment", "u4"),
        ("source_port", "u2"),
        ("destination_port", "u2"),
        ("payload_length", "u4"),
        ("captured_length", "u2"),
        ("tcp_flags", "u1"),
        ("attributes", "u1"),
        ("interface_index", "u4"),
        ("hop_limit", "u1"),
        ("padding", "u1", (7,)),
    ]
)
HEADER_SIZE: Final = HEADER_DTYPE.itemsize
TUNNEL_DTYPE: Final = np.dtype(
    [
        ("source_address", "u1", (16,)),
        ("destination_address", "u1", (16,)),
        ("kind", "u1"),
        ("depth", "u1"),
        ("padding", "u1", (6,)),
    ]
)
TUNNEL_SIZE: Final = TUNNEL_DTYPE.itemsize
COMPACT_DTYPE: Final = np.dtype([("header", HEADER_DTYPE), ("payload", "u1", (COMPACT_PAYLOAD,))])
COMPACT_ENTRY_DTYPE: Final = np.dtype([("mark", "u4"), ("padding", "u4"), ("record", COMPACT_DTYPE)])
LANE_DTYPE: Final = np.dtype(
    [
        ("reserved", "u8"),
        ("padding", "u8", (7,)),
        ("consumed", "u8"),
        ("waiting", "u8"),
        ("more_padding", "u8", (6,)),
    ]
)
ICMP_ERROR_DTYPE: Final = np.dtype(
    [("reporter", "u1", (16,)), ("type", "u1"), ("code", "u1"), ("padding", "u1", (2,)), ("mtu", "u4")]
)
SERVER_DTYPE: Final = np.dtype([("address", "u1", (16,))])
ENDPOINT_DTYPE: Final = np.dtype([("address", "u1", (16,)), ("port", "u2"), ("padding", "u1", (6,))])
NOTED_DTYPE: Final = np.dtype([("time_ns", "u8")])
FLOW_DTYPE: Final = np.dtype(
    [
        ("client_address", "u1", (16,)),
        ("server_address", "u1", (16,)),
        ("client_port", "u2"),
        ("server_port", "u2"),
        ("padding", "u1", (4,)),
    ]
)
ACKNOWLEDGED_DTYPE: Final = np.dtype([("time_ns", "u8"), ("acknowledgment", "u4"), ("padding", "u4")])
OPTIONS_DTYPE: Final = np.dtype(
    [
        ("ports", "u8", (PORT_WORDS,)),
        ("interface_index", "u4", (INTERFACES,)),
        ("interface_factor", "u4"),
        ("padding", "u4"),
        ("interface_number", "u1", (1 << INTERFACE_BITS,)),
    ]
)


def lane_offset(name: str) -> int:
    """Return where a field of a lane stands, in bytes."""
    assert LANE_DTYPE.fields is not None  # noqa: S101 - it is a structure
    return int(LANE_DTYPE.fields[name][1])


def _struct_of(dtype: np.dtype[np.void]) -> struct.Struct:
    """Return the struct of a packed dtype: integers as such, byte arrays as bytes."""
    letters = {1: "B", 2: "H", 4: "I", 8: "Q"}
    return struct.Struct(
        "="
        + "".join(
            f"{field.itemsize}s" if field.shape else letters[field.itemsize]
            for field in (dtype[name] for name in dtype.names or ())
        )
    )


_HEADER = _struct_of(HEADER_DTYPE)
_TUNNEL = _struct_of(TUNNEL_DTYPE)
_PADDING = bytes(7)
_TUNNEL_PADDING = bytes(6)
_TIME = struct.Struct("=Q")


def _pack_tunnel(tunnel: Tunnel | None) -> bytes:
    if tunnel is None:
        return b""
    return _TUNNEL.pack(tunnel.source_address, tunnel.destination_address, tunnel.kind, tunnel.depth, _TUNNEL_PADDING)


def _unpack_tunnel(record: bytes | memoryview) -> Tunnel:
    source_address, destination_address, kind, depth, _ = _TUNNEL.unpack_from(record, HEADER_SIZE)
    return Tunnel(TunnelKind(kind), source_address, destination_address, depth)


def pack_record(segment: Segment) -> bytes:
    """Return header and payload bytes of a segment, as a ring would carry them (without a ring's own padding)."""
    return (
        _HEADER.pack(
            segment.time_ns,
            segment.source_address,
            segment.destination_address,
            segment.sequence,
            segment.acknowledgment,
            segment.source_port,
            segment.destination_port,
            segment.payload_length,
            len(segment.payload),
            segment.tcp_flags,
            segment.attributes,
            segment.interface_index,
            segment.hop_limit,
            _PADDING,
        )
        + _pack_tunnel(segment.tunnel)
        + segment.payload
    )


def record_time(record: bytes | memoryview) -> int:
    """Return a record's time, nanoseconds since 1970: its first field."""
    return int(_TIME.unpack_from(record)[0])


def unpack_record(record: bytes | memoryview) -> Segment:
    """Return the segment of one record; bytes past `captured_length` are a ring's padding and ignored.

    Raises struct.error when there are fewer than 72 bytes: a record comes from the kernel
    program or from `pack_record`, so that is a defect and not a matter of hostile input.
    """
    (
        time_ns,
        source_address,
        destination_address,
        sequence,
        acknowledgment,
        source_port,
        destination_port,
        payload_length,
        captured_length,
        tcp_flags,
        attributes,
        interface_index,
        hop_limit,
        _,
    ) = _HEADER.unpack_from(record)
    tunnel, start = None, HEADER_SIZE
    if attributes & _TUNNELLED:
        tunnel, start = _unpack_tunnel(record), HEADER_SIZE + TUNNEL_SIZE
    return Segment(
        time_ns,
        source_address,
        destination_address,
        sequence,
        acknowledgment,
        source_port,
        destination_port,
        payload_length,
        tcp_flags,
        attributes,
        interface_index,
        bytes(record[start : start + captured_length]),
        tunnel,
        hop_limit,
    )


def record_of(row: npt.NDArray[np.uint64] | npt.NDArray[np.int64]) -> memoryview:
    """Return the record in one row of a block: 64-bit words, of which the first is the ring's own."""
    return row.view(np.uint8)[_ROW_START:].data


def unpack_row(row: npt.NDArray[np.uint64] | npt.NDArray[np.int64]) -> Segment:
    """Return the segment of one row of a block."""
    return unpack_record(record_of(row))
