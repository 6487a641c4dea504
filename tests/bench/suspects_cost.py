"""What a map response costs the XDP program where only suspects are wanted, in nanoseconds, beside all records.

Every packet changes the state which the next one meets, so none can be repeated by the test call: the times are the
kernel's own statistics of single runs, caches cold as they are then, less those of an empty program.
"""

from __future__ import annotations

import ctypes
import json
import os
from typing import Final

from inspector.live import kernel, loader, uapi
from inspector.live.counters import possible_cpus, read_counters
from inspector.live.options import pack_options
from inspector.live.rings import open_compact
from inspector.record import Counter
from inspector.wire.limits import Limits
from tests.kernel.both_modes import answer, ask, frame_of, opened

PAIRS: Final = 20_000
_ENABLE_STATISTICS: Final = 32  # enum bpf_cmd
# r0 = XDP_PASS; exit.
_EMPTY_PROGRAM: Final = bytes.fromhex("b700000002000000" + "9500000000000000")
_RUN_TIME: Final = 192  # offset of run_time_ns in struct bpf_prog_info


class _EnableStatistics(ctypes.Structure):
    _fields_ = [("type", ctypes.c_uint32)]


def _run_time_ns(program_fd: int) -> int:
    info = ctypes.create_string_buffer(224)
    attributes = uapi.ObjectInfo(bpf_fd=program_fd, info_len=len(info), info=ctypes.addressof(info))
    kernel._call(kernel.Command.OBJ_GET_INFO_BY_FD, attributes)
    return int.from_bytes(info.raw[_RUN_TIME : _RUN_TIME + 8], "little")


def _cost(program_fd: int, frames: list[bytes]) -> tuple[float, float]:
    """Return nanoseconds per request and per response of frames which alternate."""
    spent = [0, 0]
    for number, frame in enumerate(frames):
        before = _run_time_ns(program_fd)
        kernel.run_program(program_fd, frame)
        spent[number % 2] += _run_time_ns(program_fd) - before
    return spent[0] * 2 / len(frames), spent[1] * 2 / len(frames)


def measure() -> dict[str, float]:
    """Return costs in nanoseconds per packet, less that of an empty program. Needs root and bcc."""
    wire = opened()
    for call_id in range(PAIRS):
        ask(wire, call_id)
        answer(wire, call_id)
    frames = [frame_of(segment) for segment in wire.segments]
    figures = {}
    affinity = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(affinity)})
    command = ctypes.c_int(_ENABLE_STATISTICS)
    attributes = _EnableStatistics()
    number = kernel._SYSCALL_NUMBERS[os.uname().machine]
    statistics = kernel._LIBC.syscall(number, command, ctypes.byref(attributes), ctypes.sizeof(attributes))
    empty = kernel.program_load(_EMPTY_PROGRAM, kernel.ProgramType.XDP, "empty", attach_type=kernel.AttachType.XDP)
    try:
        empty_ns = _cost(empty, frames[4:])
        for name, silent_ns in (("all", 0), ("suspects", Limits().idle_ns)):
            program = loader.load((loader.XDP_PROGRAM,), compact_ring_bytes=1 << 24, silent_ns=silent_ns)
            rings = open_compact(program)
            kernel.map_update(program.maps["epm_options"], 0, pack_options([], (135,)))
            fd = program.programs[loader.XDP_PROGRAM]
            for frame in frames[:4]:
                kernel.run_program(fd, frame)
            request_ns, response_ns = _cost(fd, frames[4:])
            counted = read_counters(program.maps["epm_counters"], possible_cpus())[0]
            if silent_ns and counted[Counter.COUNTED] < PAIRS:
                raise RuntimeError(f"too few pairs were counted in the kernel: {counted}")
            figures[f"xdp_single_{name}_request_ns"] = round(request_ns - empty_ns[0], 1)
            figures[f"xdp_single_{name}_response_ns"] = round(response_ns - empty_ns[1], 1)
            for ring in rings:
                ring.close()
            program.close()
    finally:
        os.close(empty)
        os.close(statistics)
        os.sched_setaffinity(0, affinity)
    return figures


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
