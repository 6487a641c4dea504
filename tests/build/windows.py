"""Conversations as Windows has them: each with handles, association groups, call identifiers and tokens of its own."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from random import Random
from uuid import UUID

from inspector.model import Segment
from tests.build import pdu
from tests.build.connection import START_NS, Wire
from tests.build.epm import (
    EPM,
    FEATURES,
    MAPI,
    NDR20,
    NDR64,
    NIL_HANDLE,
    NOT_REGISTERED,
    SAMR,
    lookup_request,
    lookup_response,
    map_request,
    map_response,
    pipe_tower,
    tcp_tower,
)

Message = tuple[bool, bytes]
"""Whether the server writes it, and its bytes: whole PDUs."""

_ACTIVATION = (UUID("000001a0-0000-0000-c000-000000000046"), 0, 0)
_NONE = (UUID(int=0), 0, 0)
_LEVELS = (1, 2, 4, 5, 6)


def _signed(random: Random, data: bytes, level: int) -> bytes:
    """Return a PDU again, with a token as long as tokens are."""
    return pdu.pdu(
        data[2], data[16:], call_id=int.from_bytes(data[12:16], "little"), flags=data[3],
        auth=(level, random.randbytes(random.choice((16, 45, 120, 1500)))),
    )  # fmt: skip


def _grouped(random: Random, data: bytes) -> bytes:
    """Return a bind_ack again, with an association group of its own."""
    return data[:20] + random.randbytes(4) + data[24:]


def _open(random: Random, level: int, call_id: int) -> Generator[Message, None, bool]:
    """Yield bind and answer; return whether the server accepted."""
    contexts = [(0, EPM, (NDR20,)), (1, EPM, (NDR64,)), (2, EPM, (FEATURES,))]
    bind = pdu.bind(contexts, call_id=call_id)
    results = [(0, 0, NDR20), (0, 0, NDR64), (3, 3, _NONE)]
    accepted = random.random() < 0.9
    if not accepted:
        results = [(2, random.choice((1, 2)), _NONE)] * 3
    ack = _grouped(random, pdu.bind_ack(results, call_id=call_id))
    if not accepted and random.random() < 0.5:
        ack = pdu.bind_nak(random.randrange(10), call_id=call_id)
    yield False, _signed(random, bind, level) if level else bind
    yield True, _signed(random, ack, level) if level else ack
    if level > 1:
        yield False, pdu.pdu(pdu.AUTH3, bytes(4), call_id=call_id, auth=(level, random.randbytes(300)))
    return accepted


def _stubs(random: Random, *, wide: bool) -> tuple[int, bytes, bytes]:
    """Return operation number, request and response of a call of the endpoint mapper."""
    handle = bytes(4) + random.randbytes(16)
    kind = random.random()
    address = random.choice(("10.11.2.2", "10.11.2.7", "0.0.0.0"))  # noqa: S104 - in a tower
    offered = [tcp_tower(random.choice((SAMR, MAPI)), random.choice((49152, 49153)), address)]
    offered += [pipe_tower(SAMR, "\\PIPE\\samr", "DC1")] if random.random() < 0.3 else []
    if kind < 0.6:
        asked = map_request(tcp_tower(random.choice((SAMR, MAPI)), 135, "10.11.2.2"), wide=wide)
        referents = [0x20000 + 4 * random.randrange(1, 1000) for _ in offered]
        if len(set(referents)) < len(referents):
            referents = [4, 8]
        found = map_response(offered, wide=wide, max_count=4, handle=handle, referents=referents)
        if random.random() < 0.2:
            found = map_response([], wide=wide, status=NOT_REGISTERED)
        return 3, asked, found
    if kind < 0.9:
        asked = lookup_request(wide=wide, handle=handle if random.random() < 0.5 else NIL_HANDLE)
        if random.random() < 0.3:
            return 2, asked, lookup_response([], wide=wide, status=NOT_REGISTERED)
        entries = [(tower, random.choice(("", "note", "Endpoint"))) for tower in offered * random.choice((1, 3, 9))]
        return 2, asked, lookup_response(entries, wide=wide)
    return 4, handle, bytes(20) + random.choice((bytes(4), b"\x05\0\0\0"))


def messages(random: Random, *, unseen: float = 0.03) -> Iterator[Message]:
    """Yield what the two ends of one connection write, in order; `unseen` is how often its bind is missing."""
    level = random.choice((0, 0, 0, *_LEVELS))
    call_id = random.choice((1, 2, random.getrandbits(32)))
    if random.random() >= unseen and not (yield from _open(random, level, call_id)):
        return
    others = False
    for _ in range(random.randrange(6)):
        call_id = (call_id + 1) % 2**32
        if random.random() < 0.15:
            others = True
            alter = pdu.bind([(5, _ACTIVATION, (NDR20,))], kind=pdu.ALTER_CONTEXT, call_id=call_id)
            yield False, alter
            yield True, _grouped(random, pdu.bind_ack(kind=pdu.ALTER_CONTEXT_RESPONSE, secondary=b"", call_id=call_id))
            continue
        if others and random.random() < 0.4:
            sealed = (6, random.randbytes(16)) if level == 6 else None
            yield False, pdu.request(random.randbytes(900), opnum=4, context_id=5, call_id=call_id, auth=sealed)
            yield True, pdu.response(random.randbytes(700), context_id=5, call_id=call_id, auth=sealed)
            continue
        wide = random.random() < 0.5
        calls = []
        for number in range(random.choice((1, 1, 1, 2, 3))):
            opnum, asked, found = _stubs(random, wide=wide)
            auth = (level, random.randbytes(16)) if level > 4 else None
            identity = (call_id + number) % 2**32
            calls.append((identity, found, auth))
            yield False, pdu.request(asked, opnum=opnum, context_id=int(wide), call_id=identity, auth=auth)
        call_id = (call_id + len(calls)) % 2**32
        if random.random() < 0.2:
            random.shuffle(calls)
        for identity, found, auth in calls:
            if random.random() < 0.05:
                yield True, pdu.fault(random.choice((5, 0x1C010002)), context_id=int(wide), call_id=identity)
            elif random.random() < 0.97:
                yield True, pdu.response(found, context_id=int(wide), call_id=identity, auth=auth)


def _damaged(random: Random, data: bytes) -> bytes:
    """Return bytes of which one is another."""
    at = random.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]


def conversation(
    random: Random, number: int, *, cut: float = 0.2, damage: float = 0.0, unseen: float = 0.03
) -> list[Segment]:
    """Return the segments of one connection; `cut`: how often PDUs are cut or merged, `damage`: how often damaged."""
    wire = Wire(
        client=f"10.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}",
        client_port=40000 + random.randrange(3),
        client_sequence=random.getrandbits(32),
        server_sequence=random.getrandbits(32),
        start_ns=START_NS + random.randrange(20_000_000),
    ).open()
    writing: list[Message] = []
    for from_server, data in messages(random, unseen=unseen):
        written = _damaged(random, data) if random.random() < damage else data
        if writing and writing[-1][0] == from_server and random.random() < cut:
            writing[-1] = from_server, writing[-1][1] + written
        else:
            writing.append((from_server, written))
    for from_server, data in writing:
        size = random.choice((1460, 536, 17, 300, 20)) if random.random() < cut else 65000
        (wire.server if from_server else wire.client)(data, size)
    if random.random() < 0.7:
        wire.client_fin().server_fin()
    elif random.random() < 0.5:
        wire.reset()
    return list(wire.segments)


def windows_traffic(
    random: Random, count: int, *, cut: float = 0.2, damage: float = 0.0, unseen: float = 0.03
) -> list[Segment]:
    """Return the segments of so many connections, in order of time."""
    segments = [
        segment
        for number in range(count)
        for segment in conversation(random, number, cut=cut, damage=damage, unseen=unseen)
    ]
    return sorted(segments, key=lambda segment: segment.time_ns)
