"""DCOM on port 135: bindings of every kind, activations, what is refused, and how it is authenticated."""

# ruff: noqa: D401  # a trace's docstring says what it shows: it describes a scene, not a deed
from __future__ import annotations

from uuid import UUID

from inspector.model import Segment
from tests.build import dcom, pdu
from tests.build.connection import Wire
from tests.build.epm import NDR20, NDR64
from tests.golden.dialogue import DIP, NO_SYNTAX, VIP, closed
from tests.golden.trace import trace

_OXID = bytes(range(1, 9))
_BACKUP = "192.168.50.11"
_INTEGRITY, _PRIVACY = 5, 6
_SIGNATURE = bytes(range(16))


def _bound(wire: Wire, *interfaces: tuple[UUID, int, int], wide: bool = False, level: int = 0) -> Wire:
    """Open a connection and bind interfaces of DCOM, context 0 the first; `level` is that of an NTLM token."""
    auth = (level, b"NTLMSSP\0" + bytes(24)) if level else None
    contexts = [(number, interface, (NDR64 if wide else NDR20,)) for number, interface in enumerate(interfaces)]
    results = [(0, 0, NDR64 if wide else NDR20)] * len(contexts)
    return wire.open().client(pdu.bind(contexts, auth=auth)).server(pdu.bind_ack(results, auth=auth))


def _called(
    wire: Wire, opnum: int, asked: bytes, answer: bytes, *, call_id: int = 2, context_id: int = 0, level: int = 0
) -> Wire:
    """Add a call; `level` signs or seals it."""
    auth = (level, _SIGNATURE) if level else None
    wire.client(pdu.request(asked, opnum=opnum, call_id=call_id, context_id=context_id, auth=auth))
    return wire.server(pdu.response(answer, call_id=call_id, context_id=context_id, auth=auth))


def _activated(wire: Wire, addresses: list[str], *, level: int = 0, status: int = 0) -> Wire:
    """Add an activation of WMI whose exporter has these addresses, at port 49155."""
    bindings = [f"{address}[49155]" for address in addresses]
    answer = dcom.create_instance_response(
        _OXID, bindings, results=[(dcom.WBEM_LOGIN, 0)], resolvers=addresses, status=status
    )
    return _called(wire, dcom.REMOTE_CREATE_INSTANCE, dcom.create_instance_request(bytes(16)), answer, level=level)


@trace()
def server_alive() -> list[Segment]:
    """ServerAlive2 of a server with a name, the asked address and two more, one of them IPv6."""
    addresses = ["SRV01", VIP, _BACKUP, "2001:db8::11"]
    wire = _bound(Wire(), dcom.OBJECT_EXPORTER)
    return closed(_called(wire, dcom.SERVER_ALIVE_2, b"", dcom.server_alive_2_response(addresses))).segments


@trace()
def server_alive_ndr64() -> list[Segment]:
    """The same in NDR64, of a server that does not know the asked address."""
    wire = _bound(Wire(), dcom.OBJECT_EXPORTER, wide=True)
    answer = dcom.server_alive_2_response(["SRV01", DIP, _BACKUP], wide=True)
    return closed(_called(wire, dcom.SERVER_ALIVE_2, b"", answer)).segments


@trace()
def big_endian() -> list[Segment]:
    """A server whose integers and characters are big-endian."""
    wire = Wire().open().client(pdu.bind([(0, dcom.OBJECT_EXPORTER, (NDR20,))], big_endian=True))
    wire.server(pdu.bind_ack(big_endian=True)).client(pdu.request(b"", opnum=5, call_id=2, big_endian=True))
    stub = dcom.server_alive_2_response(["SRV01", VIP], big_endian=True)
    return closed(wire.server(pdu.response(stub, call_id=2, big_endian=True))).segments


@trace()
def activation() -> list[Segment]:
    """RemoteCreateInstance, signed: the exporter is at the asked address."""
    wire = _bound(Wire(), dcom.SCM_ACTIVATOR, level=_INTEGRITY)
    return closed(_activated(wire, ["SRV01", VIP], level=_INTEGRITY)).segments


@trace()
def activation_behind_nat() -> list[Segment]:
    """The exporter's bindings have the server's inner addresses; the level is too low for a hardened server."""
    return closed(_activated(_bound(Wire(), dcom.SCM_ACTIVATOR, level=2), ["SRV01", DIP, _BACKUP])).segments


@trace()
def class_object() -> list[Segment]:
    """RemoteGetClassObject, whose answer comes in several fragments."""
    wire = _bound(Wire(), dcom.SCM_ACTIVATOR)
    wire.client(pdu.request(dcom.create_instance_request(bytes(16), class_object=True), opnum=3, call_id=2))
    answer = dcom.create_instance_response(_OXID, [f"{DIP}[49155]"], results=[(dcom.WBEM_LOGIN, 0)], resolvers=[DIP])
    for flags, piece in pdu.fragments(answer, 100):
        wire.server(pdu.response(piece, call_id=2, flags=flags))
    return closed(wire).segments


@trace()
def old_activation() -> list[Segment]:
    """RemoteActivation, as NT 4.0 has it, and ResolveOxid of its object on the same connection."""
    wire = _bound(Wire(), dcom.ACTIVATION, dcom.OBJECT_EXPORTER)
    answer = dcom.activation_response(_OXID, [f"{DIP}[1025]"], resolvers=[DIP])
    _called(wire, dcom.REMOTE_ACTIVATION, dcom.activation_request(bytes(16)), answer)
    asked, answer = dcom.resolve_oxid_2_request(_OXID), dcom.resolve_oxid_response([f"{DIP}[1025]"], two=False)
    return closed(_called(wire, dcom.RESOLVE_OXID, asked, answer, call_id=3, context_id=1)).segments


@trace()
def resolved() -> list[Segment]:
    """ResolveOxid2: several protocols, names only, an OXID that is not known."""
    segments = []
    tcp, pipe, datagram = f"{VIP}[49155]", (0x0F, "SRV01[\\pipe\\x]"), (8, f"{VIP}[49156]")
    answers = [
        dcom.resolve_oxid_response([tcp, pipe, datagram]),
        dcom.resolve_oxid_response(["SRV01[49155]"]),
        dcom.resolve_oxid_response([], status=0x776),
    ]
    for number, answer in enumerate(answers):
        wire = _bound(Wire(client_port=50000 + number).wait(number), dcom.OBJECT_EXPORTER)
        wire = _called(wire, dcom.RESOLVE_OXID_2, dcom.resolve_oxid_2_request(_OXID), answer)
        segments += closed(wire).segments
    return segments


@trace()
def refused() -> list[Segment]:
    """Access denied: as an HRESULT and as a fault below packet integrity, as a fault at it, and a class not there."""
    segments = []
    for number, (level, status) in enumerate(((2, dcom.ACCESS_DENIED), (4, 0), (5, 0), (5, 0x80040154))):
        wire = _bound(Wire(client_port=50000 + number).wait(number), dcom.SCM_ACTIVATOR, level=level)
        if status:
            wire = _activated(wire, [VIP], status=status)
        else:
            wire.client(pdu.request(dcom.create_instance_request(bytes(16)), opnum=4, call_id=2)).server(
                pdu.fault(5, call_id=2)
            )
        segments += closed(wire).segments
    return segments


@trace()
def binds_rejected() -> list[Segment]:
    """A bind of DCOM that the server rejects: as a whole, and its context."""
    segments = []
    for number, answer in enumerate((pdu.bind_nak(8), pdu.bind_ack([(2, 1, NO_SYNTAX)]))):
        wire = Wire(client_port=50000 + number).wait(number).open()
        wire.client(pdu.bind([(0, dcom.SCM_ACTIVATOR, (NDR20,))])).server(answer)
        segments += closed(wire).segments
    return segments


@trace()
def sealed() -> list[Segment]:
    """Under packet privacy operation and interface are all that can be told."""
    wire = _bound(Wire(), dcom.SCM_ACTIVATOR, level=_PRIVACY)
    return closed(_activated(wire, [DIP], level=_PRIVACY)).segments


@trace()
def bind_not_seen() -> list[Segment]:
    """Answers of connections whose beginning is not in the capture, told by their structure."""
    wire = _activated(Wire(), [DIP])
    other = Wire(client_port=33655).wait(1)
    return wire.segments + other.server(pdu.response(dcom.server_alive_2_response([DIP]), call_id=9)).segments


@trace()
def pings() -> list[Segment]:
    """SimplePing and a ping of a set that is not known: a status is all they have."""
    wire = _bound(Wire(), dcom.OBJECT_EXPORTER)
    _called(wire, 1, bytes(8), bytes(4))
    return closed(_called(wire, 1, bytes(8), b"\x78\x07\0\0", call_id=3)).segments


@trace()
def malformed() -> list[Segment]:
    """Stubs that are cut, and an activation that has something else in its place."""
    wire = _bound(Wire(), dcom.SCM_ACTIVATOR, dcom.OBJECT_EXPORTER)
    _called(wire, dcom.REMOTE_CREATE_INSTANCE, b"", dcom.create_instance_response(_OXID, [DIP])[:-40])
    _called(wire, dcom.SERVER_ALIVE_2, b"", dcom.server_alive_2_response([DIP])[:-8], call_id=3, context_id=1)
    return closed(wire).segments


@trace()
def unanswered() -> list[Segment]:
    """An activation that gets no answer before the connection ends."""
    wire = _bound(Wire(), dcom.SCM_ACTIVATOR)
    return closed(wire.client(pdu.request(dcom.create_instance_request(bytes(16)), opnum=4, call_id=2))).segments


@trace()
def bounded() -> list[Segment]:
    """Bindings that repeat, are too many, and a name that is too long."""
    addresses = [VIP] * 20 + [f"10.20.{number >> 8}.{number & 255}" for number in range(80)]
    wire = _bound(Wire(), dcom.OBJECT_EXPORTER)
    _called(wire, dcom.SERVER_ALIVE_2, b"", dcom.server_alive_2_response(addresses))
    answer = dcom.server_alive_2_response(["n" * 300])
    return closed(_called(wire, dcom.SERVER_ALIVE_2, b"", answer, call_id=3)).segments
