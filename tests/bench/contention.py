"""What a recorded map response costs when one processor submits records, and when two do at the same time.

Both layouts of the compact ring are measured: a lane for each processor, as on x86-64, and the BPF ring buffer, which
all processors share under a lock. Nobody reads meanwhile; the ring holds a whole turn and is emptied after it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import time
from typing import TYPE_CHECKING, Final

from inspector.live.bpf import loader, syscalls
from inspector.live.bpf.options import pack_options
from inspector.live.rings.percpu import ENTRY_BYTES, Lane, open_lanes
from inspector.live.rings.ringbuf import Ring
from inspector.record import LANE_MARGIN
from tests.bench.producer import EMPTY_PROGRAM, XDP_PASS
from tests.bench.xdp_cost import kinds
from tests.kernel.frames import EPM

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Barrier

TURNS: Final = 9

_LANE_BYTES: Final = 1 << 26
# A turn of two fits into the shared ring, too.
_RECORDS: Final = _LANE_BYTES // ENTRY_BYTES - LANE_MARGIN
_TIMEOUT_S: Final = 60


def _produce(program_fd: int, cpu: int, turns: int, barrier: Barrier, result: Connection) -> None:
    """Run a program on one CPU, all processes in step; send nanoseconds per packet of each turn. Runs in a child."""
    os.sched_setaffinity(0, {cpu})
    frame = kinds()["map_response"].frame
    costs = []
    for _ in range(turns):
        barrier.wait(_TIMEOUT_S)
        before = time.thread_time_ns()
        returned = syscalls.run_program(program_fd, frame, repeat=_RECORDS).retval
        costs.append((time.thread_time_ns() - before) / _RECORDS)
        assert returned == XDP_PASS
        # What was submitted is emptied here.
        barrier.wait(_TIMEOUT_S)
    result.send(costs)


def _cost(program_fd: int, cpus: Sequence[int], rings: Sequence[Lane | Ring]) -> float:
    """Return nanoseconds per packet, the median over turns and processes."""
    fork = multiprocessing.get_context("fork")
    barrier = fork.Barrier(len(cpus) + 1)
    results = []
    for cpu in cpus:
        ours, theirs = fork.Pipe(duplex=False)
        fork.Process(target=_produce, args=(program_fd, cpu, TURNS, barrier, theirs), daemon=True).start()
        results.append(ours)
    for _ in range(TURNS):
        barrier.wait(_TIMEOUT_S)
        barrier.wait(_TIMEOUT_S)
        for ring in rings:
            ring.skip()
    return float(statistics.median(cost for result in results for cost in result.recv()))


def _costs_of(name: str, cpus: Sequence[int], *, lanes: bool) -> dict[str, float]:
    size = _LANE_BYTES if lanes else 2 * len(cpus) * _LANE_BYTES
    program = loader.load((loader.XDP_PROGRAM,), compact_ring_bytes=size, lanes=lanes)
    syscalls.map_update(program.maps["epm_options"], 0, pack_options([], (EPM,)))
    compact = program.maps["epm_compact"]
    lane_states = program.maps[loader.LANES_MAP] if lanes else -1
    rings = open_lanes(lane_states, compact, program.lanes, size) if lanes else [Ring(compact, size)]
    try:
        fd = program.programs[loader.XDP_PROGRAM]
        one, all_of_them = _cost(fd, cpus[:1], rings), _cost(fd, cpus, rings)
    finally:
        for ring in rings:
            ring.close()
        program.close()
    return {
        f"contention_{name}_1_ns": round(one, 1),
        f"contention_{name}_{len(cpus)}_ns": round(all_of_them, 1),
        f"contention_{name}_ratio": round(all_of_them / one, 2),
    }


def measure() -> dict[str, float]:
    """Return nanoseconds per packet for one and for two producing CPUs, and how many times as much the latter is.

    Needs root, bcc and two CPUs.
    """
    cpus = sorted(os.sched_getaffinity(0))[:2]
    empty = syscalls.program_load(EMPTY_PROGRAM, syscalls.ProgramType.XDP, "empty", attach_type=syscalls.AttachType.XDP)
    try:
        figures = {"contention_empty_1_ns": round(_cost(empty, cpus[:1], []), 1)}
        figures["contention_empty_2_ns"] = round(_cost(empty, cpus, []), 1)
    finally:
        os.close(empty)
    return figures | _costs_of("lanes", cpus, lanes=True) | _costs_of("shared_ring", cpus, lanes=False)


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
