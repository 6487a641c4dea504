"""Attach the program to an interface: native XDP, generic XDP or tc; never over somebody else's program."""

from __future__ import annotations

import contextlib
import errno
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, get_args

from pyroute2.netlink.exceptions import NetlinkError

from inspector.errors import AttachError, HookTakenError, LiveError, NoSuchInterfaceError, PrivilegeError
from inspector.live.attach import devices, hooks
from inspector.live.attach.holders import find_xdp_holders
from inspector.live.attach.hooks import programs_for
from inspector.live.attach.links import ClsactFilter, Link
from inspector.live.bpf import syscalls
from inspector.model import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from inspector.live.attach.devices import Device
    from inspector.live.attach.hooks import Way
    from inspector.live.attach.links import ProgramLink
    from inspector.live.bpf.loader import Program

__all__ = ["MODES", "Attached", "Attachment", "attach", "programs_for"]

MODES: Final[tuple[Mode, ...]] = get_args(Mode)

_DIRECTIONS: Final = ("egress", "ingress")
_TCX_HOOKS: Final = {"ingress": syscalls.AttachType.TCX_INGRESS, "egress": syscalls.AttachType.TCX_EGRESS}
_XDP_FLAGS: Final = {"native": syscalls.LinkFlag.XDP_NATIVE, "generic": syscalls.LinkFlag.XDP_GENERIC}
# The kernel's own number for "not supported", which has no name in user space.
_ENOTSUPP: Final = 524
_UNSUPPORTED: Final = (errno.EOPNOTSUPP, _ENOTSUPP)
_INGRESS_ONLY: Final = "only arriving packets are seen (--mode tc sees both directions)"


@dataclass(frozen=True, slots=True)
class Attachment:
    """One program on one interface. `hook` is xdp or tc; `mode` native, generic, tcx or clsact."""

    interface: str
    index: int
    hook: str
    mode: str
    program_id: int
    program_tag: str
    explanation: str


@dataclass(slots=True)
class Attached:
    """An attachment with what keeps it: closing detaches."""

    attachment: Attachment
    links: list[ProgramLink]

    def explained(self, why: str) -> Attached:
        """Return the same with one more reason in its explanation, if there is any."""
        if why:
            self.attachment = replace(self.attachment, explanation=f"{self.attachment.explanation}; {why}")
        return self

    def close(self) -> None:
        """Detach from every direction, also when one of them fails."""
        with contextlib.ExitStack() as stack:
            for link in self.links:
                stack.callback(link.close)
            self.links = []


def attach(device: Device, program: Program, mode: Mode, netns: str | None, *, tcx: bool = True) -> Attached:
    """Attach to one interface of the calling thread's network namespace (which is `netns`).

    `tcx=False` leaves tcx out, as a kernel before 6.6 does. Raises HookTakenError when somebody else's program is
    on the hook, AttachError when the kernel refuses or no hook sees the interface's packets, NoSuchInterfaceError
    when the interface has just gone.
    """
    plan = hooks.plan(device, mode)
    reasons = [f"{device.name}: {why}" for why in plan.left_out]
    for way in plan.ways:
        try:
            attached = _attach(device, program, way, netns, reasons, tcx=tcx)
            return attached if way != plan.ways[0] else attached.explained(plan.preferred)
        except AttachError as refusal:
            reasons.append(str(refusal))
    raise AttachError("; ".join(dict.fromkeys(reasons)))


def _attach(
    device: Device, program: Program, way: Way, netns: str | None, reasons: list[str], *, tcx: bool
) -> Attached:
    """Attach in one way; `reasons` say why not in the ways before it."""
    name = hooks.program_for(device, way)
    if name not in program.programs:
        # Another interface has come by its name since the program was compiled.
        raise AttachError(
            f"{device.name}: the link type has changed since the inspector started; restart the inspector"
        )
    fd = program.programs[name]
    hook, mode, how, seen, links = (
        _hold_tc(device, fd, netns, way, tcx=tcx) if way in hooks.TC_WAYS else _hold_xdp(device, fd, way)
    )
    since = f", since {', '.join(reasons)}" if reasons else ""
    cost = hooks.describe_cost(device, way)
    explanation = "; ".join(filter(None, (how + since, cost, seen, hooks.describe_view(device))))
    info = syscalls.program_info(fd)
    return Attached(Attachment(device.name, device.index, hook, mode, info.id, info.tag, explanation), links)


class _Held(NamedTuple):
    """What keeps a program on a hook, and in words how, and what is seen there."""

    hook: str
    mode: str
    how: str
    seen: str
    links: list[ProgramLink]


def _hold_xdp(device: Device, fd: int, mode: str) -> _Held:
    try:
        link = Link.create(fd, device.index, syscalls.AttachType.XDP, _XDP_FLAGS[mode])
    except OSError as error:
        raise _xdp_refusal(device, mode, error) from error
    # What loops back arrives, all of it.
    seen = "" if device.link_type == hooks.LOOPBACK_TYPE else _INGRESS_ONLY
    return _Held("xdp", mode, _explain_xdp(device, mode), seen, [link])


def _explain_xdp(device: Device, mode: str) -> str:
    if mode == "generic":
        return "generic XDP: the kernel runs the program after the driver has built the packet"
    where = f"native XDP: the driver {device.driver or '(unnamed)'} runs the program"
    # Measured: the peer needs no program of its own, as no packet is sent back or redirected.
    return f"{where}; the peer needs no program" if device.kind == "veth" else where


def _xdp_refusal(device: Device, mode: str, error: OSError) -> LiveError:
    """Return the error which says why the kernel refused, and what to do."""
    name = device.name
    if error.errno in (errno.EBUSY, errno.EEXIST):
        return _hook_taken(devices.find_device(name))
    if error.errno == errno.ENODEV:
        return NoSuchInterfaceError(f"{name}: the interface no longer exists")
    if error.errno == errno.EPERM:
        return PrivilegeError(f"{name}: the kernel does not allow attaching; check CAP_NET_ADMIN in this namespace")
    if error.errno in _UNSUPPORTED:
        return AttachError(f"{name}: its driver {device.driver or '(unnamed)'} has no {mode} XDP")
    if error.errno in (errno.ERANGE, errno.EINVAL, errno.E2BIG, errno.ENOSPC, errno.ENOMEM):
        hint = f"; check its MTU ({device.mtu}), queues and offloads, or use another mode"
        return AttachError(f"{name}: its driver refuses {mode} XDP ({error.strerror}){hint}")
    return AttachError(f"{name}: {mode} XDP was refused ({error.strerror})")


def _hook_taken(device: Device) -> HookTakenError:
    """Return the error which says who holds the XDP hook of an interface, and what to do."""
    found, where = find_xdp_holders(device), "the XDP hook is taken by"
    if not found:
        carriers = [one for one in devices.find_neighbours(device).above if one.xdp_program_ids]
        found = [holder for one in carriers for holder in find_xdp_holders(one)]
        where = f"the upper interface {devices.names_of(carriers)} carries"
    if not found:
        # A macvlan in a container, for instance.
        return HookTakenError(
            f"{device.name}: an upper interface in another network namespace carries an XDP program; "
            "attach to that interface, or use --mode tc"
        )
    held = ", ".join(holder.text for holder in found)
    remedies = ", ".join(holder.remedy for holder in found)
    return HookTakenError(
        f"{device.name}: {where} {held}; it was left in place. "
        f"Use --mode tc, which sees the packets that this program passes, or detach it first: {remedies}"
    )


def _hold_tc(device: Device, fd: int, netns: str | None, way: Way, *, tcx: bool) -> _Held:
    # What loops back leaves and arrives once each: it is seen when it arrives.
    arriving = way == "tc_ingress" or device.link_type == hooks.LOOPBACK_TYPE
    directions = _DIRECTIONS[1:] if arriving else _DIRECTIONS
    links: list[ProgramLink] = []
    try:
        mode = _attach_directions(device, fd, netns, directions, links, tcx=tcx)
    except BaseException as error:
        for link in links:
            link.close()
        if isinstance(error, (OSError, NetlinkError, AttachError)):
            raise _tc_refusal(device, error) from error
        raise
    life = "by links" if mode == "tcx" else "as filters of a clsact qdisc, since the kernel has no tcx"
    seen = f"{_INGRESS_ONLY}; " if way == "tc_ingress" else ""
    seen += "other programs and filters keep working"
    if behind := [link.behind for link in links if isinstance(link, ClsactFilter) and link.behind]:
        seen += f"; packets consumed by {', '.join(behind)} at priority 1 are not seen"
    return _Held("tc", mode, f"tc: on {' and '.join(sorted(directions, reverse=True))}, {life}", seen, links)


def _attach_directions(
    device: Device, fd: int, netns: str | None, directions: Sequence[str], links: list[ProgramLink], *, tcx: bool
) -> Literal["tcx", "clsact"]:
    """Attach to these directions, appending to `links` as it goes; return what was used.

    Always before other programs: one of them may end the chain for a packet, by TC_ACT_OK for instance, and those
    behind it would not see that.
    """
    add: Callable[[ProgramLink], None] = links.append
    try:
        if tcx:
            for direction in directions:
                add(Link.create(fd, device.index, _TCX_HOOKS[direction], syscalls.LinkFlag.TCX_BEFORE))
            return "tcx"
    except OSError as error:
        # An older kernel does not know the attach type.
        if error.errno != errno.EINVAL or links:
            raise
    for direction in directions:
        add(ClsactFilter(fd, device.index, direction, netns))
    return "clsact"


def _tc_refusal(device: Device, error: Exception) -> LiveError:
    if isinstance(error, AttachError):
        return AttachError(f"{device.name}: {error}")
    number = error.code if isinstance(error, NetlinkError) else getattr(error, "errno", None)
    if number == errno.ENODEV:
        return NoSuchInterfaceError(f"{device.name}: the interface no longer exists")
    if number == errno.EPERM:
        return PrivilegeError(
            f"{device.name}: the kernel does not allow attaching; check CAP_NET_ADMIN in this namespace"
        )
    return AttachError(f"{device.name}: the kernel refuses the tc program ({error})")
