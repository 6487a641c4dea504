"""Samba's NDR bindings pack random towers and stubs, and the inspector reads them; the other way round as well."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.errors import Anomaly
from inspector.wire.epm import (
    OfferedTower,
    read_lookup_request,
    read_lookup_response,
    read_map_request,
    read_map_response,
    read_status_response,
)
from inspector.wire.tower import Floor
from tests.build import epm
from tests.choice import examples
from tests.conftest import unavailable
from tests.oracle.random_towers import (
    FloorChoice,
    as_declared,
    as_samba_reads,
    assert_samba_says,
    assert_same,
    names,
    samba_tower,
    short,
    tower_bytes,
    towers,
    uuids,
)

try:
    from samba import ndr
    from samba.dcerpc import epmapper, misc
except ImportError as error:
    MISSING = str(error)
else:
    MISSING = ""

SYNTAXES = {False: "ndr20", True: "ndr64"}
longs = st.integers(0, 0xFFFFFFFF)
handles = st.tuples(longs, uuids)
statuses = st.sampled_from([0, 0x16C9A0D6, 0x16C9A0CD, 5])
orders = pytest.mark.parametrize("big_endian", [False, True])
widths = pytest.mark.parametrize("wide", [False, True])
EXAMPLES = examples(60)


@pytest.fixture(autouse=True, scope="module")
def _samba() -> None:
    """Ask for the distribution's bindings (package python3-samba)."""
    if MISSING:
        unavailable(f"Samba's Python bindings are not there: {MISSING}")


def samba_handle(handle: tuple[int, UUID]) -> Any:
    """Return Samba's policy_handle of an entry handle."""
    made = misc.policy_handle()
    made.handle_type, made.uuid = handle[0], misc.GUID(str(handle[1]))
    return made


def handle_bytes(handle: tuple[int, UUID], *, big_endian: bool) -> bytes:
    """Return the 20 bytes of an entry handle."""
    attributes, uuid = handle
    order = "big" if big_endian else "little"
    return attributes.to_bytes(4, order) + (uuid.bytes if big_endian else uuid.bytes_le)  # type: ignore[arg-type]


def pointer(floors: tuple[FloorChoice, ...] | None) -> Any:
    """Return Samba's pointer to a tower of its own, or a null pointer."""
    made = epmapper.epm_twr_p_t()
    made.twr = None if floors is None else samba_tower(epmapper, floors)
    return made


def check(offered: tuple[OfferedTower, ...], chosen: list[tuple[FloorChoice, ...] | None]) -> None:
    """Check the towers of a response against the choice: null ones are listed once, with their number."""
    for one, number in zip(offered, listed(chosen), strict=True):
        floors = chosen[number]
        if floors is None:
            assert (one.tower, one.anomaly, one.references) == (None, Anomaly.TOWER_NULL, chosen.count(None))
        else:
            assert one.references == 1
            assert_same(one.tower, floors)


def listed(chosen: list[tuple[FloorChoice, ...] | None]) -> list[int]:
    """Return the numbers of the towers which are listed: those that are not null, and the first null one."""
    return [number for number, floors in enumerate(chosen) if floors is not None or number == chosen.index(None)]


def check_map_response(
    chosen: list[tuple[FloorChoice, ...] | None],
    spare: int,
    handle: tuple[int, UUID],
    status: int,
    *,
    big_endian: bool,
    wide: bool,
) -> None:
    """Let Samba pack a map response, and check every field the inspector reads in it."""
    call = epmapper.epm_Map()
    call.in_max_towers = len(chosen) + spare
    call.out_entry_handle = samba_handle(handle)
    call.out_num_towers = len(chosen)
    call.out_towers = [pointer(floors) for floors in chosen]
    call.result = status
    stub = ndr.ndr_pack_out(call, bigendian=big_endian, ndr64=wide)
    if wide and any(floors is not None for floors in chosen):
        stub = as_declared(stub, 48 + 8 * len(chosen), big_endian=big_endian)
    response = read_map_response(stub, SYNTAXES[wide], little_endian=not big_endian)
    assert response.handle == handle_bytes(handle, big_endian=big_endian)
    assert (response.num_towers, response.max_count, response.offset, response.actual_count) == (
        len(chosen), len(chosen) + spare, 0, len(chosen),
    )  # fmt: skip
    check(response.towers, chosen)
    assert response.status == status
    assert set(response.anomalies) == ({Anomaly.TOWER_NULL} if None in chosen else set())


@orders
@EXAMPLES
@given(chosen=st.lists(st.none() | towers, max_size=5), spare=st.integers(0, 9), handle=handles, status=statuses)
def test_map_response_in_ndr20(
    *,
    big_endian: bool,
    chosen: list[tuple[FloorChoice, ...] | None],
    spare: int,
    handle: tuple[int, UUID],
    status: int,
) -> None:
    """Handle, counts, every tower (null ones included) and status."""
    check_map_response(chosen, spare, handle, status, big_endian=big_endian, wide=False)


@orders
@EXAMPLES
@given(
    before=st.integers(0, 3),
    floors=st.none() | towers,
    after=st.integers(0, 3),
    spare=st.integers(0, 9),
    handle=handles,
    status=statuses,
)
def test_map_response_in_ndr64(
    *,
    big_endian: bool,
    before: int,
    floors: tuple[FloorChoice, ...] | None,
    after: int,
    spare: int,
    handle: tuple[int, UUID],
    status: int,
) -> None:
    """The same in NDR64, with one tower among null ones: Samba's form of one moves everything behind it."""
    chosen = [None] * before + [floors] + [None] * after
    check_map_response(chosen, spare, handle, status, big_endian=big_endian, wide=True)


@orders
@widths
@EXAMPLES
@given(object_uuid=st.none() | uuids, floors=st.none() | towers, handle=handles, max_towers=longs)
def test_map_request(
    *,
    big_endian: bool,
    wide: bool,
    object_uuid: UUID | None,
    floors: tuple[FloorChoice, ...] | None,
    handle: tuple[int, UUID],
    max_towers: int,
) -> None:
    """Object and map tower (both may be null), handle and number of towers."""
    call = epmapper.epm_Map()
    call.in_object = None if object_uuid is None else misc.GUID(str(object_uuid))
    call.in_map_tower = None if floors is None else samba_tower(epmapper, floors)
    call.in_entry_handle = samba_handle(handle)
    call.in_max_towers = max_towers
    stub = ndr.ndr_pack_in(call, bigendian=big_endian, ndr64=wide)
    if wide and floors is not None:
        stub = as_declared(stub, map_tower_at(object_uuid), big_endian=big_endian)
    request = read_map_request(stub, SYNTAXES[wide], little_endian=not big_endian)
    assert (request.object_uuid, request.max_towers) == (object_uuid, max_towers)
    assert request.handle == handle_bytes(handle, big_endian=big_endian)
    if floors is None:
        assert request.tower is None
    else:
        assert_same(request.tower, floors)


def map_tower_at(object_uuid: UUID | None) -> int:
    """Return the offset of the map tower in an NDR64 request: behind two referents and the object."""
    return 16 if object_uuid is None else 32


# Only NDR20: Samba writes the annotation's offset and length in 32 bits in NDR64 as well. It is a varying
# string, whose counts have 64 bits there (MS-RPCE section 2.2.5.3.3.1), and impacket agrees with that.
@orders
@EXAMPLES
@given(
    chosen=st.lists(st.tuples(uuids, st.none() | towers, names), max_size=4),
    spare=st.integers(0, 9),
    handle=handles,
    status=statuses,
)
def test_lookup_response_in_ndr20(
    *,
    big_endian: bool,
    chosen: list[tuple[UUID, tuple[FloorChoice, ...] | None, str]],
    spare: int,
    handle: tuple[int, UUID],
    status: int,
) -> None:
    """Entries with object, tower and annotation of any length, in NDR20."""
    call = epmapper.epm_Lookup()
    call.in_max_ents = len(chosen) + spare
    call.out_entry_handle = samba_handle(handle)
    call.out_num_ents = len(chosen)
    call.out_entries = [samba_entry(*entry) for entry in chosen]
    call.result = status
    stub = ndr.ndr_pack_out(call, bigendian=big_endian)
    response = read_lookup_response(stub, "ndr20", little_endian=not big_endian)
    assert response.handle == handle_bytes(handle, big_endian=big_endian)
    assert (response.num_towers, response.max_count, response.actual_count) == (
        len(chosen), len(chosen) + spare, len(chosen),
    )  # fmt: skip
    towers_chosen = [floors for _, floors, _ in chosen]
    check(response.towers, towers_chosen)
    assert [(one.object_uuid or UUID(int=0), one.annotation) for one in response.towers] == [
        (chosen[number][0], chosen[number][2]) for number in listed(towers_chosen)
    ]
    assert response.status == status


def samba_entry(uuid: UUID, floors: tuple[FloorChoice, ...] | None, annotation: str) -> Any:
    """Return Samba's ept_entry_t."""
    entry = epmapper.epm_entry_t()
    entry.object = misc.GUID(str(uuid))
    entry.tower = None if floors is None else samba_tower(epmapper, floors)
    entry.annotation = annotation
    return entry


@orders
@widths
@EXAMPLES
@given(
    inquiry_type=st.integers(0, 3),
    object_uuid=st.none() | uuids,
    interface=st.none() | st.tuples(uuids, short, short),
    version_option=st.integers(1, 5),
    handle=handles,
    max_entries=longs,
)
def test_lookup_request(
    *,
    big_endian: bool,
    wide: bool,
    inquiry_type: int,
    object_uuid: UUID | None,
    interface: tuple[UUID, int, int] | None,
    version_option: int,
    handle: tuple[int, UUID],
    max_entries: int,
) -> None:
    """Every parameter of a lookup; object and interface may be null."""
    call = epmapper.epm_Lookup()
    call.in_inquiry_type, call.in_vers_option, call.in_max_ents = inquiry_type, version_option, max_entries
    call.in_object = None if object_uuid is None else misc.GUID(str(object_uuid))
    call.in_entry_handle = samba_handle(handle)
    call.in_interface_id = None
    if interface is not None:
        call.in_interface_id = epmapper.rpc_if_id_t()
        call.in_interface_id.uuid = misc.GUID(str(interface[0]))
        call.in_interface_id.vers_major, call.in_interface_id.vers_minor = interface[1:]
    stub = ndr.ndr_pack_in(call, bigendian=big_endian, ndr64=wide)
    request = read_lookup_request(stub, SYNTAXES[wide], little_endian=not big_endian)
    assert request == (
        inquiry_type, object_uuid, interface, version_option,
        handle_bytes(handle, big_endian=big_endian), max_entries,
    )  # fmt: skip


@orders
@widths
def test_handle_free(*, big_endian: bool, wide: bool) -> None:
    """The status of an operation that offers nothing stands at the end of the stub."""
    call = epmapper.epm_LookupHandleFree()
    call.out_entry_handle = samba_handle((0, UUID(int=0)))
    call.result = 0x16C9A0CD
    stub = ndr.ndr_pack_out(call, bigendian=big_endian, ndr64=wide)
    assert read_status_response(stub, little_endian=not big_endian).status == 0x16C9A0CD


def check_built_map_response(
    chosen: list[tuple[FloorChoice, ...]], spare: int, status: int, *, big_endian: bool, wide: bool
) -> None:
    """Build a map response, and check what Samba reads in it."""
    built = [tower_bytes(floors) for floors in chosen]
    max_count = len(chosen) + spare
    stub = epm.map_response(built, wide=wide, big_endian=big_endian, status=status, max_count=max_count)
    if wide and chosen:
        stub = as_samba_reads(stub, 48 + 8 * len(chosen), big_endian=big_endian)
    call = epmapper.epm_Map()
    call.in_max_towers = max_count
    ndr.ndr_unpack_out(call, stub, bigendian=big_endian, ndr64=wide)
    assert (call.out_num_towers, call.result) == (len(chosen), status)
    for one, floors in zip(call.out_towers, chosen, strict=True):
        assert_samba_says(one.twr, floors)


@orders
@EXAMPLES
@given(chosen=st.lists(towers, max_size=4), spare=st.integers(0, 9), status=statuses)
def test_built_map_response_in_ndr20(
    *, big_endian: bool, chosen: list[tuple[FloorChoice, ...]], spare: int, status: int
) -> None:
    """What the tests build is what Samba reads: the builders of all other tests are held to an outsider."""
    check_built_map_response(chosen, spare, status, big_endian=big_endian, wide=False)


@orders
@EXAMPLES
@given(chosen=st.lists(towers, max_size=1), spare=st.integers(0, 9), status=statuses)
def test_built_map_response_in_ndr64(
    *, big_endian: bool, chosen: list[tuple[FloorChoice, ...]], spare: int, status: int
) -> None:
    """The same in NDR64, with one tower."""
    check_built_map_response(chosen, spare, status, big_endian=big_endian, wide=True)


@orders
@widths
@EXAMPLES
@given(floors=st.none() | towers, max_towers=longs, object_uuid=st.none() | uuids)
def test_built_map_request(
    *, big_endian: bool, wide: bool, floors: tuple[FloorChoice, ...] | None, max_towers: int, object_uuid: UUID | None
) -> None:
    """The same for requests."""
    asked = None if floors is None else tower_bytes(floors)
    stub = epm.map_request(asked, wide=wide, big_endian=big_endian, max_towers=max_towers, object_uuid=object_uuid)
    if wide and floors is not None:
        stub = as_samba_reads(stub, map_tower_at(object_uuid), big_endian=big_endian)
    call = epmapper.epm_Map()
    ndr.ndr_unpack_in(call, stub, bigendian=big_endian, ndr64=wide)
    assert call.in_max_towers == max_towers
    assert (None if call.in_object is None else UUID(str(call.in_object))) == object_uuid
    if floors is None:
        assert call.in_map_tower is None
    else:
        assert_samba_says(call.in_map_tower, floors)


@EXAMPLES
@given(chosen=st.lists(st.tuples(towers, names), max_size=4), status=statuses)
def test_built_lookup_response_in_ndr20(*, chosen: list[tuple[tuple[FloorChoice, ...], str]], status: int) -> None:
    """The same for listings, in NDR20."""
    stub = epm.lookup_response([(tower_bytes(floors), annotation) for floors, annotation in chosen], status=status)
    call = epmapper.epm_Lookup()
    call.in_max_ents = 500
    ndr.ndr_unpack_out(call, stub)
    assert (call.out_num_ents, call.result) == (len(chosen), status)
    for entry, (floors, annotation) in zip(call.out_entries, chosen, strict=True):
        assert entry.annotation == annotation
        assert_samba_says(entry.tower, floors)


def test_samba_cannot_express_aliases() -> None:
    """An alias gets the same referent, as C706 section 14.3.10 says, but its tower is written again: no oracle there.

    The day this fails, aliased towers can be compared with Samba as well.
    """
    call = epmapper.epm_Map()
    shared = pointer((FloorChoice(Floor(0x0D, bytes(18), bytes(2)), "uuid", {"unknown": bytes(2)}),))
    call.in_max_towers = call.out_num_towers = 2
    call.out_towers = [shared, shared]
    call.out_entry_handle = samba_handle((0, UUID(int=0)))
    call.result = 0
    response = read_map_response(ndr.ndr_pack_out(call), "ndr20")
    assert [one.references for one in response.towers] == [2]
    assert Anomaly.STUB_TRAILING_BYTES in response.anomalies
