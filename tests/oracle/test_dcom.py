"""tshark and impacket read DCOM's stubs as the inspector does: bindings, security bindings, object, status."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.wire import dcom as wire
from inspector.wire.exchange import Outcome
from tests.build import dcom as build
from tests.conftest import require_tools, unavailable
from tests.golden.store import CAPTURE, GOLDEN, config_of, trace_names
from tests.oracle.inspect import read_capture

try:
    from impacket.dcerpc.v5 import dcomrt
    from impacket.dcerpc.v5.ndr import NDR
except ImportError as error:
    MISSING = str(error)
else:
    MISSING = ""

TRACES = [name for name in trace_names() if name.startswith("dcom-")]
_FIELDS = (
    "dcerpc.cn_call_id",
    "dcom.dualstringarray.tower_id",
    "dcom.dualstringarray.network_addr",
    "dcom.dualstringarray.security_authn_svc",
    "isystemactivator.properties.scmresp.oxid",
    "oxid.ipid",
)
# What tshark (4.0) does differently; everything else must be equal.
DIFFERENT = {
    "dcom-big-endian": "tshark shows big-endian characters as numbers",
    "dcom-bind-not-seen": "tshark reads no stub whose bind it has not seen; the inspector infers what it is",
    "dcom-bounded": "tshark lists every binding, and names whatever their length",
    "dcom-malformed": "tshark reads an answer as far as it goes",
    "dcom-old-activation": "tshark does not read the answer of ResolveOxid",
    "dcom-server-alive-ndr64": "tshark reads DCOM as NDR20 whatever was negotiated",
}


class Fact(NamedTuple):
    """An answer: bindings are (tower identifier, text), each once; `objects` are the OXID and IPIDs."""

    call_id: int
    bindings: frozenset[tuple[int, str]]
    services: frozenset[int]
    objects: frozenset[object]


def ours(path: Path, name: str) -> list[Fact]:
    """Return the inspector's answers of DCOM with bindings."""
    facts = []
    for one in read_capture(path, config_of(name))[1]:
        response = one.dcom.response if one.dcom is not None else None
        if one.dcom is None or response is None:
            continue
        if one.outcome is Outcome.ANSWERED and (response.strings or response.resolvers):
            bindings = {(each.tower_id, each.network_address) for each in (*response.strings, *response.resolvers)}
            # tshark shows the IPID of an activation's answer as that of any object.
            found = (response.oxid, response.ipid if one.dcom.interface == wire.OBJECT_EXPORTER else None)
            objects = {each for each in found if each is not None}
            services = {each.service for each in response.securities}
            facts.append(Fact(one.call_id or 0, frozenset(bindings), frozenset(services), frozenset(objects)))
    return facts


def theirs(path: Path) -> list[Fact]:
    """Return tshark's."""
    command = ["tshark", "-n", "-r", str(path), "-d", "tcp.port==135,dcerpc", "-Y", "dcerpc.pkt_type==2"]
    command += ["-T", "fields", "-E", "aggregator=|", *(part for field in _FIELDS for part in ("-e", field))]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    facts = []
    for line in output.splitlines():
        call_id, towers, texts, services, oxids, ipids = (line + "\t" * 6).split("\t")[:6]
        if texts:
            bindings = zip(map(_number, towers.split("|")), texts.split("|"), strict=True)
            objects: set[object] = {_number(oxid) for oxid in oxids.split("|") if oxid}
            objects |= {UUID(ipid) for ipid in ipids.split("|") if ipid}
            numbers = frozenset(map(_number, services.split("|")))
            facts.append(Fact(int(call_id), frozenset(bindings), numbers, frozenset(objects)))
    return facts


def _number(text: str) -> int:
    return int(text, 0)


@cache
def _reading(name: str) -> tuple[list[Fact], list[Fact]]:
    path = GOLDEN / "traces" / (name + CAPTURE)
    return ours(path, name), theirs(path)


@pytest.mark.parametrize("name", TRACES)
def test_tshark_agrees(name: str) -> None:
    """Every answer that tshark dissects, with equal bindings, services and object."""
    require_tools(["tshark"])
    mine, other = _reading(name)
    if name in DIFFERENT:
        assert mine != other, f"no difference any more: {DIFFERENT[name]}"
        pytest.xfail(DIFFERENT[name])
    assert [fact._replace(services=frozenset()) for fact in mine] == [
        fact._replace(services=frozenset()) for fact in other
    ]
    # tshark's are also those of resolvers.
    assert all(fact.services <= found.services for fact, found in zip(mine, other, strict=True))


def test_tshark_finds_something() -> None:
    """The comparison is of something."""
    require_tools(["tshark"])
    facts = [fact for name in TRACES if name not in DIFFERENT for fact in _reading(name)[1]]
    assert len(facts) >= 4
    assert {len(fact.objects) for fact in facts} == {0, 1}
    assert set(DIFFERENT) <= set(TRACES)


hosts = st.text(st.characters(codec="utf-16", exclude_characters="\0[]\u2026", exclude_categories=["Cs"]), min_size=1)
texts = st.builds(
    lambda host, port: host if port is None else f"{host}[{port}]", hosts, st.none() | st.integers(0, 70000)
)
bindings_lists = st.lists(st.tuples(st.integers(1, 40), texts.filter(lambda text: len(text) < 200)), max_size=8)
examples = settings(max_examples=60, deadline=None)


@pytest.fixture
def _impacket() -> None:
    """Ask for impacket."""
    if MISSING:
        unavailable(f"impacket is not there: {MISSING}")


def _units(array: Any) -> bytes:
    return b"".join(unit.to_bytes(2, "little") for unit in array["aStringArray"])


def _text_of(response: wire.Response) -> list[tuple[int, str]]:
    return [(one.tower_id, one.network_address) for one in response.strings]


def _unique(addresses: list[tuple[int, str]]) -> list[tuple[int, str]]:
    return list(dict.fromkeys(addresses))


@pytest.mark.usefixtures("_impacket")
@examples
@given(addresses=bindings_lists)
def test_impacket_reads_server_alive(addresses: list[tuple[int, str]]) -> None:
    """ServerAlive2: version, units of the array. In NDR64 impacket takes the reserved number for a pointer."""
    stub = build.server_alive_2_response(addresses)
    found = dcomrt.ServerAlive2Response(stub)
    mine = wire.read_response(wire.OBJECT_EXPORTER, 5, stub, "ndr20")
    assert mine.version == (found["pComVersion"]["MajorVersion"], found["pComVersion"]["MinorVersion"])
    assert _text_of(mine) == _unique(addresses)
    assert build.dual_string_array(addresses)[4:] == _units(found["ppdsaOrBindings"])


@pytest.mark.usefixtures("_impacket")
@examples
@given(addresses=bindings_lists, oxid=st.binary(min_size=8, max_size=8))
def test_impacket_reads_activations(addresses: list[tuple[int, str]], oxid: bytes) -> None:
    """RemoteCreateInstance: the OXID, bindings and IPID that impacket finds in the activation properties."""
    stub = build.create_instance_response(oxid, addresses, results=[(build.WBEM_LOGIN, 0)], resolvers=["SRV01"])
    mine = wire.read_response(wire.SCM_ACTIVATOR, 4, stub, "ndr20")
    properties = dict(_impacket_properties(dcomrt.RemoteCreateInstanceResponse(stub)))
    reply = _deserialized(dcomrt.ScmReplyInfoData(), properties[dcomrt.CLSID_ScmReplyInfo])
    remote = reply["remoteReply"]
    assert mine.oxid == remote["Oxid"] == int.from_bytes(oxid, "little")
    assert mine.ipid == UUID(bytes_le=remote["ipidRemUnknown"])
    assert mine.authentication_hint == remote["authnHint"]
    assert _units(remote["pdsaOxidBindings"]) == build.dual_string_array(addresses)[4:]
    assert _text_of(mine) == _unique(addresses)
    out = _deserialized(dcomrt.PropsOutInfo(), properties[dcomrt.CLSID_PropsOutInfo])
    assert [UUID(bytes_le=one["Data"]) for one in out["piid"]] == [uuid for uuid, _ in mine.results]
    assert [one.network_address for one in mine.resolvers] == ["SRV01"]


def _deserialized(structure: Any, data: bytes) -> Any:
    """Return a structure read as impacket's client does: the fixed part, then what it refers to."""
    structure.fromStringReferents(data[structure.fromString(data) :])
    return structure


def _impacket_properties(response: Any) -> Iterator[tuple[bytes, bytes]]:
    """Yield activation properties as impacket's client finds them."""
    reference = dcomrt.OBJREF_CUSTOM(b"".join(response["ppActProperties"]["abData"]))
    blob = dcomrt.ACTIVATION_BLOB(reference["pObjectData"])
    data = blob["Property"]
    for class_id, size in zip(blob["CustomHeader"]["pclsid"], blob["CustomHeader"]["pSizes"], strict=True):
        yield class_id["Data"], data[: size["Data"]]
        data = data[size["Data"] :]


@pytest.mark.usefixtures("_impacket")
def test_impacket_writes_what_the_inspector_reads() -> None:
    """A RemoteActivation request and a ResolveOxid2 request, made by impacket's structures."""
    request = dcomrt.ResolveOxid2()
    request["pOxid"] = int.from_bytes(bytes(range(8)), "little")
    request["cRequestedProtseqs"] = 1
    request["arRequestedProtseqs"] = (7,)
    found = wire.read_request(wire.OBJECT_EXPORTER, 4, _data_of(request), "ndr20")
    assert (found.oxid, found.protocols) == (int.from_bytes(bytes(range(8)), "little"), (7,))
    activation = dcomrt.RemoteActivation()
    this = dcomrt.ORPCTHIS()
    this["cid"] = bytes(range(16))
    this["extensions"] = dcomrt.NULL
    this["flags"] = 1
    activation["ORPCthis"] = this
    activation["Clsid"] = build.WMI.bytes_le
    activation["pwszObjectName"] = dcomrt.NULL
    activation["pObjectStorage"] = dcomrt.NULL
    activation["ClientImpLevel"] = 2
    activation["Mode"] = 0
    activation["Interfaces"] = 1
    interface = dcomrt.IID()
    interface["Data"] = build.WBEM_LOGIN.bytes_le
    activation["pIIDs"].append(interface)
    activation["cRequestedProtseqs"] = 1
    activation["aRequestedProtseqs"].append(7)
    found = wire.read_request(wire.ACTIVATION, 0, _data_of(activation), "ndr20")
    assert found == wire.Request(build.WMI, (build.WBEM_LOGIN,), protocols=(7,))


def _data_of(request: NDR) -> bytes:
    return bytes(request.getData())
