"""Object references and activation properties of DCOM: MS-DCOM sections 2.2.18 and 2.2.22.

Both are little-endian, and each property is a stub of its own (type serialization version 1, MS-RPCE section 2.2.6).
Only what an operator needs is read: class and interfaces that are asked for, and where the object is.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from uuid import UUID

from inspector.errors import Anomaly, DecodeError
from inspector.wire.bindings import (
    MAX_BINDINGS,
    DualStrings,
    StringBinding,
    read_conformant_dual_strings,
    read_dual_strings,
    text_of_units,
)
from inspector.wire.body import NDR20
from inspector.wire.ndr import NdrReader

MAX_INTERFACES: Final = 16
"""Interfaces of an activation that are named; a client may ask for 32,768."""

_SIGNATURE: Final = int.from_bytes(b"MEOW", "little")
_STANDARD, _HANDLER, _CUSTOM, _EXTENDED = 1, 2, 4, 8
_STANDARD_SIZE: Final = 40
_SERIALIZATION_SIZE: Final = 16
_MOST_PROPERTIES: Final = 10  # MAX_ACTPROP_LIMIT

PROPERTIES_IN: Final = UUID("00000338-0000-0000-c000-000000000046")
PROPERTIES_OUT: Final = UUID("00000339-0000-0000-c000-000000000046")
INSTANTIATION_INFO: Final = UUID("000001ab-0000-0000-c000-000000000046")
SECURITY_INFO: Final = UUID("000001a6-0000-0000-c000-000000000046")
SCM_REPLY_INFO: Final = UUID("000001b6-0000-0000-c000-000000000046")
PROPS_OUT_INFO: Final = PROPERTIES_OUT


class Asked(NamedTuple):
    """What an activation asks for; `server_name` is the name by which the client calls the server."""

    class_id: UUID | None = None
    interfaces: tuple[UUID, ...] = ()
    server_name: str | None = None


class Reply(NamedTuple):
    """Where the object is: OXID, the exporter's bindings and its IPID, authentication level that the server prefers."""

    oxid: int
    bindings: DualStrings | None
    ipid: UUID
    authentication_hint: int
    version: tuple[int, int]


class Results(NamedTuple):
    """The interfaces of an activation with the HRESULT of each, and the resolvers' bindings in their references."""

    interfaces: tuple[tuple[UUID, int], ...] = ()
    resolvers: tuple[StringBinding, ...] = ()
    anomalies: frozenset[Anomaly] = frozenset()


def _reader(data: bytes) -> NdrReader:
    return NdrReader(data, NDR20, little_endian=True)


def read_interface_pointer(reader: NdrReader) -> bytes:
    """Return the object reference in an MInterfacePointer (MS-DCOM section 2.2.14); raises DecodeError."""
    conformance = reader.count()
    size = reader.long()
    if conformance != size:
        raise reader.fail(f"object reference of {size} bytes in an array of {conformance}")
    return reader.take(size)


def _read_reference(data: bytes) -> tuple[int, NdrReader]:
    """Return the kind of an object reference, and a reader of what follows its interface identifier."""
    reader = _reader(data)
    if reader.long() != _SIGNATURE:
        raise reader.fail("no object reference")
    kind = reader.long()
    reader.take(16)
    return kind, reader


def resolver_bindings(data: bytes) -> DualStrings | None:
    """Return where the resolver of an object is; None for a reference that does not say it. Raises DecodeError."""
    kind, reader = _read_reference(data)
    if kind not in (_STANDARD, _HANDLER, _EXTENDED):
        return None
    # An extended reference has a signature, a handler's a class, before the bindings (sections 2.2.18.4 to 2.2.18.7).
    reader.take(_STANDARD_SIZE + {_STANDARD: 0, _HANDLER: 16, _EXTENDED: 4}[kind])
    return read_dual_strings(reader)


def read_properties(data: bytes, class_id: UUID) -> dict[UUID, NdrReader]:
    """Return readers of activation properties, by identifier, of an OBJREF_CUSTOM of this class; raises DecodeError."""
    kind, reader = _read_reference(data)
    found = reader.uuid()
    if kind != _CUSTOM or found != class_id:
        raise reader.fail(f"object reference of kind {kind} and class {found}")
    reader.take(16)  # extension, size, then the total size and a reserved field of the properties
    start = reader.position
    header = _serialized(data[start:])
    header.take(4)
    header_size = header.long()
    header.take(8)
    count = header.long()
    header.take(16)
    has_classes, has_sizes, _ = header.longs(3)
    if count > _MOST_PROPERTIES or not (has_classes and has_sizes):
        raise header.fail(f"{count} activation properties")
    identifiers = [header.uuid() for _ in range(_conformance(header, count))]
    sizes = header.longs(_conformance(header, count))
    at, properties = start + header_size, {}
    for identifier, size in zip(identifiers, sizes, strict=True):
        if size > len(data) - at:
            raise reader.fail(f"activation property of {size} bytes at offset {at} of {len(data)}")
        if size >= _SERIALIZATION_SIZE:
            properties[identifier] = _serialized(data[at : at + size])
        at += size
    return properties


def _conformance(reader: NdrReader, expected: int) -> int:
    """Read the conformance of an array that has so many elements."""
    count = reader.count()
    if count != expected:
        raise reader.fail(f"array of {count} for {expected} elements")
    return count


def _serialized(data: bytes) -> NdrReader:
    """Return a reader of a serialized type (MS-RPCE section 2.2.6): two headers of 8 bytes, then NDR."""
    head = _reader(data[:_SERIALIZATION_SIZE])
    version, order, size = head.octet(), head.octet(), head.short()
    if version != 1 or size != 8 or order not in (0, 0x10):
        raise head.fail(f"serialization version {version} with a header of {size} bytes")
    return NdrReader(data[_SERIALIZATION_SIZE:], NDR20, little_endian=order == 0x10)


def read_asked(properties: dict[UUID, NdrReader]) -> Asked:
    """Return what activation properties ask for; raises DecodeError."""
    class_id: UUID | None = None
    interfaces: tuple[UUID, ...] = ()
    reader = properties.get(INSTANTIATION_INFO)
    if reader is not None:
        class_id = reader.uuid()
        reader.take(12)
        count = reader.long()
        reader.take(4)
        has_interfaces = reader.count()
        reader.take(8)
        if has_interfaces:
            interfaces = read_interfaces(reader, _conformance(reader, count))
    return Asked(class_id, interfaces, _server_name(properties.get(SECURITY_INFO)))


def read_interfaces(reader: NdrReader, count: int) -> tuple[UUID, ...]:
    """Return the first interfaces of an array of so many, and pass over the others."""
    interfaces = tuple(reader.uuid() for _ in range(min(count, MAX_INTERFACES)))
    reader.take(16 * (count - len(interfaces)))
    return interfaces


def _server_name(reader: NdrReader | None) -> str | None:
    """Return the name by which the client calls the server: COSERVERINFO (MS-DCOM section 2.2.22.2.7)."""
    if reader is None:
        return None
    reader.take(4)
    has_server, _ = reader.longs(2)
    if not has_server:
        return None
    _, has_name, _, _ = reader.longs(4)
    return read_string(reader) if has_name else None


def read_string(reader: NdrReader) -> str:
    """Return a conformant and varying string of 16-bit units (C706 section 14.3.4); raises DecodeError."""
    most, offset, actual = reader.count(), reader.count(), reader.count()
    if offset > most or actual > most - offset:
        raise reader.fail(f"characters {offset} to {offset + actual} of a string of {most}")
    return text_of_units(reader.shorts(actual))


def read_reply(reader: NdrReader) -> Reply | None:
    """Return ScmReplyInfoData (MS-DCOM section 2.2.22.2.8); None where it has none. Raises DecodeError."""
    _, has_reply = reader.longs(2)
    if not has_reply:
        return None
    reader.align(8)
    oxid, has_bindings, ipid = reader.hyper(), reader.count(), reader.uuid()
    hint, version = reader.long(), (reader.short(), reader.short())
    bindings = read_conformant_dual_strings(reader) if has_bindings else None
    return Reply(oxid, bindings, ipid, hint, version)


def read_results(reader: NdrReader) -> Results:
    """Return PropsOutInfo (MS-DCOM section 2.2.22.2.9); raises DecodeError."""
    count, has_interfaces, has_results, has_pointers = reader.longs(4)
    interfaces: tuple[UUID, ...] = ()
    if has_interfaces:
        interfaces = read_interfaces(reader, _conformance(reader, count))
    statuses = reader.longs(_conformance(reader, count)) if has_results else ()
    results = tuple(zip(interfaces, statuses, strict=False))
    if not has_pointers:
        return Results(results)
    return read_pointers(reader, _conformance(reader, count))._replace(interfaces=results)


def read_pointers(reader: NdrReader, count: int) -> Results:
    """Return the resolvers' bindings of so many interface pointers, each binding once; raises DecodeError."""
    referents = reader.counts(count)
    resolvers: dict[tuple[int, str], StringBinding] = {}
    doubts: set[Anomaly] = set()
    for number, referent in enumerate(referents):
        if not referent:
            continue
        data = read_interface_pointer(reader)
        if number >= MAX_INTERFACES:
            continue
        try:
            found = resolver_bindings(data)
        except DecodeError as error:
            doubts.add(error.anomaly)
            continue
        if found is None:
            continue
        doubts |= found.anomalies
        for one in found.strings:
            if len(resolvers) < MAX_BINDINGS:
                resolvers.setdefault((one.tower_id, one.network_address), one)
    return Results((), tuple(resolvers.values()), frozenset(doubts))
