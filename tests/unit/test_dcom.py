"""DCOM's stubs: what requests ask for, and the bindings of answers, in both byte orders and transfer syntaxes."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from uuid import UUID

import pytest

from inspector.errors import Anomaly, DecodeError
from inspector.wire import dcom
from inspector.wire.activation import MAX_INTERFACES
from inspector.wire.bindings import MAX_BINDINGS, binding_of
from inspector.wire.status import hresult_text
from inspector.wire.tower import CUT, NAME_CHARACTERS
from tests.build import dcom as build

OXID = bytes(range(8))
NUMBER = int.from_bytes(OXID, "little")
BINDINGS = ["SRV01[49155]", "10.25.33.11[49155]", "2001:db8::5[49155]"]
RESOLVERS = ["SRV01", "10.25.33.11"]
both = pytest.mark.parametrize("big_endian", [False, True])
widths = pytest.mark.parametrize("wide", [False, True])


def syntax(*, wide: bool) -> str:
    """Return the name of a transfer syntax."""
    return "ndr64" if wide else "ndr20"


def texts(response: dcom.Response) -> list[str]:
    """Return the exporter's bindings as text."""
    return [one.network_address for one in response.strings]


@pytest.mark.parametrize(
    ("text", "host", "address", "port"),
    [
        ("SRV01", "SRV01", None, None),
        ("srv01.example.com[49155]", "srv01.example.com", None, 49155),
        ("10.25.33.11", "10.25.33.11", IPv4Address("10.25.33.11"), None),
        ("10.25.33.11[135]", "10.25.33.11", IPv4Address("10.25.33.11"), 135),
        ("2001:db8::5[49155]", "2001:db8::5", IPv6Address("2001:db8::5"), 49155),
        ("[2001:db8::5][49155]", "2001:db8::5", IPv6Address("2001:db8::5"), 49155),
        ("[2001:db8::5]", "2001:db8::5", IPv6Address("2001:db8::5"), None),
        ("fe80::1%4[49155]", "fe80::1%4", IPv6Address("fe80::1"), 49155),
        ("SRV01[99999]", "SRV01", None, None),
        ("SRV01[\\pipe\\x]", "SRV01", None, None),
        ("[49155]", "", None, 49155),
        ("", "", None, None),
        ("10.1.2", "10.1.2", None, None),
        ("]", "]", None, None),
    ],
)
def test_network_address(text: str, host: str, address: IPv4Address | IPv6Address | None, port: int | None) -> None:
    """Names, IPv4 and IPv6 addresses, with a port or without."""
    binding = binding_of(7, text)
    assert (binding.host, binding.address, binding.port) == (host, address, port)


def test_protocols() -> None:
    """Tower identifiers are protocol sequences; unknown ones do not spoil the others."""
    addresses = [(7, "a[1]"), (8, "a[2]"), (0x0F, "a[\\pipe\\x]"), (0x1F, "a[593]"), (0x99, "a")]
    response = dcom.read_response(dcom.OBJECT_EXPORTER, 5, build.server_alive_2_response(addresses), "ndr20")
    assert [one.protocol for one in response.strings] == [
        "ncacn_ip_tcp", "ncadg_ip_udp", "ncacn_np", "ncacn_http", "unknown",
    ]  # fmt: skip
    assert response.strings[2].endpoint == "\\pipe\\x"


@both
@widths
def test_server_alive(*, wide: bool, big_endian: bool) -> None:
    """ServerAlive2: version, bindings of the resolver, security bindings."""
    stub = build.server_alive_2_response(RESOLVERS, wide=wide, big_endian=big_endian)
    response = dcom.read_response(dcom.OBJECT_EXPORTER, 5, stub, syntax(wide=wide), little_endian=not big_endian)
    assert (texts(response), response.version, response.status) == (RESOLVERS, (5, 7), 0)
    assert [one.service_name for one in response.securities] == ["negotiate", "ntlm", "kerberos", "service 22"]
    assert not response.anomalies


@both
@widths
@pytest.mark.parametrize("two", [False, True])
def test_resolve(*, wide: bool, big_endian: bool, two: bool) -> None:
    """ResolveOxid and ResolveOxid2: bindings of the exporter, its IPID and, in the second, a version."""
    stub = build.resolve_oxid_response(BINDINGS, two=two, wide=wide, big_endian=big_endian)
    response = dcom.read_response(
        dcom.OBJECT_EXPORTER, 4 if two else 0, stub, syntax(wide=wide), little_endian=not big_endian
    )
    assert (texts(response), response.ipid, response.authentication_hint) == (BINDINGS, build.IPID, 5)
    assert response.version == ((5, 7) if two else None)


def test_resolve_request() -> None:
    """The OXID and the protocols that are asked for."""
    request = dcom.read_request(dcom.OBJECT_EXPORTER, 4, build.resolve_oxid_2_request(OXID), "ndr20")
    assert (request.oxid, request.protocols) == (NUMBER, (7,))


def test_resolve_failed() -> None:
    """An OXID that the server does not know."""
    stub = build.resolve_oxid_response([], status=0x776)
    response = dcom.read_response(dcom.OBJECT_EXPORTER, 4, stub, "ndr20")
    assert (response.strings, response.status) == ((), 0x776)
    assert dcom.is_failure(dcom.OBJECT_EXPORTER, 0x776)
    assert not dcom.is_failure(dcom.SCM_ACTIVATOR, 0x80012)


@both
@widths
@pytest.mark.parametrize("class_object", [False, True])
def test_activation_asked(*, wide: bool, big_endian: bool, class_object: bool) -> None:
    """RemoteCreateInstance and RemoteGetClassObject: class, interfaces, the server's name."""
    stub = build.create_instance_request(
        bytes(16), bytes(200), server_name="srv.example", wide=wide, big_endian=big_endian, class_object=class_object
    )
    opnum = build.REMOTE_GET_CLASS_OBJECT if class_object else build.REMOTE_CREATE_INSTANCE
    request = dcom.read_request(dcom.SCM_ACTIVATOR, opnum, stub, syntax(wide=wide), little_endian=not big_endian)
    assert request == dcom.Request(build.WMI, (build.WBEM_LOGIN,), "srv.example")


@both
@widths
def test_activated(*, wide: bool, big_endian: bool) -> None:
    """The answer to an activation: exporter's and resolvers' bindings, OXID, IPID, HRESULT of each interface."""
    results = [(build.WBEM_LOGIN, 0), (UUID(int=7), 0x80004002)]
    stub = build.create_instance_response(
        OXID, BINDINGS, bytes(30), results=results, resolvers=RESOLVERS, wide=wide, big_endian=big_endian
    )
    response = dcom.read_response(dcom.SCM_ACTIVATOR, 4, stub, syntax(wide=wide), little_endian=not big_endian)
    assert (texts(response), response.oxid, response.ipid, response.version) == (BINDINGS, NUMBER, build.IPID, (5, 7))
    assert [one.network_address for one in response.resolvers] == RESOLVERS
    assert response.results == tuple(results)
    assert not response.anomalies


def test_activation_denied() -> None:
    """An HRESULT, and no properties."""
    stub = build.create_instance_response(OXID, [], status=build.ACCESS_DENIED)
    response = dcom.read_response(dcom.SCM_ACTIVATOR, 4, stub, "ndr20")
    assert response == dcom.Response(build.ACCESS_DENIED)
    assert hresult_text(response.status) == "access denied (0x80070005)"
    assert hresult_text(0x8001FFFF) == "status 0x8001ffff".replace("ffff", "FFFF")


@widths
def test_old_activation(*, wide: bool) -> None:
    """RemoteActivation, as NT 4.0 has it."""
    stub = build.activation_request(bytes(16), wide=wide)
    request = dcom.read_request(dcom.ACTIVATION, 0, stub, syntax(wide=wide))
    assert request == dcom.Request(build.WMI, (build.WBEM_LOGIN,), protocols=(7,))
    for big_endian in (False, True):
        stub = build.activation_response(OXID, BINDINGS, resolvers=RESOLVERS, wide=wide, big_endian=big_endian)
        response = dcom.read_response(dcom.ACTIVATION, 0, stub, syntax(wide=wide), little_endian=not big_endian)
        assert (texts(response), response.oxid) == (BINDINGS, NUMBER)
        assert [one.network_address for one in response.resolvers] == RESOLVERS
        assert not response.anomalies


def test_old_activation_denied() -> None:
    """RemoteActivation that was refused."""
    stub = build.activation_response(OXID, [], status=build.ACCESS_DENIED)
    assert dcom.read_response(dcom.ACTIVATION, 0, stub, "ndr20").status == build.ACCESS_DENIED


def test_operations_without_parameters() -> None:
    """Pings have a status only; unknown operations have a number."""
    assert dcom.read_response(dcom.OBJECT_EXPORTER, 1, bytes(4), "ndr20").status == 0
    assert dcom.operation_of(dcom.OBJECT_EXPORTER, 2) == "ComplexPing"
    assert dcom.operation_of(dcom.SCM_ACTIVATOR, 9) == "opnum 9"


def test_extensions_are_passed_over() -> None:
    """ORPCTHAT with an extension (MS-DCOM 2.2.21.1)."""
    plain = build.create_instance_response(OXID, BINDINGS)
    extension = build.Stub().put("2I", 1, 0).count(0x20004).count(2, 0x20008, 0)
    extension.count(16).uuid(UUID(int=3)).put("I", 9).raw(bytes(16))
    stub = plain[:4] + (0x20000).to_bytes(4, "little") + extension.data + plain[8:]
    assert texts(dcom.read_response(dcom.SCM_ACTIVATOR, 4, stub, "ndr20")) == BINDINGS


def test_bounds() -> None:
    """Bindings that repeat are one, of many the first are kept, and names are cut."""
    addresses = ["x"] * 500 + [f"10.0.{number >> 8}.{number & 255}" for number in range(300)]
    response = dcom.read_response(dcom.OBJECT_EXPORTER, 5, build.server_alive_2_response(addresses), "ndr20")
    assert len(response.strings) == MAX_BINDINGS
    assert response.strings[0].references == 500
    assert set(response.anomalies) == {Anomaly.BINDING_REPEATED, Anomaly.BINDINGS_TOO_MANY}
    stub = build.server_alive_2_response(["y" * 3000, "z\u2026"])
    response = dcom.read_response(dcom.OBJECT_EXPORTER, 5, stub, "ndr20")
    assert [one.host for one in response.strings] == ["y" * (NAME_CHARACTERS - 1) + CUT, "z?"]
    assert response.anomalies == (Anomaly.NAME_CUT,)
    interfaces = [UUID(int=number) for number in range(300)]
    request = dcom.read_request(
        dcom.SCM_ACTIVATOR, 4, build.create_instance_request(bytes(16), interfaces=interfaces), "ndr20"
    )
    assert request.interfaces == tuple(interfaces[:MAX_INTERFACES])


@pytest.mark.parametrize(
    ("interface", "opnum", "stub"),
    [
        (dcom.OBJECT_EXPORTER, 5, build.server_alive_2_response(BINDINGS)),
        (dcom.OBJECT_EXPORTER, 0, build.resolve_oxid_response(BINDINGS, two=False)),
        (dcom.SCM_ACTIVATOR, 4, build.create_instance_response(OXID, BINDINGS)),
        (dcom.ACTIVATION, 0, build.activation_response(OXID, BINDINGS, resolvers=RESOLVERS)),
    ],
)
def test_cut_short(interface: UUID, opnum: int, stub: bytes) -> None:
    """No prefix of a stub is another answer."""
    for length in range(len(stub) - 4):
        with pytest.raises(DecodeError):
            dcom.read_response(interface, opnum, stub[:length], "ndr20")


def test_malformed() -> None:
    """Counts that do not agree, a string without end, another signature."""
    good = build.server_alive_2_response(RESOLVERS)
    for at, byte in ((8, 0xFF), (14, 0xFF), (0, 4)):
        bad = bytearray(good)
        bad[at] = byte
        with pytest.raises(DecodeError):
            dcom.read_response(dcom.OBJECT_EXPORTER, 5, bytes(bad), "ndr20")
    activated = build.create_instance_response(OXID, BINDINGS)
    with pytest.raises(DecodeError):
        dcom.read_response(dcom.SCM_ACTIVATOR, 4, activated.replace(b"MEOW", b"WOOF"), "ndr20")
