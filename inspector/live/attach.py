"""Where the program goes on an interface: native XDP, generic XDP or tc; never over somebody else's program."""

from __future__ import annotations

import contextlib
import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from pyroute2.netlink.exceptions import NetlinkError

from inspector.errors import AttachError, HookTakenError, LiveError, NoSuchInterfaceError, PrivilegeError
from inspector.live import devices, kernel
from inspector.live.links import ClsactFilter, Link
from inspector.live.loader import TC_PROGRAM, XDP_PROGRAM

if TYPE_CHECKING:
    from collections.abc import Callable

    from inspector.live.devices import Device
    from inspector.live.links import Holder
    from inspector.live.loader import Program

Mode = Literal["auto", "native", "generic", "tc"]
MODES: Final = ("auto", "native", "generic", "tc")

_XDP_FLAGS: Final = {"native": kernel.LinkFlag.XDP_NATIVE, "generic": kernel.LinkFlag.XDP_GENERIC}
# The kernel's own number for "not supported", which has no name in user space.
_ENOTSUPP: Final = 524
_UNSUPPORTED: Final = (errno.EOPNOTSUPP, _ENOTSUPP)
_INGRESS_ONLY: Final = "packets arriving on the interface are seen, those it sends are not (mode tc sees both)"


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
    holders: list[Holder]

    def close(self) -> None:
        """Detach from every direction, also when one of them fails."""
        with contextlib.ExitStack() as stack:
            for holder in self.holders:
                stack.callback(holder.close)
            self.holders = []


def programs_for(mode: Mode) -> tuple[str, ...]:
    """Return the names of the programs which a mode needs loaded."""
    return (TC_PROGRAM,) if mode == "tc" else (XDP_PROGRAM,)


def attach(device: Device, program: Program, mode: Mode, netns: str | None, *, tcx: bool = True) -> Attached:
    """Attach to one interface of the calling thread's network namespace (which is `netns`).

    `tcx=False` leaves tcx out, as a kernel before 6.6 does. Raises HookTakenError when somebody else's program is
    on the hook, AttachError when the kernel refuses, NoSuchInterfaceError when the interface has just gone.
    """
    if mode == "tc":
        return _attach_tc(device, program, netns, tcx=tcx)
    if mode != "auto":
        return _attach_xdp(device, program, mode, "")
    try:
        return _attach_xdp(device, program, "native", "")
    except AttachError as refusal:
        try:
            return _attach_xdp(device, program, "generic", f", since {refusal}")
        except AttachError as second:
            raise AttachError(f"{refusal}; {second}") from second


def _attach_xdp(device: Device, program: Program, mode: str, reason: str) -> Attached:
    fd = program.programs[XDP_PROGRAM]
    try:
        link = Link.create(fd, device.index, kernel.AttachType.XDP, _XDP_FLAGS[mode])
    except OSError as error:
        raise _xdp_refusal(device, mode, error) from error
    info = kernel.program_info(fd)
    explanation = f"{_explain_xdp(device, mode)}{reason}; {_INGRESS_ONLY}"
    return Attached(Attachment(device.name, device.index, "xdp", mode, info.id, info.tag, explanation), [link])


def _explain_xdp(device: Device, mode: str) -> str:
    if mode == "generic":
        return "generic XDP: the kernel runs the program after the driver has built the packet"
    where = f"native XDP: the driver {device.driver or '(unnamed)'} runs the program"
    if device.driver == "veth":
        # Measured: the peer needs no program of its own, as no packet is sent back or redirected.
        where += "; the peer needs no program, and has segmentation offload off meanwhile"
    return where


def _xdp_refusal(device: Device, mode: str, error: OSError) -> LiveError:
    """Return the error which says why the kernel refused, and what to do."""
    name = device.name
    if error.errno in (errno.EBUSY, errno.EEXIST):
        holders = devices.find_device(name).xdp_program_ids
        if holders:
            held = ", ".join(f"{devices.describe_program(i)} in {m} mode" for m, i in holders.items())
            return HookTakenError(
                f"{name}: the XDP hook is taken by {held}; it was left alone. "
                "Use --mode tc, which runs beside it, or detach it first"
            )
        return HookTakenError(f"{name}: an interface above it carries an XDP program; attach there, or use --mode tc")
    if error.errno == errno.ENODEV:
        return NoSuchInterfaceError(f"the network interface {name} has gone")
    if error.errno == errno.EPERM:
        return PrivilegeError(f"{name}: the kernel does not allow attaching (CAP_NET_ADMIN in this namespace?)")
    if error.errno in _UNSUPPORTED:
        return AttachError(f"{name}: its driver {device.driver or '(unnamed)'} has no {mode} XDP")
    if error.errno in (errno.ERANGE, errno.EINVAL, errno.E2BIG, errno.ENOSPC, errno.ENOMEM):
        hint = f"; check its MTU ({device.mtu}), queues and offloads, or use another mode"
        return AttachError(f"{name}: its driver refuses {mode} XDP ({error.strerror}){hint}")
    return AttachError(f"{name}: {mode} XDP was refused ({error.strerror})")


def _attach_tc(device: Device, program: Program, netns: str | None, *, tcx: bool) -> Attached:
    fd = program.programs[TC_PROGRAM]
    holders: list[Holder] = []
    try:
        mode = _attach_directions(device, fd, netns, holders, tcx=tcx)
    except BaseException as error:
        for holder in holders:
            holder.close()
        if isinstance(error, (OSError, NetlinkError)):
            raise _tc_refusal(device, error) from error
        raise
    info = kernel.program_info(fd)
    life = "by links" if mode == "tcx" else "as filters of a clsact qdisc, since the kernel has no tcx"
    explanation = f"tc: on ingress and egress, {life}; other programs and filters there go on working"
    return Attached(Attachment(device.name, device.index, "tc", mode, info.id, info.tag, explanation), holders)


def _attach_directions(
    device: Device, fd: int, netns: str | None, holders: list[Holder], *, tcx: bool
) -> Literal["tcx", "clsact"]:
    """Attach to both directions, appending to `holders` as it goes; return what was used."""
    add: Callable[[Holder], None] = holders.append
    if tcx:
        try:
            # What arrives is seen before other programs may drop it, what leaves after they have.
            add(Link.create(fd, device.index, kernel.AttachType.TCX_INGRESS, kernel.LinkFlag.TCX_BEFORE))
        except OSError as error:
            # An older kernel does not know the attach type.
            if error.errno != errno.EINVAL:
                raise
        else:
            add(Link.create(fd, device.index, kernel.AttachType.TCX_EGRESS))
            return "tcx"
    add(ClsactFilter(fd, device.index, "ingress", netns))
    add(ClsactFilter(fd, device.index, "egress", netns))
    return "clsact"


def _tc_refusal(device: Device, error: Exception) -> LiveError:
    number = error.code if isinstance(error, NetlinkError) else getattr(error, "errno", None)
    if number == errno.ENODEV:
        return NoSuchInterfaceError(f"the network interface {device.name} has gone")
    if number == errno.EPERM:
        return PrivilegeError(f"{device.name}: the kernel does not allow attaching (CAP_NET_ADMIN here?)")
    return AttachError(f"{device.name}: the kernel refuses the tc program ({error})")
