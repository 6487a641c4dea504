"""What holds a program on a hook: a bpf_link, or a tc filter where the kernel has no link for it.

A link is gone with its last descriptor, so also when the process is killed. A filter is not: its name carries
process id, start time and the namespace of the process id, and filters of processes that are gone are removed on the
next attachment from the same such namespace. Whether one of another namespace runs cannot be known. A number is in it
too, since a process may have several.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
from pathlib import Path
from typing import Any, Final, Protocol

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from inspector.errors import AttachError, LiveError, NoSuchNamespaceError
from inspector.live.bpf import syscalls
from inspector.live.process.namespaces import inside

_ETH_P_ALL: Final = 0x0003
_EEXIST: Final = 17
_CLSACT_PARENT: Final = 0xFFFFFFF1
_FILTER_NAME: Final = "epm-inspector"
HALF_QDISC: Final = (
    "an 'ingress' qdisc blocks clsact, so that egress cannot be hooked; use another mode, or replace that qdisc by "
    "clsact ('tc qdisc show' lists it)"
)
CLSACT_HOOKS: Final = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}
_numbers: Final = itertools.count()


class ProgramLink(Protocol):
    """An attachment of a program to a hook; `close` detaches."""

    def alive(self) -> bool:
        """Return whether the program is still on the hook, wherever the interface may be now."""

    def close(self) -> None:
        """Detach; doing it twice is harmless."""


class Link:
    """A bpf_link, by its descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd
        self._program_id = syscalls.link_info(fd).program_id

    @classmethod
    def create(
        cls,
        program_fd: int,
        interface_index: int,
        attach_type: syscalls.AttachType,
        flags: syscalls.LinkFlag = syscalls.LinkFlag.NONE,
    ) -> Link:
        """Attach; OSError with the kernel's errno where it refuses."""
        return cls(syscalls.link_create(program_fd, interface_index, attach_type, flags))

    def alive(self) -> bool:
        """Return whether the program is still on the hook, wherever the interface may be now."""
        if self._fd is None:
            return False
        info = syscalls.link_info(self._fd)
        return bool(info.interface_index) and info.program_id == self._program_id

    def close(self) -> None:
        """Detach; doing it twice is harmless."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def _start_time(process_id: int) -> str | None:
    """Return when a process started, in ticks since boot (proc(5), field 22); None if there is none."""
    try:
        text = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()[19]


def _own_name() -> str:
    process_id = os.getpid()
    return f"{_FILTER_NAME}:{process_id}:{_start_time(process_id)}:{_pid_namespace()}:{next(_numbers)}"


def _pid_namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


def _is_stale(name: str) -> bool:
    """Say whether a filter's name is of an inspector which does not run any more."""
    parts = name.split(":")
    if len(parts) != 5 or parts[0] != _FILTER_NAME or not parts[1].isdigit() or parts[3] != str(_pid_namespace()):
        return False
    return _start_time(int(parts[1])) != parts[2]


class ClsactFilter:
    """A bpf filter in direct-action mode on a clsact qdisc (tc-bpf(8)); the qdisc is made when missing.

    `behind` names what is before it in spite of all, or is empty.
    """

    def __init__(self, program_fd: int, interface_index: int, direction: str, netns: str | None) -> None:
        self._index = interface_index
        self._parent = CLSACT_HOOKS[direction]
        self._netns = netns
        self._name = _own_name()
        self._attached = False
        with IPRoute() as rtnetlink:
            self._made_qdisc = self._make_qdisc(rtnetlink)
            _remove_filters(rtnetlink, interface_index, self._parent, _is_stale)
            priority, self.behind = _first_place(rtnetlink, interface_index, self._parent)
            rtnetlink.tc(
                "add-filter",
                "bpf",
                interface_index,
                fd=program_fd,
                name=self._name,
                parent=self._parent,
                protocol=_ETH_P_ALL,
                classid=1,
                direct_action=True,
                prio=priority,
            )
            self._attached = True

    def _make_qdisc(self, rtnetlink: Any) -> bool:
        try:
            rtnetlink.tc("add", "clsact", self._index)
        except NetlinkError as error:
            if error.code != _EEXIST:
                raise
            if has_half_qdisc(self._index):
                raise AttachError(HALF_QDISC) from error
            return False
        return True

    def alive(self) -> bool:
        """Return whether the filter is still there, as far as can be known: its namespace may have lost its name.

        It goes when its interface moves to another namespace.
        """
        if not self._attached:
            return False
        try:
            with inside(self._netns), IPRoute() as rtnetlink:
                return any(name == self._name for _, _, name in list_filters(rtnetlink, self._index, self._parent))
        except NetlinkError:
            # There is no such interface.
            return False
        except LiveError:
            return True

    def close(self) -> None:
        """Remove the filter, and the qdisc if this made it and nobody else has a filter there."""
        if not self._attached:
            return
        self._attached = False
        with contextlib.suppress(NoSuchNamespaceError), inside(self._netns), IPRoute() as rtnetlink:
            try:
                _remove_filters(rtnetlink, self._index, self._parent, lambda name: name == self._name)
                if self._made_qdisc and _is_unused(rtnetlink, self._index):
                    rtnetlink.tc("del", "clsact", self._index)
            except NetlinkError:
                if _exists(rtnetlink, self._index):
                    raise


def _is_unused(rtnetlink: Any, index: int) -> bool:
    """Return whether an interface has a clsact qdisc, and nothing on it."""
    if all(qdisc.get_attr("TCA_KIND") != "clsact" for qdisc in rtnetlink.get_qdiscs(index=index)):
        return False
    return not any(list_filters(rtnetlink, index, parent) for parent in CLSACT_HOOKS.values())


def has_half_qdisc(index: int) -> bool:
    """Say whether the older qdisc of ingress is in clsact's place: it takes filters of egress for its own."""
    with IPRoute() as rtnetlink:
        return any(qdisc.get_attr("TCA_KIND") == "ingress" for qdisc in rtnetlink.get_qdiscs(index=index))


def _first_place(rtnetlink: Any, index: int, parent: int) -> tuple[int, str]:
    """Return the priority which makes a filter the first one, and what is before it all the same.

    By 0 the kernel chooses one, which need not be before all others. Where somebody has the very first, a bpf filter of
    all protocols takes another program before its own; filters of other kinds or protocols do not.
    """
    heads = {
        message["info"] >> 16: message
        for message in rtnetlink.get_filters(index=index, parent=parent)
        if not message["handle"] and not message.get_attr("TCA_CHAIN")
    }
    lowest = min(heads, default=1)
    if lowest > 1 or not heads:
        return lowest - 1, ""
    kind, protocol = heads[1].get_attr("TCA_KIND"), socket.ntohs(heads[1]["info"] & 0xFFFF)
    if (kind, protocol) == ("bpf", _ETH_P_ALL):
        return 1, ""
    return next(priority for priority in itertools.count(2) if priority not in heads), f"a filter of kind {kind}"


def _exists(rtnetlink: Any, index: int) -> bool:
    return any(link["index"] == index for link in rtnetlink.get_links())


def list_filters(rtnetlink: Any, index: int, parent: int) -> list[tuple[int, int, str]]:
    """Return (priority, handle, name) of the filters of one clsact hook; the name is empty for other kinds."""
    found = []
    for message in rtnetlink.get_filters(index=index, parent=parent):
        options = message.get_attr("TCA_OPTIONS")
        # The first message of each priority has no handle: it is the list's head.
        if not message["handle"]:
            continue
        name = options.get_attr("TCA_BPF_NAME") if message.get_attr("TCA_KIND") == "bpf" and options else ""
        found.append((message["info"] >> 16, message["handle"], name or ""))
    return found


def _remove_filters(rtnetlink: Any, index: int, parent: int, chosen: Any) -> None:
    """Remove the filters whose names `chosen` accepts, and look again whether they are gone."""
    for priority, handle, name in list_filters(rtnetlink, index, parent):
        if chosen(name):
            rtnetlink.tc("del-filter", "bpf", index, handle, parent=parent, prio=priority, protocol=_ETH_P_ALL)
    left = [name for _, _, name in list_filters(rtnetlink, index, parent) if chosen(name)]
    if left:
        raise OSError(f"tc filters could not be removed: {', '.join(left)}")
