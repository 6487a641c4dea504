"""What the XDP program costs for one packet of each kind, in nanoseconds, beside a program that does nothing.

All figures come from the kernel's own test call on one CPU: the same loop around each program. Kinds are measured in
turns, many times, and a ratio is the median of the turns' ratios, so that a machine which is slower for a while does
not make one kind dearer than another. Records are submitted for real, and the rings are emptied between chunks
which fit into them, since a failed reservation would be cheaper than a real one.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import struct
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

from inspector.live.bpf import loader, syscalls
from inspector.live.bpf.counters import possible_cpus, read_counters
from inspector.live.bpf.followups import FollowUpMaps
from inspector.live.bpf.options import pack_options
from inspector.live.rings.percpu import ENTRY_BYTES
from inspector.live.rings.readers import open_bulk, open_compact
from inspector.protocols import IPV4_MAPPED
from inspector.record import BULK_SMALL_PAYLOAD, HEADER_SIZE, LANE_MARGIN, TUNNEL_SIZE, KernelCounter
from tests.bench.producer import EMPTY_PROGRAM, XDP_PASS
from tests.build import pdu
from tests.build.epm import MAPI, map_request, map_response, tcp_tower
from tests.build.tunnels import UDP, udp
from tests.kernel.frames import ACK, CLIENT, EPM, SYN, ethernet, ipv4, ipv6, payload, tcp

if TYPE_CHECKING:
    from collections.abc import Callable

REPETITIONS: Final = 100_000
"""Packets of each kind in a turn."""
TURNS: Final = 11

_RING_BYTES: Final = 1 << 24
_COMPACT_CHUNK: Final = _RING_BYTES // ENTRY_BYTES - LANE_MARGIN
_BULK_CHUNK: Final = _RING_BYTES // 2 // (HEADER_SIZE + TUNNEL_SIZE + BULK_SMALL_PAYLOAD)
_TO_SERVER: Final = (CLIENT, EPM)
_FROM_SERVER: Final = (EPM, CLIENT)
_VLAN: Final = (0x8100,)
_ENDPOINT: Final = 49664
_ICMP: Final = 1
# The destination of frames that tests build.
_SERVER_ADDRESS: Final = IPV4_MAPPED + bytes((10, 9, 0, 1))


class Kind(NamedTuple):
    """A frame, and how many records of it fit into an empty ring; None where it leaves no record."""

    frame: bytes
    chunk: int | None = None


def _tcp4(data: bytes, ports: tuple[int, int] = _FROM_SERVER, tags: tuple[int, ...] = (), flags: int = ACK) -> bytes:
    return ethernet(ipv4(tcp(data, ports=ports, flags=flags)), tags=tags)


def _tcp6(data: bytes, ports: tuple[int, int] = _FROM_SERVER) -> bytes:
    return ethernet(ipv6(tcp(data, ports=ports)), 0x86DD)


def kinds() -> dict[str, Kind]:
    """Return the table: first what is not the endpoint mapper's, then what is."""
    answer = pdu.response(map_response([tcp_tower(MAPI, 41376, "10.11.2.7")]), call_id=2)
    two_towers = pdu.response(map_response([tcp_tower(MAPI, 41376, "10.11.2.7")] * 2), call_id=2)
    ask = pdu.request(map_request(tcp_tower(MAPI)), call_id=2)
    web = (443, CLIENT)
    timestamps = bytes.fromhex("0101080a0000000100000002")
    return {
        "non_epm": Kind(_tcp4(answer, web)),
        "non_epm_full": Kind(_tcp4(payload(1460), web)),
        "non_epm_vlan": Kind(_tcp4(answer, web, _VLAN)),
        "non_epm_ipv6": Kind(_tcp6(answer, web)),
        "non_epm_udp": Kind(ethernet(ipv4(udp(payload(100), ports=(53, CLIENT)), protocol=UDP))),
        "arp": Kind(ethernet(bytes(46), 0x0806)),
        "acknowledgment": Kind(_tcp4(b"")),
        "syn": Kind(_tcp4(b"", _TO_SERVER, flags=SYN), _COMPACT_CHUNK),
        "map_request": Kind(_tcp4(ask, _TO_SERVER), _COMPACT_CHUNK),
        "map_response": Kind(_tcp4(answer), _COMPACT_CHUNK),
        "map_response_vlan": Kind(_tcp4(answer, tags=_VLAN), _COMPACT_CHUNK),
        "map_response_options": Kind(
            ethernet(ipv4(tcp(answer, ports=_FROM_SERVER, options=timestamps))), _COMPACT_CHUNK
        ),
        "map_response_ipv6": Kind(_tcp6(answer), _COMPACT_CHUNK),
        "two_towers": Kind(_tcp4(two_towers), _BULK_CHUNK),
        "full_segment": Kind(_tcp4(payload(1460)), _BULK_CHUNK),
    }


def follow_up_kinds() -> dict[str, Kind]:
    """Return the frames for a program that records follow-ups; port 49664 of the server is an endpoint."""
    answer = pdu.response(map_response([tcp_tower(MAPI, 41376, "10.11.2.7")]), call_id=2)
    to_endpoint = (CLIENT, _ENDPOINT)
    quoted = ipv4(tcp(ports=_TO_SERVER, flags=SYN))[:28]
    unreachable = struct.pack("!BBHI", 3, 1, 0, 0) + quoted
    return {
        "non_epm": Kind(_tcp4(answer, (443, CLIENT))),
        "acknowledgment": Kind(_tcp4(b"", _TO_SERVER)),
        "map_response": Kind(_tcp4(answer), _COMPACT_CHUNK),
        "endpoint_data": Kind(_tcp4(payload(1460), to_endpoint)),
        "endpoint_bind": Kind(_tcp4(pdu.bind(), to_endpoint), _COMPACT_CHUNK),
        "syn_of_others": Kind(_tcp4(b"", (CLIENT, 443), flags=SYN)),
        # Most are beyond the budget.
        "icmp_error": Kind(ethernet(ipv4(unreachable, protocol=_ICMP)), _COMPACT_CHUNK),
    }


def _time_run(program_fd: int, frame: bytes, repeat: int) -> float:
    """Return CPU nanoseconds of one test call; the kernel itself reports whole nanoseconds per packet only."""
    before = time.thread_time_ns()
    result = syscalls.run_program(program_fd, frame, repeat=repeat)
    spent = time.thread_time_ns() - before
    if result.retval != XDP_PASS:
        raise RuntimeError(f"the program returned {result.retval}")
    return spent


def _cost(program_fd: int, kind: Kind, between: Callable[[], None]) -> float:
    """Return nanoseconds per packet of one turn, the calls' own cost taken off."""
    # Two, as the kernel makes a direct call to the program before it repeats one, which is not cheap.
    overhead = statistics.median(_time_run(program_fd, kind.frame, 2) for _ in range(9))
    between()
    chunk = min(kind.chunk or REPETITIONS, REPETITIONS)
    spent, done = 0.0, 0
    while done < REPETITIONS:
        spent += _time_run(program_fd, kind.frame, chunk) - overhead
        done += chunk
        between()
    return spent / done


def _take_turns(
    program: loader.Program, empty_fd: int, measured: dict[str, Kind]
) -> tuple[list[float], dict[str, list[float]]]:
    """Return what the empty program costs in each turn, and what each kind costs in it."""
    empty_costs: list[float] = []
    costs = defaultdict(list)
    fd = program.programs[loader.XDP_PROGRAM]
    with contextlib.ExitStack() as stack:
        rings = [*open_compact(program), open_bulk(program)]
        for ring in rings:
            stack.callback(ring.close)

        def empty_rings() -> None:
            for ring in rings:
                ring.skip()

        for _ in range(TURNS):
            empty_costs.append(_cost(empty_fd, kinds()["non_epm"], empty_rings))
            for name, kind in measured.items():
                costs[name].append(_cost(fd, kind, empty_rings))
    counters = read_counters(program.maps["epm_counters"], possible_cpus())[0]
    if counters[KernelCounter.SUBMITTED] + counters[KernelCounter.LOST_ICMP_BUDGET] != counters[KernelCounter.MATCHED]:
        raise RuntimeError(f"records were lost while measuring: {counters}")
    return empty_costs, costs


def _measure(measured: dict[str, Kind], prefix: str, *, follow_up: bool) -> dict[str, float]:
    """Return costs of frames and their ratios to the empty program in the same turns, under names with a prefix."""
    program = loader.load(
        (loader.XDP_PROGRAM,), compact_ring_bytes=_RING_BYTES, bulk_ring_bytes=_RING_BYTES, follow_up=follow_up
    )
    empty = syscalls.program_load(EMPTY_PROGRAM, syscalls.ProgramType.XDP, "empty", attach_type=syscalls.AttachType.XDP)
    try:
        syscalls.map_update(program.maps["epm_options"], 0, pack_options([], (EPM,)))
        if follow_up:
            maps = FollowUpMaps(program)
            maps.add_endpoints([(_SERVER_ADDRESS, _ENDPOINT)], 0)
            maps.close()
        empty_costs, costs = _take_turns(program, empty, measured)
    finally:
        os.close(empty)
        program.close()
    figures = {f"{prefix}empty_ns": round(statistics.median(empty_costs), 2)}
    for name, turns in costs.items():
        figures[f"{prefix}{name}_ns"] = round(statistics.median(turns), 2)
        ratios = [cost / empty for cost, empty in zip(turns, empty_costs, strict=True)]
        figures[f"{prefix}{name}_ratio"] = round(statistics.median(ratios), 3)
        beyond = sorted(cost - empty for cost, empty in zip(turns, empty_costs, strict=True))
        figures[f"{prefix}{name}_beyond_ns"] = round(statistics.median(beyond), 2)
        figures[f"{prefix}{name}_spread_ns"] = round(beyond[-1 - len(beyond) // 4] - beyond[len(beyond) // 4], 2)
    return figures


def measure() -> dict[str, float]:
    """Return costs in nanoseconds per packet: whole, as ratios to the empty program, and beyond it. Needs root and bcc.

    The spread is the distance of the quartiles of what is beyond.
    """
    affinity = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(affinity)})
    try:
        return _measure(kinds(), "xdp_", follow_up=False) | _measure(
            follow_up_kinds(), "xdp_follow_up_", follow_up=True
        )
    finally:
        os.sched_setaffinity(0, affinity)


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
