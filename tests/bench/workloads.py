"""What the benchmarks' producer sends: frames of the two workloads, before the producer makes each of them unique."""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Final
from uuid import UUID

from inspector.capture.writer import build_frame
from tests.bench.conversations import conversations
from tests.build import pdu
from tests.build.connection import Wire
from tests.build.epm import MAPI, SAMR, map_response, tcp_tower

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inspector.model import Segment

FIRST_VIP: Final = IPv4Address("10.11.2.2")
FIRST_SEQUENCE: Final = 5000
FIRST_CALL: Final = 2
RESPONSE_BYTES: Final = 152
CONNECTIONS: Final = 1000
OPEN_CALLS: Final = 1024
_STATE: Final = struct.Struct("=QQ10I")
_TEMPLATE_END: Final = struct.Struct("=II")

STEPS: Final = 8
"""Packets of a conversation in the workload "calls", one response among them."""

# The interface which a tower names, the real server behind the VIP, its port.
_SERVERS: Final = (
    (MAPI, "10.11.2.7", 41376),
    (SAMR, "10.11.2.8", 49152),
    ((UUID("12345778-1234-abcd-ef00-0123456789ab"), 0, 0), "10.11.2.9", 49153),
    ((UUID("e3514235-4b06-11d1-ab04-00c04fc2dcd2"), 4, 0), "10.11.2.10", 49154),
)


@dataclass(frozen=True, slots=True)
class Template:
    """A frame to fill in."""

    frame: bytes
    from_server: bool
    is_response: bool


@dataclass(frozen=True, slots=True)
class Workload:
    """Templates, the producer's program for them, and how many connections are open at a time.

    A producer asks every workload for what it has here: `source` and `flags` to compile its program, the `entries` of
    its table, the `state` to begin a run with, how many clients were `used`. `exact` says that the metrics count as
    many answers as were sent.
    """

    program: str
    templates: tuple[Template, ...]
    slots: int

    source = "producer.c"
    exact = True

    @property
    def frame_bytes(self) -> int:
        """The longest frame's length in whole words: all are run with it, and say by IP where they end."""
        return -(-max(len(template.frame) for template in self.templates) // 8) * 8

    @property
    def flags(self) -> list[str]:
        """What the program is compiled with."""
        return [f"-DPRODUCER_FRAME_BYTES={self.frame_bytes}", f"-DPRODUCER_TEMPLATES={len(self.templates)}"]

    def entries(self) -> Iterator[bytes]:
        """Yield what the program's table holds: struct producer_template."""
        for template in self.templates:
            end = _TEMPLATE_END.pack(template.from_server, template.is_response)
            yield template.frame.ljust(self.frame_bytes, b"\0") + end

    def state(self, first_client: int) -> bytes:
        """Return the state of a run's beginning, struct producer_state: from the client of that number."""
        each = -(-self.slots // len(self.templates))
        return _STATE.pack(
            0, 0, self.slots, 0, 0, each, 0, each, FIRST_SEQUENCE, RESPONSE_BYTES, first_client, FIRST_CALL
        )

    def used(self, made: int) -> int:
        """Return how many clients so many packets were of, at most."""
        return self.slots + made // STEPS


def vip(number: int) -> str:
    """Return the virtual address of that number."""
    return str(FIRST_VIP + number)


def response_segment(vip_number: int, server_number: int) -> Segment:
    """Return a map response of 152 bytes, as it comes from a virtual address; it offers another address."""
    interface, address, port = _SERVERS[server_number % len(_SERVERS)]
    stub = map_response([tcp_tower(interface, port, address)])
    wire = Wire(server=vip(vip_number), server_sequence=FIRST_SEQUENCE)
    return wire.server(pdu.response(stub, call_id=FIRST_CALL)).segments[0]


def responses(connections: int = CONNECTIONS, vips: int = 1, servers: int = 1) -> Workload:
    """Return the workload of nothing but map responses; connections are divided among VIPs and real servers."""
    segments = [response_segment(*numbers) for numbers in itertools.product(range(vips), range(servers))]
    return Workload("produce_responses", tuple(map(_template, segments)), connections)


def calls(open_calls: int = OPEN_CALLS) -> Workload:
    """Return the workload of whole conversations: SYN, SYN-ACK, bind, bind_ack, request, response, FIN, FIN."""
    (wire,) = conversations(1)
    return Workload("produce_calls", tuple(map(_template, wire.segments)), open_calls)


def _template(segment: Segment) -> Template:
    is_response = segment.from_server and segment.payload[2:3] == bytes([pdu.RESPONSE])
    return Template(build_frame(segment), segment.from_server, is_response)
