"""NTLM messages (MS-NLMP section 2.2.1), and a conversation of a client that authenticates itself with them."""

from __future__ import annotations

import struct
from random import Random
from typing import Any, NamedTuple

from tests.build import pdu
from tests.build.epm import SAMR, map_request, map_response, tcp_tower

CONNECT, INTEGRITY, PRIVACY = 2, 5, 6

_SIGNATURE = b"NTLMSSP\0"
_FLAGS = 0xE2898235
_VERSION = bytes((10, 0, 0x63, 0x45, 0, 0, 0, 15))


def negotiate() -> bytes:
    """Return a NEGOTIATE_MESSAGE (section 2.2.1.1)."""
    return _SIGNATURE + struct.pack("<II", 1, _FLAGS) + bytes(16) + _VERSION


def challenge(random: Random, target: str = "CONTOSO") -> bytes:
    """Return a CHALLENGE_MESSAGE (section 2.2.1.2) with a server challenge drawn by lot, and target information."""
    name = target.encode("utf-16-le")
    pairs = struct.pack("<HH", 2, len(name)) + name + struct.pack("<HHQHH", 7, 8, random.getrandbits(64), 0, 0)
    head = _SIGNATURE + struct.pack("<I", 2) + _field(name, 56) + struct.pack("<I", _FLAGS) + random.randbytes(8)
    return head + bytes(8) + _field(pairs, 56 + len(name)) + _VERSION + name + pairs


def authenticate(random: Random, user: str = "administrator") -> bytes:
    """Return an AUTHENTICATE_MESSAGE (section 2.2.1.3) with an NTLMv2 response: what a password is guessed from."""
    response = random.randbytes(16) + struct.pack("<BBHIQ", 1, 1, 0, 0, random.getrandbits(64)) + random.randbytes(48)
    values = [
        random.randbytes(24),
        response,
        "CONTOSO".encode("utf-16-le"),
        user.encode("utf-16-le"),
        "WS01".encode("utf-16-le"),
        random.randbytes(16),
    ]
    fields, payload = b"", b""
    for value in values:
        fields += _field(value, 88 + len(payload))
        payload += value
    head = _SIGNATURE + struct.pack("<I", 3) + fields + struct.pack("<I", _FLAGS) + _VERSION
    return head + random.randbytes(16) + payload


def _field(value: bytes, offset: int) -> bytes:
    return struct.pack("<HHI", len(value), len(value), offset)


class Spoken(NamedTuple):
    """What one end wrote: PDUs in their order, and the tokens and signatures in them."""

    pdus: list[bytes]
    values: list[bytes]

    @property
    def stream(self) -> bytes:
        """The bytes in their order."""
        return b"".join(self.pdus)

    @property
    def without_values(self) -> bytes:
        """The same bytes, with 0 for each byte of an auth_value: the end of its PDU."""
        found = [
            one[: len(one) - len(value)] + bytes(len(value)) for one, value in zip(self.pdus, self.values, strict=True)
        ]
        return b"".join(found)


def conversation(
    random: Random, *, big_endian: bool = False, towers: int = 1, offered: str = "10.11.2.7"
) -> tuple[Spoken, Spoken]:
    """Return what client and server say: bind, bind_ack, AUTH3, alter_context and its answer, a signed map call."""
    order: dict[str, Any] = {"big_endian": big_endian}
    ours = [negotiate(), authenticate(random), negotiate(), random.randbytes(16), b""]
    theirs = [challenge(random), challenge(random), random.randbytes(16), b""]
    stub = map_request(tcp_tower(SAMR))
    answer = map_response([tcp_tower(SAMR, 49152 + number, offered) for number in range(towers)])
    client = [
        pdu.bind(auth=(INTEGRITY, ours[0]), **order),
        pdu.pdu(pdu.AUTH3, bytes(4), auth=(INTEGRITY, ours[1]), **order),
        pdu.bind(kind=pdu.ALTER_CONTEXT, call_id=2, auth=(INTEGRITY, ours[2]), **order),
        pdu.request(stub, call_id=3, auth=(INTEGRITY, ours[3]), **order),
        pdu.request(stub, call_id=4, **order),
    ]
    server = [
        pdu.bind_ack(auth=(INTEGRITY, theirs[0]), **order),
        pdu.bind_ack(kind=pdu.ALTER_CONTEXT_RESPONSE, call_id=2, auth=(INTEGRITY, theirs[1]), **order),
        pdu.response(answer, call_id=3, auth=(INTEGRITY, theirs[2]), **order),
        pdu.response(answer, call_id=4, **order),
    ]
    return Spoken(client, ours), Spoken(server, theirs)
