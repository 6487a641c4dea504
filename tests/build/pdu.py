"""Connection-oriented PDUs, byte by byte (C706 chapter 12, MS-RPCE section 2.2.2)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from uuid import UUID

from tests.build.epm import EPM, NDR20

REQUEST, RESPONSE, FAULT, BIND, BIND_ACK, BIND_NAK = 0, 2, 3, 11, 12, 13
ALTER_CONTEXT, ALTER_CONTEXT_RESPONSE, AUTH3, SHUTDOWN, CANCEL, ORPHANED = 14, 15, 16, 17, 18, 19
FIRST, LAST, OBJECT = 0x01, 0x02, 0x80
Syntax = tuple[UUID, int, int]


def pdu(
    kind: int,
    body: bytes,
    *,
    call_id: int = 1,
    flags: int = FIRST | LAST,
    big_endian: bool = False,
    auth: tuple[int, bytes] | None = None,
) -> bytes:
    """Return a PDU with its common header; `auth` is (level, token), padded to 16 bytes as Windows does."""
    order = ">" if big_endian else "<"
    trailer = b""
    if auth is not None:
        level, token = auth
        padding = -len(body) % 16
        trailer = bytes(padding) + bytes([10, level, padding, 0]) + struct.pack(order + "I", 0) + token
    length = 16 + len(body) + len(trailer)
    head = struct.pack("BBBB4s", 5, 0, kind, flags, b"\0\0\0\0" if big_endian else b"\x10\0\0\0")
    return head + struct.pack(order + "HHI", length, len(auth[1]) if auth else 0, call_id) + body + trailer


def _syntax(syntax: Syntax, order: str) -> bytes:
    uuid, major, minor = syntax
    return (uuid.bytes if order == ">" else uuid.bytes_le) + struct.pack(order + "I", minor << 16 | major)


def bind(
    contexts: Sequence[tuple[int, Syntax, Sequence[Syntax]]] = ((0, EPM, (NDR20,)),),
    *,
    kind: int = BIND,
    call_id: int = 1,
    flags: int = FIRST | LAST,
    big_endian: bool = False,
    auth: tuple[int, bytes] | None = None,
) -> bytes:
    """Return a bind or alter_context; a context is (id, abstract syntax, transfer syntaxes)."""
    order = ">" if big_endian else "<"
    body = struct.pack(order + "HHI", 4280, 4280, 0) + bytes([len(contexts), 0, 0, 0])
    for context_id, abstract, transfers in contexts:
        body += struct.pack(order + "HBB", context_id, len(transfers), 0) + _syntax(abstract, order)
        body += b"".join(_syntax(transfer, order) for transfer in transfers)
    return pdu(kind, body, call_id=call_id, flags=flags, big_endian=big_endian, auth=auth)


def bind_ack(
    results: Sequence[tuple[int, int, Syntax]] = ((0, 0, NDR20),),
    *,
    kind: int = BIND_ACK,
    call_id: int = 1,
    secondary: bytes = b"135\0",
    group: int = 0x1234,
    big_endian: bool = False,
    auth: tuple[int, bytes] | None = None,
) -> bytes:
    """Return a bind_ack or alter_context_resp; a result is (result, reason, transfer syntax)."""
    order = ">" if big_endian else "<"
    body = struct.pack(order + "HHI", 4280, 4280, group) + struct.pack(order + "H", len(secondary)) + secondary
    body += bytes(-len(body) % 4) + bytes([len(results), 0, 0, 0])
    for result, reason, transfer in results:
        body += struct.pack(order + "HH", result, reason) + _syntax(transfer, order)
    return pdu(kind, body, call_id=call_id, big_endian=big_endian, auth=auth)


def bind_nak(reason: int = 4, versions: Sequence[tuple[int, int]] = ((5, 0),), *, call_id: int = 1) -> bytes:
    """Return a bind_nak: 16 + 2 + 1 + 2n bytes."""
    body = struct.pack("<HB", reason, len(versions)) + b"".join(bytes(version) for version in versions)
    return pdu(BIND_NAK, body, call_id=call_id)


def request(
    stub: bytes,
    *,
    opnum: int = 3,
    call_id: int = 1,
    context_id: int = 0,
    flags: int = FIRST | LAST,
    object_uuid: UUID | None = None,
    big_endian: bool = False,
    auth: tuple[int, bytes] | None = None,
) -> bytes:
    """Return one fragment of a request."""
    order = ">" if big_endian else "<"
    body = struct.pack(order + "IHH", len(stub), context_id, opnum)
    if object_uuid is not None:
        body += object_uuid.bytes if big_endian else object_uuid.bytes_le
        flags |= OBJECT
    return pdu(REQUEST, body + stub, call_id=call_id, flags=flags, big_endian=big_endian, auth=auth)


def response(
    stub: bytes,
    *,
    call_id: int = 1,
    context_id: int = 0,
    flags: int = FIRST | LAST,
    big_endian: bool = False,
    auth: tuple[int, bytes] | None = None,
) -> bytes:
    """Return one fragment of a response."""
    order = ">" if big_endian else "<"
    body = struct.pack(order + "IHBB", len(stub), context_id, 0, 0) + stub
    return pdu(RESPONSE, body, call_id=call_id, flags=flags, big_endian=big_endian, auth=auth)


def fault(status: int, *, call_id: int = 1, context_id: int = 0) -> bytes:
    """Return a fault: 32 bytes."""
    return pdu(FAULT, struct.pack("<IHBBII", 32, context_id, 0, 0, status, 0), call_id=call_id)


def fragments(stub: bytes, size: int) -> Iterator[tuple[int, bytes]]:
    """Yield (flags, piece) of a stub cut into pieces of at most `size` bytes."""
    pieces = [stub[start : start + size] for start in range(0, len(stub), size)] or [b""]
    for number, piece in enumerate(pieces):
        yield (FIRST if number == 0 else 0) | (LAST if number == len(pieces) - 1 else 0), piece


def datagram(
    kind: int,
    body: bytes,
    *,
    opnum: int = 3,
    sequence: int = 0,
    activity: UUID = EPM[0],
    interface: UUID = EPM[0],
    fragment: tuple[int, bool] | None = None,
    big_endian: bool = False,
    sealed: bool = False,
) -> bytes:
    """Return a connectionless PDU (C706 section 12.5); `fragment` is its number and whether it is the last."""
    order = ">" if big_endian else "<"
    flags = 0 if fragment is None else 0x04 | (0x02 if fragment[1] else 0)
    drep = b"\0\0\0" if big_endian else b"\x10\0\0"
    head = struct.pack("BBBB3sB", 4, kind, flags, 0, drep, 0)
    for uuid in (UUID(int=0), interface, activity):
        head += uuid.bytes if big_endian else uuid.bytes_le
    number = fragment[0] if fragment else 0
    head += struct.pack(
        order + "IIIHHHHHBB", 0, 3, sequence, opnum, 0xFFFF, 0xFFFF, len(body), number, 10 if sealed else 0, 0
    )
    return head + body + (b"\x06\0" + bytes(18) if sealed else b"")
