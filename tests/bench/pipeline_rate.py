"""From the ring to findings and metrics: map responses per second on one core, the scalar path.

Every frame really runs through the kernel program and its ring; only the reader's time counts.
"""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry

from inspector.judge.policy import Policy
from inspector.live import kernel, loader
from inspector.live.counters import possible_cpus, read_counters
from inspector.live.lanes import Lanes
from inspector.live.ring import Ring
from inspector.live.session import pack_options
from inspector.pipeline import Pipeline
from inspector.record import Counter
from inspector.sinks.metrics import Metrics
from tests.bench.conversations import SEGMENTS_EACH, frames

_RING_BYTES = 1 << 24
_CHUNK = 5000 * SEGMENTS_EACH


def measure(count: int = 20_000) -> dict[str, float]:
    """Return responses per second, and how many of the submitted records did not become what they must."""
    program = loader.load((loader.XDP_PROGRAM,), compact_ring_bytes=_RING_BYTES)
    kernel.map_update(program.maps["epm_options"], 0, pack_options([], (135,)))
    rings = [
        Ring(program.maps["epm_compact"], program.compact_ring_bytes),
        Ring(program.maps["epm_bulk"], program.bulk_ring_bytes),
    ]
    lanes = Lanes(rings, lambda: (1 << 64) - 1)
    pipeline = Pipeline(Policy(), lambda _: "bench0")
    metrics = Metrics(CollectorRegistry())
    spent, found = 0.0, 0
    try:
        fd = program.programs[loader.XDP_PROGRAM]
        for number, frame in enumerate(frames(count), 1):
            kernel.run_program(fd, frame)
            if number % _CHUNK == 0 or number == count * SEGMENTS_EACH:
                began = time.perf_counter()
                for record in lanes.read():
                    for finding in pipeline.feed(record):
                        metrics.observe(finding)
                        found += 1
                spent += time.perf_counter() - began
        counters = read_counters(program.maps["epm_counters"], possible_cpus())[0]
    finally:
        for ring in rings:
            ring.close()
        program.close()
    return {
        "pipeline_responses_per_s": round(found / spent),
        "pipeline_records_per_s": round(pipeline.records / spent),
        "pipeline_lost": counters[Counter.MATCHED] - pipeline.records + count - found,
    }
