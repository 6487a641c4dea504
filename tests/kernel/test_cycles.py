"""Attached again and again, and several inspectors beside each other: nothing stays, and nobody is disturbed."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import threading
import time
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pyroute2 import IPRoute

from inspector.live.attach.interfaces import Attachments
from inspector.live.attach.links import CLSACT_HOOKS, list_filters
from inspector.live.bpf import loader, syscalls
from inspector.live.process.namespaces import inside
from inspector.live.session import open_session
from tests.kernel import frames
from tests.kernel.command import attach, start
from tests.kernel.conftest import Cable, constant_program
from tests.kernel.live import EVERY_HOOK, HOOKS, attached, filters
from tests.kernel.objects import Found, exists, held_by_this_process, open_descriptors
from tests.kernel.running import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from inspector.model import Mode

pytestmark = [pytest.mark.kernel]

CYCLES = 100
MEASURED = (20, 59, 98)
# In 39 cycles: for what the test itself notes, and caches of libraries. An attachment left behind in each is more.
TOLERATED_BYTES = 1 << 15


@contextlib.contextmanager
def traced() -> Iterator[Callable[[], int]]:
    """Count the memory which Python takes from here on, which unlike the process's does not depend on its allocator."""
    tracemalloc.start()
    try:

        def taken() -> int:
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        yield taken
    finally:
        tracemalloc.stop()


def qdiscs(cable: Cable) -> list[str]:
    """Return the kinds of queueing disciplines of the near interface."""
    with inside(cable.here), IPRoute() as rtnetlink:
        return sorted(one.get_attr("TCA_KIND") for one in rtnetlink.get_qdiscs(index=cable.device().index))


def wait_until_forgotten(made: set[Found]) -> None:
    """Wait until the kernel has none of these any more: it lets go of them once nobody can be using them."""
    deadline = time.monotonic() + 5
    while left := [one for one in made if exists(one)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


@EVERY_HOOK
def test_a_hundred_cycles(cable: Cable, mode: Mode, tcx: bool) -> None:
    """No link, filter, qdisc, descriptor, thread or memory is left of a hundred attachments of one program."""
    name = loader.TC_PROGRAM if mode == "tc" else loader.XDP_PROGRAM
    program = loader.load([name], compact_ring_bytes=4096, bulk_ring_bytes=4096)
    memory: list[int] = []
    device, before = cable.device(), (qdiscs(cable), cable.programs(), threading.active_count())
    made: set[Found] = set()
    with contextlib.closing(program), traced() as taken:
        held, descriptors = held_by_this_process(), open_descriptors()
        for cycle in range(CYCLES):
            places = Attachments(program, [device], ports=[135], mode=mode, netns=cable.here, tcx=tcx)
            with inside(cable.here):
                places.attach_all([device])
            assert places.alive(0)
            made |= held_by_this_process() - held
            places.close()
            if cycle in MEASURED:
                memory.append(taken())
        # What leaks does so in both spans; what a library keeps once, say a source that it read, is in one.
        assert min(later - earlier for earlier, later in itertools.pairwise(memory)) < TOLERATED_BYTES
        assert open_descriptors() == descriptors
        assert len(made) == (CYCLES * (2 if mode == "tc" else 1) if tcx else 0)
        assert {one[0] for one in made} <= {"link"}
        wait_until_forgotten(made)
    assert (qdiscs(cable), cable.programs(), threading.active_count()) == before


def test_whole_sessions(cable: Cable) -> None:
    """Programs, maps, links and threads of a session go with it, of three in each way of attaching."""
    before = (qdiscs(cable), cable.programs())
    held, descriptors, threads = held_by_this_process(), set(), 0
    made: set[Found] = set()
    for number in range(3):
        for mode, tcx in HOOKS.values():
            with attached(cable, mode, tcx=tcx) as session:
                session.watch()
                cable.send_frame(frames.FRAMES["response"])
                session.poll(0.01)
                made |= held_by_this_process() - held
        if number == 0:
            descriptors, threads = open_descriptors(), threading.active_count()
    assert (open_descriptors(), threading.active_count()) == (descriptors, threads)
    assert {kind for kind, _ in made} == {"program", "map", "link"}
    # A program, and at least options, clock, counters and two rings, for each session.
    assert len(made) >= 3 * len(HOOKS) * 6
    wait_until_forgotten(made)
    assert (qdiscs(cable), cable.programs()) == before


@pytest.mark.parametrize("mode", ["native", "generic"])
def test_a_second_inspector_on_the_hook(cable: Cable, tmp_path: Path, mode: str) -> None:
    """In XDP it says who holds the hook and ends; the first goes on, and does not even notice."""
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    with attach(folders[0], [cable.near], "--netns", cable.here, "--mode", "native") as first:
        holder = first.status()["interfaces"][0]
        with start(folders[1], [cable.near], "--netns", cable.here, "--mode", mode) as second:
            assert second.process.wait(PATIENCE_SECONDS) == 1
            [line] = second.lines
        assert f"(id {holder['program_id']}, tag {holder['program_tag']})" in line
        assert "--mode tc" in line
        cable.send_frame(frames.FRAMES["response"])
        first.wait_for(lambda: first.metric("records_consumed_total") == 1)
        assert first.status()["interfaces"][0] | {"packets": 0} == holder | {"packets": 0} | {
            key: first.status()["interfaces"][0][key] for key in ("matched", "submitted")
        }
        assert len(first.lines) == 2


def test_two_inspectors_on_tc(cable: Cable, tmp_path: Path) -> None:
    """On tc both see everything; one that leaves takes nothing of the other's."""
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    options = ["--netns", cable.here, "--mode", "tc"]
    with attach(folders[0], [cable.near], *options) as first:
        with attach(folders[1], [cable.near], *options) as second:
            cable.send_frame(frames.FRAMES["response"])
            for command in (first, second):
                command.wait_for(lambda command=command: command.metric("records_consumed_total") == 1)
            assert second.stop() == 0
        cable.send_frame(frames.FRAMES["response"])
        first.wait_for(lambda: first.metric("records_consumed_total") == 2)
        assert first.metric("attachments_lost_total") == 0


def test_the_metrics_address_is_taken(cable: Cable, tmp_path: Path) -> None:
    """Two inspectors with one address: the second says so before it touches an interface."""
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    with (
        attach(folders[0], ["lo"], "--netns", cable.here) as first,
        start(folders[1], [cable.near], "--netns", cable.here, "--listen", first.address) as second,
    ):
        assert second.process.wait(PATIENCE_SECONDS) == 1
        [line] = second.lines
        assert f"cannot listen on {first.address}" in line
        assert "--listen" in line
        assert cable.programs() == []


def test_filters_of_others_are_not_taken_for_stale(cable: Cable) -> None:
    """Only a filter whose process is known to have ended is removed: not one of another namespace of process ids."""
    index, foreign = cable.device().index, constant_program(syscalls.ProgramType.SCHED_CLS, -1, "another")
    here = Path("/proc/self/ns/pid").stat().st_ino
    others = {"epm-inspector:1:7:4026000000:0", "epm-inspector:1:7", f"epm-inspector:x:7:{here}:0", "someone_elses"}
    try:
        with inside(cable.here), IPRoute() as rtnetlink:
            rtnetlink.tc("add", "clsact", index)
            for number, name in enumerate((*others, f"epm-inspector:1:7:{here}:0")):
                rtnetlink.tc(
                    "add-filter",
                    "bpf",
                    index,
                    fd=foreign,
                    name=name,
                    parent=CLSACT_HOOKS["ingress"],
                    protocol=3,
                    classid=1,
                    direct_action=True,
                    prio=number + 1,
                )
    finally:
        os.close(foreign)
    with open_session([cable.near], mode="tc", tcx=False, netns=cable.here):
        with inside(cable.here), IPRoute() as rtnetlink:
            present = {name for _, _, name in list_filters(rtnetlink, index, CLSACT_HOOKS["ingress"])}
        assert present > others
        assert len(present) == len(others) + 1
    assert set(filters(cable)) == others
