"""`python -m tests.kernel.fuzz [--frames N] [--seed SEED] [--jobs N]`: hostile frames through the kernel program.

Each frame goes through the XDP program and its tc twin by the kernel's test call: made as they are, and for
tunnels. It must come out unchanged with "go on", and the record (or none) and the counters must be those of
the Python reader.
Frames come in chunks, each with a seed of its own: what was found is had again by `--seed` and `--chunk`.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import multiprocessing
import os
import secrets
import struct
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from inspector.live.bpf import syscalls, uapi
from inspector.live.bpf.counters import possible_cpus
from inspector.live.bpf.loader import TC_PROGRAM, XDP_PROGRAM
from inspector.record import KernelCounter, record_time
from tests.kernel.harness import GOES_ON, Harness, expected, without_time
from tests.kernel.hostile_frames import FrameMaker

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

CHUNK: Final = 10_000
"""Frames of one seed."""
MILLION: Final = 1_000_000

_BATCH: Final = 128
_LARGEST: Final = 1 << 17
_SHOWN: Final = 400
_COUNTERS: Final = struct.Struct(f"={len(KernelCounter)}Q")
# What the test call takes as a socket buffer: one page, less what the kernel keeps for itself.
_LARGEST_ON_TC: Final = 3400
# An IP header that is cut is refused there too.
_LEAST_ON_TC: Final = {b"\x08\x00": 34, b"\x86\xdd": 54}


class Difference(Exception):  # noqa: N818 - what the fuzzer is after, not an error of its own
    """A frame of which the kernel program and the Python reader make different things."""

    def __init__(self, target: str, frame: bytes, what: str) -> None:
        shown = frame[:_SHOWN].hex() + ("..." if len(frame) > _SHOWN else "")
        super().__init__(f"{target}: {what}\n    frame of {len(frame)} bytes: {shown}")


@dataclass
class Figures:
    """What was run: frames, runs of programs, and what the frames give, by the counters."""

    frames: int = 0
    runs: int = 0
    records: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    def add(self, other: Figures) -> None:
        """Add another worker's."""
        self.frames += other.frames
        self.runs += other.runs
        self.records += other.records
        self.outcomes += other.outcomes


def can_be_run_on_tc(frame: bytes) -> bool:
    """Say whether the test call makes a socket buffer of a frame."""
    return _LEAST_ON_TC.get(frame[12:14], 14) <= len(frame) <= _LARGEST_ON_TC


class Target:
    """One program of a harness."""

    def __init__(self, harness: Harness, name: str) -> None:
        self.name = name + (" with tunnels" if harness.tunnels else "")
        self._on_tc = name == TC_PROGRAM
        self._goes_on = GOES_ON[name]
        self._in = ctypes.create_string_buffer(_LARGEST)
        self._out = ctypes.create_string_buffer(_LARGEST)
        self._out_bytes = memoryview(self._out)
        self._run = uapi.TestRun(
            prog_fd=harness.program.programs[name],
            data_in=ctypes.addressof(self._in),
            data_out=ctypes.addressof(self._out),
            repeat=1,
        )

    def run(self, frame: bytes) -> bool:
        """Run one frame, which must come out unchanged; return whether it can be run. Raises Difference."""
        if self._on_tc and not can_be_run_on_tc(frame):
            return False
        ctypes.memmove(self._in, frame, len(frame))
        self._run.data_size_in, self._run.data_size_out = len(frame), _LARGEST
        try:
            syscalls._call(syscalls.Command.PROG_TEST_RUN, self._run)
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, str(error))
            raise Difference(self.name, frame, f"the test call refuses it ({name})") from error
        if self._run.retval != self._goes_on:
            raise Difference(self.name, frame, f"returned {self._run.retval}, not {self._goes_on}")
        if bytes(self._out_bytes[: self._run.data_size_out]) != frame:
            raise Difference(self.name, frame, "the packet was changed")
        return True


class Counters:
    """The counters of a harness's programs on this processor, as they rise; nobody runs them on another."""

    def __init__(self, harness: Harness, cpu: int) -> None:
        self._key = ctypes.c_uint32(0)
        self._value = ctypes.create_string_buffer(_COUNTERS.size * possible_cpus())
        self._offset = cpu * _COUNTERS.size
        self._lookup = uapi.MapElement(
            map_fd=harness.program.maps["epm_counters"],
            key=ctypes.addressof(self._key),
            value=ctypes.addressof(self._value),
        )
        self._last = self._read()

    def _read(self) -> tuple[int, ...]:
        syscalls._call(syscalls.Command.MAP_LOOKUP_ELEM, self._lookup)
        return _COUNTERS.unpack_from(self._value, self._offset)

    def rise(self) -> list[int]:
        """Return by how much each has risen since the last time."""
        before, self._last = self._last, self._read()
        return [now - then for now, then in zip(self._last, before, strict=True)]


class Twins:
    """The XDP program and its tc twin, made for the same: the same frames through both."""

    def __init__(self, harness: Harness, cpu: int) -> None:
        self._harness = harness
        self._counters = Counters(harness, cpu)
        self._targets = [Target(harness, name) for name in (XDP_PROGRAM, TC_PROGRAM)]
        self._due: list[tuple[str, bytes, bytes]] = []

    def run(self, frame: bytes, figures: Figures) -> None:
        """Run one frame and compare all but its record, for which see `settle`. Raises Difference."""
        for target in self._targets:
            if not target.run(frame):
                continue
            # Of each run anew: the first may note what the second finds known.
            records, counted = expected(frame, tunnels=self._harness.tunnels, follow_ups=self._harness.follow_ups)
            counts = [counted.get(counter, 0) for counter in KernelCounter]
            figures.outcomes["+".join(sorted(counter.name for counter in counted)) or "none"] += 1
            rise = self._counters.rise()
            if rise != counts:
                text = f"counted {_named(rise)}, the Python reader {_named(counts)}"
                raise Difference(target.name, frame, text)
            self._due += [(target.name, frame, record) for record in records]
            figures.runs += 1

    def settle(self, figures: Figures) -> None:
        """Compare the records of all frames since the last time. Raises Difference."""
        due, self._due = self._due, []
        found = sorted(self._harness.records(), key=record_time)
        for (name, frame, record), one in zip(due, found, strict=False):
            if without_time(one) != record:
                raise Difference(name, frame, _told(without_time(one), record))
        if len(found) != len(due):
            raise Difference(self._targets[0].name, b"", f"{len(found)} records of frames that give {len(due)}")
        figures.records += len(due)


def _told(found: bytes, wanted: bytes) -> str:
    at = next((at for at, pair in enumerate(zip(found, wanted, strict=False)) if pair[0] != pair[1]), len(found))
    return f"another record from byte {at} on: {found[:_SHOWN].hex()}, the Python reader's {wanted[:_SHOWN].hex()}"


def _named(counts: Sequence[int]) -> dict[str, int]:
    return {counter.name: counts[counter] for counter in KernelCounter if counts[counter]}


PLAIN: Final[dict[str, Any]] = {}
TUNNELS: Final = {"tunnels": True}
FOLLOW_UP: Final = {"follow_up": True}
BOTH: Final = {"tunnels": True, "follow_up": True}


class Fuzzer:
    """Both programs, made in several ways (options of a harness). Stays on one processor while it is open."""

    def __init__(self, made: Sequence[dict[str, Any]] = (PLAIN, TUNNELS, FOLLOW_UP, BOTH)) -> None:
        self._made = made
        self._stack = contextlib.ExitStack()
        self._affinity = os.sched_getaffinity(0)
        self._twins: list[Twins] = []

    def __enter__(self) -> Self:
        cpu = sorted(self._affinity)[os.getpid() % len(self._affinity)]
        os.sched_setaffinity(0, {cpu})
        self._stack.callback(os.sched_setaffinity, 0, self._affinity)
        for options in self._made:
            self._twins.append(Twins(self._stack.enter_context(Harness(**options)), cpu))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def fuzz(self, frames: Iterable[bytes]) -> Figures:
        """Run all frames. Raises Difference at the first one that differs."""
        figures = Figures()
        for frame in frames:
            figures.frames += 1
            for twins in self._twins:
                twins.run(frame, figures)
                if figures.frames % _BATCH == 0:
                    twins.settle(figures)
        for twins in self._twins:
            twins.settle(figures)
        return figures


def chunk(seed: int, number: int, count: int = CHUNK) -> Iterator[bytes]:
    """Yield the frames of one chunk."""
    maker = FrameMaker(f"{seed}/{number}")
    return (maker.make() for _ in range(count))


def _work(seed: int, chunks: Sequence[tuple[int, int]]) -> Figures | str:
    """Run chunks of (number, frames); return the figures, or a report of what was found. Runs in a worker."""
    figures = Figures()
    with Fuzzer() as fuzzer:
        for number, count in chunks:
            try:
                figures.add(fuzzer.fuzz(chunk(seed, number, count)))
            except Difference as difference:
                return f"{difference}\n    again: python -m tests.kernel.fuzz --seed {seed} --chunk {number}"
    return figures


def run(frames: int, seed: int, jobs: int, only: int | None = None) -> Figures | list[str]:
    """Run so many frames (or one chunk only) in so many processes; return the figures, or what was found."""
    chunks = [(number, min(CHUNK, frames - number * CHUNK)) for number in range(-(-frames // CHUNK))]
    if only is not None:
        chunks = [(only, CHUNK)]
    jobs = min(jobs, len(chunks))
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        results = pool.starmap(_work, [(seed, chunks[first::jobs]) for first in range(jobs)])
    reports = [result for result in results if isinstance(result, str)]
    total = Figures()
    for result in results:
        if isinstance(result, Figures):
            total.add(result)
    return reports or total


def main() -> int:
    """Run the command; the exit status is 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.kernel.fuzz", description=__doc__.partition("\n\n")[2])
    parser.add_argument("--frames", type=int, default=MILLION, help="how many (default a million)")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="default: another one each time")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes (default: all CPUs)")
    parser.add_argument("--chunk", type=int, help="only this chunk of 10,000 frames")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    began = time.monotonic()
    result = run(arguments.frames, arguments.seed, arguments.jobs, arguments.chunk)
    if isinstance(result, list):
        print("\n".join(result), file=sys.stderr)
        return 1
    spent = time.monotonic() - began
    print(
        f"{result.frames} frames, {result.runs} runs, {result.records} records compared, {spent:.0f} s: no difference"
    )
    for outcome, count in result.outcomes.most_common():
        print(f"{count:>10} {outcome.lower()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
