"""What happens to several interfaces at once: each keeps its name and its counters, whatever becomes of the others."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from inspector.errors import AttachmentLoss, HookTakenError
from inspector.live.attach import interfaces
from inspector.live.attach.links import Link
from inspector.live.bpf import syscalls
from inspector.live.process.namespaces import inside
from inspector.live.session import open_session
from inspector.record import KernelCounter
from tests.kernel.conftest import Cable, constant_program, lay, wait_until_up
from tests.kernel.live import EVERY_HOOK, XDP_PASS, conserved
from tests.kernel.looking import Looker, add_interface, delete, rename, sees, set_link

if TYPE_CHECKING:
    from inspector.model import Mode

pytestmark = [pytest.mark.kernel]


def test_names_change_places(cable: Cable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two interfaces which swap their names swap their places, although each is in the other's way."""
    add_interface(cable.here, "second")
    with open_session([cable.near, "second"], mode="native", netns=cable.here) as session:
        looker = Looker(session, monkeypatch)
        near = sees(session, cable)
        for old, new in ((cable.near, "third"), ("second", cable.near), ("third", "second")):
            rename(cable.here, old, new)
        changes = looker.look()
        assert [change.loss for change in changes[:2]] == [AttachmentLoss.REPLACED] * 2
        assert [change.attached is not None for change in changes[2:]] == [True, True]
        assert all(change.index_taken_over for change in changes[2:])
        assert sees(session, cable) == near
        assert session.interface_names[near] == "second"
        assert {name: c[KernelCounter.SUBMITTED] for name, c in session.counters().items()} == {
            cable.near: 1,
            "second": 1,
        }
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
        rename(cable.here, cable.near, "first")
        lost, gone, back = looker.look()
        assert (lost.state.name, lost.loss) == (cable.near, AttachmentLoss.REPLACED)
        assert (gone.state.name, gone.loss) == ("first", AttachmentLoss.DELETED)
        assert back.attached is not None
        assert (back.attached.index, back.index_taken_over) == (near, True)
        assert looker.look() == []
        assert sees(session, cable) == near
        assert session.interface_names[near] == "first"
        submitted = {name: counters[KernelCounter.SUBMITTED] for name, counters in session.counters().items()}
        assert submitted == {cable.near: 1, "first": 1, "last": 0}
        conserved(session)


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
        assert session.counters()[cable.near][KernelCounter.SUBMITTED] == 3
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
        submitted = {name: counters[KernelCounter.SUBMITTED] for name, counters in session.counters().items()}
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
        assert (counters["second"][KernelCounter.SUBMITTED], counters[cable.near][KernelCounter.SUBMITTED]) == (0, 1)
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
        foreign = constant_program(syscalls.ProgramType.XDP, XDP_PASS, "someone_elses")
        with inside(cable.here):
            link = Link.create(foreign, index, syscalls.AttachType.XDP, syscalls.LinkFlag.XDP_GENERIC)
        os.close(foreign)
        [refused] = looker.look()
        assert isinstance(refused.error, HookTakenError)
        link.close()
        delete(cable.here, cable.near)
        add_interface(cable.here, "second", index=index)
        gone, back = looker.look()
        assert gone.text == "near: interface deleted; waiting for an interface of this name"
        assert gone.state.explanation in gone.text
        assert back.attached is not None
        assert back.index_taken_over
        for name in (second.near, second.far):
            set_link(cable.here, name, state="up")
        wait_until_up(second)
        assert sees(session, second) == index
        assert session.counters()["second"][KernelCounter.SUBMITTED] == 1


def test_an_interface_that_comes_and_goes_for_ever(cable: Cable, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names of old indexes are kept for a while, since findings may still come of them, but not for good."""
    monkeypatch.setattr(interfaces, "_NAMES", 4)
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
