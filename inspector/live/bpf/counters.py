"""The program's counters: per CPU in the kernel, summed here."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from inspector.live.bpf import syscalls
from inspector.record import INTERFACES, KernelCounter

_POSSIBLE: Final = Path("/sys/devices/system/cpu/possible")


def parse_cpu_list(text: str) -> int:
    """Return how many CPUs a list of the kernel's form names, such as `0-3,8`."""
    total = 0
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        total += int(last or first) - int(first) + 1
    return total


def possible_cpus() -> int:
    """Return for how many CPUs a per-CPU map holds values: the possible ones, not those online."""
    return parse_cpu_list(_POSSIBLE.read_text(encoding="ascii"))


def read_counters(map_fd: int, cpus: int) -> list[dict[KernelCounter, int]]:
    """Return the counters of every slot, summed over CPUs: slot 0 is of unknown interfaces, slot n + 1 of entry n.

    Exact when no packet is under way; otherwise a packet may be counted as matched and not yet as submitted.
    """
    size = 8 * len(KernelCounter)
    slots = []
    for slot in range(INTERFACES + 1):
        values = np.frombuffer(syscalls.map_lookup(map_fd, slot, size * cpus), np.uint64).reshape(
            cpus, len(KernelCounter)
        )
        totals = values.sum(axis=0)
        slots.append({counter: int(totals[counter]) for counter in KernelCounter})
    return slots
