"""DCOM on port 135: stubs of IObjectExporter, IRemoteSCMActivator and IActivation (MS-DCOM sections 2.2 and 3.1.2.5).

Structures are as the specification has them, in both byte orders and transfer syntaxes; object references and
activation properties are little-endian NDR20 always. Properties that hold nothing of interest are opaque bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, Self
from uuid import UUID

OBJECT_EXPORTER: Final = (UUID("99fcfec4-5260-101b-bbcb-00aa0021347a"), 0, 0)
SCM_ACTIVATOR: Final = (UUID("000001a0-0000-0000-c000-000000000046"), 0, 0)
ACTIVATION: Final = (UUID("4d9f4ab8-7d1c-11cf-861e-0020af6e7c57"), 0, 0)
RESOLVE_OXID: Final = 0
RESOLVE_OXID_2: Final = 4
SERVER_ALIVE_2: Final = 5
REMOTE_GET_CLASS_OBJECT: Final = 3
REMOTE_CREATE_INSTANCE: Final = 4
REMOTE_ACTIVATION: Final = 0

WMI: Final = UUID("8bc3f05e-d86b-11d0-a075-00c04fb68820")
WBEM_LOGIN: Final = UUID("f309ad18-d86a-11d0-a075-00c04fb68820")
IPID: Final = UUID(bytes_le=bytes(range(16)))
OBJECT: Final = bytes(8) + IPID.bytes_le
ACCESS_DENIED: Final = 0x80070005

_TCP: Final = 0x07
_SECURITY: Final = ((9, ""), (10, ""), (16, ""), (22, ""))
_PROPERTIES_IN: Final = UUID("000001a2-0000-0000-c000-000000000046")
_PROPERTIES_OUT: Final = UUID("000001a3-0000-0000-c000-000000000046")
_CLASS_IN: Final = UUID("00000338-0000-0000-c000-000000000046")
_CLASS_OUT: Final = UUID("00000339-0000-0000-c000-000000000046")
_INSTANTIATION: Final = UUID("000001ab-0000-0000-c000-000000000046")
_SECURITY_INFO: Final = UUID("000001a6-0000-0000-c000-000000000046")
_CONTEXT: Final = UUID("000001a5-0000-0000-c000-000000000046")
_SCM_REPLY: Final = UUID("000001b6-0000-0000-c000-000000000046")
_REFERENT: Final = 0x20000

Address = str | tuple[int, str]
"""Text of a string binding over TCP, or with its tower identifier."""


class Stub:
    """NDR being written: `wide` is NDR64."""

    def __init__(self, *, wide: bool = False, big_endian: bool = False) -> None:
        self.data = b""
        self.wide = wide
        self.order = ">" if big_endian else "<"

    def align(self, to: int) -> Self:
        """Pad to a multiple."""
        self.data += bytes(-len(self.data) % to)
        return self

    def put(self, layout: str, *values: int) -> Self:
        """Put integers, all of the size of the first, aligned to it."""
        self.align(struct.calcsize(f"={layout[-1]}"))
        self.data += struct.pack(self.order + layout, *values)
        return self

    def count(self, *values: int) -> Self:
        """Put referents or counts."""
        return self.put(f"{len(values)}{'Q' if self.wide else 'I'}", *values)

    def uuid(self, uuid: UUID) -> Self:
        """Put a UUID, aligned to 4."""
        self.align(4)
        self.data += uuid.bytes_le if self.order == "<" else uuid.bytes
        return self

    def raw(self, data: bytes) -> Self:
        """Put bytes as they are."""
        self.data += data
        return self


def dual_string_array(
    addresses: Sequence[Address], security: Sequence[tuple[int, str]] = _SECURITY, *, big_endian: bool = False
) -> bytes:
    """Return a DUALSTRINGARRAY (2.2.19): string bindings, then security bindings, in 16-bit units."""
    order, text = (">", "utf-16-be") if big_endian else ("<", "utf-16-le")
    strings = b""
    for address in addresses:
        tower_id, host = (_TCP, address) if isinstance(address, str) else address
        strings += struct.pack(order + "H", tower_id) + f"{host}\0".encode(text)
    principals = b"".join(
        struct.pack(order + "HH", service, 0xFFFF) + f"{name}\0".encode(text) for service, name in security
    )
    strings, principals = strings + b"\0\0", principals + b"\0\0"
    units = (len(strings) + len(principals)) // 2
    return struct.pack(order + "HH", units, len(strings) // 2) + strings + principals


def _put_bindings(stub: Stub, bindings: bytes) -> Stub:
    return stub.count((len(bindings) - 4) // 2).raw(bindings)


def _bindings(stub: Stub, addresses: Sequence[Address]) -> bytes:
    return dual_string_array(addresses, big_endian=stub.order == ">")


def server_alive_2_response(addresses: Sequence[Address], *, wide: bool = False, big_endian: bool = False) -> bytes:
    """Return the stub of a ServerAlive2 response (3.1.2.5.1.6): version, bindings, a reserved number, status."""
    stub = Stub(wide=wide, big_endian=big_endian).put("2H", 5, 7).count(_REFERENT)
    return _put_bindings(stub, _bindings(stub, addresses)).put("2I", 0, 0).data


def resolve_oxid_2_request(object_exporter: bytes) -> bytes:
    """Return the stub of a ResolveOxid or ResolveOxid2 request (3.1.2.5.1.5) that asks for TCP."""
    return object_exporter + struct.pack("<HxxIH", 1, 1, _TCP)


def resolve_oxid_response(
    addresses: Sequence[Address], *, status: int = 0, two: bool = True, wide: bool = False, big_endian: bool = False
) -> bytes:
    """Return the stub of the response: bindings (null where it failed), IPID, hint, version where `two`, and status."""
    stub = Stub(wide=wide, big_endian=big_endian).count(0 if status else _REFERENT)
    if not status:
        _put_bindings(stub, _bindings(stub, addresses))
    stub.uuid(IPID).put("I", 5)
    if two:
        stub.put("2H", 5, 7)
    return stub.put("I", status).data


def resolve_oxid_2_response(addresses: Sequence[Address]) -> bytes:
    """Return the stub of a ResolveOxid2 response."""
    return resolve_oxid_response(addresses)


def _serialized(stub: Stub) -> bytes:
    """Return a type in serialization version 1 (MS-RPCE 2.2.6)."""
    data = stub.align(8).data
    return struct.pack("<BBHIII", 1, 0x10, 8, 0xCCCCCCCC, len(data), 0) + data


def properties(*found: tuple[UUID, bytes]) -> bytes:
    """Return an activation properties blob (2.2.22): sizes, custom header, properties."""
    header = Stub().put("5I", 0, 0, 0, 2, len(found)).uuid(UUID(int=0)).count(_REFERENT, _REFERENT + 4, 0)
    header.count(len(found))
    for identifier, _ in found:
        header.uuid(identifier)
    header.count(len(found)).put(f"{len(found)}I", *(len(data) for _, data in found))
    size = len(_serialized(header))
    body = b"".join(data for _, data in found)
    header.data = struct.pack("<II", size + len(body), size) + header.data[8:]
    return struct.pack("<II", size + len(body), 0) + _serialized(header) + body


def custom_reference(interface: UUID, class_id: UUID, data: bytes) -> bytes:
    """Return an OBJREF_CUSTOM (2.2.18.6)."""
    head = b"MEOW" + struct.pack("<I", 4) + interface.bytes_le + class_id.bytes_le
    return head + struct.pack("<II", 0, len(data) + 8) + data


def standard_reference(
    interface: UUID, object_exporter: bytes, addresses: Sequence[Address], identifiers: bytes = OBJECT
) -> bytes:
    """Return an OBJREF_STANDARD (2.2.18.4): the object's OID and IPID, and the bindings of its resolver."""
    head = b"MEOW" + struct.pack("<I", 1) + interface.bytes_le
    return head + struct.pack("<II", 0, 5) + object_exporter + identifiers + dual_string_array(addresses)


def _put_pointer(stub: Stub, reference: bytes) -> Stub:
    """Put an MInterfacePointer (2.2.14)."""
    return stub.count(len(reference)).put("I", len(reference)).raw(reference)


def properties_in(class_id: UUID, interfaces: Sequence[UUID], server_name: str, opaque: bytes) -> bytes:
    """Return the properties of an activation: what is asked for, from which server, and opaque bytes as context."""
    asked = Stub().uuid(class_id).put("5I", 20, 0, 0, len(interfaces), 0).count(_REFERENT).put("I", 88).put("2H", 5, 7)
    asked.count(len(interfaces))
    for one in interfaces:
        asked.uuid(one)
    name = f"{server_name}\0"
    security = Stub().put("I", 0).count(_REFERENT, 0).put("I", 0).count(_REFERENT + 4, 0).put("I", 0)
    security.count(len(name), 0, len(name)).raw(name.encode("utf-16-le"))
    found = [(_INSTANTIATION, _serialized(asked)), (_SECURITY_INFO, _serialized(security))]
    if opaque:
        found.append((_CONTEXT, _serialized(Stub().raw(opaque))))
    return properties(*found)


def _this(stub: Stub, causality: bytes) -> Stub:
    """Put ORPCTHIS (2.2.13.3)."""
    return stub.put("2H", 5, 7).put("2I", 1, 0).raw(causality).count(0)


def create_instance_request(
    causality: bytes,
    opaque: bytes = b"",
    *,
    class_id: UUID = WMI,
    interfaces: Sequence[UUID] = (WBEM_LOGIN,),
    server_name: str = "SRV01",
    wide: bool = False,
    big_endian: bool = False,
    class_object: bool = False,
) -> bytes:
    """Return the stub of RemoteCreateInstance (3.1.2.5.2.3.3), or of RemoteGetClassObject."""
    stub = _this(Stub(wide=wide, big_endian=big_endian), causality)
    if not class_object:
        stub.count(0)
    stub.count(_REFERENT)
    reference = custom_reference(_PROPERTIES_IN, _CLASS_IN, properties_in(class_id, interfaces, server_name, opaque))
    return _put_pointer(stub, reference).data


def properties_out(
    object_exporter: bytes,
    addresses: Sequence[Address],
    results: Sequence[tuple[UUID, int]],
    resolvers: Sequence[Address],
    opaque: bytes,
    identifiers: bytes = OBJECT,
) -> bytes:
    """Return the properties of an activation's answer: where the object is, and its interfaces."""
    reply = Stub().count(0, _REFERENT).align(8).raw(object_exporter).count(_REFERENT + 4).uuid(IPID)
    reply.put("I", 5).put("2H", 5, 7)
    _put_bindings(reply, dual_string_array(addresses))
    found = [(_SCM_REPLY, _serialized(reply))]
    if results:
        out = Stub().put("I", len(results)).count(_REFERENT, _REFERENT + 4, _REFERENT + 8).count(len(results))
        for interface, _ in results:
            out.uuid(interface)
        out.count(len(results)).put(f"{len(results)}I", *(status for _, status in results))
        referents = (0 if status else _REFERENT + 16 + number for number, (_, status) in enumerate(results))
        out.count(len(results), *referents)
        for interface, status in results:
            if not status:
                _put_pointer(out, standard_reference(interface, object_exporter, resolvers, identifiers))
        found.insert(0, (_CLASS_OUT, _serialized(out)))
    if opaque:
        found.append((_CONTEXT, _serialized(Stub().raw(opaque))))
    return properties(*found)


def create_instance_response(
    object_exporter: bytes,
    addresses: Sequence[Address],
    opaque: bytes = b"",
    *,
    results: Sequence[tuple[UUID, int]] = (),
    resolvers: Sequence[Address] = (),
    status: int = 0,
    wide: bool = False,
    big_endian: bool = False,
    identifiers: bytes = OBJECT,
) -> bytes:
    """Return the stub of the response to either activation: ORPCTHAT, properties (null where it failed), HRESULT."""
    stub = Stub(wide=wide, big_endian=big_endian).put("I", 0).count(0, 0 if status else _REFERENT)
    if not status:
        found = properties_out(object_exporter, addresses, results, resolvers, opaque, identifiers)
        _put_pointer(stub, custom_reference(_PROPERTIES_OUT, _CLASS_OUT, found))
    return stub.put("I", status).data


def activation_request(
    causality: bytes, *, class_id: UUID = WMI, interfaces: Sequence[UUID] = (WBEM_LOGIN,), wide: bool = False
) -> bytes:
    """Return the stub of RemoteActivation (3.1.2.5.2.3.1) over TCP."""
    stub = _this(Stub(wide=wide), causality).uuid(class_id).count(0, 0).put("3I", 2, 0, len(interfaces))
    stub.count(_REFERENT).count(len(interfaces))
    for one in interfaces:
        stub.uuid(one)
    return stub.put("H", 1).count(1).put("H", _TCP).data


def activation_response(
    object_exporter: bytes,
    addresses: Sequence[Address],
    *,
    resolvers: Sequence[Address] = (),
    status: int = 0,
    wide: bool = False,
    big_endian: bool = False,
) -> bytes:
    """Return the stub of its response: one interface, of which the object reference names the resolver's bindings."""
    stub = Stub(wide=wide, big_endian=big_endian).put("I", 0).count(0).align(8)
    stub.raw(object_exporter if not big_endian else object_exporter[::-1]).count(0 if status else _REFERENT)
    if not status:
        _put_bindings(stub, _bindings(stub, addresses))
    stub.uuid(IPID).put("I", 5).put("2H", 5, 7).put("I", status).count(1, 0 if status else _REFERENT)
    if not status:
        _put_pointer(stub, standard_reference(WBEM_LOGIN, object_exporter, resolvers))
    return stub.count(1).put("2I", status, 0).data
