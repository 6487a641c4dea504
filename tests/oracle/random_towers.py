"""Random towers: as plain values, as bytes that the tests' builder writes, and as Samba's bindings hold them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any, NamedTuple
from uuid import UUID

from hypothesis import strategies as st

from inspector.wire.tower import Floor, Protocol, Tower
from tests.build import epm


class FloorChoice(NamedTuple):
    """One floor: the floor as the inspector should read it, and how to make Samba's right-hand side."""

    floor: Floor
    right_kind: str
    right_fields: dict[str, Any]


def _floor(protocol: int, left: bytes, right: bytes, kind: str, **fields: object) -> FloorChoice:
    return FloorChoice(Floor(protocol, left, right), kind, fields)


def _uuid_floor(uuid: UUID, major: int, minor: int) -> FloorChoice:
    right = struct.pack("<H", minor)
    return _floor(Protocol.UUID, uuid.bytes_le + struct.pack("<H", major), right, "uuid", unknown=right)


def _port_floor(protocol: int, kind: str) -> Callable[[int], FloorChoice]:
    return lambda port: _floor(protocol, b"", struct.pack(">H", port), kind, port=port)


def _version_floor(protocol: int, kind: str) -> FloorChoice:
    return _floor(protocol, b"", bytes(2), kind, minor_version=0)


def _address_floor(raw: bytes) -> FloorChoice:
    return _floor(Protocol.IPV4, b"", raw, "ip", ipaddr=str(IPv4Address(raw)))


def _name_floor(protocol: int, kind: str, field: str) -> Callable[[str], FloorChoice]:
    return lambda name: _floor(protocol, b"", name.encode() + b"\0", kind, **{field: name})


short = st.integers(0, 0xFFFF)
uuids = st.uuids()
names = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40)
_uuid_floors = st.builds(_uuid_floor, uuids, short, short)
_other_floors = st.one_of(
    short.map(_port_floor(Protocol.TCP, "tcp")),
    short.map(_port_floor(Protocol.UDP, "udp")),
    short.map(_port_floor(Protocol.HTTP, "http")),
    st.binary(min_size=4, max_size=4).map(_address_floor),
    st.just(_version_floor(Protocol.RPC_CONNECTIONLESS, "ncadg")),
    st.just(_version_floor(Protocol.RPC_CONNECTION_ORIENTED, "ncacn")),
    st.just(_version_floor(Protocol.RPC_LOCAL, "ncalrpc")),
    names.map(_name_floor(Protocol.SMB_PIPE, "smb", "unc")),
    names.map(_name_floor(Protocol.LOCAL_NAME, "named_pipe", "path")),
    names.map(_name_floor(Protocol.NETBIOS_HOST, "netbios", "name")),
)
# Two syntaxes in front, as every tower has them, then anything in any order.
towers = st.tuples(_uuid_floors, _uuid_floors, st.lists(_other_floors, max_size=4)).map(
    lambda parts: (parts[0], parts[1], *parts[2])
)


def tower_bytes(floors: tuple[FloorChoice, ...]) -> bytes:
    """Return the octets of a tower as the tests' builder writes them."""
    parts = (choice.floor for choice in floors)
    return epm.tower(*(epm.floor(floor.protocol, floor.identifier_data, floor.related_data) for floor in parts))


def samba_tower(epmapper: Any, floors: tuple[FloorChoice, ...]) -> Any:
    """Return Samba's twr_t of these floors; its lengths are computed when it is packed."""
    tower = epmapper.epm_tower()
    tower.num_floors = len(floors)
    tower.floors = [_samba_floor(epmapper, floor) for floor in floors]
    twr = epmapper.epm_twr_t()
    twr.tower = tower
    twr.tower_length = 0
    return twr


def _samba_floor(epmapper: Any, choice: FloorChoice) -> Any:
    left = epmapper.epm_lhs()
    left.protocol = choice.floor.protocol
    left.lhs_data = choice.floor.identifier_data
    right = getattr(epmapper, f"epm_rhs_{choice.right_kind}")()
    for name, value in choice.right_fields.items():
        setattr(right, name, value)
    floor = epmapper.epm_floor()
    floor.lhs = left
    floor.rhs = right
    return floor


def as_declared(stub: bytes, tower_at: int, *, big_endian: bool) -> bytes:
    """Return an NDR64 stub that Samba packed with the head of its one tower, at this offset, as twr_t is declared.

    By C706 appendix L a tower is a member of 32 bits behind the conformance of its octets, which has 64 bits in
    NDR64 (MS-RPCE section 2.2.5.3.2.1). Samba keeps the length and a counted blob instead, so it writes the 32
    bits first, padding, and then 64 bits. tshark and impacket read the declared form, as the inspector does.
    """
    order = ">" if big_endian else "<"
    length, padding, count = struct.unpack_from(order + "IIQ", stub, tower_at)
    assert (padding, count) == (0, length)
    return stub[:tower_at] + struct.pack(order + "QI", count, length) + stub[tower_at + 16 :]


def as_samba_reads(stub: bytes, tower_at: int, *, big_endian: bool) -> bytes:
    """Return an NDR64 stub with the head of its one tower as Samba wants it."""
    order = ">" if big_endian else "<"
    count, length = struct.unpack_from(order + "QI", stub, tower_at)
    return stub[:tower_at] + struct.pack(order + "IIQ", length, 0, count) + stub[tower_at + 12 :]


def assert_same(tower: Tower | None, floors: tuple[FloorChoice, ...]) -> None:
    """Check a tower of the inspector against the choice: each floor's bytes, and what the tower says by them."""
    assert tower is not None
    assert tower.floors == tuple(choice.floor for choice in floors)
    assert tower.doubts == ()
    for syntax, choice in zip((tower.interface, tower.transfer), floors, strict=False):
        data = choice.floor.identifier_data
        assert syntax == (UUID(bytes_le=data[:16]), int.from_bytes(data[16:], "little"), _minor(choice))
    assert tower.port == _last(floors, "port")
    address = _last(floors, "ipaddr")
    assert tower.address == (IPv4Address(address) if address is not None else None)
    assert tower.host == _last(floors, "name")
    paths = [fields[key] for _, _, fields in floors for key in ("unc", "path") if key in fields]
    assert tower.endpoint == (paths[-1] if paths else None)


def _minor(choice: FloorChoice) -> int:
    return int.from_bytes(choice.floor.related_data, "little")


def _last(floors: tuple[FloorChoice, ...], field: str) -> Any:
    said = [choice.right_fields[field] for choice in floors if field in choice.right_fields]
    return said[-1] if said else None


def assert_samba_says(twr: Any, floors: tuple[FloorChoice, ...]) -> None:
    """Check a tower which Samba unpacked against the choice it was built from."""
    assert [(one.lhs.protocol, bytes(one.lhs.lhs_data)) for one in twr.tower.floors] == [
        (choice.floor.protocol, choice.floor.identifier_data) for choice in floors
    ]
    for one, choice in zip(twr.tower.floors, floors, strict=True):
        assert {name: _plain(getattr(one.rhs, name)) for name in choice.right_fields} == choice.right_fields


def _plain(value: Any) -> Any:
    return value if isinstance(value, (int, str)) else bytes(value)
