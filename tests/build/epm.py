"""Towers and stubs of the endpoint mapper, byte by byte (C706 appendices L and O, MS-RPCE 2.2.5 for NDR64)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ipaddress import IPv4Address
from uuid import UUID

EPM = (UUID("e1af8308-5d1f-11c9-91a4-08002b14a0fa"), 3, 0)
NDR20 = (UUID("8a885d04-1ceb-11c9-9fe8-08002b104860"), 2, 0)
NDR64 = (UUID("71710533-beba-4937-8319-b5dbef9ccc36"), 1, 0)
FEATURES = (UUID("6cb71c2c-9812-4540-0300-000000000000"), 1, 0)
MAPI = (UUID("a4f1db00-ca47-1067-b31f-00dd010662da"), 0, 81)
SAMR = (UUID("12345778-1234-abcd-ef00-0123456789ac"), 1, 0)
NIL_HANDLE = bytes(20)
NIL_UUID = UUID(int=0)
NOT_REGISTERED = 0x16C9A0D6


def floor(protocol: int, left: bytes = b"", right: bytes = b"") -> bytes:
    """Return one floor: two counted halves, the identifier first."""
    return struct.pack("<H", 1 + len(left)) + bytes([protocol]) + left + struct.pack("<H", len(right)) + right


def uuid_floor(syntax: tuple[UUID, int, int]) -> bytes:
    """Return a floor of an interface or a transfer syntax."""
    uuid, major, minor = syntax
    return floor(0x0D, uuid.bytes_le + struct.pack("<H", major), struct.pack("<H", minor))


def tower(*floors: bytes) -> bytes:
    """Return a tower of these floors."""
    return struct.pack("<H", len(floors)) + b"".join(floors)


def tcp_tower(
    interface: tuple[UUID, int, int] = MAPI,
    port: int = 135,
    address: str = "0.0.0.0",  # noqa: S104  # the address a tower says, nothing is bound
    transfer: tuple[UUID, int, int] = NDR20,
) -> bytes:
    """Return a tower of protocol sequence ncacn_ip_tcp: 75 bytes."""
    return tower(
        uuid_floor(interface),
        uuid_floor(transfer),
        floor(0x0B, right=b"\0\0"),
        floor(0x07, right=struct.pack(">H", port)),
        floor(0x09, right=IPv4Address(address).packed),
    )


def pipe_tower(interface: tuple[UUID, int, int], pipe: str, host: str) -> bytes:
    """Return a tower of protocol sequence ncacn_np."""
    return tower(
        uuid_floor(interface),
        uuid_floor(NDR20),
        floor(0x0B, right=b"\0\0"),
        floor(0x0F, right=pipe.encode() + b"\0"),
        floor(0x11, right=host.encode() + b"\0"),
    )


class Ndr:
    """A writer of NDR20 or NDR64 in either byte order."""

    def __init__(self, *, wide: bool = False, big_endian: bool = False) -> None:
        self.data = b""
        self.wide = wide
        self.order = ">" if big_endian else "<"

    def align(self, to: int) -> Ndr:
        """Pad with zeros to a multiple of `to`."""
        self.data += bytes(-len(self.data) % to)
        return self

    def count(self, *values: int) -> Ndr:
        """Write conformances, lengths or referents."""
        for value in values:
            self.align(8 if self.wide else 4)
            self.data += struct.pack(self.order + ("Q" if self.wide else "I"), value)
        return self

    def long(self, *values: int) -> Ndr:
        """Write 32-bit integers."""
        for value in values:
            self.align(4)
            self.data += struct.pack(self.order + "I", value)
        return self

    def uuid(self, uuid: UUID) -> Ndr:
        """Write a UUID."""
        self.align(4).data += uuid.bytes if self.order == ">" else uuid.bytes_le
        return self

    def raw(self, data: bytes) -> Ndr:
        """Write bytes as they are."""
        self.data += data
        return self

    def tower(self, data: bytes) -> Ndr:
        """Write a twr_t: conformance, length, octets."""
        return self.count(len(data)).long(len(data)).raw(data)


def map_request(
    asked: bytes | None,
    *,
    wide: bool = False,
    big_endian: bool = False,
    max_towers: int = 15,
    handle: bytes = NIL_HANDLE,
    object_uuid: UUID | None = NIL_UUID,
) -> bytes:
    """Return the stub of an ept_map request; `asked` is the map tower."""
    ndr = Ndr(wide=wide, big_endian=big_endian)
    ndr.count(0 if object_uuid is None else 1)
    if object_uuid is not None:
        ndr.uuid(object_uuid)
    ndr.count(0 if asked is None else 2)
    if asked is not None:
        ndr.tower(asked)
    return ndr.align(4).raw(handle).long(max_towers).data


def map_response(
    towers: Sequence[bytes],
    *,
    wide: bool = False,
    big_endian: bool = False,
    status: int = 0,
    max_count: int = 15,
    handle: bytes = NIL_HANDLE,
    referents: Sequence[int] | None = None,
) -> bytes:
    """Return the stub of an ept_map response; `referents` may repeat or be null, `towers` are of new ones."""
    if referents is None:
        referents = range(3, 3 + len(towers))
    ndr = Ndr(wide=wide, big_endian=big_endian).raw(handle).long(len(referents))
    ndr.count(max_count, 0, len(referents)).count(*referents)
    for one in towers:
        ndr.tower(one)
    return ndr.long(status).data


def lookup_request(
    *,
    wide: bool = False,
    inquiry_type: int = 0,
    interface: tuple[UUID, int, int] | None = None,
    handle: bytes = NIL_HANDLE,
    max_entries: int = 500,
) -> bytes:
    """Return the stub of an ept_lookup request."""
    ndr = Ndr(wide=wide).long(inquiry_type).count(0)
    ndr.count(0 if interface is None else 2)
    if interface is not None:
        ndr.uuid(interface[0]).raw(struct.pack("<HH", *interface[1:]))
    return ndr.long(1).raw(handle).long(max_entries).data


def lookup_response(
    entries: Sequence[tuple[bytes, str]],
    *,
    wide: bool = False,
    status: int = 0,
    max_count: int = 500,
    handle: bytes = NIL_HANDLE,
    referents: Sequence[int] | None = None,
) -> bytes:
    """Return the stub of an ept_lookup response; an entry is a tower and its annotation.

    `referents` may repeat or be null: then the towers of some entries are left out.
    """
    if referents is None:
        referents = range(3, 3 + len(entries))
    ndr = Ndr(wide=wide).raw(handle).long(len(entries)).count(max_count, 0, len(entries))
    for referent, (_, annotation) in zip(referents, entries, strict=True):
        if wide:
            ndr.align(8)
        text = annotation.encode() + b"\0"
        ndr.uuid(UUID(int=0)).count(referent).count(0, len(text)).raw(text).align(4)
    for one in {referent: one for referent, (one, _) in zip(referents, entries, strict=True) if referent}.values():
        ndr.tower(one)
    return ndr.long(status).data
