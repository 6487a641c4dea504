"""Calls of DCOM in the compiled decoder: those which differ only in what is not read have one template."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.decode import is_compiled
from inspector.decode.decoder import Decoder
from inspector.model import Segment
from tests.build import dcom, pdu
from tests.build.connection import Wire
from tests.build.epm import NDR20, NDR64, SAMR
from tests.property.test_decode import compare

pytestmark = pytest.mark.skipif(not is_compiled(), reason="without compiled code there is one decoder")
seeds = st.integers(0, 2**32 - 1)
_ADDRESSES: Final = ("SRV01", "10.11.2.2", "10.11.2.7", "2001:db8::7")
_CAUSALITY: Final = 12, 28
_STANDARD: Final = b"MEOW" + struct.pack("<I", 1)
_OBJECT: Final = 24, 64
_OTHER: Final = dcom.WMI, dcom.WBEM_LOGIN, SAMR[0]


class Call(NamedTuple):
    """A call to make again and again: interface, operation number, both stubs, authentication level, transfer syntax.

    `fault` is the status of a fault in place of the response.
    """

    interface: tuple[UUID, int, int]
    opnum: int
    asked: bytes
    found: bytes
    level: int
    wide: bool
    fault: int | None


def _bindings(random: Random) -> list[str]:
    return [f"{address}[{random.choice((49155, 49156))}]" for address in random.sample(_ADDRESSES, 2)]


def _activation(random: Random, *, wide: bool) -> tuple[int, bytes, bytes]:
    is_class_object = random.random() < 0.3
    asked = dcom.create_instance_request(
        bytes(16),
        bytes(8 * random.randrange(40)),
        class_id=random.choice(_OTHER),
        interfaces=random.sample(_OTHER, random.randint(0, 3)),
        server_name=random.choice(("SRV01", "10.11.2.2")),
        wide=wide,
        class_object=is_class_object,
    )
    results = [(one, random.choice((0, 0, 0x80004002))) for one in random.sample(_OTHER, random.randint(0, 3))]
    found = dcom.create_instance_response(
        random.randbytes(8),
        _bindings(random),
        random.randbytes(8 * random.randrange(20)),
        results=results,
        resolvers=random.sample(_ADDRESSES, 2),
        status=random.choice((0, 0, 0, dcom.ACCESS_DENIED)),
        wide=wide,
    )
    return dcom.REMOTE_GET_CLASS_OBJECT if is_class_object else dcom.REMOTE_CREATE_INSTANCE, asked, found


def _exporter(random: Random, *, wide: bool) -> tuple[int, bytes, bytes]:
    if random.random() < 0.4:
        return dcom.SERVER_ALIVE_2, b"", dcom.server_alive_2_response(_bindings(random), wide=wide)
    if random.random() < 0.3:
        return random.choice((1, 2, 3)), random.randbytes(8), bytes(4) + struct.pack("<I", random.choice((0, 5)))
    return 4, dcom.resolve_oxid_2_request(random.randbytes(8)), dcom.resolve_oxid_2_response(_bindings(random))


def _old(random: Random, *, wide: bool) -> tuple[int, bytes, bytes]:
    asked = dcom.activation_request(bytes(16), class_id=random.choice(_OTHER), wide=wide)
    found = dcom.activation_response(random.randbytes(8), _bindings(random), resolvers=_ADDRESSES[:1], wide=wide)
    return dcom.REMOTE_ACTIVATION, asked, found


_KINDS: Final[tuple[tuple[tuple[UUID, int, int], Callable[..., tuple[int, bytes, bytes]]], ...]] = (
    (dcom.SCM_ACTIVATOR, _activation),
    (dcom.OBJECT_EXPORTER, _exporter),
    (dcom.ACTIVATION, _old),
)


def _damaged(random: Random, stub: bytes) -> bytes:
    """Return a stub of which a byte is another, or that is cut."""
    if not stub or random.random() < 0.1:
        return stub[: random.randrange(len(stub) + 1)]
    at = random.randrange(len(stub))
    return stub[:at] + bytes([random.choice((0, 1, 4, 255, stub[at] ^ 1))]) + stub[at + 1 :]


def _call(random: Random, damage: float) -> Call:
    interface, build = random.choice(_KINDS)
    wide = random.random() < 0.3
    opnum, asked, found = build(random, wide=wide)
    if random.random() < damage:
        asked = _damaged(random, asked)
    if random.random() < damage:
        found = _damaged(random, found)
    fault = random.choice((5, 0x1C010002)) if random.random() < 0.1 else None
    return Call(interface, opnum, asked, found, random.choice((0, 0, 2, 5, 6)), wide, fault)


def _filled(random: Random, stub: bytes, start: int, end: int) -> bytes:
    return stub[:start] + random.randbytes(end - start) + stub[end:] if len(stub) >= end else stub


def _of_its_own(random: Random, call: Call) -> tuple[bytes, bytes]:
    """Return the stubs of a call with another causality identifier, and other objects in its references."""
    asked, found = call.asked, call.found
    if call.interface in (dcom.SCM_ACTIVATOR, dcom.ACTIVATION) and len(asked) >= _CAUSALITY[1]:
        asked = _filled(random, asked, *_CAUSALITY)
    if call.interface == dcom.SCM_ACTIVATOR:
        at = found.find(_STANDARD)
        while at >= 0:
            found = _filled(random, found, at + _OBJECT[0], at + _OBJECT[1])
            at = found.find(_STANDARD, at + _OBJECT[1])
    return asked, found


def _say(random: Random, wire: Wire, call: Call, call_id: int, *, is_bound: bool) -> None:
    """Make a call in a context of its interface, bound before or now."""
    auth = (call.level, random.randbytes(16)) if call.level else None
    contexts = [(0, call.interface, (NDR64 if call.wide else NDR20,))]
    result = (0, 0, NDR64 if call.wide else NDR20)
    if is_bound:
        alter = pdu.bind(contexts, kind=pdu.ALTER_CONTEXT, call_id=call_id, auth=auth)
        wire.client(alter)
        wire.server(pdu.bind_ack([result], kind=pdu.ALTER_CONTEXT_RESPONSE, secondary=b"", call_id=call_id, auth=auth))
    else:
        wire.client(pdu.bind(contexts, call_id=call_id, auth=auth))
        wire.server(pdu.bind_ack([result], call_id=call_id, auth=auth))
    asked, found = _of_its_own(random, call)
    of_call = auth if call.level > 4 else None
    size = random.choice((1460, 65_000, 100))
    wire.client(pdu.request(asked, opnum=call.opnum, call_id=call_id + 1, auth=of_call), size)
    if call.fault is not None:
        wire.server(pdu.fault(call.fault, call_id=call_id + 1))
    elif random.random() < 0.95:
        wire.server(pdu.response(found, call_id=call_id + 1, auth=of_call), size)


def traffic(random: Random, connections: int, *, damage: float) -> list[Segment]:
    """Return connections that make calls of a small choice, each with parts of its own."""
    calls = [_call(random, damage) for _ in range(4)]
    segments: list[Segment] = []
    for number in range(connections):
        wire = Wire(f"10.1.{number >> 8}.{number & 255}").open()
        for count in range(random.randint(1, 3)):
            _say(random, wire, random.choice(calls), 2 + 2 * count, is_bound=count > 0)
        wire.client_fin().server_fin()
        segments += wire.segments
    return [one._replace(time_ns=1_700_000_000 * 10**9 + number * 10**6) for number, one in enumerate(segments)]


@settings(deadline=None, max_examples=60)
@given(seeds, st.sampled_from([0.0, 0.3, 1.0]))
def test_both_decoders_agree_on_calls_that_come_again(seed: int, damage: float) -> None:
    """With every other byte of any stub damaged, too: what a key leaves out is not read."""
    random = Random(seed)  # noqa: S311  # traffic for a test
    compare(traffic(random, 24, damage=damage), random)


def _templates(decoder: Decoder) -> int:
    return int(decoder._engine.templates)


def test_calls_of_dcom_stay_in_the_compiled_decoder() -> None:
    """No record is handed over, and calls which differ in what is not read have one template."""
    random = Random(3)  # noqa: S311  # traffic for a test
    asked = dcom.create_instance_request(bytes(16), bytes(600))
    found = dcom.create_instance_response(
        bytes(8), ["SRV01[49155]", "10.11.2.7[49155]"], results=[(dcom.WBEM_LOGIN, 0)], resolvers=["10.11.2.7"]
    )
    call = Call(dcom.SCM_ACTIVATOR, dcom.REMOTE_CREATE_INSTANCE, asked, found, 5, False, None)
    alive = Call(dcom.OBJECT_EXPORTER, 5, b"", dcom.server_alive_2_response(["SRV01"]), 0, False, None)
    segments: list[Segment] = []
    for number in range(100):
        wire = Wire(f"10.1.0.{number}").open()
        _say(random, wire, call, 1, is_bound=False)
        _say(random, wire, alive, 3, is_bound=True)
        segments += wire.segments
    decoder = compare(segments, Random(1))  # noqa: S311  # sizes of blocks
    assert decoder.handed_over == 0
    assert _templates(decoder) == 2
