"""What happens to an interface while the inspector is attached: it stays, follows, waits, comes back, and says so."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import pytest
from pyroute2 import IPRoute, netns

from inspector.errors import AttachmentLoss, HookTakenError
from inspector.live.attach.links import Link
from inspector.live.attach.watch import MOST_DELAY_S
from inspector.live.bpf import syscalls
from inspector.live.process.namespaces import inside
from inspector.live.session import Session
from inspector.record import KernelCounter
from tests.kernel.conftest import Cable, constant_program, lay, wait_until_up
from tests.kernel.live import EVERY_HOOK, HOOKS, LOOPBACK, XDP_PASS, filters
from tests.kernel.looking import add_interface, carried, delete, rename, sees, set_link, wait_until_gone, watched
from tests.kernel.objects import force_detach, links_of, open_descriptors

if TYPE_CHECKING:
    from inspector.model import Mode

pytestmark = [pytest.mark.kernel]


@EVERY_HOOK
def test_down_and_up(cable: Cable, mode: Mode, tcx: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program stays on an interface that goes down and comes up; both are told once."""
    with watched(cable, mode, monkeypatch, tcx=tcx) as (session, looker):
        set_link(cable.here, cable.near, state="down")
        assert looker.texts() == ["near: interface down"]
        assert looker.texts() == []
        set_link(cable.here, cable.near, state="up")
        assert looker.texts() == ["near: interface up"]
        wait_until_up(cable)
        assert session.interfaces[0].reattachments == 0
        assert sees(session, cable) == session.attachments[0].index


@EVERY_HOOK
@pytest.mark.parametrize("seen_gone", [True, False], ids=["seen gone", "gone and back between two looks"])
def test_deleted_and_returned(
    cable: Cable, mode: Mode, tcx: bool, seen_gone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waited for, and attached to anew under its new index; its counters go on from where they were."""
    with watched(cable, mode, monkeypatch, tcx=tcx) as (session, looker):
        before = sees(session, cable)
        delete(cable.here, cable.near)
        gone = looker.look() if seen_gone else []
        if seen_gone:
            assert session.attachments == ()
            assert "waiting for an interface of this name" in session.interfaces[0].explanation
            assert looker.look() == []
        lay(cable)
        gone, [back] = (gone, looker.look()) if seen_gone else ((all_of := looker.look())[:1], all_of[1:])
        assert [change.loss for change in gone] == [AttachmentLoss.DELETED]
        assert back.attached is not None
        assert (back.attached.index, back.state.reattachments) == (cable.device().index, 1)
        after = sees(session, cable)
        assert before != after == cable.device().index
        assert session.interface_names[before] == session.interface_names[after] == cable.near
        # Neighbours may have been asked for meanwhile, but not on this port.
        assert session.counters()[cable.near][KernelCounter.SUBMITTED] == 2
        assert set(session.counters()) == {cable.near}


@EVERY_HOOK
def test_renamed(cable: Cable, mode: Mode, tcx: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is inspected on under the operator's name, both changes of name are told, and nothing is attached anew."""
    with watched(cable, mode, monkeypatch, tcx=tcx) as (session, looker):
        rename(cable.here, cable.near, "wan")
        assert looker.texts() == ["near: renamed to wan; still inspected and reported as near"]
        assert looker.texts() == []
        assert session.interface_names[sees(session, cable)] == cable.near
        rename(cable.here, "wan", cable.near)
        assert looker.texts() == ["near: renamed back to near"]
        assert session.interfaces[0].reattachments == 0


@EVERY_HOOK
def test_renamed_and_replaced(cable: Cable, mode: Mode, tcx: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is what the operator meant: once another interface has it, the program goes there and leaves the old."""
    with watched(cable, mode, monkeypatch, tcx=tcx) as (session, looker):
        rename(cable.here, cable.near, "wan")
        assert len(looker.look()) == 1
        assert carried(cable, "wan", mode, tcx=tcx)
        add_interface(cable.here, cable.near)
        lost, back = looker.look()
        assert lost.loss is AttachmentLoss.REPLACED
        assert back.attached is not None
        assert session.attachments[0].index == cable.device().index
        assert not carried(cable, "wan", mode, tcx=tcx)
        assert carried(cable, cable.near, mode, tcx=tcx)


@EVERY_HOOK
def test_moved_and_returned(cable: Cable, mode: Mode, tcx: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interface that is moved to another namespace is left alone there, and inspected again when it returns."""
    with watched(cable, mode, monkeypatch, tcx=tcx) as (session, looker):
        elsewhere = Cable(cable.there, cable.there)
        set_link(cable.here, cable.near, net_ns_fd=cable.there)
        if tcx:
            # The kernel does not take a program off an interface that moves.
            assert elsewhere.programs()
        [moved] = looker.look()
        # Without its filter it cannot be told from a deleted one.
        assert moved.loss is (AttachmentLoss.MOVED if tcx else AttachmentLoss.DELETED)
        assert elsewhere.programs() == filters(elsewhere) == []
        assert looker.look() == []
        set_link(cable.there, cable.near, net_ns_fd=cable.here)
        [back] = looker.look()
        assert back.attached is not None
        set_link(cable.here, cable.near, state="up")
        wait_until_up(cable)
        assert sees(session, cable) == cable.device().index


@EVERY_HOOK
def test_moved_and_its_index_given_away(cable: Cable, mode: Mode, tcx: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another interface which has the index now is not taken for the one that was moved."""
    with watched(cable, mode, monkeypatch, tcx=tcx) as (session, looker):
        set_link(cable.here, cable.near, net_ns_fd=cable.there)
        add_interface(cable.here, "second", index=session.attachments[0].index)
        [moved] = looker.look()
        # Without its filter it cannot be told from a deleted one.
        assert moved.loss is (AttachmentLoss.MOVED if tcx else AttachmentLoss.DELETED)
        elsewhere = Cable(cable.there, cable.there)
        assert elsewhere.programs() == filters(elsewhere) == []


def detach_by_force(cable: Cable, session: Session) -> None:
    """Take the program off as somebody else may, by one of its links or by its filter."""
    attachment = session.attachments[0]
    if attachment.mode != "clsact":
        force_detach(links_of(attachment.program_id)[-1])
        return
    with inside(cable.here), IPRoute() as rtnetlink:
        rtnetlink.tc("del", "clsact", attachment.index)


@EVERY_HOOK
def test_force_detached(cable: Cable, mode: Mode, tcx: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody has detached is put back: at once if it had stayed long, else later each time; told and counted."""
    with watched(cable, mode, monkeypatch, tcx=tcx) as (session, looker):
        looker.now += 100
        detach_by_force(cable, session)
        lost, back = looker.look()
        assert (lost.loss, lost.text) == (
            AttachmentLoss.DETACHED,
            "near: another process detached the program; attaching again at once",
        )
        assert back.attached == session.attachments[0]
        for delay in (1, 2, 4, 8):
            detach_by_force(cable, session)
            assert looker.texts() == [f"near: another process detached the program; attaching again in {delay} s"]
            assert looker.look(delay - 0.5) == []
            assert session.attachments == ()
            [back] = looker.look(1)
            assert back.attached is not None
        assert session.interfaces[0].reattachments == 5
        detach_by_force(cable, session)
        looker.look(100)
        looker.look(100)
        looker.now += 100
        detach_by_force(cable, session)
        assert looker.look()[-1].attached is not None
        assert sees(session, cable) == cable.device().index


@pytest.mark.parametrize("mode", ["native", "generic"])
def test_hook_taken_meanwhile(cable: Cable, mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever took the hook keeps it; the reason is told once, every attempt counts, and what is freed is taken."""
    with watched(cable, mode, monkeypatch) as (session, looker), contextlib.ExitStack() as stack:
        detach_by_force(cable, session)
        foreign = constant_program(syscalls.ProgramType.XDP, XDP_PASS, "someone_elses")
        stack.callback(os.close, foreign)
        with inside(cable.here):
            link = Link.create(foreign, cable.device().index, syscalls.AttachType.XDP, syscalls.LinkFlag.XDP_GENERIC)
        stack.callback(link.close)
        assert [change.loss for change in looker.look()] == [AttachmentLoss.DETACHED]
        [first] = looker.look(1)
        assert isinstance(first.error, HookTakenError)
        assert first.text is not None
        assert "someone_elses" in first.text
        assert "attaching again failed" in session.interfaces[0].explanation
        attempts = [change for second in range(300) for change in looker.look(1)]
        assert {change.text for change in attempts} == {None}
        assert all(isinstance(change.error, HookTakenError) for change in attempts)
        # 4, 8, 16 and 32 seconds, and once a minute from then on.
        assert len(attempts) == 4 + (300 - 60) // MOST_DELAY_S
        assert cable.programs() == [syscalls.program_info(foreign).id]
        link.close()
        [back] = looker.look(MOST_DELAY_S)
        assert back.attached is not None
        assert sees(session, cable) == cable.device().index


@pytest.mark.parametrize(("mode", "tcx"), list(HOOKS.values())[1:], ids=list(HOOKS)[1:])
def test_namespace_removed_and_made_again(cable: Cable, mode: Mode, tcx: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The inspector keeps no namespace alive, survives its end, and finds the interface in a new one of its name."""
    inner = Cable(f"epm-test-{os.getpid()}-inner", cable.there, far="far2")
    netns.create(inner.here)
    with contextlib.ExitStack() as stack:
        stack.callback(netns.remove, inner.here)
        lay(inner)
        with watched(inner, mode, monkeypatch, tcx=tcx) as (session, looker):
            stack.pop_all().close()
            wait_until_gone(inner.there, inner.far)
            lost = looker.look()
            # What a filter without a namespace has come to cannot be asked.
            assert [change.loss for change in lost] == ([AttachmentLoss.DELETED] if tcx else [])
            netns.create(inner.here)
            stack.callback(netns.remove, inner.here)
            lost += looker.look()
            assert [change.loss for change in lost] == [AttachmentLoss.DELETED]
            lay(inner)
            [back] = looker.look()
            assert back.attached is not None
            assert sees(session, inner) == inner.device().index


def test_what_is_looked_at_is_left_as_it_is(cable: Cable, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand looks open nothing, tell nothing, and change nothing."""
    with inside(cable.here), IPRoute() as rtnetlink:
        rtnetlink.link("set", index=LOOPBACK, state="up")
    with watched(cable, "native", monkeypatch) as (session, looker):
        before = open_descriptors()
        states, programs = session.interfaces, cable.programs()
        assert [change for _ in range(1000) for change in looker.look(1)] == []
        assert open_descriptors() == before
        assert (session.interfaces, cable.programs()) == (states, programs)
