"""A process which sends packets into a program at a set rate, at kernel speed: see producer.c.

Each packet is made and inspected within BPF_PROG_TEST_RUN, so no device and no network stack stand between. The
process has a CPU of its own; it is forked, and takes the program under test over by its descriptor.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import multiprocessing
import os
import struct
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from inspector.live.bpf import loader, syscalls
from tests.bench.workloads import calls, responses

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from tests.bench.frames import FrameWorkload
    from tests.bench.workloads import Workload

    AnyWorkload = Workload | FrameWorkload

XDP_PASS: Final = 2
# One instruction each: r0 = XDP_PASS; exit.
EMPTY_PROGRAM: Final = struct.pack("=BBhiBBhi", 0xB7, 0, 0, XDP_PASS, 0x95, 0, 0, 0)

# How struct producer_state begins: packets made, answers among them.
_MADE: Final = struct.Struct("=QQ")
_LOOPBACK: Final = 1
_FIRST: Final = -20
_CLONE_NEWNET: Final = 0x40000000
_TICK_S: Final = 0.001
# Packets of one test call at most: the run can end only between calls.
_MOST: Final = 20_000


@contextlib.contextmanager
def own_cpu(cpu: int) -> Iterator[None]:
    """Keep this process on one CPU, and there before others, as if the CPU were its own.

    At millions of packets a second a ring lasts for some milliseconds, which is what another process is given at
    a time. A process's niceness counts only within its session, so that of the session is changed too (sched(7),
    "the autogroup feature"). Real-time priority would be no better: Linux takes 50 ms of each second from it.
    """
    affinity, niceness = os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0)
    os.sched_setaffinity(0, {cpu})
    _set_niceness(_FIRST, _FIRST)
    try:
        yield
    finally:
        _set_niceness(niceness, 0)
        os.sched_setaffinity(0, affinity)


def _set_niceness(of_process: int, of_session: int) -> None:
    # Where this is refused or there is no such file, what else runs is measured too.
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, of_process)
        Path("/proc/self/autogroup").write_text(str(of_session), encoding="ascii")


@dataclass(frozen=True, slots=True)
class Production:
    """What a run sent: packets with map responses among them, and seconds from the first to the last.

    `repetitions` is how often the program ran: it makes no packet of conversations whose turn has not come yet.
    """

    packets: int
    responses: int
    repetitions: int
    seconds: float
    cpu_seconds: float


def cpus() -> tuple[int, int]:
    """Return the CPUs of producer and consumer: the last and the first which this process may use."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[-1], usable[0]


class Producer:
    """A forked process, ready to send a workload into a program; leaving the context ends it.

    Raises RuntimeError with the child's words when it cannot do what it is for. Needs root and bcc.
    """

    def __init__(self, target_fd: int, workload: AnyWorkload, cpu: int) -> None:
        fork = multiprocessing.get_context("fork")
        self._connection, theirs = fork.Pipe()
        self._process = fork.Process(
            target=_serve, args=(theirs, self._connection, target_fd, workload, cpu), daemon=True
        )
        self._process.start()
        theirs.close()
        self._receive()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def start(self, rate: float | None, seconds: float) -> None:
        """Begin a run of so many packets a second, `None` for as fast as it goes, from new connections."""
        self._connection.send((rate, seconds))

    def is_done(self) -> bool:
        """Say whether the run is over, or the process gone."""
        return self._connection.poll()

    def result(self) -> Production:
        """Return what the run sent; waits for its end."""
        return Production(*self._receive())

    def run(self, rate: float | None, seconds: float) -> Production:
        """Make a run to its end."""
        self.start(rate, seconds)
        return self.result()

    def _receive(self) -> Any:
        try:
            message = self._connection.recv()
        except EOFError:
            raise RuntimeError("the producer's process has died") from None
        if isinstance(message, str):
            raise RuntimeError(f"the producer failed: {message}")  # noqa: TRY004 - it is the child's error
        return message


def _serve(channel: Connection, parents: Connection, target_fd: int, workload: AnyWorkload, cpu: int) -> None:
    """Do runs until the parent closes its end. Runs in the child."""
    parents.close()
    try:
        program_fd, state_fd = _load(target_fd, workload)
        frame = bytes(workload.frame_bytes)
        with _held_by_device(program_fd), own_cpu(cpu):
            channel.send(())
            clients = 0
            while True:
                rate, seconds = channel.recv()
                state = workload.state(clients)
                syscalls.map_update(state_fd, 0, state)
                began_cpu = time.process_time()
                repetitions, spent = _send(program_fd, frame, rate, seconds)
                spent_cpu = time.process_time() - began_cpu
                made, answers = _MADE.unpack_from(syscalls.map_lookup(state_fd, 0, len(state)))
                clients += workload.used(made)
                channel.send((made, answers, repetitions, spent, spent_cpu))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        # The parent is done, or gone.
        return
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent says it
        channel.send(f"{type(error).__name__}: {error}")


def _load(target_fd: int, workload: AnyWorkload) -> tuple[int, int]:
    """Compile and load the producer's program; return its descriptor and that of its state."""
    folder, flags = loader.source_folder(), workload.flags
    for headers in loader.header_folders():
        flags += ["-isystem", str(headers)]
    flags += ["-DCONFIG_BPF_SYSCALL=1", "-DCONFIG_64BIT"]
    os.environ["BCC_KERNEL_SOURCE"] = str(folder)
    bcc = loader.import_bcc()
    module = bcc.BPF(src_file=str(Path(__file__).with_name(workload.source)).encode(), cflags=flags)

    def map_fd(name: str) -> int:
        return os.dup(bcc.libbcc.lib.bpf_table_fd(module.module, name.encode()))

    templates_fd = map_fd("producer_templates")
    for number, entry in enumerate(workload.entries()):
        syscalls.map_update(templates_fd, number, entry)
    # A program may only call what was loaded as it was itself (bpf_prog_map_compatible() in the kernel).
    program_fd = syscalls.program_load(
        module.dump_func(workload.program.encode()),
        syscalls.ProgramType.XDP,
        workload.program,
        attach_type=syscalls.AttachType.XDP,
        flags=syscalls.ProgramFlag.XDP_HAS_FRAGS,
    )
    syscalls.map_update(map_fd("producer_target"), 0, target_fd.to_bytes(4, sys.byteorder))
    return program_fd, map_fd("producer_state")


@contextlib.contextmanager
def _held_by_device(program_fd: int) -> Iterator[None]:
    """Attach the program to the loopback of a new network namespace, where no packet ever comes.

    The kernel calls attached XDP programs directly (its dispatcher) and makes that so for each test call, by
    patching code on all CPUs, unless the program is attached anyway.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) < 0:
        raise OSError(ctypes.get_errno(), "a network namespace of its own is refused")
    link = syscalls.link_create(program_fd, _LOOPBACK, syscalls.AttachType.XDP, syscalls.LinkFlag.XDP_GENERIC)
    try:
        yield
    finally:
        os.close(link)


def _send(program_fd: int, frame: bytes, rate: float | None, seconds: float) -> tuple[int, float]:
    """Send for so many seconds: each millisecond what is due by then. Return repetitions, and seconds it took."""
    began = time.monotonic()
    sent, elapsed = 0, 0.0
    while elapsed < seconds:
        due = _MOST if rate is None else min(int(rate * elapsed) - sent, _MOST)
        if due > 0:
            result = syscalls.run_program(program_fd, frame, repeat=due)
            if result.retval != XDP_PASS:
                raise RuntimeError(f"the tail call failed: the program returned {result.retval}")
            sent += due
        now = time.monotonic() - began
        if rate is not None and rate * now < sent + _MOST:
            time.sleep(max(_TICK_S - (now - elapsed), 0))
        elapsed = time.monotonic() - began
    return sent, elapsed


def alone(workload: AnyWorkload, seconds: float = 1.0) -> float:
    """Return the nanoseconds which making a packet costs: the tail call goes to a program which does nothing."""
    empty = syscalls.program_load(
        EMPTY_PROGRAM,
        syscalls.ProgramType.XDP,
        "empty",
        attach_type=syscalls.AttachType.XDP,
        flags=syscalls.ProgramFlag.XDP_HAS_FRAGS,
    )
    try:
        with Producer(empty, workload, cpus()[0]) as producer:
            made = producer.run(None, seconds)
    finally:
        os.close(empty)
    return made.seconds * 1e9 / made.packets


def measure(seconds: float = 1.0) -> dict[str, float]:
    """Return what the producer itself costs for each packet, in nanoseconds, the tail call included."""
    return {
        "producer_response_ns": round(alone(responses(), seconds), 1),
        "producer_call_packet_ns": round(alone(calls(), seconds), 1),
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
