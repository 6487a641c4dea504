"""What an association's first PDUs say, read from single segments: enough for outcomes, never for answers."""

from __future__ import annotations

from typing import Final, NamedTuple

from inspector.errors import DecodeError
from inspector.wire.body import (
    ACCEPTANCE,
    Syntax,
    read_bind,
    read_bind_ack,
    read_bind_nak,
    read_fault,
)
from inspector.wire.pdu import HEADER_SIZE, PduType, frag_length_of, split_pdu

_MOST: Final = 16
_TYPES: Final = {int(one): one for one in PduType}
QUESTIONS: Final = frozenset({PduType.REQUEST, PduType.BIND, PduType.ALTER_CONTEXT})
NAMES: Final = {PduType.REQUEST: "request", PduType.BIND: "bind", PduType.ALTER_CONTEXT: "alter_context"}
_OPNUM_AT: Final = 22
_PROVIDER_REJECTION: Final = 2
_ABSTRACT_SYNTAX_NOT_SUPPORTED: Final = 1


class SeenPdu(NamedTuple):
    """A PDU: its type, flags, and the bytes from its start on, as far as they are in the segment."""

    type: PduType
    flags: int
    data: bytes


class Bind(NamedTuple):
    """What a bind proposes: how many contexts, the first abstract syntax, and the authentication level or 0."""

    contexts: int
    abstract: Syntax | None
    level: int


class Reply(NamedTuple):
    """What a server says of a bind or a call.

    `rejection` is the reason in words, where no context was accepted; `unknown_interface`: the server does not know
    the abstract syntax. `fault` is the status of a fault PDU, `abstract` what the bind proposed, where that was seen.
    """

    accepted: bool = False
    rejection: str | None = None
    unknown_interface: bool = False
    fault: int | None = None
    abstract: Syntax | None = None


def messages(payload: bytes | memoryview) -> list[SeenPdu]:
    """Return the PDUs that begin in a segment whose first byte begins one; none where it does not."""
    found: list[SeenPdu] = []
    at = 0
    while len(found) < _MOST and len(payload) - at >= HEADER_SIZE:
        length = frag_length_of(payload, at)
        if length is None:
            break
        found.append(SeenPdu(_TYPES[payload[at + 2]], payload[at + 3], bytes(payload[at : at + length])))
        at += length
    return found


def call_id_of(pdu: bytes) -> int:
    """Return the call id of a PDU."""
    return int.from_bytes(pdu[12:16], "little" if pdu[4] & 0x10 else "big")


def opnum_of(message: SeenPdu) -> int | None:
    """Return the operation number of a request; None of other messages."""
    if message.type is not PduType.REQUEST or len(message.data) < _OPNUM_AT + 2:
        return None
    return int.from_bytes(message.data[_OPNUM_AT : _OPNUM_AT + 2], "little" if message.data[4] & 0x10 else "big")


def read_proposal(message: SeenPdu) -> Bind | None:
    """Return what a bind or alter_context proposes; None where it is cut or malformed."""
    try:
        pdu = split_pdu(message.data)
        if pdu is None:
            return None
        contexts = read_bind(pdu)
        return Bind(len(contexts), contexts[0].abstract if contexts else None, pdu.auth_level or 0)
    except DecodeError:
        return None


def read_reply(message: SeenPdu) -> Reply | None:
    """Return what a server's PDU says of the association; None where it says nothing of it."""
    try:
        pdu = split_pdu(message.data)
        if pdu is None:
            return None
        if message.type in (PduType.BIND_ACK, PduType.ALTER_CONTEXT_RESPONSE):
            results = read_bind_ack(pdu)
            if not results or any(one.result == ACCEPTANCE for one in results):
                return Reply(accepted=True)
            # Bind-time feature negotiation is answered by a result of its own (MS-RPCE 2.2.2.4).
            rejected = [one for one in results if one.result == _PROVIDER_REJECTION]
            unknown = any(one.reason == _ABSTRACT_SYNTAX_NOT_SUPPORTED for one in rejected)
            words = ", ".join(dict.fromkeys(one.reason_text for one in rejected[:_MOST])) or "no context accepted"
            return Reply(rejection=words, unknown_interface=unknown)
        if message.type is PduType.BIND_NAK:
            return Reply(rejection=read_bind_nak(pdu).reason_text)
        if message.type is PduType.FAULT:
            return Reply(fault=read_fault(pdu).status)
    except DecodeError:
        return None
    return Reply(accepted=True) if message.type is PduType.RESPONSE else None
