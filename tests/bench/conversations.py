"""Conversations in numbers, as frames: SYN, bind, ept_map and FIN of distinct clients, all of them mismatches."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

from inspector.record import pack_record
from inspector.sinks.capture import CaptureWriter, build_frame
from tests.build import pdu
from tests.build.connection import STEP_NS, Wire
from tests.build.epm import SAMR, map_request, map_response, tcp_tower

_WRITES = (
    (True, pdu.bind()),
    (False, pdu.bind_ack()),
    (True, pdu.request(map_request(tcp_tower(SAMR)), call_id=2)),
    (False, pdu.response(map_response([tcp_tower(SAMR, 49152, "10.11.2.7")]), call_id=2)),
)
SEGMENTS_EACH = 8


def conversations(count: int) -> Iterator[Wire]:
    """Yield `count` connections, each from a client of its own, one after the other in time."""
    for number in range(count):
        client = str(IPv4Address("10.100.0.0") + number // 60000)
        wire = Wire(
            client=client, client_port=1024 + number % 60000, start_ns=10**18 + number * SEGMENTS_EACH * STEP_NS
        )
        wire.open()
        for from_client, data in _WRITES:
            (wire.client if from_client else wire.server)(data)
        yield wire.client_fin().server_fin()


def frames(count: int) -> Iterator[bytes]:
    """Yield the Ethernet frames of `count` conversations."""
    for wire in conversations(count):
        for segment in wire.segments:
            yield build_frame(segment)


def write_capture(path: Path, count: int) -> None:
    """Write `count` conversations as a capture file."""
    with CaptureWriter(path, {1: "bench0"}) as writer:
        for wire in conversations(count):
            for segment in wire.segments:
                writer.write(pack_record(segment))
