"""The maps of the loaded program have the sizes which Python reads and writes."""

from __future__ import annotations

import ctypes
import struct
from typing import Final, NamedTuple

import pytest

from inspector.live.bpf import loader, syscalls, uapi
from inspector.live.bpf.counters import possible_cpus
from inspector.record import (
    ACKNOWLEDGED_DTYPE,
    COMPACT_ENTRY_DTYPE,
    ENDPOINT_DTYPE,
    ENDPOINTS,
    FLOW_DTYPE,
    FLOWS,
    INTERFACES,
    LANE_DTYPE,
    NOTED_DTYPE,
    OPTIONS_DTYPE,
    SERVER_DTYPE,
    SERVERS,
    KernelCounter,
)
from tests.kernel import frames
from tests.kernel.frames import FRAMES
from tests.kernel.harness import Harness, expected, without_time

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("bpf")]

RING_BYTES: Final = 1 << 16
# linux/bpf.h
ARRAY, PERCPU_ARRAY, LRU_HASH, RINGBUF = 2, 6, 9, 27


class MapInfo(NamedTuple):
    """The beginning of struct bpf_map_info."""

    type: int
    id: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int


def map_info(fd: int) -> MapInfo:
    """Return what the kernel says of a map."""
    info = ctypes.create_string_buffer(80)
    request = uapi.ObjectInfo(bpf_fd=fd, info_len=len(info), info=ctypes.addressof(info))
    syscalls._call(syscalls.Command.OBJ_GET_INFO_BY_FD, request)
    return MapInfo(*struct.unpack_from("=6I", info))


def test_sizes_of_maps() -> None:
    """Keys, values and numbers of entries of each map."""
    program = loader.load(
        (loader.XDP_PROGRAM,),
        compact_ring_bytes=RING_BYTES,
        bulk_ring_bytes=RING_BYTES,
        follow_up=True,
        lanes=True,
    )
    try:
        found = {name: map_info(fd) for name, fd in program.maps.items()}
    finally:
        program.close()
    cpus = possible_cpus()
    entries = cpus * RING_BYTES // COMPACT_ENTRY_DTYPE.itemsize
    assert {name: (info.type, info.key_size, info.value_size, info.max_entries) for name, info in found.items()} == {
        "epm_options": (ARRAY, 4, OPTIONS_DTYPE.itemsize, 1),
        "epm_clock": (ARRAY, 4, 8, 1),
        "epm_counters": (PERCPU_ARRAY, 4, 8 * len(KernelCounter), INTERFACES + 1),
        "epm_lanes": (ARRAY, 4, LANE_DTYPE.itemsize, cpus),
        "epm_compact": (ARRAY, 4, COMPACT_ENTRY_DTYPE.itemsize, entries),
        "epm_bulk": (RINGBUF, 0, 0, RING_BYTES),
        "epm_servers": (LRU_HASH, SERVER_DTYPE.itemsize, NOTED_DTYPE.itemsize, SERVERS),
        "epm_endpoints": (LRU_HASH, ENDPOINT_DTYPE.itemsize, NOTED_DTYPE.itemsize, ENDPOINTS),
        "epm_acknowledged": (LRU_HASH, FLOW_DTYPE.itemsize, ACKNOWLEDGED_DTYPE.itemsize, FLOWS),
    }


@pytest.mark.parametrize("preempt_rt", [False, True])
def test_lanes_with_and_without_atomic_additions(preempt_rt: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane wraps and fills the same, however its counter is raised."""
    monkeypatch.setattr(loader, "is_preempt_rt", lambda _version: preempt_rt)
    with Harness(compact_bytes=4096, lanes=True) as small:
        outcome = small.run(loader.XDP_PROGRAM, frames.sized(152), repeat=100)
        submitted = outcome.counted[KernelCounter.SUBMITTED]
        assert submitted + outcome.counted[KernelCounter.LOST_COMPACT_FULL] == 100
        assert 0 < submitted == len(outcome.records) < 100
        for _ in range(40):
            [record] = small.run(loader.XDP_PROGRAM, FRAMES["response"]).records
            assert without_time(record) == expected(FRAMES["response"])[0][0]


@pytest.mark.parametrize(
    ("version", "preempt_rt"),
    [
        ("#1 SMP PREEMPT_RT Debian 6.1.99-1 (2026-07-15)", True),
        ("#1 SMP PREEMPT_DYNAMIC Debian 6.12.6-1 (2026-12-21)", False),
        ("#1 SMP Mon Nov 30 00:00:00 UTC 2026", False),
    ],
)
def test_preempt_rt_is_recognised(version: str, preempt_rt: bool) -> None:
    """The version that the kernel says of itself names it."""
    assert loader.is_preempt_rt(version) is preempt_rt
