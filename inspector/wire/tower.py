"""Protocol towers: C706 appendix L, with the identifiers of appendix I and MS-RPCE section 2.1.

A tower's bytes are little-endian whatever the data representation of the PDU
says; only the port and the IPv4 address are big-endian. Floors are dispatched
on their protocol identifier, never on their position.
"""

from __future__ import annotations

import enum
from functools import lru_cache
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from inspector.errors import Anomaly
from inspector.wire.body import Syntax
from inspector.wire.cursor import Cursor

# Real towers have three to six floors; the limit bounds what 64 KiB of two-byte floors could mint.
MAX_FLOORS: Final = 32


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

    `endpoint` is the pipe or local name, `host` the NetBIOS name. `doubts` holds the
    anomalies of floors which are kept as raw bytes.
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
    cursor = Cursor(data, Anomaly.TOWER_MALFORMED)
    count = cursor.short()
    if count > MAX_FLOORS:
        raise cursor.fail(f"{count} floors")
    floors = []
    for _ in range(count):
        left = cursor.take(cursor.short())
        if not left:
            raise cursor.fail("a floor without protocol identifier")
        floors.append(Floor(left[0], left[1:], cursor.take(cursor.short())))
    return tuple(floors), cursor.left


def _syntax_of(floor: Floor) -> Syntax | None:
    """Return the interface or transfer syntax of a UUID floor: UUID and major on the left, minor on the right."""
    if len(floor.identifier_data) != 18 or len(floor.related_data) not in (0, 2, 4):
        return None
    cursor = Cursor(floor.identifier_data, Anomaly.TOWER_MALFORMED)
    return Syntax(cursor.uuid(), cursor.short(), int.from_bytes(floor.related_data[:2], "little"))


def _name_of(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode("latin-1")


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
            address = IPv4Address(related)
        elif floor.protocol == Protocol.NETBIOS_HOST:
            host = _name_of(related)
        elif floor.protocol in _NAMES:
            endpoint = _name_of(related)
        elif floor.protocol not in _KNOWN:
            doubts.add(Anomaly.TOWER_UNKNOWN_FLOOR)
        elif floor.protocol in _PORTS or floor.protocol == Protocol.IPV4:
            doubts.add(Anomaly.TOWER_ODD_FLOOR)
    if None in syntaxes:
        doubts.add(Anomaly.TOWER_ODD_FLOOR)
    interface, transfer = (*syntaxes, None, None)[:2]
    sequence = _sequence_of(frozenset(floor.protocol for floor in floors))
    return Tower(floors, interface, transfer, sequence, port, address, endpoint, host, tuple(sorted(doubts)))


_read_kept: Final = lru_cache(maxsize=_KEPT_TOWERS)(_read)
