"""The compiled loop over the packets of a capture file: from raw bytes to the rows of a block.

It does what `inspector.capture.pcap`, `inspector.capture.pcapng` and `inspector.wire.frame` do for packets in which
nothing is unusual, and stops at the first in which something is. Of that one nothing has been noted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from inspector.capture.loads import load_8, load_16_big, load_32, load_32_big, load_64
from inspector.capture.stored import MAXIMUM_PIECE
from inspector.compiled import compiled, exported, inlined
from inspector.record import Attribute

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Words = npt.NDArray[np.int64]

# Registers: what a call is given, and what it leaves.
AT: Final = 0  # offset of the next packet
COUNT: Final = 1  # rows written
PACKETS: Final = 2  # packets read
TO_SERVER: Final = 3  # packets of interest, with and without a record
FROM_SERVER: Final = 4
RECORDS: Final = 5
TIME: Final = 6  # of the last packet
FORMAT: Final = 7  # below
BIG_ENDIAN: Final = 8  # of the file's own numbers
TUNNELS: Final = 9  # whether tunnels are looked into
INTERFACES: Final = 10
REGISTERS: Final = 11

CLASSIC: Final = 0
PCAPNG: Final = 1

# Columns of an interface, whose clock began to tick in 1970.
LINK_ETHERTYPE_AT: Final = 0  # offset of the ethertype; or one of the two below
LINK_NETWORK_AT: Final = 1  # offset of what that names
NANOSECONDS: Final = 2  # of a tick
LAST_TICK: Final = 3  # latest time that fits; -1: packets of this interface are not for this loop
SECOND: Final = 4  # in units; of the classic format
INTERFACE_WORDS: Final = 5

BY_VERSION: Final = -1

# Words of a row: struct epm_record behind one word.
_ROW_PAYLOAD: Final = 9

_IPV4: Final = 0x0800
_IPV6: Final = 0x86DD
_VLAN: Final = 0x8100
_VLAN_SERVICE: Final = 0x88A8
_VLAN_OLD: Final = 0x9100
_TCP: Final = 6
_UDP: Final = 17
_MAPPED: Final = 0xFFFF0000
_FIN_SYN_RST: Final = 7
_SERVER_BIT: Final = int(Attribute.FROM_SERVER)
_IPV6_BIT: Final = int(Attribute.IPV6)

_CLASSIC_HEADER: Final = 16
_ENHANCED_PACKET: Final = 6
_ENHANCED_HEADER: Final = 28
_BLOCK_OVERHEAD: Final = 32
# A word of the payload may reach so far behind it.
_SLACK: Final = 8

# What becomes of a frame.
_SKIPPED: Final = 0
_WRITTEN: Final = 1
_UNUSUAL: Final = 2


@inlined
def _is_of_extension(protocol: int) -> bool:
    """Whether an IPv6 header is followed by one that `inspector.wire.frame` reads on from."""
    return protocol in (0, 43, 44, 51, 60, 135)


@inlined
def _is_carrier(protocol: int) -> bool:
    """Whether an IP protocol may be a tunnel, apart from UDP."""
    return protocol in (4, 41, 47)


@compiled
def _network_at(data: Bytes, at: int, length: int, ethertype_at: int, network_at: int) -> int:
    """Return offset and ethertype of the network layer, offset << 16; or _SKIPPED, or _UNUSUAL."""
    if ethertype_at == BY_VERSION:
        if length == 0:
            return _UNUSUAL
        version = load_8(data, at) >> 4
        if version == 4:
            return at << 16 | _IPV4
        return at << 16 | _IPV6 if version == 6 else _UNUSUAL
    if length < network_at:
        return _SKIPPED
    ethertype = load_16_big(data, at + ethertype_at)
    network = network_at
    for _ in range(2):
        if ethertype not in (_VLAN, _VLAN_SERVICE, _VLAN_OLD):
            break
        if length < network + 4:
            return _SKIPPED
        ethertype = load_16_big(data, at + network + 2)
        network += 4
    if ethertype not in (_IPV4, _IPV6):
        return _SKIPPED
    return (at + network) << 16 | ethertype


@compiled
def _transport_at(data: Bytes, at: int, frame_end: int, ethertype: int) -> int:
    """Return offset of a transport header << 8 and its protocol, or _UNUSUAL: fragments, extension headers."""
    if ethertype == _IPV4:
        if frame_end < at + 20:
            return _UNUSUAL
        first = load_8(data, at)
        transport = at + (first & 15) * 4
        if first >> 4 != 4 or transport < at + 20 or transport > frame_end:
            return _UNUSUAL
        if load_16_big(data, at + 6) & 0x3FFF or at + load_16_big(data, at + 2) < transport:
            return _UNUSUAL
        return transport << 8 | load_8(data, at + 9)
    if frame_end < at + 40 or load_8(data, at) >> 4 != 6:
        return _UNUSUAL
    protocol = load_8(data, at + 6)
    if _is_of_extension(protocol):
        return _UNUSUAL
    return (at + 40) << 8 | protocol


@compiled
def _is_datagram_of_others(data: Bytes, at: int, frame_end: int, end: int, ports: Bytes) -> bool:
    """Whether a UDP header can be read and neither port is of interest."""
    if frame_end < at + 8 or at + 8 > end:
        return False
    length = load_16_big(data, at + 4)
    if length and (length < 8 or at + length > end):
        return False
    return not (load_8(ports, load_16_big(data, at)) or load_8(ports, load_16_big(data, at + 2)))


@inlined
def _write_row(
    data: Bytes,
    network: int,
    transport: int,
    payload: int,
    payload_length: int,
    captured: int,
    attributes: int,
    time_ns: int,
    interface: int,
    rows: Words,
    number: int,
) -> None:
    """Write one record: header and payload."""
    rows[number, 1] = time_ns
    if attributes & _IPV6_BIT:
        for word in range(4):
            rows[number, 2 + word] = load_64(data, network + 8 + 8 * word)
    else:
        rows[number, 2] = 0
        rows[number, 3] = _MAPPED | load_32(data, network + 12) << 32
        rows[number, 4] = 0
        rows[number, 5] = _MAPPED | load_32(data, network + 16) << 32
    rows[number, 6] = load_32_big(data, transport + 4) | load_32_big(data, transport + 8) << 32
    ports = load_16_big(data, transport) | load_16_big(data, transport + 2) << 16
    rows[number, 7] = ports | payload_length << 32
    rows[number, 8] = captured | load_8(data, transport + 13) << 16 | attributes << 24 | interface << 32
    for word in range((captured + 7) >> 3):
        rows[number, _ROW_PAYLOAD + word] = load_64(data, payload + 8 * word)


@compiled
def _read_frame(
    data: Bytes,
    at: int,
    length: int,
    time_ns: int,
    number: int,
    interfaces: Words,
    first_interface: int,
    ports: Bytes,
    rows: Words,
    registers: Words,
) -> int:
    """Read one frame of `length` bytes, as `inspector.wire.frame.read_frame` does: _SKIPPED, _WRITTEN or _UNUSUAL."""
    frame_end = at + length
    found = _network_at(data, at, length, interfaces[number, LINK_ETHERTYPE_AT], interfaces[number, LINK_NETWORK_AT])
    if found <= _UNUSUAL:
        return found
    network, ethertype = found >> 16, found & 0xFFFF
    found = _transport_at(data, network, frame_end, ethertype)
    if found == _UNUSUAL:
        return _UNUSUAL
    transport, protocol = found >> 8, found & 0xFF
    if ethertype == _IPV4:
        total_length = load_16_big(data, network + 2)
        end = network + total_length
        attributes = 0
    else:
        end = network + 40 + load_16_big(data, network + 4)
        attributes = _IPV6_BIT
    if protocol != _TCP:
        if registers[TUNNELS] and (protocol == _UDP or _is_carrier(protocol)):
            return _UNUSUAL
        if protocol == _UDP and not _is_datagram_of_others(data, transport, frame_end, end, ports):
            return _UNUSUAL
        return _SKIPPED
    if frame_end < transport + 20:
        return _UNUSUAL
    payload = transport + (load_8(data, transport + 12) >> 4) * 4
    if payload < transport + 20 or payload > frame_end or payload > end:
        return _UNUSUAL
    counted = TO_SERVER
    if not load_8(ports, load_16_big(data, transport + 2)):
        if not load_8(ports, load_16_big(data, transport)):
            return _SKIPPED
        attributes |= _SERVER_BIT
        counted = FROM_SERVER
    payload_length = end - payload
    if payload_length == 0 and not load_8(data, transport + 13) & _FIN_SYN_RST:
        registers[counted] += 1
        return _SKIPPED
    captured = min(payload_length, frame_end - payload)
    if captured > (rows.shape[1] - _ROW_PAYLOAD) * 8:
        return _UNUSUAL
    registers[counted] += 1
    _write_row(
        data,
        network,
        transport,
        payload,
        payload_length,
        captured,
        attributes,
        time_ns,
        first_interface + number,
        rows,
        registers[COUNT],
    )
    return _WRITTEN


@inlined
def _number(data: Bytes, at: int, big_endian: int) -> int:
    """Return a 32-bit number of the file's own."""
    return load_32_big(data, at) if big_endian else load_32(data, at)


@exported
def scan(data: Bytes, interfaces: Words, first_interface: int, ports: Bytes, rows: Words, registers: Words) -> bool:
    """Read packets of `data` from AT on; stop before one that is unusual or not all there, or when `rows` are full.

    `ports` has a byte for every port, not 0 for those of interest. Return whether it stopped because of the rows.
    The rows are written from COUNT on; the registers PACKETS, TO_SERVER, FROM_SERVER and RECORDS are added to.
    """
    big_endian, classic = registers[BIG_ENDIAN], registers[FORMAT] == CLASSIC
    size, at, number = data.shape[0], registers[AT], 0
    while registers[COUNT] < rows.shape[0]:
        left = size - at
        if classic:
            if left < _CLASSIC_HEADER + _SLACK:
                return False
            ticks = _number(data, at, big_endian) * interfaces[0, SECOND] + _number(data, at + 4, big_endian)
            length = _number(data, at + 8, big_endian)
            frame, total = at + _CLASSIC_HEADER, _CLASSIC_HEADER + length
        else:
            if left < _BLOCK_OVERHEAD + _SLACK or _number(data, at, big_endian) != _ENHANCED_PACKET:
                return False
            total, number = _number(data, at + 4, big_endian), _number(data, at + 8, big_endian)
            ticks = _number(data, at + 12, big_endian) << 32 | _number(data, at + 16, big_endian)
            length = _number(data, at + 20, big_endian)
            frame = at + _ENHANCED_HEADER
            if total & 3 or total > MAXIMUM_PIECE or length + _BLOCK_OVERHEAD > total or total > left:
                return False
            if number >= registers[INTERFACES] or _number(data, at + total - 4, big_endian) != total:
                return False
        if length > MAXIMUM_PIECE or total + _SLACK > left or ticks < 0 or ticks > interfaces[number, LAST_TICK]:
            return False
        time_ns = ticks * interfaces[number, NANOSECONDS]
        done = _read_frame(data, frame, length, time_ns, number, interfaces, first_interface, ports, rows, registers)
        if done == _UNUSUAL:
            return False
        registers[PACKETS] += 1
        registers[TIME] = time_ns
        if done == _WRITTEN:
            registers[COUNT] += 1
            registers[RECORDS] += 1
        at += total
        registers[AT] = at
    return True
