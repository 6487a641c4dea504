"""What a map response costs from the ring's bytes to the metrics, against the number of virtual addresses."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Final

import numpy as np
from prometheus_client import CollectorRegistry

from inspector.metrics.updates import Metrics
from tests.bench.blocks import repeat, rows_of
from tests.bench.consumer import judged, new_pipeline, observe
from tests.bench.workloads import FIRST_CALL, RESPONSE_BYTES, response_segment
from tests.build.connection import START_NS

if TYPE_CHECKING:
    import numpy.typing as npt

COUNTS: Final = (1, 10, 100, 1000)

_CONNECTIONS: Final = 1000
# Rounds over all connections that go into one block, of which the first blocks teach the pipeline.
_ROUNDS: Final = 10
_CALL_ID: Final = 12


def _blocks(vips: int, count: int) -> list[npt.NDArray[np.uint64]]:
    """Return blocks of responses on connections which are divided among so many virtual addresses."""
    segments = [response_segment(number, 0) for number in range(vips)]
    clients = np.arange(_CONNECTIONS * _ROUNDS) % _CONNECTIONS
    blocks = []
    for number in range(count):
        entries = repeat(segments, clients, START_NS + number * 10**9)
        header, payload = entries["record"]["header"], entries["record"]["payload"]
        turns = np.arange(len(clients)) // _CONNECTIONS + number * _ROUNDS
        header["sequence"] += (turns * RESPONSE_BYTES).astype(np.uint32)
        call_ids = (FIRST_CALL + turns).astype("<u4").view(np.uint8).reshape(-1, 4)
        payload[:, _CALL_ID : _CALL_ID + 4] = call_ids
        blocks.append(rows_of(entries))
    return blocks


def cost(vips: int, count: int) -> float:
    """Return nanoseconds per response over `count` blocks of 10,000; raise RuntimeError if one is not counted."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    pipeline = new_pipeline()
    first, *blocks = _blocks(vips, count + 1)
    observe(metrics, pipeline.feed([first]))
    began = time.thread_time_ns()
    for block in blocks:
        observe(metrics, pipeline.feed([block]))
    spent = time.thread_time_ns() - began
    if judged(registry) != pipeline.records:
        raise RuntimeError(f"{pipeline.records} responses were read, but {judged(registry)} counted")
    return spent / (len(blocks) * len(first))


def measure(count: int = 50) -> dict[str, float]:
    """Return the cost of a response with 1 to 1000 virtual addresses."""
    return {f"cost_vips_{vips}_ns": round(cost(vips, count), 1) for vips in COUNTS}


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
