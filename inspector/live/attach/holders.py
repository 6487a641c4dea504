"""Who holds a hook: the program, how it is attached, the process behind it, and how its owner takes it off.

The kernel shows links and programs to those with CAP_SYS_ADMIN; without it the program's id is all there is to say.
Processes are found by their descriptors, as /proc shows them to us: those of other PID namespaces stay unseen.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pyroute2 import IPRoute

from inspector.live.attach.links import CLSACT_HOOKS
from inspector.live.bpf import syscalls

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inspector.live.attach.devices import Device

_PROCESSES: Final = Path("/proc")
_OWN: Final = Path("/proc/self/fdinfo")
_DISPATCHER: Final = "xdp_dispatcher"
_IP_LINK_NAMES: Final = {"native": "xdpdrv", "generic": "xdpgeneric", "offloaded": "xdpoffload"}


@dataclass(frozen=True, slots=True)
class HookHolder:
    """A program on a hook: its description, and the command that detaches it."""

    text: str
    remedy: str


def describe_program(program_id: int) -> str:
    """Return name, id and tag of a program in words; the id alone where the kernel does not let us ask."""
    try:
        info = syscalls.program_info_by_id(program_id)
    except OSError:
        return f"program id {program_id}"
    return f"program {info.name or '(without a name)'} (id {info.id}, tag {info.tag})"


def find_xdp_holders(device: Device) -> list[HookHolder]:
    """Return the holders of an interface's XDP hook, as of the moment when `device` was read."""
    return [_find_xdp_holder(device, mode, program_id) for mode, program_id in device.xdp_program_ids.items()]


def _find_xdp_holder(device: Device, mode: str, program_id: int) -> HookHolder:
    program = f"{describe_program(program_id)} in {mode} mode"
    off = f"'ip link set dev {device.name} {_IP_LINK_NAMES[mode]} off'"
    links = _links()
    if links is None:
        processes = _processes_with("prog_id", str(program_id))
        return HookHolder(f"{program}{_of(processes)}", f"end what put it there, or {off}")
    if f"program {_DISPATCHER} " in program:
        inner = [describe_program(int(one["prog_id"])) for one in links if one["extended_id"] == str(program_id)]
        runs = f", which runs {', '.join(inner)}" if inner else ""
        return HookHolder(
            f"{program}, the dispatcher of libxdp{runs}",
            f"'xdp-loader unload {device.name} --all' ('xdp-loader status {device.name}' shows it)",
        )
    link_id = _link_of(links, "xdp", program_id, device)
    if link_id is not None:
        return _by_link(program, link_id)
    processes = _processes_with("prog_id", str(program_id))
    return HookHolder(f"{program}, attached by netlink{_of(processes)}", f"{off} detaches it")


def _link_of(links: list[dict[str, str]], kind: str, program_id: int, device: Device) -> str | None:
    wanted = (kind, str(program_id), str(device.index))
    found = (one["link_id"] for one in links if (one["link_type"], one["prog_id"], one.get("ifindex")) == wanted)
    return next(found, None)


def find_tc_holders(device: Device) -> list[HookHolder]:
    """Return what is on both tc hooks of an interface: tcx programs, first to run first, and filters of clsact."""
    found = []
    links = _links() or []
    for direction, program_id in _tcx_programs(device.index):
        program = f"{describe_program(program_id)} on tcx {direction}"
        there = [one for one in links if one.get("attach_type", "").endswith(f"({direction})")]
        link_id = _link_of(there, "tcx", program_id, device)
        found.append(HookHolder(program, "end what put it there") if link_id is None else _by_link(program, link_id))
    with IPRoute() as rtnetlink:
        for direction, parent in CLSACT_HOOKS.items():
            filters = rtnetlink.get_filters(index=device.index, parent=parent)
            found += [_describe_filter(device, direction, one) for one in filters if one["handle"]]
    return found


def _describe_filter(device: Device, direction: str, found: Any) -> HookHolder:
    kind, priority = found.get_attr("TCA_KIND"), found["info"] >> 16
    name = found.get_nested("TCA_OPTIONS", "TCA_BPF_NAME") if kind == "bpf" else None
    text = f"filter {name or ''} of kind {kind}, priority {priority}, on {direction}".replace("  ", " ")
    return HookHolder(text, f"'tc filter del dev {device.name} {direction} prio {priority}'")


def tcx_programs(index: int) -> list[int]:
    """Return the ids of the programs on both tcx hooks, none where the kernel has no tcx."""
    return [program_id for _, program_id in _tcx_programs(index)]


def has_tcx(index: int) -> bool:
    """Say whether the kernel has tcx."""
    try:
        syscalls.query_programs(index, syscalls.AttachType.TCX_INGRESS)
    except OSError:
        return False
    return True


def _tcx_programs(index: int) -> list[tuple[str, int]]:
    found = []
    for direction, hook in (("ingress", syscalls.AttachType.TCX_INGRESS), ("egress", syscalls.AttachType.TCX_EGRESS)):
        try:
            found += [(direction, program_id) for program_id in syscalls.query_programs(index, hook)]
        except OSError as error:
            # Linux before 6.6 does not know the hook.
            if error.errno != errno.EINVAL:
                raise
    return found


def _by_link(program: str, link_id: str) -> HookHolder:
    processes = _processes_with("link_id", link_id)
    detach = f"'bpftool link detach id {link_id}' detaches it"
    if not processes:
        return HookHolder(
            f"{program}, attached by link {link_id}, which is pinned or of a process unseen from here", detach
        )
    return HookHolder(
        f"{program}, attached by link {link_id}{_of(processes)}", f"it goes with its process, or {detach}"
    )


def _of(processes: list[str]) -> str:
    return f" of {', '.join(processes)}" if processes else ""


def _links() -> list[dict[str, str]] | None:
    """Return what the kernel shows of every link on the machine; None without CAP_SYS_ADMIN."""
    found = []
    try:
        for link_id in syscalls.link_ids():
            # It may have gone meanwhile.
            with contextlib.suppress(FileNotFoundError):
                fd = syscalls.link_open(link_id)
                try:
                    # Before Linux 6.2 the latter is not among what is shown.
                    extended = {"extended_id": str(syscalls.link_info(fd).extended_id)}
                    found.append(_read(_OWN / str(fd)) | extended)
                finally:
                    os.close(fd)
    except PermissionError:
        return None
    return found


def _read(path: Path) -> dict[str, str]:
    """Return the lines `key: value` of a descriptor (proc_pid_fdinfo(5))."""
    pairs = (line.partition(":") for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return {key: value.strip() for key, _, value in pairs}


def _processes_with(key: str, value: str) -> list[str]:
    """Return the processes, as `name (process 12)`, which have a descriptor of BPF with that line."""
    found = []
    for process in sorted((p for p in _PROCESSES.iterdir() if p.name.isdigit()), key=lambda p: int(p.name)):
        # It may end while it is looked at, and it may be none of our business.
        with contextlib.suppress(OSError):
            if any(_read(process / "fdinfo" / fd.name).get(key) == value for fd in _bpf_descriptors(process)):
                name = (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
                found.append(f"{name} (process {process.name})")
    return found


def _bpf_descriptors(process: Path) -> Iterator[Path]:
    for fd in (process / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if str(fd.readlink()).startswith("anon_inode:bpf"):
                yield fd
