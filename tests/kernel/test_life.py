"""What happens to interfaces while the inspector is attached: it stays, follows, waits and comes back, and says so."""

from __future__ import annotations

import contextlib
import os
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from pyroute2 import IPRoute, netns

from inspector.errors import AttachmentLoss, HookTakenError
from inspector.live import attachments, kernel, watch
from inspector.live.links import Link
from inspector.live.namespaces import inside
from inspector.live.session import Session, open_session
from inspector.live.watch import MOST_DELAY_S, Change, Watch
from inspector.record import Counter, unpack_record
from tests.kernel import frames
from tests.kernel.conftest import Cable, constant_program, lay, wait_until_up
from tests.kernel.live import EVERY_HOOK, HOOKS, LOOPBACK, XDP_PASS, attached, collect, conserved, filters
from tests.kernel.objects import force_detach, links_of, open_descriptors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inspector.live.attach import Mode

pytestmark = [pytest.mark.kernel]

FRAME = frames.FRAMES["response"]


class Looker:
    """Looks when it is told to, instead of once a second; its clock stands still until it is moved."""

    def __init__(self, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(watch, "time", SimpleNamespace(monotonic=lambda: self.now))
        self._watch = Watch(session.places)
        # What start does, but for the thread.
        monkeypatch.setattr(watch.threading, "Thread", lambda **_: SimpleNamespace(start=lambda: None))
        self._watch.start()

    def look(self, seconds: float = 0) -> list[Change]:
        """Let time pass, look, and return what has changed."""
        self.now += seconds
        self._watch.look()
        return self._watch.take()

    def texts(self, seconds: float = 0) -> list[str]:
        """Return the lines of what has changed, without explanations of how the program is attached."""
        return [change.text.split(" again: ")[0] for change in self.look(seconds) if change.text is not None]


@contextlib.contextmanager
def watched(
    cable: Cable, mode: Mode, monkeypatch: pytest.MonkeyPatch, *, tcx: bool = True
) -> Iterator[tuple[Session, Looker]]:
    """Attach to the near interface, and look after it."""
    with attached(cable, mode, tcx=tcx) as session:
        looker = Looker(session, monkeypatch)
        # The kernel may have changed nothing yet.
        assert looker.look() == []
        yield session, looker
        conserved(session)


def set_link(namespace: str, name: str, **changes: Any) -> None:
    """Change an interface, as `ip link set` does."""
    with inside(namespace), IPRoute() as rtnetlink:
        rtnetlink.link("set", index=rtnetlink.link_lookup(ifname=name)[0], **changes)


def delete(namespace: str, name: str) -> None:
    """Delete an interface."""
    with inside(namespace), IPRoute() as rtnetlink:
        rtnetlink.link("del", index=rtnetlink.link_lookup(ifname=name)[0])


def add_interface(namespace: str, name: str, **more: int) -> None:
    """Make an interface that leads to another in the same namespace."""
    with inside(namespace), IPRoute() as rtnetlink:
        rtnetlink.link("add", ifname=name, kind="veth", peer={"ifname": f"{name}-peer"}, **more)


def wait_until_gone(namespace: str, name: str) -> None:
    """Wait until an interface has gone: a namespace is dismantled in the background, if nobody keeps it."""
    deadline = time.monotonic() + 10
    with inside(namespace), IPRoute() as rtnetlink:
        while rtnetlink.link_lookup(ifname=name):
            assert time.monotonic() < deadline, "somebody keeps the namespace"
            time.sleep(0.01)


def sees(session: Session, cable: Cable) -> int:
    """Put a frame on the cable; return the interface index of the one record it gives."""
    cable.send_frame(FRAME)
    [record] = collect(session, 1)
    return unpack_record(record).interface_index


def carried(cable: Cable, name: str, mode: Mode, *, tcx: bool) -> bool:
    """Return whether an interface in the cable's namespace has any program, or any filter."""
    there = Cable(cable.here, cable.there, near=name)
    return bool(filters(there)) if mode == "tc" and not tcx else bool(there.programs())


@EVERY_HOOK
def test_down_and_up(cable: Cable, mode: Mode, tcx: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program stays on an interface that goes down and comes up; both are told once."""
    with watched(cable, mode, monkeypatch, tcx=tcx) as (session, looker):
        set_link(cable.here, cable.near, state="down")
        assert looker.texts() == ["near: the interface is down"]
        assert looker.texts() == []
        set_link(cable.here, cable.near, state="up")
        assert looker.texts() == ["near: the interface is up"]
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
            assert "waiting for one of that name" in session.interfaces[0].explanation
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
        assert session.counters()[cable.near][Counter.SUBMITTED] == 2
        assert set(session.counters()) == {cable.near}


@EVERY_HOOK
def test_renamed(cable: Cable, mode: Mode, tcx: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is inspected on under the operator's name, both changes of name are told, and nothing is attached anew."""
    with watched(cable, mode, monkeypatch, tcx=tcx) as (session, looker):
        set_link(cable.here, cable.near, ifname="wan")
        assert looker.texts() == ["near: the interface is called wan now; it is inspected on, as near"]
        assert looker.texts() == []
        assert session.interface_names[sees(session, cable)] == cable.near
        set_link(cable.here, "wan", ifname=cable.near)
        assert looker.texts() == ["near: the interface has its name again"]
        assert session.interfaces[0].reattachments == 0


@EVERY_HOOK
def test_renamed_and_replaced(cable: Cable, mode: Mode, tcx: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is what the operator meant: once another interface has it, the program goes there and leaves the old."""
    with watched(cable, mode, monkeypatch, tcx=tcx) as (session, looker):
        set_link(cable.here, cable.near, ifname="wan")
        assert len(looker.look()) == 1
        assert carried(cable, "wan", mode, tcx=tcx)
        add_interface(cable.here, cable.near)
        lost, back = looker.look()
        assert lost.loss is AttachmentLoss.REPLACED
        assert back.attached is not None
        assert session.attachments[0].index == cable.device().index
        assert not carried(cable, "wan", mode, tcx=tcx)
        assert carried(cable, cable.near, mode, tcx=tcx)


def test_names_change_places(cable: Cable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two interfaces which swap their names swap their places, although each is in the other's way."""
    add_interface(cable.here, "second")
    with open_session([cable.near, "second"], mode="native", netns=cable.here) as session:
        looker = Looker(session, monkeypatch)
        near = sees(session, cable)
        for old, new in ((cable.near, "third"), ("second", cable.near), ("third", "second")):
            set_link(cable.here, old, ifname=new)
        changes = looker.look()
        assert [change.loss for change in changes[:2]] == [AttachmentLoss.REPLACED] * 2
        assert [change.attached is not None for change in changes[2:]] == [True, True]
        assert all(change.index_taken_over for change in changes[2:])
        assert sees(session, cable) == near
        assert session.interface_names[near] == "second"
        assert {name: c[Counter.SUBMITTED] for name, c in session.counters().items()} == {cable.near: 1, "second": 1}
        conserved(session)


@EVERY_HOOK
def test_renamed_to_anothers_name(cable: Cable, mode: Mode, tcx: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interface that takes the name of another which has gone is inspected under that name, and once only."""
    for name in ("first", "last"):
        add_interface(cable.here, name)
    with open_session([cable.near, "first", "last"], mode=mode, netns=cable.here, tcx=tcx) as session:
        looker = Looker(session, monkeypatch)
        near = sees(session, cable)
        delete(cable.here, "first")
        set_link(cable.here, cable.near, ifname="first")
        lost, gone, back = looker.look()
        assert (lost.state.name, lost.loss) == (cable.near, AttachmentLoss.REPLACED)
        assert (gone.state.name, gone.loss) == ("first", AttachmentLoss.DELETED)
        assert back.attached is not None
        assert (back.attached.index, back.index_taken_over) == (near, True)
        assert looker.look() == []
        assert sees(session, cable) == near
        assert session.interface_names[near] == "first"
        submitted = {name: counters[Counter.SUBMITTED] for name, counters in session.counters().items()}
        assert submitted == {cable.near: 1, "first": 1, "last": 0}
        conserved(session)


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


@pytest.mark.parametrize("mode", ["native", "generic", "tc"])
def test_moved_and_its_index_given_away(cable: Cable, mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another interface which has the index now is not taken for the one that was moved."""
    with watched(cable, mode, monkeypatch) as (session, looker):
        set_link(cable.here, cable.near, net_ns_fd=cable.there)
        add_interface(cable.here, "second", index=session.attachments[0].index)
        [moved] = looker.look()
        assert moved.loss is AttachmentLoss.MOVED
        assert Cable(cable.there, cable.there).programs() == []


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
            "near: somebody has detached the program; it is attached again at once",
        )
        assert back.attached == session.attachments[0]
        for delay in (1, 2, 4, 8):
            detach_by_force(cable, session)
            assert looker.texts() == [f"near: somebody has detached the program; it is attached again in {delay} s"]
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
        foreign = constant_program(kernel.ProgramType.XDP, XDP_PASS, "someone_elses")
        stack.callback(os.close, foreign)
        with inside(cable.here):
            link = Link.create(foreign, cable.device().index, kernel.AttachType.XDP, kernel.LinkFlag.XDP_GENERIC)
        stack.callback(link.close)
        assert [change.loss for change in looker.look()] == [AttachmentLoss.DETACHED]
        [first] = looker.look(1)
        assert isinstance(first.error, HookTakenError)
        assert first.text is not None
        assert "someone_elses" in first.text
        assert "cannot be attached again" in session.interfaces[0].explanation
        attempts = [change for second in range(300) for change in looker.look(1)]
        assert {change.text for change in attempts} == {None}
        assert all(isinstance(change.error, HookTakenError) for change in attempts)
        # 4, 8, 16 and 32 seconds, and once a minute from then on.
        assert len(attempts) == 4 + (300 - 60) // MOST_DELAY_S
        assert cable.programs() == [kernel.program_info(foreign).id]
        link.close()
        [back] = looker.look(MOST_DELAY_S)
        assert back.attached is not None
        assert sees(session, cable) == cable.device().index


@pytest.mark.parametrize("mode", ["generic", "tc"])
def test_the_others_go_on(cable: Cable, mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one interface is away the other is inspected, and counted under its own name."""
    add_interface(cable.here, "second")
    with open_session(["second", cable.near], mode=mode, netns=cable.here) as session:
        looker = Looker(session, monkeypatch)
        sees(session, cable)
        delete(cable.here, "second")
        assert [change.state.name for change in looker.look()] == ["second"]
        assert [one.interface for one in session.attachments] == [cable.near]
        sees(session, cable)
        add_interface(cable.here, "second")
        assert [change.state.name for change in looker.look()] == ["second"]
        sees(session, cable)
        assert session.counters()[cable.near][Counter.SUBMITTED] == 3
        conserved(session)


def test_two_of_three_are_away(cable: Cable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every interface keeps its own counters, wherever in the list those are which have gone."""
    for name in ("second", "third"):
        add_interface(cable.here, name)
    with open_session(["second", "third", cable.near], mode="generic", netns=cable.here) as session:
        looker = Looker(session, monkeypatch)
        sees(session, cable)
        for name in ("second", "third"):
            delete(cable.here, name)
        assert [change.loss for change in looker.look()] == [AttachmentLoss.DELETED] * 2
        sees(session, cable)
        add_interface(cable.here, "third")
        assert [change.state.name for change in looker.look()] == ["third"]
        sees(session, cable)
        submitted = {name: counters[Counter.SUBMITTED] for name, counters in session.counters().items()}
        assert submitted == {"second": 0, "third": 0, cable.near: 3}
        conserved(session)


def test_an_index_that_was_anothers(cable: Cable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packets of an interface that has the index of one that has gone are counted under its own name."""
    add_interface(cable.here, "second")
    with open_session(["second", cable.near], mode="generic", netns=cable.here) as session:
        looker = Looker(session, monkeypatch)
        index = session.attachments[0].index
        delete(cable.here, "second")
        delete(cable.here, cable.near)
        assert [change.loss for change in looker.look()] == [AttachmentLoss.DELETED] * 2
        lay(cable, index=index)
        [back] = looker.look()
        assert back.index_taken_over
        assert sees(session, cable) == index
        assert session.interface_names[index] == cable.near
        counters = session.counters()
        assert (counters["second"][Counter.SUBMITTED], counters[cable.near][Counter.SUBMITTED]) == (0, 1)
        conserved(session)


def test_an_index_that_was_anothers_and_cannot_be_had_at_once(cable: Cable, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody else holds the hook it is not forgotten that it was another's, and it counts for nobody."""
    add_interface(cable.here, "second")
    second = Cable(cable.here, cable.here, near="second", far="second-peer")
    with open_session([cable.near, "second"], mode="generic", netns=cable.here) as session:
        looker = Looker(session, monkeypatch)
        index = session.attachments[1].index
        delete(cable.here, "second")
        delete(cable.here, cable.near)
        assert len(looker.look()) == 2
        lay(cable, index=index)
        foreign = constant_program(kernel.ProgramType.XDP, XDP_PASS, "someone_elses")
        with inside(cable.here):
            link = Link.create(foreign, index, kernel.AttachType.XDP, kernel.LinkFlag.XDP_GENERIC)
        os.close(foreign)
        [refused] = looker.look()
        assert isinstance(refused.error, HookTakenError)
        link.close()
        delete(cable.here, cable.near)
        add_interface(cable.here, "second", index=index)
        gone, back = looker.look()
        assert gone.text == "near: the interface was deleted; waiting for one of that name"
        assert gone.state.explanation in gone.text
        assert back.attached is not None
        assert back.index_taken_over
        for name in (second.near, second.far):
            set_link(cable.here, name, state="up")
        wait_until_up(second)
        assert sees(session, second) == index
        assert session.counters()["second"][Counter.SUBMITTED] == 1


def test_an_interface_that_comes_and_goes_for_ever(cable: Cable, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names of old indexes are kept for a while, since findings may still come of them, but not for good."""
    monkeypatch.setattr(attachments, "_NAMES", 4)
    add_interface(cable.here, "second")
    with open_session([cable.near, "second"], mode="generic", netns=cable.here) as session:
        looker = Looker(session, monkeypatch)
        indexes = [session.attachments[1].index]
        for _ in range(6):
            delete(cable.here, "second")
            add_interface(cable.here, "second")
            looker.look()
            indexes.append(session.attachments[1].index)
        assert len(set(indexes)) == 7
        assert session.interface_names == {cable.device().index: cable.near} | dict.fromkeys(indexes[-3:], "second")


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
