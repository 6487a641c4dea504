"""What the XDP program costs for one packet, in nanoseconds, beside a program that does nothing.

All figures come from the kernel's own test call in one run on one CPU: the same loop around each program. A map
response is measured as it is with a reader that keeps up: its record is submitted for real, and the ring is emptied
between chunks which fit into it, since a failed reservation would be cheaper than a real one.
"""

from __future__ import annotations

import json
import os
import statistics
import struct
import time
from typing import TYPE_CHECKING, Final

from inspector.live import kernel, loader
from inspector.live.counters import possible_cpus, read_counters
from inspector.live.options import pack_options
from inspector.live.percpu import ENTRY_BYTES
from inspector.live.rings import open_compact
from inspector.record import LANE_MARGIN, Counter

if TYPE_CHECKING:
    from collections.abc import Callable

REPETITIONS: Final = 1_000_000
ROUNDS: Final = 5
XDP_PASS: Final = 2

_RING_BYTES: Final = 1 << 24
# One instruction each: r0 = XDP_PASS; exit.
_EMPTY_PROGRAM: Final = struct.pack("=BBhiBBhi", 0xB7, 0, 0, XDP_PASS, 0x95, 0, 0, 0)
_RESPONSE_PAYLOAD: Final = 152


def tcp_frame(source_port: int, destination_port: int, payload: bytes) -> bytes:
    """Return an Ethernet frame of one TCP segment over IPv4, without options."""
    ethernet = bytes.fromhex("0200000000010200000000020800")
    ip = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 40 + len(payload), 1, 0, 64, 6, 0, bytes((10, 11, 2, 2)), bytes((10, 1, 1, 1))
    )
    tcp = struct.pack("!HHIIBBHHH", source_port, destination_port, 1, 1, 0x50, 0x18, 65535, 0, 0)
    return ethernet + ip + tcp + payload


def _time_run(program_fd: int, frame: bytes, repeat: int) -> float:
    """Return CPU nanoseconds of one test call; the kernel itself reports whole nanoseconds per packet only."""
    before = time.thread_time_ns()
    result = kernel.run_program(program_fd, frame, repeat=repeat)
    spent = time.thread_time_ns() - before
    if result.retval != XDP_PASS:
        raise RuntimeError(f"the program returned {result.retval}")
    return spent


def _cost(program_fd: int, frame: bytes, chunk: int, between: Callable[[], None]) -> float:
    """Return nanoseconds per packet: the median of the rounds, the call's own cost taken off."""
    # Two, as the kernel makes a direct call to the program before it repeats one, which is not cheap.
    overhead = statistics.median(_time_run(program_fd, frame, 2) for _ in range(50))
    rounds = []
    for _ in range(ROUNDS):
        spent, done = 0.0, 0
        while done < REPETITIONS:
            between()
            spent += _time_run(program_fd, frame, chunk) - overhead
            done += chunk
        rounds.append(spent / done)
    between()
    return statistics.median(rounds)


def _nothing() -> None:
    """Do nothing between chunks."""


def measure() -> dict[str, float]:
    """Return costs in nanoseconds per packet and their ratios to the empty program. Needs root and bcc."""
    cpu = min(os.sched_getaffinity(0))
    affinity = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    program = loader.load((loader.XDP_PROGRAM,), compact_ring_bytes=_RING_BYTES)
    empty = kernel.program_load(_EMPTY_PROGRAM, kernel.ProgramType.XDP, "empty", attach_type=kernel.AttachType.XDP)
    rings = open_compact(program)
    try:
        kernel.map_update(program.maps["epm_options"], 0, pack_options([], (135,)))
        fd = program.programs[loader.XDP_PROGRAM]
        response = tcp_frame(135, 33654, bytes(_RESPONSE_PAYLOAD))
        other = tcp_frame(443, 33654, bytes(_RESPONSE_PAYLOAD))
        chunk = _RING_BYTES // ENTRY_BYTES - LANE_MARGIN

        def empty_rings() -> None:
            for ring in rings:
                ring.skip()

        empty_ns = _cost(empty, other, REPETITIONS, _nothing)
        other_ns = _cost(fd, other, REPETITIONS, _nothing)
        response_ns = _cost(fd, response, chunk, empty_rings)
        counters = read_counters(program.maps["epm_counters"], possible_cpus())[0]
        if counters[Counter.SUBMITTED] != counters[Counter.MATCHED]:
            raise RuntimeError(f"records were lost while measuring: {counters}")
    finally:
        for ring in rings:
            ring.close()
        os.close(empty)
        program.close()
        os.sched_setaffinity(0, affinity)
    return {
        "xdp_empty_ns": round(empty_ns, 2),
        "xdp_non_epm_ns": round(other_ns, 2),
        "xdp_map_response_ns": round(response_ns, 2),
        "xdp_non_epm_ratio": round(other_ns / empty_ns, 3),
        "xdp_map_response_ratio": round(response_ns / empty_ns, 3),
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
