"""What endpoint mappers say: towers of every kind, both transfer syntaxes, listings, statuses, and broken stubs."""

# ruff: noqa: D401  # a trace's docstring says what it shows: it describes a scene, not a deed
from __future__ import annotations

import struct

from inspector.model import Segment
from tests.build import pdu
from tests.build.connection import Wire
from tests.build.epm import (
    MAPI,
    NDR20,
    NOT_REGISTERED,
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
from tests.golden.dialogue import DIP, HANDLE, LSARPC, NETLOGON, VIP, answered, asked, bound, closed, mapped
from tests.golden.trace import trace

CANNOT_PERFORM = 0x16C9A0CD
_OFFER = tcp_tower(SAMR, 49152, DIP)
_NCACN, _NCADG, _NCALRPC = floor(0x0B, right=b"\0\0"), floor(0x0A, right=b"\0\0"), floor(0x0C, right=b"\0\0")
_DIP_FLOOR = floor(0x09, right=bytes([10, 11, 2, 7]))


def _port(protocol: int, number: int) -> bytes:
    return floor(protocol, right=struct.pack(">H", number))


UDP_TOWER = tower(uuid_floor(SAMR), uuid_floor(NDR20), _NCADG, _port(0x08, 49152), _DIP_FLOOR)
HTTP_TOWER = tower(uuid_floor(MAPI), uuid_floor(NDR20), _NCACN, _port(0x1F, 6001), _DIP_FLOOR)
LOCAL_TOWER = tower(uuid_floor(LSARPC), uuid_floor(NDR20), _NCALRPC, floor(0x10, right=b"LRPC-5e1f\0"))
PIPE_TOWER = pipe_tower(LSARPC, "\\PIPE\\lsass", "\\\\DC1")
# Exchange was seen to offer an HTTP port with its address under the identifier of Unix domain sockets.
EXCHANGE_TOWER = tower(
    uuid_floor(MAPI), uuid_floor(NDR20), _NCACN, _port(0x1F, 5000), floor(0x20, right=b"\x0a\x0b\x02\x07")
)
# DECnet and IPX, which old servers still list.
DECNET_TOWER = tower(uuid_floor(SAMR), uuid_floor(NDR20), _NCACN, floor(0x04, right=b"ab"), floor(0x06, right=b"cd"))


def _answer(stub: bytes) -> list[Segment]:
    """Return a conversation whose map request is answered by this stub."""
    return closed(asked(bound()).server(pdu.response(stub, call_id=2))).segments


@trace()
def original_case_inner() -> list[Segment]:
    """The case the project started from, on the gateway's inner side: MAPI at the address of one real server."""
    wire = Wire(client_sequence=2005198912 - 72 - 1, server_sequence=3769475906 - 60 - 1)
    return answered(asked(bound(wire), MAPI), tcp_tower(MAPI, 41376, DIP)).segments


@trace(config='nat64_prefixes = ["2002:a01:86e8:8001::/96"]\n')
def original_case_outer() -> list[Segment]:
    """The same case seen by the client: a bind through NAT64, 24 bytes of bind_nak, and the end."""
    wire = Wire("2001:0:a0b:86e8:388e:fcb:4337:1876", "2002:a01:86e8:8001::a0b:202", client_port=51234).open()
    nak = pdu.pdu(pdu.BIND_NAK, b"\x00\x00\x01\x05\x00\0\0\0")
    return wire.client(pdu.bind()).wait(0.04).server(nak).client_fin().server_fin().segments


@trace()
def towers_ndr20() -> list[Segment]:
    """No, one, two and many towers in NDR20."""
    wire = bound()
    for call_id, number in enumerate((0, 1, 2, 15), 2):
        mapped(wire, *(tcp_tower(SAMR, 49152 + index, DIP) for index in range(number)), call_id=call_id)
    return closed(wire).segments


@trace()
def towers_ndr64() -> list[Segment]:
    """No, one, two and many towers in NDR64."""
    wire = bound(wide=True)
    for call_id, number in enumerate((0, 1, 2, 15), 2):
        towers = [tcp_tower(SAMR, 49152 + index, DIP) for index in range(number)]
        mapped(wire, *towers, wide=True, call_id=call_id)
    return closed(wire).segments


@trace()
def protocol_sequences() -> list[Segment]:
    """A tower of each protocol sequence, and some that have none."""
    towers = (_OFFER, UDP_TOWER, HTTP_TOWER, LOCAL_TOWER, PIPE_TOWER, EXCHANGE_TOWER, DECNET_TOWER)
    return closed(mapped(bound(), *towers)).segments


@trace()
def null_and_aliased_ndr20() -> list[Segment]:
    """A null referent has no tower, one that repeats is the same tower again."""
    return _answer(map_response([_OFFER, tcp_tower(SAMR, 49153, VIP)], referents=[3, 0, 3, 4]))


@trace()
def null_and_aliased_ndr64() -> list[Segment]:
    """The same in NDR64."""
    stub = map_response([_OFFER, tcp_tower(SAMR, 49153, VIP)], referents=[3, 0, 3, 4], wide=True)
    return closed(asked(bound(wide=True), wide=True).server(pdu.response(stub, call_id=2, context_id=1))).segments


@trace()
def towers_bounded() -> list[Segment]:
    """What makes much of few bytes: a tower referred to 400 times, more than 500 towers, a name of 1,000 characters."""
    wire = bound()
    long_name = pipe_tower(SAMR, "\\PIPE\\" + "x" * 1000, "DC1")
    stubs = (
        map_response([_OFFER, long_name], referents=[3] * 400 + [4, 0, 0], max_count=500),
        map_response([_OFFER, *[tower()] * 519], max_count=600),
    )
    for call_id, stub in enumerate(stubs, 2):
        asked(wire, call_id=call_id).server(pdu.response(stub, call_id=call_id))
    wire.client(pdu.request(lookup_request(), opnum=2, call_id=4))
    wire.server(pdu.response(lookup_response([(_OFFER, "y" * 300)]), call_id=4))
    return closed(wire).segments


@trace()
def null_request() -> list[Segment]:
    """A request without object and tower, answered all the same."""
    wire = bound().client(pdu.request(map_request(None, object_uuid=None), call_id=2))
    return closed(answered(wire, _OFFER)).segments


@trace()
def one_at_a_time() -> list[Segment]:
    """max_towers 1: the server keeps a handle, the client comes back with it until nothing is left, or frees it."""
    wire = bound()
    for call_id, handle in ((2, bytes(20)), (3, HANDLE)):
        wire.client(pdu.request(map_request(tcp_tower(SAMR), max_towers=1, handle=handle), call_id=call_id))
        stub = map_response([tcp_tower(SAMR, 49150 + call_id, DIP)], max_count=1, handle=HANDLE)
        wire.server(pdu.response(stub, call_id=call_id))
    wire.client(pdu.request(map_request(tcp_tower(SAMR), max_towers=1, handle=HANDLE), call_id=4))
    wire.server(pdu.response(map_response([], max_count=1, status=NOT_REGISTERED), call_id=4))
    wire.client(pdu.request(HANDLE, opnum=4, call_id=5)).server(pdu.response(bytes(24), call_id=5))
    return closed(wire).segments


@trace()
def statuses() -> list[Segment]:
    """Not registered, cannot perform, access denied, and a status that no document knows."""
    wire = bound()
    for call_id, status in enumerate((NOT_REGISTERED, CANNOT_PERFORM, 5, 0x16C9A0FF), 2):
        mapped(wire, status=status, call_id=call_id)
    return closed(wire).segments


def _lookup(*, wide: bool) -> list[Segment]:
    """Return a listing of two pages and its end: the status comes with the last entries, then alone."""
    wire = bound(wide=wide)
    context_id = int(wide)
    first = [(_OFFER, "Security Account Manager"), (PIPE_TOWER, ""), (tcp_tower(SAMR, 49153, VIP), "odd")]
    pages = [
        (bytes(20), lookup_response(first, wide=wide, handle=HANDLE)),
        (HANDLE, lookup_response([(UDP_TOWER, "last")], wide=wide, handle=HANDLE, status=NOT_REGISTERED)),
        (HANDLE, lookup_response([], wide=wide, status=NOT_REGISTERED)),
    ]
    for call_id, (handle, stub) in enumerate(pages, 2):
        request = lookup_request(wide=wide, handle=handle, max_entries=3)
        wire.client(pdu.request(request, opnum=2, call_id=call_id, context_id=context_id))
        wire.server(pdu.response(stub, call_id=call_id, context_id=context_id))
    return closed(wire).segments


@trace()
def lookup_ndr20() -> list[Segment]:
    """ept_lookup page by page, with annotations of odd lengths."""
    return _lookup(wide=False)


@trace()
def lookup_ndr64() -> list[Segment]:
    """The same in NDR64."""
    return _lookup(wide=True)


@trace()
def lookup_by_interface() -> list[Segment]:
    """A lookup that names an interface."""
    wire = bound().client(pdu.request(lookup_request(inquiry_type=1, interface=NETLOGON), opnum=2, call_id=2))
    return closed(
        wire.server(pdu.response(lookup_response([(tcp_tower(NETLOGON, 49155, DIP), "")]), call_id=2))
    ).segments


@trace()
def lookup_from_the_middle() -> list[Segment]:
    """A listing whose bind was not seen, and one of which only the answers were."""
    middle = _lookup(wide=False)[4:]
    answers = [one._replace(destination_port=33655) for one in _lookup(wide=True) if one.source_port == 135]
    return middle + [one._replace(time_ns=one.time_ns + 10**9) for one in answers]


@trace()
def other_operations() -> list[Segment]:
    """ept_insert, ept_delete, ept_inq_object, ept_mgmt_delete, one past the last: refused or done, no endpoint."""
    wire = bound()
    for call_id, (opnum, status) in enumerate(((0, 5), (1, 5), (5, 0), (6, CANNOT_PERFORM)), 2):
        wire.client(pdu.request(bytes(24), opnum=opnum, call_id=call_id))
        wire.server(pdu.response(bytes(20) + struct.pack("<I", status), call_id=call_id))
    wire.client(pdu.request(b"", opnum=7, call_id=9)).server(pdu.fault(0x1C010002, call_id=9))
    return closed(wire).segments


@trace(config='[[vip]]\naddress = "10.11.2.2"\npool = ["10.11.2.8/29"]\n')
def addresses() -> list[Segment]:
    """What floor 5 may say when 10.11.2.2 was asked, each in a call of its own and then all in one."""
    said = [VIP, DIP, "10.11.2.9", "0.0.0.0", "127.0.0.1", "169.254.9.9", "224.0.0.1", "255.255.255.255"]  # noqa: S104
    wire = bound()
    for call_id, address in enumerate(said, 2):
        mapped(wire, tcp_tower(SAMR, 49152, address), call_id=call_id)
    return closed(mapped(wire, *(tcp_tower(SAMR, 49152, address) for address in said), call_id=99)).segments


@trace(config='nat64_prefixes = ["2001:db8:122:344::/64"]\n')
def addresses_ipv6() -> list[Segment]:
    """The server asked over IPv6: NAT64 well-known and configured, 6to4, Teredo, and no IPv4 address behind it."""
    servers = ["64:ff9b::a0b:202", "2001:db8:122:344:a:b02:200:0", "2002:a0b:202::1", "2001:0:a0b:86e8::f5f4:fdfd"]
    segments = []
    for number, server in enumerate([*servers, "2001:db8::1"]):
        wire = bound(Wire("2001:db8::c11e", server, client_port=50000 + number).wait(number))
        segments += closed(mapped(wire, tcp_tower(SAMR, 49152, VIP), tcp_tower(SAMR, 49153, DIP))).segments
    return segments


@trace()
def stubs_malformed() -> list[Segment]:
    """Stubs which contradict themselves: noise, a stub cut short, absurd counts, lengths that disagree."""
    whole = map_response([_OFFER])
    absurd = bytearray(whole)
    absurd[32:36] = struct.pack("<I", 0x10000)
    unequal = bytearray(whole)
    unequal[44:48] = struct.pack("<I", 74)
    wire = bound()
    for call_id, stub in enumerate((b"\xff" * 60, whole[:90], bytes(absurd), bytes(unequal), b""), 2):
        asked(wire, call_id=call_id).server(pdu.response(stub, call_id=call_id))
    return closed(wire).segments


@trace()
def stubs_doubtful() -> list[Segment]:
    """Stubs which can be read with a doubt: bytes left over, and two counts which should be equal."""
    whole = map_response([_OFFER])
    wrong_count = bytearray(whole)
    wrong_count[20:24] = struct.pack("<I", 2)
    wire = bound()
    for call_id, stub in enumerate((whole + b"more bytes", bytes(wrong_count)), 2):
        asked(wire, call_id=call_id).server(pdu.response(stub, call_id=call_id))
    return closed(wire).segments


@trace()
def towers_malformed() -> list[Segment]:
    """Towers which cannot be read, or with a doubt, beside one that can."""
    odd_sizes = tower(uuid_floor(SAMR), uuid_floor(NDR20), _NCACN, floor(0x07, right=b"\1\2\3"), floor(0x09, right=b""))
    short_uuid = tower(floor(0x0D, b"\1\2\3", b"\0\0"), uuid_floor(NDR20), _NCACN, _port(0x07, 1), _DIP_FLOOR)
    broken = [_OFFER[:-3], b"\x05\x00\xff\xff", struct.pack("<H", 40) + _OFFER[2:] * 8, tower(b"\0\0\0\0")]
    doubtful = [_OFFER + b"rest", odd_sizes, short_uuid, EXCHANGE_TOWER, tower()]
    return closed(mapped(bound(), *broken, *doubtful, tcp_tower(SAMR, 49153, VIP))).segments
