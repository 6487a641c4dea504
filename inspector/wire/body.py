"""The bodies of connection-oriented PDUs: C706 section 12.6.4, MS-RPCE section 2.2.2."""

from __future__ import annotations

from typing import Final, NamedTuple
from uuid import UUID

from inspector.errors import Anomaly, DecodeError
from inspector.wire.cursor import Cursor
from inspector.wire.pdu import HEADER_SIZE, Pdu, PduFlag

NDR20: Final = "ndr20"
NDR64: Final = "ndr64"

_NDR20_UUID: Final = UUID("8a885d04-1ceb-11c9-9fe8-08002b104860")
_NDR64_UUID: Final = UUID("71710533-beba-4937-8319-b5dbef9ccc36")

ACCEPTANCE: Final = 0

_PROVIDER_REASONS: Final = {
    0: "no reason given",
    1: "abstract syntax not supported",
    2: "proposed transfer syntaxes not supported",
    3: "local limit exceeded",
}
_REJECT_REASONS: Final = {
    0: "no reason given",
    1: "temporary congestion",
    2: "local limit exceeded",
    3: "called presentation address unknown",
    4: "protocol version not supported",
    5: "default context not supported",
    6: "user data not readable",
    7: "no presentation service access point available",
    8: "authentication type not recognised",
    9: "invalid checksum",
}


class Syntax(NamedTuple):
    """An abstract or transfer syntax: p_syntax_id_t."""

    uuid: UUID
    major: int
    minor: int

    @property
    def transfer_name(self) -> str | None:
        """`ndr20` or `ndr64`; None for anything else, bind-time feature negotiation (MS-RPCE 2.2.2.14) included."""
        if self.uuid == _NDR20_UUID and self.major == 2:
            return NDR20
        return NDR64 if self.uuid == _NDR64_UUID and self.major == 1 else None


class ContextElement(NamedTuple):
    """One proposed presentation context: p_cont_elem_t."""

    context_id: int
    abstract: Syntax
    transfers: tuple[Syntax, ...]


class ContextResult(NamedTuple):
    """The answer to one proposed context: p_result_t."""

    result: int
    reason: int
    transfer: Syntax

    @property
    def reason_text(self) -> str:
        """The provider's reason in words."""
        return _PROVIDER_REASONS.get(self.reason, f"reason {self.reason}")


class BindNak(NamedTuple):
    """A rejected association; versions are (major, minor) pairs which the server speaks."""

    reason: int
    versions: tuple[tuple[int, int], ...]

    @property
    def reason_text(self) -> str:
        """The reject reason in words."""
        return _REJECT_REASONS.get(self.reason, f"reason {self.reason}")


class Request(NamedTuple):
    """One fragment of a request."""

    alloc_hint: int
    context_id: int
    opnum: int
    object_uuid: UUID | None
    stub: bytes


class Response(NamedTuple):
    """One fragment of a response."""

    alloc_hint: int
    context_id: int
    stub: bytes


class Fault(NamedTuple):
    """A call that failed; `status` at PDU offset 24."""

    context_id: int
    status: int


def _cursor(pdu: Pdu) -> Cursor:
    return Cursor(pdu.body, Anomaly.PDU_MALFORMED, little_endian=pdu.little_endian)


def _read_syntax(cursor: Cursor) -> Syntax:
    uuid = cursor.uuid()
    version = cursor.long()
    # if_version holds the major version in the low half (C706 section 12.6.3.1, p_syntax_id_t).
    return Syntax(uuid, version & 0xFFFF, version >> 16)


def read_bind(pdu: Pdu) -> tuple[ContextElement, ...]:
    """Return the contexts which a bind or alter_context proposes (C706 sections 12.6.4.3 and 12.6.4.1)."""
    cursor = _cursor(pdu)
    cursor.take(8)  # max_xmit_frag, max_recv_frag, assoc_group_id: nothing here depends on them
    count = cursor.octet()
    cursor.take(3)
    elements = []
    for _ in range(count):
        context_id = cursor.short()
        transfer_count = cursor.octet()
        cursor.take(1)
        abstract = _read_syntax(cursor)
        elements.append(
            ContextElement(context_id, abstract, tuple(_read_syntax(cursor) for _ in range(transfer_count)))
        )
    return tuple(elements)


def read_bind_ack(pdu: Pdu) -> tuple[ContextResult, ...]:
    """Return the results of a bind_ack or alter_context_resp, in the order of the proposals (C706 section 12.6.4.4)."""
    cursor = _cursor(pdu)
    cursor.take(8)
    cursor.take(cursor.short())  # sec_addr, the secondary address
    # The alignment counts from the start of the PDU; its header is a multiple of four.
    cursor.align(4)
    count = cursor.octet()
    cursor.take(3)
    return tuple(ContextResult(cursor.short(), cursor.short(), _read_syntax(cursor)) for _ in range(count))


def read_bind_nak(pdu: Pdu) -> BindNak:
    """Return reason and versions (C706 section 12.6.4.5); servers may leave the versions out."""
    cursor = _cursor(pdu)
    reason = cursor.short()
    versions = []
    if cursor.left:
        versions = [(cursor.octet(), cursor.octet()) for _ in range(cursor.octet())]
    return BindNak(reason, tuple(versions))


def read_request(pdu: Pdu) -> Request:
    """Return one fragment of a request (C706 section 12.6.4.9)."""
    cursor = _cursor(pdu)
    alloc_hint, context_id, opnum = cursor.long(), cursor.short(), cursor.short()
    object_uuid = cursor.uuid() if pdu.flags & PduFlag.OBJECT_UUID else None
    return Request(alloc_hint, context_id, opnum, object_uuid, pdu.body[cursor.position :])


def read_response(pdu: Pdu) -> Response:
    """Return one fragment of a response (C706 section 12.6.4.10); one byte after the cancel count is reserved."""
    cursor = _cursor(pdu)
    alloc_hint, context_id = cursor.long(), cursor.short()
    cursor.take(2)
    return Response(alloc_hint, context_id, pdu.body[cursor.position :])


def read_fault(pdu: Pdu) -> Fault:
    """Return context and status of a fault (C706 section 12.6.4.7)."""
    if pdu.frag_length < HEADER_SIZE + 12:
        raise DecodeError(Anomaly.PDU_MALFORMED, f"fault of {pdu.frag_length} bytes")
    cursor = _cursor(pdu)
    cursor.take(4)
    context_id = cursor.short()
    cursor.take(2)
    return Fault(context_id, cursor.long())
