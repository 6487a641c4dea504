"""What the kernel says of a process's memory, and of the machine's time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_KIB: Final = 1024


def resident_mib(process: int | str = "self") -> float:
    """Return the resident memory of a running process in MiB (proc(5), VmRSS)."""
    for line in Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / _KIB
    raise RuntimeError(f"process {process} has ended")


def ring_mib(process: int | str) -> float:
    """Return how much of that is pages of BPF maps: memory of the kernel, which a process that maps it is charged."""
    found, counted = 0, False
    for line in Path(f"/proc/{process}/smaps").read_text(encoding="utf-8").splitlines():
        key, *rest = line.split()
        if not key.endswith(":"):
            counted = rest[-1:] == ["anon_inode:bpf-map"]
        elif counted and key == "Rss:":
            found += int(rest[0])
    return found / _KIB


def busy_seconds() -> float:
    """Return the CPU seconds since boot in which this machine was not idle or did not have the CPU, over all CPUs."""
    with Path("/proc/stat").open(encoding="ascii") as file:
        user, nice, system, _idle, _wait, hard, soft, steal, *_ = map(int, file.readline().split()[1:])
    return (user + nice + system + hard + soft + steal) / os.sysconf("SC_CLK_TCK")
