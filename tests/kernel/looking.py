"""Looking after a session on demand, and what is done to its interfaces meanwhile."""

from __future__ import annotations

import contextlib
import errno
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from inspector.live.attach import watch
from inspector.live.attach.watch import Change, Watch
from inspector.live.process.namespaces import inside
from inspector.record import unpack_record
from tests.kernel import frames
from tests.kernel.conftest import Cable, wait_for_carrier
from tests.kernel.live import attached, collect, conserved, filters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inspector.live.session import Session
    from inspector.model import Mode

FRAME = frames.FRAMES["response"]


class Looker:
    """Looks when it is told to, instead of once a second; its clock stands still until it is moved."""

    def __init__(self, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(watch, "time", SimpleNamespace(monotonic=lambda: self.now))
        self._watch = Watch(session.places)
        with pytest.MonkeyPatch.context() as only_here:
            # What start does, but for the thread.
            only_here.setattr(threading, "Thread", lambda **_: SimpleNamespace(start=lambda: None))
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


def rename(namespace: str, old: str, new: str) -> None:
    """Give an interface another name; before Linux 6.2 that takes one which is down for a moment."""
    try:
        set_link(namespace, old, ifname=new)
    except NetlinkError as error:
        if error.code != errno.EBUSY:
            raise
        set_link(namespace, old, state="down")
        set_link(namespace, old, ifname=new)
        set_link(namespace, new, state="up")
        wait_for_carrier(namespace, new)


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
