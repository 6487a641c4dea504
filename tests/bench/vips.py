"""What a map request with its response costs from ring to metrics, against the number of virtual addresses."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Final

import numpy as np
from prometheus_client import CollectorRegistry

from inspector.metrics.updates import Metrics
from inspector.protocols import EPM_PORT
from tests.bench.blocks import repeat, rows_of
from tests.bench.consumer import judged, new_pipeline, observe
from tests.bench.workloads import FIRST_CALL, vip
from tests.build import pdu
from tests.build.connection import START_NS, Wire
from tests.build.epm import SAMR, map_request, map_response, tcp_tower

if TYPE_CHECKING:
    import numpy.typing as npt

    from inspector.model import Segment

COUNTS: Final = (1, 10, 100, 1000)

_CONNECTIONS: Final = 1000
# Rounds over all connections that go into one block, of which the first blocks teach the pipeline.
_ROUNDS: Final = 10
_CALL_ID: Final = 12
# SYN, SYN-ACK, bind, bind_ack.
_OPENING: Final = 4


def _blocks(vips: int, count: int) -> list[npt.NDArray[np.uint64]]:
    """Return blocks of calls on connections which are divided among so many virtual addresses.

    The first opens the connections, with SYN and bind; each has their requests and responses in turn.
    """
    wires = [_call(number) for number in range(vips)]
    clients = np.arange(_CONNECTIONS)
    opened, calls = range(_OPENING), range(_OPENING, _OPENING + 2)
    start_ns, blocks = START_NS, []
    for number in range(count):
        parts = []
        for turn in range(number * _ROUNDS, (number + 1) * _ROUNDS):
            for step in (*(opened if turn == 0 else ()), *calls):
                entries = repeat([segments[step] for segments in wires], clients, start_ns)
                start_ns += len(entries) * 1000
                if step in calls:
                    _move(entries, turn, wires[0])
                parts.append(rows_of(entries))
        blocks.append(np.concatenate(parts))
    return blocks


def _call(number: int) -> list[Segment]:
    """Return the segments of a connection to that virtual address up to its first answer."""
    wire = Wire(server=vip(number)).open().client(pdu.bind()).server(pdu.bind_ack())
    wire.client(pdu.request(map_request(tcp_tower(SAMR)), call_id=FIRST_CALL))
    return wire.server(pdu.response(map_response([tcp_tower(SAMR, 49152, "10.11.2.7")]), call_id=FIRST_CALL)).segments


def _move(entries: npt.NDArray[np.void], turn: int, segments: list[Segment]) -> None:
    """Make records of the first call those of a later one: sequence numbers and call identifier."""
    header, payload = entries["record"]["header"], entries["record"]["payload"]
    asked, answered = (len(segment.payload) for segment in segments[_OPENING:])
    if header["source_port"][0] == EPM_PORT:
        header["sequence"] += np.uint32(turn * answered)
        header["acknowledgment"] += np.uint32(turn * asked)
    else:
        header["sequence"] += np.uint32(turn * asked)
        header["acknowledgment"] += np.uint32(turn * answered)
    payload[:, _CALL_ID : _CALL_ID + 4] = np.array([FIRST_CALL + turn], "<u4").view(np.uint8)


def cost(vips: int, count: int) -> float:
    """Return nanoseconds per call over `count` blocks of 10,000; raise RuntimeError if one is not counted."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    pipeline = new_pipeline()
    first, *blocks = _blocks(vips, count + 1)
    observe(metrics, pipeline.feed([first]))
    began = time.thread_time_ns()
    for block in blocks:
        observe(metrics, pipeline.feed([block]))
    spent = time.thread_time_ns() - began
    answers = (count + 1) * _ROUNDS * _CONNECTIONS
    if judged(registry) != answers:
        raise RuntimeError(f"{answers} responses were read, but {judged(registry)} counted")
    return spent / (count * _ROUNDS * _CONNECTIONS)


def measure(count: int = 50) -> dict[str, float]:
    """Return the cost of a response with 1 to 1000 virtual addresses."""
    return {f"cost_vips_{vips}_ns": round(cost(vips, count), 1) for vips in COUNTS}


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
