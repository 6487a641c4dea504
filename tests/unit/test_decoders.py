"""Readers, each whole, byte by byte and with trailing bytes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from inspector.errors import Anomaly, DecodeError
from inspector.wire import body, epm
from inspector.wire.pdu import Pdu, PduReader, PduType, split_pdu
from inspector.wire.stream import Span, Stream
from inspector.wire.tower import read_tower
from tests.build import pdu as build
from tests.build.epm import (
    SAMR,
    floor,
    lookup_request,
    lookup_response,
    map_request,
    map_response,
    pipe_tower,
    tcp_tower,
    tower,
    uuid_floor,
)

TOWER = tcp_tower(SAMR, 49152, "10.11.2.7")
PDUS = [
    build.bind(),
    build.bind_ack(),
    build.bind_nak(),
    build.request(map_request(TOWER), object_uuid=SAMR[0]),
    build.response(map_response([TOWER])),
    build.fault(5),
    build.request(map_request(TOWER), auth=(5, bytes(16))),
    build.bind(big_endian=True),
]
READERS = {
    PduType.BIND: body.read_bind,
    PduType.BIND_ACK: body.read_bind_ack,
    PduType.BIND_NAK: body.read_bind_nak,
    PduType.REQUEST: body.read_request,
    PduType.RESPONSE: body.read_response,
    PduType.FAULT: body.read_fault,
}
STUBS: list[tuple[Callable[..., object], bytes, bool]] = [
    (epm.read_map_request, map_request(TOWER, wide=wide), wide) for wide in (False, True)
]
STUBS += [(epm.read_map_response, map_response([TOWER, TOWER], wide=wide), wide) for wide in (False, True)]
STUBS += [(epm.read_lookup_request, lookup_request(wide=wide, interface=SAMR), wide) for wide in (False, True)]
STUBS += [
    (epm.read_lookup_response, lookup_response([(TOWER, "one"), (TOWER, "")], wide=wide), wide)
    for wide in (False, True)
]


@pytest.mark.parametrize("data", PDUS)
def test_pdu_whole_bytewise_and_trailing(data: bytes) -> None:
    """A PDU is need-more until its last byte, then itself, whatever follows."""
    whole = split_pdu(data)
    assert whole is not None
    assert whole.frag_length == len(data)
    assert all(split_pdu(data[:length]) is None for length in range(len(data)))
    assert split_pdu(data + b"\xff" * 20) == whole
    assert split_pdu(b"\xff" * 3 + data, 3) == whole


@pytest.mark.parametrize("data", PDUS)
def test_pdu_reader_takes_any_split(data: bytes) -> None:
    """Bytes fed one by one, or all at once with another PDU behind, give the same PDUs."""
    bytewise, at_once = PduReader(), PduReader()
    single = [item for index in range(len(data)) for item in bytewise.feed(data[index : index + 1])]
    assert single == [split_pdu(data)]
    assert list(at_once.feed(data + data + data[:20])) == single * 2
    assert at_once.buffered == 20
    assert list(at_once.feed(data[20:])) == single


@pytest.mark.parametrize("data", PDUS)
def test_pdu_bodies_cut_short_are_malformed(data: bytes) -> None:
    """Once a PDU is complete, missing bytes in its body are one typed error, never an index error."""
    whole = split_pdu(data)
    assert whole is not None
    reader = READERS[whole.type]
    reader(whole)
    # What follows the fixed part of a call is its stub, of any length; a bind_nak may end after its reason.
    complete = {PduType.REQUEST: 24 if whole.flags & 0x80 else 8, PduType.RESPONSE: 8, PduType.FAULT: 12}
    for length in range(complete.get(whole.type, len(whole.body))):
        cut = whole._replace(body=whole.body[:length], frag_length=16 + length)
        if whole.type is PduType.BIND_NAK and length == 2:
            assert reader(cut) == body.BindNak(4, ())
            continue
        with pytest.raises(DecodeError, match="pdu_malformed"):
            reader(cut)


@pytest.mark.parametrize(("reader", "stub", "wide"), STUBS)
def test_stub_whole_bytewise_and_trailing(reader: Callable[..., object], stub: bytes, *, wide: bool) -> None:
    """A stub cut anywhere is malformed; padding after it is ignored; more than that is not the same structure."""
    syntax = "ndr64" if wide else "ndr20"
    value = reader(stub, syntax)
    for length in range(len(stub)):
        with pytest.raises(DecodeError):
            reader(stub[:length], syntax)
    assert reader(stub + bytes(4), syntax) == value
    if reader in (epm.read_map_request, epm.read_lookup_request):
        with pytest.raises(DecodeError, match="stub_malformed"):
            reader(stub + b"\1", syntax)
    else:
        trailing = reader(stub + b"\1", syntax)
        assert isinstance(trailing, epm.TowersResponse)
        assert trailing.anomalies == (Anomaly.STUB_TRAILING_BYTES,)


def test_syntaxes_are_not_taken_for_each_other() -> None:
    """Strict structure tells NDR20 from NDR64: that is how a syntax is inferred."""
    for towers in ([TOWER], [TOWER, TOWER], [pipe_tower(SAMR, "a", "b")]):
        for wide in (False, True):
            stub, right, wrong = map_response(towers, wide=wide), *(("ndr64", "ndr20") if wide else ("ndr20", "ndr64"))
            assert epm.is_strict(epm.read_map_response(stub, right))
            try:
                misread = epm.read_map_response(stub, wrong)
            except DecodeError:
                continue
            assert not epm.is_strict(misread) or not misread.towers


@pytest.mark.parametrize("data", [TOWER, pipe_tower(SAMR, "\\PIPE\\samr", "DC1")])
def test_tower_whole_bytewise_and_trailing(data: bytes) -> None:
    """A tower cut anywhere is malformed; bytes after its last floor are a doubt."""
    whole = read_tower(data)
    assert whole.doubts == ()
    for length in range(len(data)):
        with pytest.raises(DecodeError, match="tower_malformed"):
            read_tower(data[:length])
    assert read_tower(data + b"\0").doubts == (Anomaly.TOWER_TRAILING_BYTES,)


def test_tower_doubts() -> None:
    """Unknown identifiers and odd sizes are kept as raw bytes and named; too many floors are an error."""
    unknown = read_tower(tower(uuid_floor(SAMR), floor(0x77, b"ab", b"cd")))
    assert unknown.doubts == (Anomaly.TOWER_UNKNOWN_FLOOR,)
    assert unknown.floors[1] == (0x77, b"ab", b"cd")
    odd = read_tower(tower(floor(0x0D, b"short"), floor(0x07, right=b"\1"), floor(0x09, right=b"\1\2\3")))
    assert (odd.doubts, odd.port, odd.address, odd.interface) == ((Anomaly.TOWER_ODD_FLOOR,), None, None, None)
    with pytest.raises(DecodeError, match="33 floors"):
        read_tower(tower(*[floor(0x09)] * 33))


def test_towers_too_many() -> None:
    """The count of towers has a named limit, checked before anything is read by it."""
    stub = bytes(20) + b"\1\0\0\0" + b"\xff\xff\0\0" + bytes(4) + b"\xff\xff\0\0"
    with pytest.raises(DecodeError, match="towers_too_many"):
        epm.read_map_response(stub, "ndr20")


def test_num_towers_that_disagrees_is_a_doubt() -> None:
    """num_towers and the array's count are cross-checked; the array is what is read."""
    stub = bytearray(map_response([TOWER]))
    stub[20] = 2
    response = epm.read_map_response(bytes(stub), "ndr20")
    assert (len(response.towers), response.anomalies) == (1, (Anomaly.TOWER_COUNT_MISMATCH,))


def test_auth_lengths_are_checked() -> None:
    """A verifier or padding longer than its PDU is malformed."""
    data = bytearray(build.response(map_response([TOWER]), auth=(5, bytes(16))))
    data[10] = 0xFF
    with pytest.raises(DecodeError, match="auth_malformed"):
        split_pdu(bytes(data))


def test_pdu_reader_finds_the_next_pdu_after_a_gap() -> None:
    """The length of the PDU that was cut says where the next one begins, wherever the gap ends."""
    first, second = build.response(map_response([TOWER])), build.bind_nak()
    stream = first + second
    for start in range(16, len(first)):
        for end in range(start, len(first) + 1):
            reader = PduReader()
            assert list(reader.feed(stream[:start])) == []
            reader.lost(end - start)
            assert [item.type for item in reader.feed(stream[end:]) if isinstance(item, Pdu)] == [PduType.BIND_NAK]


def test_pdu_reader_waits_for_a_header_when_it_is_lost() -> None:
    """With the border unknown, bytes are dropped up to a segment which starts like a PDU."""
    reader = PduReader()
    assert list(reader.feed(PDUS[0][:10])) == []
    reader.lost(1)
    assert list(reader.feed(PDUS[0][11:])) == []
    assert list(reader.feed(PDUS[2])) == [split_pdu(PDUS[2])]
    (error,) = reader.feed(b"\xff" * 40)
    assert isinstance(error, DecodeError)
    assert error.anomaly is Anomaly.PDU_MALFORMED


def test_stream_conflicts_are_counted_and_the_first_bytes_win() -> None:
    """Two segments that claim different bytes for one place: somebody lies."""
    stream = Stream()
    stream.position = 100
    stream.hold(Span(110, 0, 0, 1, b"abcdef"))
    stream.hold(Span(108, 0, 0, 1, b"xxabXXefgh"))
    assert [(span.start, span.payload) for span in stream.early] == [(108, b"xx"), (110, b"abcdef"), (116, b"gh")]
    assert (stream.conflicts, stream.buffered) == (1, 10)
