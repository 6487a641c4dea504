"""Both decoders infer the same of answers whose bind or request was not seen, and the compiled one keeps them."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from inspector.model import Segment
from tests.build import pdu
from tests.build.connection import START_NS, Wire
from tests.build.epm import (
    NDR20,
    NDR64,
    NOT_REGISTERED,
    SAMR,
    lookup_request,
    lookup_response,
    map_request,
    map_response,
    pipe_tower,
    tcp_tower,
    tower,
)
from tests.build.traffic import forged, traffic
from tests.build.windows import windows_traffic
from tests.choice import examples
from tests.property.test_decode import compare

seeds = st.integers(0, 2**32 - 1)

_BINDS = {pdu.BIND, pdu.ALTER_CONTEXT}
_ACKS = {pdu.BIND_ACK, pdu.ALTER_CONTEXT_RESPONSE}


def part_of(random: Random, segments: list[Segment], view: str) -> list[Segment]:
    """Return what is seen of segments from somewhere: one side, from some time on, or without PDUs of some types."""
    if view == "server":
        return [one for one in segments if one.from_server]
    if view == "late":
        return segments[random.randrange(len(segments)) :]
    hidden = {"no bind": _BINDS, "no answer": _ACKS, "neither": _BINDS | _ACKS, "no request": {pdu.REQUEST}}[view]
    return [one for one in segments if not (len(one.payload) > 2 and one.payload[2] in hidden)]


views = st.sampled_from(["server", "late", "no bind", "no answer", "neither", "no request"])


@examples(120)
@given(seeds, views, st.sampled_from([0.0, 0.0, 0.02]), st.sampled_from([0.0, 0.1]), st.booleans())
def test_both_decoders_infer_the_same(seed: int, view: str, trouble: float, share: float, losing: bool) -> None:
    """Findings, anomalies and their order, of traffic of which a part is not seen."""
    random = Random(seed)  # noqa: S311  # traffic for a test
    segments = part_of(random, traffic(random, 250, trouble=trouble), view)
    compare(forged(random, segments, share), random, losing=(losing, False))


@examples(120)
@given(seeds, views, st.sampled_from([0.0, 0.3]), st.sampled_from([0.0, 0.05]), st.sampled_from([0.0, 0.3, 1.0]))
def test_both_decoders_infer_the_same_of_windows(
    seed: int, view: str, cut: float, damage: float, unseen: float
) -> None:
    """Likewise of several calls at once, other interfaces, sealed and signed calls, damaged PDUs."""
    random = Random(seed)  # noqa: S311  # traffic for a test
    compare(part_of(random, windows_traffic(random, 20, cut=cut, damage=damage, unseen=unseen), view), random)


_TOWER = tcp_tower(SAMR, 49152, "10.11.2.7")
_ODD_TOWERS = [_TOWER, pipe_tower(SAMR, "\\PIPE\\samr", "DC1"), tower(), b"\3\0", _TOWER + b"\0", b"", bytes(40)]
_SYNTAXES = [None, NDR20, NDR64, (SAMR[0], 1, 0)]


def _stub(random: Random) -> tuple[int, bytes, bytes]:
    """Return an operation, and a request and a response which may be its own, and may be strange."""
    wide = random.random() < 0.5
    offered = random.choices(_ODD_TOWERS, k=random.choice((0, 1, 1, 2, 3)))
    status = random.choice((0, 0, NOT_REGISTERED, 0x16C9A0FF, 5))
    handle = random.choice((bytes(20), random.randbytes(20)))
    referents = [random.choice((0, 4, 8, 12, 2**31)) for _ in offered] if random.random() < 0.2 else None
    if random.random() < 0.5:
        asked = map_request(random.choice([*_ODD_TOWERS, None]), wide=wide, handle=handle)
        answer = map_response(offered, wide=wide, status=status, handle=handle, referents=referents)
    else:
        asked = lookup_request(
            wide=wide, handle=handle, inquiry_type=random.choice((0, 1, 4)), max_entries=random.choice((0, 500))
        )
        answer = lookup_response([(one, "note") for one in offered], wide=wide, status=status)
    answer = random.choice((answer, answer, answer, answer + b"\1", answer[:24], answer[:-4], random.randbytes(24)))
    return random.choice((2, 3, 3, 4)), random.choice((asked, asked, asked + b"\1", asked[:-1])), answer


@examples(200)
@given(seeds)
def test_both_decoders_infer_the_same_of_strange_stubs(seed: int) -> None:
    """Each stub comes several times, with and without what belongs to it, so that templates are made and met."""
    random = Random(seed)  # noqa: S311  # traffic for a test
    stubs = [_stub(random) for _ in range(3)]
    segments: list[Segment] = []
    for number in range(24):
        wire = Wire(client_port=1024 + number, start_ns=START_NS + number * 10**6)
        syntax = random.choice(_SYNTAXES)
        if syntax is not None and random.random() < 0.5:
            wire.client(pdu.bind())
        if syntax is not None:
            wire.server(pdu.bind_ack([(0, 0, syntax)]))
        for call_id in range(2, 2 + random.randrange(1, 4)):
            opnum, asked, answer = random.choice(stubs)
            auth = (random.choice((5, 6)), bytes(16)) if random.random() < 0.1 else None
            if random.random() < 0.6:
                wire.client(pdu.request(asked, opnum=opnum, call_id=call_id, auth=auth))
            if random.random() < 0.1:
                wire.server(pdu.bind_ack([(0, 0, random.choice((NDR20, NDR64)))]))
            if random.random() < 0.15:
                wire.server(pdu.bind_nak() if random.random() < 0.5 else pdu.fault(5, call_id=call_id))
            wire.server(pdu.response(answer, call_id=call_id, auth=auth))
        segments += wire.segments
    compare(segments, random)


def test_a_view_of_the_servers_side_stays_in_the_compiled_decoder() -> None:
    """Nothing is handed over, but for the scalar decoder's word on each content."""
    random = Random(11)  # noqa: S311  # traffic for a test
    segments = part_of(random, windows_traffic(random, 300, cut=0.0), "server")
    assert compare(segments, random).handed_over < len(segments) / 50


def test_open_connections_stay_in_the_compiled_decoder() -> None:
    """Calls of which only the bind was not seen."""
    random = Random(12)  # noqa: S311  # traffic for a test
    segments = windows_traffic(random, 300, cut=0.0, unseen=1.0)
    assert compare(segments, random).handed_over < len(segments) / 20


def _mutilated(random: Random, call_id: int) -> tuple[bool, bytes]:
    """Return a PDU that ends early, or says that it is a fragment; and whether the server writes it."""
    stub = map_response([_TOWER])
    from_server, kind, whole = random.choice(
        (
            (False, pdu.BIND, pdu.bind()),
            (True, pdu.BIND_ACK, pdu.bind_ack()),
            (True, pdu.BIND_NAK, pdu.bind_nak()),
            (False, pdu.REQUEST, pdu.request(map_request(tcp_tower(SAMR)))),
            (True, pdu.RESPONSE, pdu.response(stub)),
            (True, pdu.FAULT, pdu.fault(5)),
        )
    )
    body = whole[16:]
    body = body[: random.randrange(len(body) + 1)] if random.random() < 0.7 else body
    return from_server, pdu.pdu(kind, body, call_id=call_id, flags=random.choice((3, 3, 3, 0, 2)))


@examples(100)
@given(seeds)
def test_mutilated_pdus_stay_in_the_compiled_decoder(seed: int) -> None:
    """Malformed bodies and fragments without a first one are counted as the scalar decoder counts them."""
    random = Random(seed)  # noqa: S311  # traffic for a test
    segments: list[Segment] = []
    for number in range(30):
        wire = Wire(client_port=1024 + number, start_ns=START_NS + number * 10**6).open()
        if random.random() < 0.5:
            wire.client(pdu.bind()).server(pdu.bind_ack())
        for call_id in range(random.randrange(6)):
            from_server, data = _mutilated(random, random.choice((1, 2, 7, call_id + 10)))
            (wire.server if from_server else wire.client)(data)
        segments += wire.segments
    handed_over = compare(segments, random).handed_over
    # A request or bind whose answer was cut waits, and its identifier comes again.
    assert handed_over < len(segments) / 2
