"""Stubs of the endpoint mapper in NDR20 and NDR64: C706 appendix O, MS-RPCE sections 2.2.1.2 and 2.2.5.

A stub is what is left when fragments are joined: no PDU headers, no authentication.
Every reader takes the whole stub and returns a value or raises DecodeError
(STUB_MALFORMED, TOWERS_TOO_MANY); a tower that cannot be read does not spoil its
neighbours, it is named by its anomaly. What a reader returns is bounded: a tower is listed once,
however often it is referred to, of more than MAX_TOWERS references the first are read, and names are cut.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from inspector.errors import Anomaly, DecodeError
from inspector.wire.body import NDR64, Syntax
from inspector.wire.cursor import NIL_UUID, uuid_of
from inspector.wire.ndr import NdrReader
from inspector.wire.tower import Tower, is_cut, read_tower, text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

OPERATIONS: Final = {
    0: "ept_insert",
    1: "ept_delete",
    2: "ept_lookup",
    3: "ept_map",
    4: "ept_lookup_handle_free",
    5: "ept_inq_object",
    6: "ept_mgmt_delete",
}
EPT_LOOKUP: Final = 2
EPT_MAP: Final = 3
EPT_LOOKUP_HANDLE_FREE: Final = 4

# A client may ask for 500 towers or entries at most: max_towers and max_ents in MS-RPCE section 2.2.1.2.
MAX_TOWERS: Final = 500

# Doubts about what a response says, none about its being one.
_UNAMBIGUOUS: Final = frozenset({Anomaly.TOWER_UNKNOWN_FLOOR, Anomaly.TOWER_REPEATED, Anomaly.NAME_CUT})

STATUS_OK: Final = 0
STATUS_NOT_REGISTERED: Final = 0x16C9A0D6
# The same as Windows numbers it, EPT_S_NOT_REGISTERED (MS-ERREF 2.2): some servers put it into a response.
WINDOWS_NOT_REGISTERED: Final = 0x6D9


class OfferedTower(NamedTuple):
    """One tower of a response: `tower` is None where `anomaly` says why; annotation and object come with ept_lookup.

    `references` is how many elements of the array refer to it; annotation and object are those of the first.
    """

    tower: Tower | None
    anomaly: Anomaly | None = None
    annotation: str | None = None
    object_uuid: UUID | None = None
    references: int = 1


class MapRequest(NamedTuple):
    """[in] parameters of ept_map; `handle` is the 20 bytes of the entry handle."""

    object_uuid: UUID | None
    tower: Tower | None
    handle: bytes
    max_towers: int
    referents: tuple[int, int]


class LookupRequest(NamedTuple):
    """[in] parameters of ept_lookup."""

    inquiry_type: int
    object_uuid: UUID | None
    interface: Syntax | None
    version_option: int
    handle: bytes
    max_entries: int


class TowersResponse(NamedTuple):
    """[out] parameters of ept_map and ept_lookup, whose arrays differ in their elements only.

    `num_towers` is the count outside the array; `max_count`, `offset` and
    `actual_count` belong to it. `referents` are those of `towers`, 0 for null: each is there once.
    """

    handle: bytes
    num_towers: int
    max_count: int
    offset: int
    actual_count: int
    referents: tuple[int, ...]
    towers: tuple[OfferedTower, ...]
    status: int
    anomalies: tuple[Anomaly, ...]


class StatusResponse(NamedTuple):
    """[out] parameters of the operations which offer nothing: the last four bytes are the status."""

    status: int


class _StubReader(NdrReader):
    """A reader of the endpoint mapper's stubs."""

    __slots__ = ()

    def handle(self) -> bytes:
        """Read an entry handle: attributes and UUID, 20 bytes."""
        self.align(4)
        return self.take(20)

    def tower_bytes(self) -> bytes:
        """Read one twr_t: conformance, length, bytes."""
        conformance = self.count()
        length = self.long()
        if conformance != length:
            raise self.fail(f"tower of length {length} in an array of {conformance}")
        return self.take(length)


def read_map_request(stub: bytes, transfer_syntax: str, *, little_endian: bool = True) -> MapRequest:
    """Return the parameters of a map request; raises DecodeError."""
    reader = _StubReader(stub, transfer_syntax, little_endian=little_endian)
    object_referent = reader.count()
    object_uuid = reader.uuid() if object_referent else None
    tower_referent = reader.count()
    tower = read_tower(reader.tower_bytes()) if tower_referent else None
    request = MapRequest(object_uuid, tower, reader.handle(), reader.aligned_long(), (object_referent, tower_referent))
    reader.finish()
    return request


def read_lookup_request(stub: bytes, transfer_syntax: str, *, little_endian: bool = True) -> LookupRequest:
    """Return the parameters of a lookup request; raises DecodeError."""
    reader = _StubReader(stub, transfer_syntax, little_endian=little_endian)
    inquiry_type = reader.long()
    object_uuid = reader.uuid() if reader.count() else None
    interface = None
    if reader.count():
        interface = Syntax(reader.uuid(), reader.short(), reader.short())
    version_option = reader.aligned_long()
    handle, max_entries = reader.handle(), reader.aligned_long()
    reader.finish()
    return LookupRequest(inquiry_type, object_uuid, interface, version_option, handle, max_entries)


class _Array(NamedTuple):
    """Header of the conformant and varying array both responses carry, with the doubts it raises."""

    handle: bytes
    num_towers: int
    max_count: int
    offset: int
    actual_count: int
    doubts: set[Anomaly]


def _read_array(reader: _StubReader) -> _Array:
    handle, number = reader.handle(), reader.aligned_long()
    max_count, offset, actual = reader.count(), reader.count(), reader.count()
    if actual > MAX_TOWERS and actual > reader.left // 4:
        # More than the stub has room for, whatever an element is.
        raise DecodeError(Anomaly.TOWERS_TOO_MANY, f"{actual} towers")
    if offset > max_count or actual > max_count - offset:
        raise reader.fail(f"elements {offset} to {offset + actual} of an array of {max_count}")
    # max_count echoes the request even on failure: only the counts of what is there must agree.
    doubts = {Anomaly.TOWER_COUNT_MISMATCH} if number != actual else set()
    if actual > MAX_TOWERS:
        doubts.add(Anomaly.TOWERS_TOO_MANY)
    return _Array(handle, number, max_count, offset, actual, doubts)


def _read_referred_tower(reader: _StubReader) -> OfferedTower:
    data = reader.tower_bytes()
    try:
        return OfferedTower(read_tower(data))
    except DecodeError as error:
        return OfferedTower(None, error.anomaly)


def _read_towers(reader: _StubReader, referents: Sequence[int]) -> dict[int, OfferedTower]:
    """Return towers by referent: one that repeats is the same tower (C706 section 14.3.10), and is listed once.

    Those of references beyond MAX_TOWERS are passed over.
    """
    towers = {}
    for referent, references in Counter(referents[:MAX_TOWERS]).items():
        offered = _read_referred_tower(reader) if referent else OfferedTower(None, Anomaly.TOWER_NULL)
        towers[referent] = offered._replace(references=references) if references > 1 else offered
    for _ in set(referents[MAX_TOWERS:]) - towers.keys() - {0}:
        reader.tower_bytes()
    return towers


def _finish(reader: _StubReader, array: _Array, towers: dict[int, OfferedTower]) -> TowersResponse:
    status = reader.aligned_long()
    doubts = array.doubts
    if reader.has_trailing_bytes:
        doubts.add(Anomaly.STUB_TRAILING_BYTES)
    for referent, offered in towers.items():
        doubts.update(offered.tower.doubts if offered.tower else ())
        if offered.anomaly:
            doubts.add(offered.anomaly)
        if offered.references > 1 and referent:
            doubts.add(Anomaly.TOWER_REPEATED)
        if is_cut(offered.annotation):
            doubts.add(Anomaly.NAME_CUT)
    return TowersResponse(*array[:5], tuple(towers), tuple(towers.values()), status, tuple(sorted(doubts)))


def read_map_response(stub: bytes, transfer_syntax: str, *, little_endian: bool = True) -> TowersResponse:
    """Return the parameters of a map response; raises DecodeError.

    All referents come before all towers; a tower's conformance is aligned to 4 in NDR20 and to 8 in NDR64.
    """
    reader = _StubReader(stub, transfer_syntax, little_endian=little_endian)
    array = _read_array(reader)
    return _finish(reader, array, _read_towers(reader, reader.counts(array.actual_count)))


def read_lookup_response(stub: bytes, transfer_syntax: str, *, little_endian: bool = True) -> TowersResponse:
    """Return the parameters of a lookup response, entries (ept_entry_t) as annotated towers; raises DecodeError."""
    reader = _StubReader(stub, transfer_syntax, little_endian=little_endian)
    array = _read_array(reader)
    # By referent, the object and annotation of its first entry.
    entries: dict[int, tuple[UUID, bytes]] = {}
    referents = []
    for _ in range(array.actual_count):
        if transfer_syntax == NDR64:
            reader.align(8)
        object_uuid = reader.take(16)
        referents.append(reader.count())
        reader.count()  # the annotation's offset, always 0
        annotation = reader.take(reader.count())
        reader.align(4)
        if len(referents) <= MAX_TOWERS and referents[-1] not in entries:
            entries[referents[-1]] = uuid_of(object_uuid, little_endian), annotation
    towers = _read_towers(reader, referents)
    for referent, (uuid, annotation) in entries.items():
        towers[referent] = towers[referent]._replace(
            annotation=text_of(annotation), object_uuid=uuid if uuid != NIL_UUID else None
        )
    return _finish(reader, array, towers)


def read_status_response(stub: bytes, *, little_endian: bool = True) -> StatusResponse:
    """Return the status with which the stub of any other operation ends; raises DecodeError."""
    if len(stub) < 4:
        raise DecodeError(Anomaly.STUB_MALFORMED, f"stub of {len(stub)} bytes")
    return StatusResponse(int.from_bytes(stub[-4:], "little" if little_endian else "big"))


def is_strict(response: TowersResponse) -> bool:
    """Return whether a response is beyond doubt, so that its structure may stand in for a bind that was not seen."""
    unambiguous = _UNAMBIGUOUS.issuperset(response.anomalies)
    known_status = response.status == STATUS_OK or response.status >> 16 == STATUS_NOT_REGISTERED >> 16
    return unambiguous and response.offset == 0 and known_status
