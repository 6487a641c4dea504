"""impacket reads what the tests build, in both transfer syntaxes, and says the same as the inspector."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.wire import epm as wire
from inspector.wire.tower import Protocol, read_tower
from inspector.wire.uuids import all_uuids, document_of
from tests.build import epm
from tests.choice import examples
from tests.conftest import unavailable
from tests.oracle.random_towers import FloorChoice, names, tower_bytes, towers, uuids

try:
    from impacket.dcerpc.v5 import epm as impacket_epm
    from impacket.uuid import string_to_bin
except ImportError as error:
    MISSING = str(error)
else:
    MISSING = ""

SYNTAXES = {False: "ndr20", True: "ndr64"}
handles = st.binary(min_size=20, max_size=20)
statuses = st.sampled_from([0, epm.NOT_REGISTERED, 0x16C9A0CD])
widths = pytest.mark.parametrize("wide", [False, True])
EXAMPLES = examples(60)

# impacket lists an interface under a document which mentions it; the table names the one which defines it.
OTHER_DOCUMENT = {
    UUID("afa8bd80-7d8a-11c9-bef4-08002b102989"): "MS-RPCE",  # MGMT is C706's own
    UUID("12345778-1234-abcd-ef00-0123456789ab"): "MS-LSAT",  # LSARPC is shared by MS-LSAD and MS-LSAT
    UUID("f5cc5a18-4264-101a-8c59-08002b2f8426"): "MS-NSPI",  # NSPI for clients in general; Exchange's is MS-OXNSPI
}


@pytest.fixture(autouse=True, scope="module")
def _impacket() -> None:
    """Ask for impacket."""
    if MISSING:
        unavailable(f"impacket is not there: {MISSING}")


def octets(twr: Any) -> bytes:
    """Return the tower's octets as impacket holds them."""
    return b"".join(twr["tower_octet_string"])


@widths
@EXAMPLES
@given(chosen=st.lists(towers, max_size=4), spare=st.integers(0, 9), handle=handles, status=statuses)
def test_map_response(
    *, wide: bool, chosen: list[tuple[FloorChoice, ...]], spare: int, handle: bytes, status: int
) -> None:
    """Handle, counts, the octets of every tower and the status."""
    built = [tower_bytes(floors) for floors in chosen]
    stub = epm.map_response(built, wide=wide, handle=handle, status=status, max_count=len(built) + spare)
    theirs = impacket_epm.ept_mapResponse(stub, isNDR64=wide)
    ours = wire.read_map_response(stub, SYNTAXES[wide])
    assert (ours.handle, ours.num_towers, ours.status) == (
        theirs["entry_handle"].getData(), theirs["num_towers"], theirs["status"],
    )  # fmt: skip
    assert [octets(twr) for twr in theirs["ITowers"]] == built
    assert [one.tower for one in ours.towers] == [read_tower(one) for one in built]


@widths
@EXAMPLES
@given(chosen=st.lists(st.tuples(towers, names), max_size=4), handle=handles, status=statuses)
def test_lookup_response(
    *, wide: bool, chosen: list[tuple[tuple[FloorChoice, ...], str]], handle: bytes, status: int
) -> None:
    """Handle, count, towers, annotations of any length, and the status: in NDR64 as well, where Samba errs."""
    built = [(tower_bytes(floors), annotation) for floors, annotation in chosen]
    stub = epm.lookup_response(built, wide=wide, handle=handle, status=status)
    theirs = impacket_epm.ept_lookupResponse(stub, isNDR64=wide)
    ours = wire.read_lookup_response(stub, SYNTAXES[wide])
    assert (ours.handle, ours.num_towers, ours.status) == (
        theirs["entry_handle"].getData(), theirs["num_ents"], theirs["status"],
    )  # fmt: skip
    assert [octets(entry["tower"]) for entry in theirs["entries"]] == [one for one, _ in built]
    assert [one.tower for one in ours.towers] == [read_tower(one) for one, _ in built]
    annotations = [b"".join(entry["annotation"]).rstrip(b"\0").decode() for entry in theirs["entries"]]
    assert [one.annotation for one in ours.towers] == annotations


@widths
@EXAMPLES
@given(floors=towers, handle=handles, max_towers=st.integers(0, 0xFFFFFFFF), object_uuid=uuids)
def test_map_request_of_impacket(
    *, wide: bool, floors: tuple[FloorChoice, ...], handle: bytes, max_towers: int, object_uuid: UUID
) -> None:
    """A request that impacket packs, its padding not of zeros, is read in every parameter."""
    tower = tower_bytes(floors)
    call = impacket_epm.ept_map(isNDR64=wide)
    call["obj"] = string_to_bin(str(object_uuid))
    call["map_tower"]["tower_length"] = len(tower)
    call["map_tower"]["tower_octet_string"] = tower
    call["entry_handle"].fromString(handle)
    call["max_towers"] = max_towers
    ours = wire.read_map_request(call.getData(), SYNTAXES[wide])
    assert (ours.object_uuid, ours.tower, ours.handle, ours.max_towers) == (
        object_uuid, read_tower(tower), handle, max_towers,
    )  # fmt: skip


@EXAMPLES
@given(floors=towers)
def test_floors(*, floors: tuple[FloorChoice, ...]) -> None:
    """A tower is split into the same floors."""
    data = tower_bytes(floors)
    theirs = impacket_epm.EPMTower(data)["Floors"]
    ours = read_tower(data)
    assert ours.interface is not None
    assert ours.transfer is not None
    assert (ours.interface.uuid.bytes_le, ours.interface.major, ours.interface.minor) == (
        theirs[0]["InterfaceUUID"], theirs[0]["MajorVersion"], theirs[0]["MinorVersion"],
    )  # fmt: skip
    assert (ours.transfer.uuid.bytes_le, ours.transfer.major, ours.transfer.minor) == (
        theirs[1]["DataRepUuid"], theirs[1]["MajorVersion"], theirs[1]["MinorVersion"],
    )  # fmt: skip
    assert [(bytes([floor.protocol]) + floor.identifier_data, floor.related_data) for floor in ours.floors[2:]] == [
        (floor["ProtocolData"], floor["RelatedData"]) for floor in theirs[2:]
    ]


@given(port=st.integers(0, 0xFFFF), address=st.ip_addresses(v=4))
def test_port_and_address(*, port: int, address: IPv4Address) -> None:
    """Port and address of a tower for TCP/IP, whose bytes alone are big-endian."""
    floors = epm.tcp_tower(epm.SAMR, port, str(address))
    theirs = impacket_epm.EPMTower(floors)["Floors"]
    ours = read_tower(floors)
    assert impacket_epm.EPMPortAddr(theirs[3].getData())["IpPort"] == ours.port == port
    assert impacket_epm.EPMHostAddr(theirs[4].getData())["Ip4addr"] == address.packed
    assert (ours.address, ours.floors[4].protocol) == (address, Protocol.IPV4)


def test_interface_names_have_the_right_document() -> None:
    """Where impacket's table knows an interface, it names the same document, but for three that are listed here."""
    theirs = {UUID(uuid): title.partition("]")[0].strip("[ ") for uuid, title in impacket_epm.KNOWN_PROTOCOLS.items()}
    shared = all_uuids() & set(theirs)
    different = {uuid: theirs[uuid] for uuid in shared if theirs[uuid] != document_of(uuid)}
    assert len(shared) > len(all_uuids()) // 2
    assert different == OTHER_DOCUMENT
