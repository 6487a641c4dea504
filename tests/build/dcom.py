"""DCOM on port 135: stubs of IObjectExporter and IRemoteSCMActivator (MS-DCOM sections 2.2 and 3.1.2.5).

The bytes which an observer can read are as the specification has them: OBJREF_CUSTOM, the properties' headers, the
DUALSTRINGARRAY. Properties that hold nothing of interest are opaque bytes of the size which Windows sends.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final
from uuid import UUID

OBJECT_EXPORTER: Final = (UUID("99fcfec4-5260-101b-bbcb-00aa0021347a"), 0, 0)
SCM_ACTIVATOR: Final = (UUID("000001a0-0000-0000-c000-000000000046"), 0, 0)
RESOLVE_OXID_2: Final = 4
SERVER_ALIVE_2: Final = 5
REMOTE_CREATE_INSTANCE: Final = 4

_TCP: Final = 0x07
_SECURITY: Final = (9, 10, 16, 22)  # GSS_NEGOTIATE, NTLM, Kerberos, SChannel
_PROPERTIES_IN: Final = UUID("000001a2-0000-0000-c000-000000000046")
_PROPERTIES_OUT: Final = UUID("000001a3-0000-0000-c000-000000000046")
_CLASS_IN: Final = UUID("00000338-0000-0000-c000-000000000046")
_CLASS_OUT: Final = UUID("00000339-0000-0000-c000-000000000046")


def _aligned(data: bytes, to: int) -> bytes:
    return data + bytes(-len(data) % to)


def dual_string_array(addresses: Sequence[str]) -> bytes:
    """Return a DUALSTRINGARRAY (2.2.19): string bindings over TCP, then security bindings, in 16-bit units."""
    strings = b"".join(struct.pack("<H", _TCP) + f"{address}\0".encode("utf-16-le") for address in addresses)
    security = b"".join(struct.pack("<HHH", service, 0xFFFF, 0) for service in _SECURITY)
    strings, security = strings + b"\0\0", security + b"\0\0"
    units = (len(strings) + len(security)) // 2
    return struct.pack("<HH", units, len(strings) // 2) + strings + security


def server_alive_2_response(addresses: Sequence[str]) -> bytes:
    """Return the stub of a ServerAlive2 response (3.1.2.5.1.6): version, referent, conformance, bindings."""
    bindings = dual_string_array(addresses)
    units = (len(bindings) - 4) // 2
    stub = struct.pack("<HHII", 5, 7, 0x20000, units) + bindings
    return _aligned(stub, 4) + bytes(8)


def resolve_oxid_2_request(object_exporter: bytes) -> bytes:
    """Return the stub of a ResolveOxid2 request (3.1.2.5.1.5) that asks for TCP."""
    return object_exporter + struct.pack("<HxxIH", 1, 1, _TCP)


def resolve_oxid_2_response(addresses: Sequence[str]) -> bytes:
    """Return the stub of its response: bindings, then IPID, authentication hint, version and status."""
    bindings = dual_string_array(addresses)
    stub = struct.pack("<II", 0x20000, (len(bindings) - 4) // 2) + bindings
    return _aligned(stub, 4) + bytes(range(16)) + struct.pack("<IHHI", 5, 5, 7, 0)


def _interface_pointer(class_id: UUID, interface: UUID, properties: bytes) -> bytes:
    """Return a marshaled OBJREF_CUSTOM (2.2.18.6) as an MInterfacePointer: counts, then the object reference."""
    reference = b"MEOW" + struct.pack("<I", 4) + interface.bytes_le + class_id.bytes_le
    reference += struct.pack("<II", 0, len(properties) + 8) + struct.pack("<II", len(properties), 0) + properties
    return struct.pack("<II", len(reference), len(reference)) + reference


def create_instance_request(causality: bytes, opaque: bytes) -> bytes:
    """Return the stub of RemoteCreateInstance (3.1.2.5.2.3.3): ORPCTHIS with its causality id, properties."""
    this = struct.pack("<HHII", 5, 7, 1, 0) + causality + bytes(4)
    return this + struct.pack("<II", 0, 0x20000) + _interface_pointer(_CLASS_IN, _PROPERTIES_IN, opaque)


def create_instance_response(object_exporter: bytes, addresses: Sequence[str], opaque: bytes) -> bytes:
    """Return the stub of its response: ORPCTHAT, properties, of which ScmReplyInfoData names the OXID's bindings."""
    bindings = dual_string_array(addresses)
    reply = _aligned(object_exporter + struct.pack("<II", 0x20000, (len(bindings) - 4) // 2) + bindings, 8)
    pointer = _interface_pointer(_CLASS_OUT, _PROPERTIES_OUT, opaque + reply)
    return _aligned(struct.pack("<III", 1, 0, 0x20000) + pointer, 4) + bytes(4)
