"""A session on the near end of the cable, and what tests ask of it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
from pyroute2 import IPRoute

from inspector.live.attach.links import CLSACT_HOOKS, list_filters
from inspector.live.process.namespaces import inside
from inspector.live.session import Session, open_session
from inspector.record import LOSS_REASONS, Attribute, KernelCounter, record_of
from tests.kernel.conftest import Cable
from tests.kernel.harness import expected, without_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inspector.live.rings.ringbuf import Block
    from inspector.model import Mode, Segment

XDP_PASS, TC_SHOT = 2, 2
# Said by the kernel's number on purpose: tests must not ask the kernel what they are there to find out.
HAS_TCX = tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 6)
"""Whether this kernel must have tcx. On one that has not, mode tc is by clsact."""
TC_WAYS: dict[str, bool] = {"tcx": True, "clsact": False} if HAS_TCX else {"clsact": False}
HOOKS: dict[str, tuple[Mode, bool]] = {"native": ("native", True), "generic": ("generic", True)}
HOOKS |= {way: ("tc", tcx) for way, tcx in TC_WAYS.items()}
EVERY_HOOK = pytest.mark.parametrize(("mode", "tcx"), HOOKS.values(), ids=HOOKS.keys())
EVERY_TC_WAY = pytest.mark.parametrize("tcx", TC_WAYS.values(), ids=TC_WAYS.keys())
LOOPBACK = 1


def attached(
    cable: Cable,
    mode: Mode,
    *,
    tcx: bool = True,
    tunnels: bool = False,
    follow_up: bool = False,
    bulk_ring_bytes: int = 1 << 20,
) -> Session:
    """Open a session on the near interface, with small rings."""
    return open_session(
        [cable.near],
        mode=mode,
        ports=(135, 593, 65535),
        netns=cable.here,
        tcx=tcx,
        tunnels=tunnels,
        follow_up=follow_up,
        compact_ring_bytes=1 << 18,
        bulk_ring_bytes=bulk_ring_bytes,
    )


def records_of(blocks: Sequence[Block]) -> list[bytes]:
    """Return copies of the records of blocks, one by one."""
    return [bytes(record_of(row)) for block in blocks for row in block]


def collect(session: Session, count: int, timeout_s: float = 5) -> list[bytes]:
    """Return records as they come, until there are `count`."""
    deadline = time.monotonic() + timeout_s
    found: list[bytes] = []
    while len(found) < count and (left := deadline - time.monotonic()) > 0:
        found += records_of(session.poll(left))
    return found


def conserved(session: Session) -> dict[str, dict[KernelCounter, int]]:
    """Detach, and return all counters after checking that nothing is unaccounted for."""
    session.detach()
    session.drain()
    counters = session.counters()
    for one in counters.values():
        lost = sum(one[reason] for reason in LOSS_REASONS)
        assert one[KernelCounter.MATCHED] == one[KernelCounter.SUBMITTED] + lost
    submitted = sum(one[KernelCounter.SUBMITTED] for one in counters.values())
    assert submitted == session.consumed + session.backlog()
    return counters


def stream(segments: list[Segment], *, from_server: bool) -> bytes:
    """Return the payload of one direction, by sequence number; repeats of the same bytes are laid over each other."""
    chosen = [s for s in segments if bool(s.attributes & Attribute.FROM_SERVER) == from_server]
    data = [s for s in chosen if s.payload]
    start = min(s.sequence for s in data)
    whole = bytearray(max(s.sequence - start + len(s.payload) for s in data))
    for segment in data:
        whole[segment.sequence - start : segment.sequence - start + len(segment.payload)] = segment.payload
    return bytes(whole)


def filters(cable: Cable) -> list[str]:
    """Return the names of the filters on both clsact hooks of the near interface."""
    index = cable.device().index
    with inside(cable.here), IPRoute() as rtnetlink:
        return [name for parent in CLSACT_HOOKS.values() for _, _, name in list_filters(rtnetlink, index, parent)]


def each_gives_its_record(
    cable: Cable, mode: Mode, frames: dict[str, bytes], *, tcx: bool, tunnels: bool = False
) -> None:
    """Put every frame on the wire, and compare records and counters with the Python reader's."""
    cable.set_mtu(9000)
    index = cable.device().index
    with attached(cable, mode, tcx=tcx, tunnels=tunnels) as session:
        for kind, frame in frames.items():
            before = session.counters()[cable.near]
            cable.send_frame(frame)
            records, counted = expected(frame, index, tunnels=tunnels)
            found = collect(session, len(records))
            deadline = time.monotonic() + 2
            after = session.counters()[cable.near]
            while sum(after.values()) - sum(before.values()) < sum(counted.values()) and time.monotonic() < deadline:
                after = session.counters()[cable.near]
            rise = {c: after[c] - before[c] for c in KernelCounter if after[c] != before[c]}
            assert (kind, rise) == (kind, counted)
            assert [without_time(one)[: len(other)] for one, other in zip(found, records, strict=True)] == records
        conserved(session)
