"""Protocol towers: C706 appendix L, with the identifiers of appendix I and MS-RPCE section 2.1.

A tower's bytes are little-endian whatever the data representation of the PDU
says; only the port and the IPv4 address are big-endian. Floors are dispatched
on their protocol identifier, never on their position.
"""

from __future__ import annotations

import enum
import struct
from functools import lru_cache
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from inspector.errors import Anomaly, DecodeError
from inspector.wire.body import Syntax
from inspector.wire.cursor import uuid_of

# Real towers have three to six floors; the limit bounds what 64 KiB of two-byte floors could mint.
MAX_FLOORS: Final = 32


NAME_CHARACTERS: Final = 256
"""Characters of a name or annotation at most: Windows' longest pipe names, four times an annotation of C706."""

CUT: Final = "\u2026"
"""The last character of a name that was cut: no name has it, since names are read as ISO 8859-1."""

_KEPT_BYTES: Final = 256
_KEPT_TOWERS: Final = 4096


class Protocol(enum.IntEnum):
    """Protocol identifiers: the first byte of a floor's left-hand side."""

    TCP = 0x07
    UDP = 0x08
    IPV4 = 0x09
    RPC_CONNECTIONLESS = 0x0A
    RPC_CONNECTION_ORIENTED = 0x0B
    RPC_LOCAL = 0x0C
    UUID = 0x0D
    SMB_PIPE = 0x0F
    LOCAL_NAME = 0x10
    NETBIOS_HOST = 0x11
    HTTP = 0x1F


_SHORT: Final = struct.Struct("<H")
_KNOWN: Final = frozenset(int(member) for member in Protocol)
_PORTS: Final = frozenset({Protocol.TCP, Protocol.UDP, Protocol.HTTP})
_NAMES: Final = frozenset({Protocol.SMB_PIPE, Protocol.LOCAL_NAME, Protocol.NETBIOS_HOST})


class Floor(NamedTuple):
    """One floor: protocol identifier, the rest of the left-hand side, the right-hand side; bytes as on the wire."""

    protocol: int
    identifier_data: bytes
    related_data: bytes


class Tower(NamedTuple):
    """A tower and what its floors say; None where there is no such floor or it cannot be read.

    `endpoint` is the pipe or local name, `host` the NetBIOS name, both as `text_of` has them. `doubts`
    holds the anomalies of floors which are kept as raw bytes, and of names which were cut.
    """

    floors: tuple[Floor, ...]
    interface: Syntax | None
    transfer: Syntax | None
    protocol_sequence: str
    port: int | None
    address: IPv4Address | None
    endpoint: str | None
    host: str | None
    doubts: tuple[Anomaly, ...]


def _read_floors(data: bytes) -> tuple[tuple[Floor, ...], int]:
    """Return the floors and how many bytes follow them. An answer of 64 KiB has 800 towers: no call for each number."""
    end, at, floors = len(data), 2, []
    try:
        (count,) = _SHORT.unpack_from(data)
        if count > MAX_FLOORS:
            raise DecodeError(Anomaly.TOWER_MALFORMED, f"{count} floors")
        for _ in range(count):
            left = at + 2
            right = left + _SHORT.unpack_from(data, at)[0]
            at = right + 2 + _SHORT.unpack_from(data, right)[0]
            if right == left:
                raise DecodeError(Anomaly.TOWER_MALFORMED, f"a floor without protocol identifier at offset {left}")
            if at > end:
                raise DecodeError(Anomaly.TOWER_MALFORMED, f"a floor of {at - left} bytes at offset {left} of {end}")
            floors.append(Floor(data[left], data[left + 1 : right], data[right + 2 : at]))
    except struct.error as error:
        raise DecodeError(Anomaly.TOWER_MALFORMED, f"{error} after {len(floors)} floors") from None
    return tuple(floors), end - at


def _syntax_of(floor: Floor) -> Syntax | None:
    """Return the interface or transfer syntax of a UUID floor: UUID and major on the left, minor on the right."""
    left, right = floor.identifier_data, floor.related_data
    if len(left) != 18 or len(right) not in (0, 2, 4):
        return None
    return Syntax(uuid_of(left[:16], True), left[16] | left[17] << 8, int.from_bytes(right[:2], "little"))


def text_of(data: bytes) -> str:
    """Return the text before the first NUL, as ISO 8859-1; a longer one than NAME_CHARACTERS ends in CUT."""
    end = data.find(b"\0", 0, NAME_CHARACTERS + 1)
    if end < 0 and len(data) > NAME_CHARACTERS:
        return data[: NAME_CHARACTERS - 1].decode("latin-1") + CUT
    return data[: end if end >= 0 else None].decode("latin-1")


def is_cut(text: str | None) -> bool:
    """Return whether `text_of` cut a name."""
    return text is not None and text.endswith(CUT)


def _sequence_of(protocols: frozenset[int]) -> str:
    """Return the protocol sequence (MS-RPCE section 2.1) which a set of identifiers stands for."""
    if Protocol.HTTP in protocols:
        return "ncacn_http"
    if Protocol.RPC_LOCAL in protocols:
        return "ncalrpc"
    if Protocol.RPC_CONNECTION_ORIENTED in protocols:
        if Protocol.TCP in protocols:
            return "ncacn_ip_tcp"
        return "ncacn_np" if Protocol.SMB_PIPE in protocols else "unknown"
    if Protocol.RPC_CONNECTIONLESS in protocols and Protocol.UDP in protocols:
        return "ncadg_ip_udp"
    return "unknown"


def read_tower(data: bytes) -> Tower:
    """Return the tower of exactly these bytes.

    The few towers a network really has are kept: most are asked for again and again.

    Raises DecodeError (TOWER_MALFORMED) when a length points outside; floors of
    unknown kind, of odd sizes and bytes after the last floor are doubts, not errors.
    """
    return _read_kept(data) if len(data) <= _KEPT_BYTES else _read(data)


def _read(data: bytes) -> Tower:
    floors, left = _read_floors(data)
    syntaxes: list[Syntax | None] = []
    port: int | None = None
    address: IPv4Address | None = None
    endpoint: str | None = None
    host: str | None = None
    doubts = {Anomaly.TOWER_TRAILING_BYTES} if left else set()
    for floor in floors:
        related = floor.related_data
        if floor.protocol == Protocol.UUID:
            syntaxes.append(_syntax_of(floor))
        elif floor.protocol in _PORTS and len(related) == 2:
            port = int.from_bytes(related, "big")
        elif floor.protocol == Protocol.IPV4 and len(related) == 4:
            address = IPv4Address(int.from_bytes(related, "big"))
        elif floor.protocol == Protocol.NETBIOS_HOST:
            host = text_of(related)
        elif floor.protocol in _NAMES:
            endpoint = text_of(related)
        elif floor.protocol not in _KNOWN:
            doubts.add(Anomaly.TOWER_UNKNOWN_FLOOR)
        elif floor.protocol in _PORTS or floor.protocol == Protocol.IPV4:
            doubts.add(Anomaly.TOWER_ODD_FLOOR)
    if None in syntaxes:
        doubts.add(Anomaly.TOWER_ODD_FLOOR)
    if is_cut(endpoint) or is_cut(host):
        doubts.add(Anomaly.NAME_CUT)
    interface, transfer = (*syntaxes, None, None)[:2]
    sequence = _sequence_of(frozenset(floor.protocol for floor in floors))
    return Tower(floors, interface, transfer, sequence, port, address, endpoint, host, tuple(sorted(doubts)))


_read_kept: Final = lru_cache(maxsize=_KEPT_TOWERS)(_read)
