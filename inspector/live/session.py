"""A running inspection of one or several interfaces: attached programs, their records, their counters."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from typing import TYPE_CHECKING, Final, Self

from inspector.errors import LiveError
from inspector.live.attach.attachment import MODES, Attachment, programs_for
from inspector.live.attach.devices import find_device
from inspector.live.attach.interfaces import Attachments
from inspector.live.attach.watch import Watch
from inspector.live.bpf import loader, syscalls
from inspector.live.bpf.counters import possible_cpus, read_counters
from inspector.live.bpf.followups import FollowUpMaps
from inspector.live.process.capabilities import require_capabilities
from inspector.live.process.namespaces import inside
from inspector.live.rings.merge import Lanes
from inspector.live.rings.percpu import Lane, set_waiting
from inspector.live.rings.readers import open_bulk, open_compact
from inspector.model import OTHER_INTERFACES, Mode
from inspector.ordered import count_rows
from inspector.protocols import EPM_PORTS
from inspector.record import INTERFACES, LOSS_REASONS, KernelCounter

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from inspector.live.attach.devices import Device
    from inspector.live.attach.interfaces import InterfaceState
    from inspector.live.attach.watch import Change
    from inspector.live.bpf.loader import Program
    from inspector.live.rings.readers import Reader
    from inspector.live.rings.ringbuf import Block

# All lanes of the compact ring together, but for the bounds of one. The upper one is 24 ms of the map responses which
# 10 Gbit/s can carry: longer than another task keeps the reader from its CPU. A larger one does not stay in a
# processor's cache, and is slower. The lower one holds what comes while the reader lets records gather.
COMPACT_RING_BYTES: Final = 1 << 27
_LANE_BYTES: Final = (1 << 21, 1 << 25)
BULK_RING_BYTES: Final = 1 << 24

_CLOCK_INTERVAL_S: Final = 1.0
# Programs which were running when the links went are done long before.
_SETTLE_S: Final = 0.005
_GATHER_S: Final = 0.002
_MOMENT_S: Final = 0.002
# Interval of checks for loss; time after a loss in which missing bytes are not waited for.
_LOSS_INTERVAL_S: Final = 0.1
_LOSING_S: Final = 2.0
# ICMP errors over their budget are no sign that others get lost.
_OF_RINGS: Final = tuple(reason for reason in LOSS_REASONS if reason is not KernelCounter.LOST_ICMP_BUDGET)

__all__ = ["BULK_RING_BYTES", "COMPACT_RING_BYTES", "OTHER_INTERFACES", "Attachment", "Session", "open_session"]


def lane_bytes() -> int:
    """Return the size of one lane of the compact ring which suits this machine's number of processors."""
    least, most = _LANE_BYTES
    share = COMPACT_RING_BYTES // max(loader.lane_count(), 1)
    return min(max(1 << share.bit_length() - 1, least), most)


def clock_offset() -> int:
    """Return CLOCK_REALTIME minus CLOCK_MONOTONIC in nanoseconds: the best of three readings."""
    readings = []
    for _ in range(3):
        before = time.monotonic_ns()
        realtime = time.time_ns()
        after = time.monotonic_ns()
        readings.append((after - before, realtime - (before + after) // 2))
    return min(readings)[1]


class Session:
    """Attached programs and their rings. Leaving the context detaches and gives everything back.

    Made by `open_session`. Not for several threads at once, but for `wake`.
    """

    def __init__(
        self,
        program: Program,
        devices: Sequence[Device],
        places: Attachments | None = None,
    ) -> None:
        self._program = program
        self.places = places or Attachments(program, devices)
        self.interface_names = self.places.names
        self._watch = Watch(self.places)
        self.consumed = 0
        self._slots = [OTHER_INTERFACES, *(device.name for device in devices[:INTERFACES])]
        self._cpus = possible_cpus()
        self._offsets = (0, 0)
        self._clock_due = 0.0
        self._read_at = 0.0
        self._lost = 0
        self._loss_due = 0.0
        self._losing_until = 0.0
        self._resources = contextlib.ExitStack()
        self._resources.callback(program.close)
        compact, bulk = open_compact(program), open_bulk(program)
        self._rings: list[Reader] = [*compact, bulk]
        self._processors = [ring for ring in compact if isinstance(ring, Lane)]
        for ring in self._rings:
            self._resources.callback(ring.close)
        self.follow_ups = FollowUpMaps(program) if program.follow_up else None
        if self.follow_ups is not None:
            self._resources.callback(self.follow_ups.close)
        self._lanes = Lanes(self._rings, self._now)
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._resources.callback(os.close, self._wake_fd)
        # poll(2), not epoll: it asks each ring again, so that a record submitted while earlier ones were being freed
        # ends the sleep.
        self._poller = select.poll()
        for fd in (*(ring.fd for ring in self._rings if not isinstance(ring, Lane)), self._wake_fd):
            self._poller.register(fd, select.POLLIN)
        self.refresh_clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def interfaces(self) -> tuple[InterfaceState, ...]:
        """The state of each interface, in the order of the arguments; after `detach` the last state."""
        return self.places.states

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """The programs on the interfaces; after `detach` those which were."""
        return tuple(state.attachment for state in self.interfaces if state.attachment is not None)

    def watch(self) -> None:
        """Start the thread that attaches the program again where it is lost, until `detach`."""
        self._watch.start()

    def changes(self) -> list[Change]:
        """Return what has happened to the interfaces since this was asked the last time."""
        return self._watch.take()

    @property
    def program_fd(self) -> int:
        """The descriptor of the program which is attached to the first interface, for test runs."""
        wanted = self.attachments[0].program_id
        return next(fd for fd in self._program.programs.values() if syscalls.program_info(fd).id == wanted)

    def _now(self) -> int:
        # A record may still carry the offset from before the last refresh.
        return time.monotonic_ns() + min(self._offsets)

    def refresh_clock(self) -> None:
        """Write the offset between CLOCK_REALTIME and CLOCK_MONOTONIC into the program's map."""
        offset = clock_offset()
        previous = self._offsets[1] or offset
        syscalls.map_update(self._program.maps["epm_clock"], 0, (offset % (1 << 64)).to_bytes(8, sys.byteorder))
        self._offsets = (previous, offset)
        self._clock_due = time.monotonic() + _CLOCK_INTERVAL_S

    def poll(self, timeout_s: float) -> Sequence[Block]:
        """Return blocks of records in time order as soon as there are any; an empty list after `timeout_s` or `wake`.

        A block is uint64[n, words], a row for each record, in the ring itself: valid until the next call of `poll`,
        `drain`, `backlog` or `close`. See `inspector.record.unpack_row`.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            if time.monotonic() >= self._clock_due:
                self.refresh_clock()
            self._gather(deadline)
            blocks = self._lanes.read()
            self._read_at = time.monotonic()
            if blocks:
                self._watch_loss()
                self.consumed += count_rows(blocks)
                return blocks
            left = deadline - time.monotonic()
            if left <= 0:
                return []
            # Held records can go with the next reading: no sleep between.
            if not self._lanes.held and self._wait(min(left, _CLOCK_INTERVAL_S)):
                return []

    @property
    def losing(self) -> bool:
        """Whether records were lost within the last two seconds: missing bytes will not come then."""
        return time.monotonic() < self._losing_until

    def _watch_loss(self) -> None:
        """Check for lost records: at intervals, and each time while a ring is more than half full."""
        now = time.monotonic()
        if now < self._loss_due and all(ring.used() < ring.size // 2 for ring in self._rings):
            return
        self._loss_due = now + _LOSS_INTERVAL_S
        slots = read_counters(self._program.maps["epm_counters"], self._cpus)
        lost = sum(slot[reason] for slot in slots for reason in _OF_RINGS)
        if lost > self._lost:
            self._lost = lost
            self._losing_until = now + _LOSING_S

    def _gather(self, deadline: float) -> None:
        """Let records gather for a moment after the last reading: each reading costs the same, however many there are.

        At 13 million records a second (25 Gbit/s of map responses) that is 26 thousand, of the 65 thousand which the
        compact ring holds.
        """
        pause = min(self._read_at + _GATHER_S, deadline) - time.monotonic()
        if pause > 0:
            time.sleep(pause)

    def _wait(self, timeout_s: float) -> bool:
        """Sleep until a ring has something; return whether it was `wake` that ended the sleep."""
        set_waiting(self._processors, waiting=True)
        try:
            # A CPU may have read `waiting` before it was set here, while its record is not visible yet (a store before
            # a load). So the rings are checked again after 2 ms, before the long sleep.
            for part_s in (min(timeout_s, _MOMENT_S), timeout_s - _MOMENT_S):
                if part_s <= 0 or any(lane.used() for lane in self._processors):
                    return False
                woken = {fd for fd, _ in self._poller.poll(part_s * 1000)}
                if self._wake_fd in woken:
                    os.eventfd_read(self._wake_fd)
                    return True
                if woken:
                    return False
        finally:
            set_waiting(self._processors, waiting=False)
        return False

    def wake(self) -> None:
        """Make `poll` return at once. Safe in signal handlers and other threads."""
        os.eventfd_write(self._wake_fd, 1)

    def drain(self) -> Sequence[Block]:
        """Return all records that are left, as `poll` does: for the end, after `detach`."""
        time.sleep(_SETTLE_S)
        blocks = self._lanes.read_rest()
        self.consumed += count_rows(blocks)
        return blocks

    def counters(self) -> dict[str, dict[KernelCounter, int]]:
        """Return counters by interface name, and those of unknown interfaces as OTHER_INTERFACES if there are any."""
        slots = read_counters(self._program.maps["epm_counters"], self._cpus)
        named = dict(zip(self._slots, slots, strict=False))
        if not any(named[OTHER_INTERFACES].values()):
            del named[OTHER_INTERFACES]
        return named

    def ring_usage(self) -> tuple[int, int]:
        """Return used bytes and size in bytes, summed over the rings."""
        return sum(ring.used() for ring in self._rings), sum(ring.size for ring in self._rings)

    def backlog(self) -> int:
        """Return how many records were submitted and not handed out yet."""
        self._lanes.give_back()
        return sum(len(ring.look()) for ring in self._rings)

    def detach(self) -> None:
        """Detach from all interfaces; rings and counters can still be read."""
        self._watch.stop()
        self.places.close()

    def close(self) -> None:
        """Detach, and give rings, maps and programs back; doing it twice is harmless."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._resources.close)
            stack.callback(self.detach)


def open_session(
    interfaces: Sequence[str],
    *,
    mode: Mode = "auto",
    ports: Collection[int] = EPM_PORTS,
    netns: str | None = None,
    compact_ring_bytes: int | None = None,
    bulk_ring_bytes: int = BULK_RING_BYTES,
    tunnels: bool = False,
    follow_up: bool = False,
    tcx: bool = True,
) -> Session:
    """Compile, load and attach to every interface, or to none: on an error nothing stays behind.

    `ports` are TCP and UDP ports of endpoint mappers; rings' sizes are powers of two, that of the compact ring for
    each of its lanes (`lane_bytes`, if not said); `tunnels` looks into tunnels; `follow_up` records what clients do
    with answers; `tcx=False` makes mode tc do as on a kernel before 6.6. Raises PrivilegeError, NoSuchInterfaceError,
    ToolchainError, HookTakenError, AttachError.
    """
    if mode not in MODES:
        raise LiveError(f"unknown mode {mode!r}; modes: {', '.join(MODES)}")
    require_capabilities(namespace=netns is not None)
    with inside(netns):
        devices = [find_device(name) for name in dict.fromkeys(interfaces)]
        program = loader.load(
            programs_for(devices, mode),
            compact_ring_bytes=compact_ring_bytes or lane_bytes(),
            bulk_ring_bytes=bulk_ring_bytes,
            tunnels=tunnels,
            follow_up=follow_up,
        )
        with contextlib.ExitStack() as stack:
            stack.callback(program.close)
            places = Attachments(program, devices, ports=ports, mode=mode, netns=netns, tcx=tcx)
            session = Session(program, devices, places)
            stack.callback(session.close)
            places.attach_all(devices)
            stack.pop_all()
    return session
