"""Keeps the program on the interfaces: a thread that checks them once a second.

Nothing announces that a link was detached, so the kernel is asked: whether the link still holds the program, and which
interface has the name now. That is a few system calls for each interface, and no netlink message unless something has
changed. The namespace of the interfaces is entered by its name each time, and never held: a namespace that is held
would not go when it is removed, nor give its devices back.

The name is what the operator meant. So an interface that is renamed is inspected on, until another has its name; and
one that has gone, or was moved to another namespace, is waited for.
"""

from __future__ import annotations

import contextlib
import fcntl
import queue
import socket
import struct
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pyroute2.netlink.exceptions import NetlinkError

from inspector.errors import AttachmentLoss, LiveError, NoSuchInterfaceError
from inspector.live.attach.devices import LONGEST_NAME, find_device, find_index, find_name, raw_name
from inspector.live.bpf import syscalls
from inspector.live.process.namespaces import inside

if TYPE_CHECKING:
    from collections.abc import Callable

    from inspector.live.attach.attachment import Attachment
    from inspector.live.attach.interfaces import Attachments, InterfaceState

INTERVAL_S: Final = 1.0
MOST_DELAY_S: Final = 60.0
# A program that has stayed for so long is put back at once when it is taken off.
_STABLE_S: Final = 60.0
# An attempt which hangs in a driver is not waited for beyond this when all ends.
_END_S: Final = 10.0

_GONE: Final = "interface deleted; waiting for an interface of this name"

_SIOCGIFFLAGS: Final = 0x8913  # linux/sockios.h
_IFF_UP: Final = 1


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happened to an interface, with its state afterwards.

    `text` is a line for the operator, None where it was said before; `loss` is set where the program went, `attached`
    where it came back, `error` where it could not; `index_taken_over` says that an index has become another name's.
    """

    state: InterfaceState
    text: str | None
    loss: AttachmentLoss | None = None
    attached: Attachment | None = None
    error: LiveError | None = None
    index_taken_over: bool = False


@dataclass(slots=True)
class _Place:
    """State of one interface between two checks; times are of time.monotonic."""

    called: str
    up: bool | None = None
    attached_at: float = 0.0
    delay_s: float = 0.0
    retry_at: float = 0.0
    refusal: str = ""

    def wait(self, now: float) -> None:
        """Double the delay before the next attempt."""
        self.delay_s = min(max(2 * self.delay_s, INTERVAL_S), MOST_DELAY_S)
        self.retry_at = now + self.delay_s

    def hurry(self) -> None:
        """Reset the delay: the next attempt is due now."""
        self.delay_s = self.retry_at = 0.0


class Watch:
    """The thread that looks after `attachments`, and what it has seen; `take` is for one other thread."""

    def __init__(self, attachments: Attachments) -> None:
        self._attachments = attachments
        self._places = [_Place(state.name) for state in attachments.states]
        self._changes: queue.SimpleQueue[Change] = queue.SimpleQueue()
        self._ends = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, once everything is attached."""
        with contextlib.suppress(LiveError), inside(self._attachments.netns):
            for place in self._places:
                place.attached_at, place.up = time.monotonic(), _is_up(place.called)
        self._thread = threading.Thread(target=self._run, name="interface-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a second call does nothing."""
        self._ends.set()
        if self._thread is not None:
            self._thread.join(_END_S)

    def take(self) -> list[Change]:
        """Return what has changed since the last call."""
        return [self._changes.get() for _ in range(self._changes.qsize())]

    def _run(self) -> None:
        while not self._ends.wait(INTERVAL_S):
            self.look()

    def look(self) -> None:
        """Check every interface, first for losses (a loss may free a name), then for what can be attached."""
        try:
            with inside(self._attachments.netns):
                for step in (self._check, self._restore):
                    for number in range(len(self._places)):
                        self._guarded(step, number)
        except LiveError as error:
            reason = str(error)
            for number in range(len(self._places)):
                self._guarded(lambda number: self._check_from_outside(number, reason), number)

    def _check_from_outside(self, number: int, reason: str) -> None:
        """Check the program without entering the namespace. One whose name was removed exists while it is used."""
        if self._attachments.states[number].attachment is not None and not self._attachments.alive(number):
            self._lose(
                number, AttachmentLoss.DELETED, f"program lost, and the network namespace is not accessible: {reason}"
            )

    def _guarded(self, step: Callable[[int], None], number: int) -> None:
        """Run a step for one interface. An error is reported once, and does not affect the other interfaces."""
        try:
            step(number)
        except (OSError, NetlinkError, LiveError) as error:
            place = self._places[number]
            if str(error) != place.refusal:
                place.refusal = str(error)
                self._tell(number, f"monitoring failed: {error}")

    def _check(self, number: int) -> None:
        """Check that the program is on the right interface; detach it from an interface that no longer has the name."""
        state, place = self._attachments.states[number], self._places[number]
        if state.attachment is None:
            return
        # In this order: an interface has no name any more before it loses its program.
        alive = self._attachments.alive(number)
        index = find_index(state.name)
        if not alive:
            self._explain_death(number, same=index == state.index)
        elif index == state.index:
            self._note_name(number, state.name)
            self._note_flags(number)
        elif index is not None:
            self._lose(number, AttachmentLoss.REPLACED, "another interface has this name now")
        elif (called := find_name(state.index)) is not None and _carries(called, state.attachment):
            if any(called == other.name for other in self._attachments.states):
                text = f"renamed to {called}, which is inspected under that name"
                self._lose(number, AttachmentLoss.REPLACED, text)
            else:
                self._note_name(number, called)
        elif self._attachments.alive(number):
            place.hurry()
            self._lose(
                number,
                AttachmentLoss.MOVED,
                "interface moved to another network namespace; waiting for its return",
            )
        else:
            self._explain_death(number, same=False)

    def _explain_death(self, number: int, *, same: bool) -> None:
        place, now = self._places[number], time.monotonic()
        if not same:
            place.hurry()
            self._lose(number, AttachmentLoss.DELETED, _GONE)
            return
        if now - place.attached_at >= _STABLE_S:
            place.hurry()
        else:
            place.wait(now)
        when = f"in {place.delay_s:g} s" if place.delay_s else "at once"
        self._lose(number, AttachmentLoss.DETACHED, f"another process detached the program; attaching again {when}")

    def _lose(self, number: int, loss: AttachmentLoss, why: str) -> None:
        place = self._places[number]
        place.called, place.up, place.refusal = self._attachments.states[number].name, None, ""
        try:
            self._attachments.detach(number, why)
        finally:
            self._tell(number, why, loss=loss)

    def _note_name(self, number: int, called: str) -> None:
        place, name = self._places[number], self._attachments.states[number].name
        if called == place.called:
            return
        place.called = called
        if called == name:
            self._tell(number, f"renamed back to {name}")
        else:
            self._tell(number, f"renamed to {called}; still inspected and reported as {name}")

    def _note_flags(self, number: int) -> None:
        place = self._places[number]
        up = _is_up(self._attachments.states[number].name)
        if up is not None and place.up is not None and up != place.up:
            self._tell(number, f"interface {'up' if up else 'down'}")
        place.up = up

    def _restore(self, number: int) -> None:
        """Attach to the interface which has the name now, if there is one and its time has come."""
        state, place = self._attachments.states[number], self._places[number]
        now = time.monotonic()
        if state.attachment is not None or self._ends.is_set():
            return
        if find_index(state.name) is None:
            self._forget_refusal(number)
            return
        if now < place.retry_at:
            return
        try:
            taken_over = self._attachments.attach(number, find_device(state.name))
        except NoSuchInterfaceError:
            return
        except LiveError as error:
            place.wait(now)
            self._refuse(number, error)
            return
        place.attached_at, place.refusal = time.monotonic(), ""
        self._attachments.count_reattachment(number)
        made = self._attachments.states[number].attachment
        if made is not None:
            self._tell(number, f"attached again: {made.explanation}", attached=made, index_taken_over=taken_over)

    def _forget_refusal(self, number: int) -> None:
        """Replace the reason for not attaching by "deleted", if another one was reported."""
        place = self._places[number]
        if place.refusal:
            place.refusal = ""
            place.hurry()
            self._attachments.explain(number, _GONE)
            self._tell(number, _GONE)

    def _refuse(self, number: int, error: LiveError) -> None:
        """Report why attaching failed, unless the reason is the one reported last."""
        place, reason = self._places[number], str(error)
        text = f"attaching again failed: {reason}; retrying (back-off up to {MOST_DELAY_S:g} s)"
        self._attachments.explain(number, f"attaching again failed: {reason}")
        self._tell(number, text if reason != place.refusal else None, error=error)
        place.refusal = reason

    def _tell(
        self,
        number: int,
        text: str | None,
        *,
        loss: AttachmentLoss | None = None,
        attached: Attachment | None = None,
        error: LiveError | None = None,
        index_taken_over: bool = False,
    ) -> None:
        state = self._attachments.states[number]
        line = None if text is None else f"{state.name}: {text}"
        self._changes.put(Change(state, line, loss, attached, error, index_taken_over))


def _is_up(name: str) -> bool | None:
    """Return whether an interface is up; None where it has just gone."""
    if len(name) > LONGEST_NAME and "\\" not in name:
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        try:
            # struct ifreq: the name, then the flags.
            answer = fcntl.ioctl(channel, _SIOCGIFFLAGS, struct.pack("16s24x", raw_name(name)))
        except OSError:
            return None
    return bool(struct.unpack_from("H", answer, 16)[0] & _IFF_UP)


def _carries(name: str, attachment: Attachment) -> bool:
    """Return whether an interface has the program of an attachment: another may have its index."""
    if attachment.mode == "clsact":
        # The filters were found there, under the index.
        return True
    try:
        if attachment.hook == "xdp":
            return attachment.program_id in find_device(name).xdp_program_ids.values()
        # Whatever the directions, it is on this one.
        index = find_index(name) or 0
        return attachment.program_id in syscalls.query_programs(index, syscalls.AttachType.TCX_INGRESS)
    except (OSError, NoSuchInterfaceError):
        return False
