"""`python -m tests.fuzz.seed`: write the seeds of the corpus, from the builders."""

from __future__ import annotations

from pathlib import Path

from inspector.capture.writer import build_frame
from tests.build import dcom, eventtrace, pdu
from tests.build.capture_files import block, enhanced, interface, pcap, section
from tests.build.connection import Wire
from tests.build.epm import (
    SAMR,
    lookup_request,
    lookup_response,
    map_request,
    map_response,
    pipe_tower,
    tcp_tower,
)
from tests.golden import tunnels  # noqa: F401  # registers its traces
from tests.golden.layers import Frame
from tests.golden.trace import TRACES

CORPUS = Path(__file__).parent / "corpus"
_CONFIGURATION = b"""ports = [135]
listen = "[::1]:0"
nat64_prefixes = ["2001:db8::/96"]
[[vip]]
name = "one"
address = ["10.0.0.1", "2001:db8::10.0.0.2"]
pool = ["10.0.0.0/29"]
[limits]
gap_seconds = 0.5
[evidence]
directory = ""
most_files = 7
"""
_TOWER = tcp_tower(SAMR, 49152, "10.11.2.7")
_WRITES = (
    (True, pdu.bind()),
    (False, pdu.bind_ack()),
    (True, pdu.request(map_request(_TOWER), call_id=2)),
    (False, pdu.response(map_response([_TOWER]), call_id=2)),
)


def _step(control: int, payload: bytes) -> bytes:
    return bytes([control]) + len(payload).to_bytes(2, "little") + payload


def _tunnelled() -> list[bytes]:
    """Return one frame with payload of each kind of tunnel."""
    makers = [TRACES[name].make for name in sorted(TRACES) if name.startswith("tunnels-")]
    frames = [one for make in makers for one in list(make())[2:3]]
    return [b"\x83" + one.data for one in frames if isinstance(one, Frame)]


def _answers(*, wide: bool) -> list[bytes]:
    """Return stubs of map responses, with a tower that repeats and with a long name."""
    long_name = pipe_tower(SAMR, "\\PIPE\\" + "x" * 500, "h")
    return [
        map_response([_TOWER, long_name], wide=wide),
        map_response([long_name], wide=wide, referents=[3] * 1200, max_count=2000),
        map_response([b""] * 60, wide=wide, max_count=600),
    ]


def _listings(*, wide: bool) -> list[bytes]:
    """Return stubs of lookup responses, likewise."""
    entries = [(_TOWER, "x" * 300), (_TOWER, "two"), (pipe_tower(SAMR, "\\PIPE\\x", "h"), "")]
    return [lookup_response(entries, wide=wide), lookup_response(entries, wide=wide, referents=[3, 3, 4])]


def _captures() -> list[bytes]:
    """Return small files of both formats, in both byte orders, with each kind of block, of clock and of header."""
    wire = Wire().open().client(_WRITES[2][1]).server(_WRITES[3][1]).client_fin()
    six = Wire(client="2001:db8::1", server="64:ff9b::a0b:202").open().client(_WRITES[2][1])
    frames = [build_frame(segment) for segment in (*wire.segments, *six.segments)]
    raw = [frame[14:] for frame in frames]
    classic = [pcap(order, [(1, 2, frame) for frame in frames[:5]], nano=order == "<") for order in "<>"]
    classic += [pcap("<", [(1, 2, frame) for frame in raw], link_type=101)]
    newer = [
        section(order)
        + interface(order)
        + interface(order, 101, tsresol=b"\x09")
        + interface(order, 1, tsresol=b"\x8a", tsoffset=bytes(8))
        + b"".join(enhanced(order, 0, 2**50 + number, frame) for number, frame in enumerate(frames[:4]))
        + enhanced(order, 1, 10**18, raw[2])
        + block(order, 5, b"statistics")
        + enhanced(order, 2, 5, frames[3])
        for order in "<>"
    ]
    tunnelled = [pcap("<", [(1, 0, data[1:]) for data in _tunnelled()], nano=True)]
    files = [*classic, *newer, newer[0] + newer[1], *tunnelled]
    return [bytes([number & 7]) + content for number, content in enumerate(files)] + [b"\1" + tunnelled[0]]


def _dcom() -> list[bytes]:
    """Return stubs of DCOM behind the byte that says whose they are: see the target."""
    oxid, addresses = bytes(range(8)), ["SRV01[49155]", "10.11.2.7[49155]"]
    results = [(dcom.WBEM_LOGIN, 0)]
    stubs = [
        (0, dcom.resolve_oxid_response(addresses, two=False)),
        (1, dcom.resolve_oxid_response(addresses)),
        (2, dcom.server_alive_2_response(addresses)),
        (0x42, dcom.server_alive_2_response(addresses, wide=True)),
        (0x82, dcom.server_alive_2_response(addresses, big_endian=True)),
        (3, dcom.create_instance_request(bytes(16), class_object=True)),
        (4, dcom.create_instance_request(bytes(16))),
        (4, dcom.create_instance_response(oxid, addresses, results=results, resolvers=["SRV01"])),
        (0x44, dcom.create_instance_response(oxid, addresses, wide=True)),
        (5, dcom.activation_request(bytes(16))),
        (5, dcom.activation_response(oxid, addresses, resolvers=["SRV01"])),
    ]
    return [bytes([number]) + stub for number, stub in stubs]


def _windows() -> list[bytes]:
    """Return traces with packets of each kind, with events of TCP, of both sizes of a pointer, and a listing."""
    frames = [build_frame(segment) for segment in Wire().open().client(_WRITES[0][1]).server(_WRITES[1][1]).segments]
    addresses = eventtrace.address("10.1.1.1", 50012) + eventtrace.address("2001:db8::1", 135)
    packets = [eventtrace.of_ndis(number * 1000, frame) for number, frame in enumerate(frames)]
    packets += [eventtrace.of_pktmon(number * 1000, frame, group=number % 2) for number, frame in enumerate(frames)]
    packets.append(eventtrace.of_switch(9, frames[0], 2))
    events = [
        eventtrace.of_tcp(0, 1002, bytes(8) + addresses),
        eventtrace.of_tcp(1, 1033, addresses + bytes(20)),
        eventtrace.of_tcp(2, 1159, bytes(10) + b"\x48\0\0\0\0\0\0\0"),
        eventtrace.of_tcp(3, 1074, bytes(8) + b"\x18\0\0\0\0\0\0\0"),
        eventtrace.of_tcp(4, 1038, addresses + bytes(20)),
    ]
    address = "(local=10.1.1.1:50012 remote=[2001:db8::1%3]:135)"
    start = "[0]1B38.0A1C::2012/10/01-10:00:00.100000000 [Microsoft-Windows-TCPIP]TCP: connection 0x9"
    said = (f" {address} connect completed.", ": Received data with number of bytes = 24.", f" {address} close issued.")
    listing = "".join(f"{start}{one}\n" for one in said)
    traces = [eventtrace.trace(packets), eventtrace.trace(events), eventtrace.trace(packets[:2], events, pointer=4)]
    return [*traces, listing.encode(), listing.encode("utf-16")]


def seeds() -> dict[str, list[bytes]]:
    """Return the seeds of each target."""
    wire = Wire().open().client(_WRITES[0][1]).server(_WRITES[1][1]).client_fin()
    six = Wire(client="2001:db8::1", server="64:ff9b::a0b:202").open().client(_WRITES[2][1])
    pdus = [data for _, data in _WRITES] + [
        pdu.bind_nak(),
        pdu.fault(5),
        pdu.response(map_response([_TOWER]), auth=(5, bytes(16))),
        pdu.bind(big_endian=True),
        pdu.datagram(0, map_request(_TOWER)),
    ]
    stubs = [map_request(_TOWER, wide=wide) for wide in (False, True)]
    stubs += [map_response([_TOWER, _TOWER], wide=wide) for wide in (False, True)]
    stubs += [lookup_response([(_TOWER, "one")], wide=wide) for wide in (False, True)]
    stubs += [lookup_request(wide=wide, interface=SAMR) for wide in (False, True)]
    plain = b"".join(_step(0 if client else 1, data) for client, data in _WRITES)
    pieces = [
        _step(0 if client else 1, data[at : at + 50]) for client, data in _WRITES for at in range(0, len(data), 50)
    ]
    datagrams = _step(0x40, pdu.datagram(0, map_request(_TOWER))) + _step(0x41, pdu.datagram(2, map_response([_TOWER])))
    whole = [plain, b"".join(pieces), _step(0x20, b"") + plain + _step(8, b"") + _step(9, b""), datagrams]
    return {
        "frame": [b"\1" + build_frame(segment) for segment in (*wire.segments, *six.segments)] + _tunnelled(),
        "stream": [bytes([0, 0, 9, 1, 20, 0, 9, 2, 9, 0, 11, 3, 5, 0, 30, 4])],
        "pdu": [b"\x14" + data for data in pdus] + [b"\5ncacn_http/1.0" + pdus[1]],
        "tower": [_TOWER, pipe_tower(SAMR, "\\PIPE\\x", "h"), *stubs],
        "conversation": whole,
        "answer": [bytes([2 * wide]) + stub for wide in (False, True) for stub in _answers(wide=wide)]
        + [bytes([1 + 2 * wide]) + stub for wide in (False, True) for stub in _listings(wide=wide)],
        "dcom": _dcom(),
        "decode": whole,
        "outcomes": whole,
        "capture": _captures(),
        "windows": _windows(),
        "redaction": whole,
        "configuration": [
            _CONFIGURATION,
            b"[limits]\nidle_seconds = inf\n",
            b"ports = [[[[135]]]]\n",
            b'a.b."c" = {d = 1e300}\n',
        ],
    }


def main() -> None:
    """Write each seed as a file of its own."""
    for name, inputs in seeds().items():
        folder = CORPUS / name
        folder.mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(inputs):
            (folder / f"seed{number:02}").write_bytes(data)


if __name__ == "__main__":
    main()
