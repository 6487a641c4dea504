"""What DCE/RPC does to a conversation: binds, contexts, fragments, byte orders, authentication, pairing, failures."""

# ruff: noqa: D401  # a trace's docstring says what it shows: it describes a scene, not a deed
from __future__ import annotations

from uuid import UUID

from inspector.model import Segment
from tests.build import pdu
from tests.build.connection import Wire
from tests.build.epm import EPM, NDR20, NDR64, NIL_HANDLE, SAMR, map_request, map_response, tcp_tower
from tests.golden.dialogue import DIP, ISYSTEMACTIVATOR, NO_SYNTAX, VIP, answered, asked, bound, closed, mapped
from tests.golden.trace import trace

_OFFER = tcp_tower(SAMR, 49152, DIP)
# NTLMSSP's signature and type 1, 2 and 3 with nothing behind: enough for what ignores tokens.
_TOKENS = [b"NTLMSSP\0" + bytes([kind]) + bytes(23) for kind in (1, 2, 3)]


@trace()
def bind_features() -> list[Segment]:
    """64-bit Windows: NDR20 refused, NDR64 accepted, bind-time features negotiated (negotiate_ack)."""
    return closed(mapped(bound(wide=True), _OFFER, wide=True)).segments


@trace()
def bind_with_flags_zero() -> list[Segment]:
    """A bind without the fragment flags, which Windows accepts."""
    wire = Wire().open().client(pdu.bind(flags=0)).server(pdu.bind_ack())
    return closed(mapped(wire, _OFFER)).segments


@trace()
def requests_with_flags_zero() -> list[Segment]:
    """Requests of one PDU without the fragment flags, as NT 4.0 sends them; then one of three PDUs, as it should be."""
    wire = Wire().open().client(pdu.bind(flags=0)).server(pdu.bind_ack())
    stub = map_request(_OFFER)
    answer = map_response([_OFFER])
    for call_id in (2, 3):
        wire.client(pdu.request(stub, call_id=call_id, flags=0)).server(pdu.response(answer, call_id=call_id))
    for flags, piece in pdu.fragments(stub, 48):
        wire.client(pdu.request(piece, call_id=4, flags=flags))
    return closed(wire.server(pdu.response(answer, call_id=4))).segments


@trace()
def bind_nak_reasons() -> list[Segment]:
    """Every reason of a bind_nak, and one which no document knows; versions 0 to 2 times."""
    segments = []
    for number, reason in enumerate((*range(10), 99)):
        wire = Wire(client_port=50000 + number).wait(number).open().client(pdu.bind())
        segments += closed(wire.server(pdu.bind_nak(reason, ((5, 0), (5, 1))[: number % 3]))).segments
    return segments


@trace()
def bind_nak_alone() -> list[Segment]:
    """A bind_nak whose bind was not seen."""
    return Wire().server(pdu.bind_nak()).segments


@trace()
def context_rejected() -> list[Segment]:
    """A bind_ack that accepts no context: each of the provider's reasons."""
    segments = []
    for number in range(4):
        wire = Wire(client_port=50000 + number).wait(number).open().client(pdu.bind())
        segments += closed(wire.server(pdu.bind_ack([(2, number, NO_SYNTAX)]))).segments
    return segments


@trace()
def alter_context() -> list[Segment]:
    """The endpoint mapper comes to a connection of DCOM, with the call id of the bind."""
    wire = Wire().open().client(pdu.bind([(0, ISYSTEMACTIVATOR, (NDR20,))])).server(pdu.bind_ack())
    wire.client(pdu.bind([(1, EPM, (NDR64,))], kind=pdu.ALTER_CONTEXT))
    wire.server(pdu.bind_ack([(0, 0, NDR64)], kind=pdu.ALTER_CONTEXT_RESPONSE, secondary=b""))
    return closed(mapped(wire, _OFFER, wide=True)).segments


@trace()
def other_interface() -> list[Segment]:
    """DCOM's activation on the same port: no finding, whatever its stubs look like."""
    wire = Wire().open().client(pdu.bind([(0, ISYSTEMACTIVATOR, (NDR20,))])).server(pdu.bind_ack())
    return closed(mapped(wire, _OFFER)).segments


@trace()
def unidentified_response() -> list[Segment]:
    """A response and a fault of which nothing else was seen, and which say nothing by their structure."""
    wire = Wire().server(pdu.response(bytes(range(40)), call_id=7)).server(pdu.fault(5, call_id=8))
    return closed(wire).segments


@trace()
def object_uuid() -> list[Segment]:
    """A request whose header is 40 bytes long: it names an object."""
    stub = map_request(tcp_tower(SAMR))
    wire = bound().client(pdu.request(stub, call_id=2, object_uuid=UUID("01234567-89ab-4def-8123-456789abcdef")))
    return closed(answered(wire, _OFFER)).segments


@trace()
def big_endian() -> list[Segment]:
    """Both ends use big-endian integers; the towers do not."""
    wire = Wire().open().client(pdu.bind(big_endian=True)).server(pdu.bind_ack(big_endian=True))
    wire.client(pdu.request(map_request(tcp_tower(SAMR), big_endian=True), call_id=2, big_endian=True))
    stub = map_response([_OFFER, tcp_tower(SAMR, 49153, VIP)], big_endian=True)
    return closed(wire.server(pdu.response(stub, call_id=2, big_endian=True))).segments


@trace()
def mixed_byte_orders() -> list[Segment]:
    """A big-endian client of a little-endian server: each PDU says how its own integers are written."""
    wire = Wire().open().client(pdu.bind(big_endian=True)).server(pdu.bind_ack())
    wire.client(pdu.request(map_request(tcp_tower(SAMR), big_endian=True), call_id=2, big_endian=True))
    return closed(answered(wire, _OFFER)).segments


@trace()
def fragments() -> list[Segment]:
    """Request and response in fragments of 40 bytes: floors cross their borders."""
    wire = bound()
    for flags, piece in pdu.fragments(map_request(tcp_tower(SAMR)), 40):
        wire.client(pdu.request(piece, call_id=2, flags=flags))
    for flags, piece in pdu.fragments(map_response([_OFFER, tcp_tower(SAMR, 49153, VIP)]), 40):
        wire.server(pdu.response(piece, call_id=2, flags=flags))
    return closed(wire).segments


@trace()
def fragments_interleaved() -> list[Segment]:
    """The fragments of two calls' responses alternate: the call id keeps them apart."""
    wire = asked(asked(bound(), call_id=2), call_id=3)
    first, second = (list(pdu.fragments(map_response([_OFFER]), 48)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        for call_id, (flags, piece) in ((2, one), (3, other)):
            wire.server(pdu.response(piece, call_id=call_id, flags=flags))
    return closed(wire).segments


@trace()
def fragment_order() -> list[Segment]:
    """A response starts anew before it ended, and one goes on that never began."""
    wire = asked(bound())
    parts = list(pdu.fragments(map_response([_OFFER]), 48))
    for flags, piece in (parts[0], *parts):
        wire.server(pdu.response(piece, call_id=2, flags=flags))
    wire.server(pdu.response(parts[-1][1], call_id=3, flags=pdu.LAST))
    return closed(wire).segments


@trace()
def fragments_too_large() -> list[Segment]:
    """A request of 9 KB where none is longer than a tower; its connection goes on."""
    wire = bound()
    for flags, piece in pdu.fragments(bytes(9 * 1024), 4000):
        wire.client(pdu.request(piece, call_id=2, flags=flags))
    return closed(mapped(wire, _OFFER, call_id=3)).segments


@trace()
def signed() -> list[Segment]:
    """Packet integrity: bind and AUTH3 carry tokens, each fragment its own padding and verifier."""
    wire = Wire().open().client(_with_token(pdu.bind(), 0, 5)).server(_with_token(pdu.bind_ack(), 1, 5))
    wire.client(pdu.pdu(pdu.AUTH3, bytes(4), auth=(5, _TOKENS[2])))
    wire.client(pdu.request(map_request(tcp_tower(SAMR)), call_id=2, auth=(5, bytes(16))))
    for flags, piece in pdu.fragments(map_response([_OFFER]), 64):
        wire.server(pdu.response(piece, call_id=2, flags=flags, auth=(5, bytes(16))))
    return closed(wire).segments


@trace()
def signed_in_whole_blocks() -> list[Segment]:
    """Packet integrity as Windows fragments: pieces that need no padding."""
    wire = Wire().open().client(_with_token(pdu.bind(), 0, 5)).server(_with_token(pdu.bind_ack(), 1, 5))
    wire.client(pdu.pdu(pdu.AUTH3, bytes(4), auth=(5, _TOKENS[2])))
    wire.client(pdu.request(map_request(tcp_tower(SAMR)), call_id=2, auth=(5, bytes(16))))
    for flags, piece in pdu.fragments(map_response([_OFFER]), 72):
        wire.server(pdu.response(piece, call_id=2, flags=flags, auth=(5, bytes(16))))
    return closed(wire).segments


def _with_token(plain: bytes, token: int, level: int) -> bytes:
    """Return a bind or bind_ack again, with an authentication trailer."""
    return pdu.pdu(plain[2], plain[16:], auth=(level, _TOKENS[token]))


@trace()
def sealed() -> list[Segment]:
    """Packet privacy: the stubs are encrypted."""
    wire = Wire().open().client(_with_token(pdu.bind(), 0, 6)).server(_with_token(pdu.bind_ack(), 1, 6))
    wire.client(pdu.pdu(pdu.AUTH3, bytes(4), auth=(6, _TOKENS[2])))
    wire.client(pdu.request(bytes(range(132)), call_id=2, auth=(6, bytes(16))))
    return closed(wire.server(pdu.response(bytes(range(128)), call_id=2, auth=(6, bytes(16))))).segments


@trace()
def auth_malformed() -> list[Segment]:
    """A verifier that is longer than its PDU; the connection can be read again behind it."""
    wire = asked(bound())
    response = bytearray(pdu.response(map_response([_OFFER]), call_id=2))
    response[10:12] = (1000).to_bytes(2, "little")
    return closed(mapped(wire.server(bytes(response)), _OFFER, call_id=3)).segments


@trace()
def several_in_one_segment() -> list[Segment]:
    """Three requests in one segment, three responses in another, in another order."""
    wire = bound()
    wire.client(b"".join(pdu.request(map_request(tcp_tower(SAMR)), call_id=call_id) for call_id in (2, 3, 4)))
    stubs = {call_id: map_response([tcp_tower(SAMR, 49150 + call_id, DIP)]) for call_id in (2, 3, 4)}
    return closed(
        wire.server(b"".join(pdu.response(stubs[call_id], call_id=call_id) for call_id in (4, 2, 3)))
    ).segments


@trace()
def call_id_reused() -> list[Segment]:
    """A second request takes the call id of one that is not answered yet."""
    return closed(mapped(asked(bound()), _OFFER)).segments


@trace()
def same_call_id_in_turn() -> list[Segment]:
    """Old clients number every call alike: one after the other that is no doubt."""
    wire = mapped(bound(), _OFFER, call_id=1)
    return closed(mapped(wire, tcp_tower(SAMR, 49153, VIP), call_id=1)).segments


@trace()
def too_many_calls() -> list[Segment]:
    """More calls at once than one connection may have open."""
    wire = bound()
    wire.client(b"".join(pdu.request(NIL_HANDLE, opnum=4, call_id=call_id) for call_id in range(2, 131)))
    return wire.segments


@trace()
def too_many_contexts() -> list[Segment]:
    """A bind with more contexts than one connection may have; the first ones hold."""
    wire = Wire().open().client(pdu.bind([(number, EPM, (NDR20,)) for number in range(70)]))
    wire.server(pdu.bind_ack([(0, 0, NDR20)] * 70))
    return closed(mapped(wire, _OFFER)).segments


@trace()
def faults() -> list[Segment]:
    """Calls which end in a fault, with statuses of C706 and of Windows, and one that is unknown."""
    wire = bound()
    for call_id, status in enumerate((0x1C010002, 0x1C010003, 5, 0x6F7, 0x1C00001A, 0x12345678), 2):
        asked(wire, call_id=call_id).server(pdu.fault(status, call_id=call_id))
    return closed(wire).segments


@trace()
def cancel_orphaned_shutdown() -> list[Segment]:
    """A client cancels one call and gives up another in the middle; the server asks to shut down."""
    wire = asked(bound())
    wire.client(pdu.pdu(pdu.CANCEL, b"", call_id=2))
    answered(wire, _OFFER)
    flags, piece = next(pdu.fragments(map_request(tcp_tower(SAMR)), 40))
    wire.client(pdu.request(piece, call_id=3, flags=flags)).client(pdu.pdu(pdu.ORPHANED, b"", call_id=3))
    return closed(wire.server(pdu.pdu(pdu.SHUTDOWN, b"", call_id=0))).segments


@trace()
def pdu_malformed() -> list[Segment]:
    """Bytes that are no PDU between two calls: the next one is found again."""
    wire = mapped(bound(), _OFFER).server(b"\xee" * 40)
    return closed(mapped(wire, tcp_tower(SAMR, 49153, DIP), call_id=3)).segments
