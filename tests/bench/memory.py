"""Resident memory against the number of open connections, each of which has had a map response.

Every figure is of a process of its own, which decodes and judges as `read` and `attach` do, without a ring.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from inspector.wire.limits import Limits
from tests.bench.blocks import repeat, rows_of
from tests.bench.consumer import new_pipeline
from tests.bench.conversations import conversations
from tests.bench.process import resident_mib
from tests.build.connection import START_NS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

COUNTS: Final = {"none": 0, "1k": 1_000, "10k": 10_000, "100k": 100_000, "1m": 1_000_000}

_AT_ONCE: Final = 1000
_TIMEOUT_S: Final = 120
# SYN, SYN-ACK, bind, bind_ack, request, response; the two FINs do not come.
_PACKETS: Final = 6
_BLOCK_NS: Final = 1_000_000


def _blocks(connections: int) -> Iterator[npt.NDArray[np.uint64]]:
    """Yield the records of so many connections, a thousand of them at a time and packet by packet."""
    (wire,) = conversations(1)
    time_ns = START_NS
    for first in range(0, connections, _AT_ONCE):
        clients = np.arange(first, min(first + _AT_ONCE, connections))
        for segment in wire.segments[:_PACKETS]:
            yield rows_of(repeat([segment], clients, time_ns))
            time_ns += _BLOCK_NS


def hold(connections: int) -> float:
    """Return this process's resident memory in MiB while so many connections are open.

    The limit of connections is the default one unless that is less. Raises RuntimeError if one is not held, or
    has had no finding.
    """
    limits = Limits()
    limits = replace(limits, connections=max(limits.connections, connections))
    pipeline = new_pipeline(limits)
    for block in _blocks(connections):
        for _ in pipeline.feed([block]):
            pass
    if pipeline.tracked_connections != connections or pipeline.verdicts.total() != connections:
        raise RuntimeError(f"{pipeline.tracked_connections} of {connections} connections are held")
    return resident_mib()


def _in_process(connections: int) -> float:
    command = [sys.executable, "-m", __spec__.name, str(connections)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S)
    return float(done.stdout)


def measure(names: Sequence[str] = tuple(COUNTS)) -> dict[str, float]:
    """Return resident memory in MiB for numbers of connections, and from the last two the bytes for each."""
    memory = {name: _in_process(COUNTS[name]) for name in names}
    figures = {f"memory_connections_{name}_mib": round(mib, 1) for name, mib in memory.items()}
    *_, fewer, most = names
    growth = (memory[most] - memory[fewer]) * 2**20 / (COUNTS[most] - COUNTS[fewer])
    return figures | {"memory_bytes_per_connection": round(growth)}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(hold(int(sys.argv[1])))
    else:
        print(json.dumps(measure(), indent=2))
