"""What stands in the way of attaching, told before the interface is touched; and the proof that it works."""

from __future__ import annotations

import errno
import itertools
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from inspector.errors import InspectorError, NoSuchInterfaceError, ToolchainError
from inspector.live import devices, kernel, loader
from inspector.live.namespaces import inside
from inspector.live.privileges import missing_capabilities
from inspector.live.session import Session, open_session
from inspector.record import Counter, unpack_row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inspector.live.attach import Mode
    from inspector.live.devices import Device

Level = Literal["ok", "warn", "fail"]

_LOCKDOWN: Final = Path("/sys/kernel/security/lockdown")
_TESTED_KERNEL: Final = (6, 1)
# bpf_xdp_load_bytes and fragments in XDP.
_LEAST_KERNEL: Final = (5, 18)
_WATCH_S: Final = 1.0
# Beyond this a packet has more than one buffer, and a driver must support that.
_ONE_BUFFER_MTU: Final = 3498

# One map request's first segment, to the endpoint mapper, between addresses that are for documentation
# (RFC 5737): Ethernet, IPv4 of 48 bytes, TCP with push and acknowledgment, 8 bytes of payload.
_PROOF_SEQUENCE: Final = 0x45504D31
_PROOF_FRAME: Final = bytes.fromhex(
    "0200000000010200000000020800"
    "450000300001400040060000c0000201c0000202"
    "c3500087" + f"{_PROOF_SEQUENCE:08x}" + "00000001501801000000000005000b0310000000"
)


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report: what was looked at, how it is, and in words."""

    name: str
    level: Level
    text: str


def run_checks(interface: str, mode: Mode = "auto", netns: str | None = None) -> Iterator[Check]:
    """Yield what would stand in the way of attaching to an interface. Nothing is changed."""
    yield _check_capabilities(netns)
    yield _check_kernel(os.uname().release)
    yield _check_lockdown(_LOCKDOWN)
    yield _check_toolchain()
    try:
        with inside(netns):
            yield from _check_device(devices.find_device(interface), mode)
    except InspectorError as error:
        yield Check("interface", "fail", str(error))


def _check_capabilities(netns: str | None) -> Check:
    missing = missing_capabilities(namespace=netns is not None)
    if missing:
        return Check("capabilities", "fail", f"missing: {', '.join(missing)}; run it as root, or grant them")
    return Check("capabilities", "ok", "all that are needed are held")


def _check_kernel(release: str) -> Check:
    major, minor = (int("".join(filter(str.isdigit, part)) or 0) for part in (*release.split("."), "0")[:2])
    if (major, minor) < _LEAST_KERNEL:
        return Check("kernel", "fail", f"Linux {release}: 5.18 is the least, 6.1 the least that is supported")
    if (major, minor) < _TESTED_KERNEL:
        return Check("kernel", "warn", f"Linux {release}: older than 6.1, the least that is supported")
    return Check("kernel", "ok", f"Linux {release}")


def _check_lockdown(path: Path) -> Check:
    try:
        text = path.read_text(encoding="ascii")
    except OSError:
        return Check("lockdown", "ok", "this kernel has none, or does not show it")
    state = text.partition("[")[2].partition("]")[0] or text.strip()
    if state == "none":
        return Check("lockdown", "ok", "off")
    return Check("lockdown", "ok", f"{state}: the program reads packets only, which this allows")


def _check_toolchain() -> Check:
    try:
        loader.source_folder()
        loader.header_folders()
        return Check("toolchain", "ok", f"BPF Compiler Collection {loader.bcc_version()}, headers found")
    except ToolchainError as error:
        return Check("toolchain", "fail", str(error))


def _check_device(device: Device, mode: Mode) -> Iterator[Check]:
    kind = device.kind or ("hardware" if device.driver else "built in")
    facts = f"{device.name}: {kind}, driver {device.driver or 'unnamed'}, MTU {device.mtu}, {device.rx_queues} queue(s)"
    yield Check("interface", "ok" if device.up else "warn", facts + ("" if device.up else "; it is down"))
    yield _check_stacked(device)
    if device.mtu > _ONE_BUFFER_MTU and mode in ("auto", "native"):
        text = f"{device.mtu}: native XDP needs a driver with multi-buffer support; others refuse, and generic works"
        yield Check("mtu", "warn", text)
    yield _check_offloads(device, mode)
    yield from _check_hook(device, mode)


def _check_stacked(device: Device) -> Check:
    if device.master:
        text = "it is part of a bridge, bond or team; its own hook sees its packets before that does"
        return Check("stacking", "ok", text)
    if device.kind in ("bond", "team", "bridge"):
        text = f"a {device.kind}: packets are seen once more here than on its members; attach to one or the other"
        return Check("stacking", "warn", text)
    return Check("stacking", "ok", "it stands by itself")


def _check_offloads(device: Device, mode: Mode) -> Check:
    offloads = devices.offloads(device.name)
    if offloads is None:
        return Check("offloads", "ok", "the driver does not say")
    if offloads.large_receive and mode != "tc":
        text = "large receive offload is on: attaching XDP switches it off, which some drivers do by a link reset"
        return Check("offloads", "warn", text)
    stripped = "taken off by the device" if offloads.vlan_stripping else "left in the packet"
    return Check("offloads", "ok", f"no large receive offload; VLAN tags are {stripped}: both are read")


def _check_hook(device: Device, mode: Mode) -> Iterator[Check]:
    for held_mode, program_id in device.xdp_program_ids.items():
        text = f"XDP, {held_mode} mode: {devices.describe_program(program_id)}"
        if mode == "tc":
            yield Check("hook", "ok", f"{text}; tc runs beside it, after it")
        else:
            yield Check("hook", "fail", f"{text}; it is never replaced: use --mode tc, or detach it first")
    if not device.xdp_program_ids:
        yield Check("hook", "ok", "no XDP program on it")
    if mode == "tc":
        for program_id in _tcx_programs(device.index):
            yield Check("hook", "ok", f"tc: {devices.describe_program(program_id)}; it goes on working")


def _tcx_programs(index: int) -> list[int]:
    """Return the ids of the programs on both tcx hooks, none where the kernel has no tcx."""
    found = []
    for hook in (kernel.AttachType.TCX_INGRESS, kernel.AttachType.TCX_EGRESS):
        try:
            found += kernel.query_programs(index, hook)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
    return found


def prove(interface: str, mode: Mode = "auto", netns: str | None = None, *, tunnels: bool = False) -> list[Check]:
    """Attach, show that a packet is counted and recorded, watch for a second, detach, and look again.

    Nothing is sent: the packet runs through the program by the kernel's test call. Raises what `open_session` raises.
    """
    with open_session([interface], mode=mode, netns=netns, tunnels=tunnels) as session:
        attachment = session.attachments[0]
        checks = [Check("attach", "ok", attachment.explanation), _prove_record(session), _watch(session, interface)]
    checks.append(_prove_detached(interface, attachment.program_id, netns))
    return checks


def _total(session: Session, counter: Counter) -> int:
    return sum(counters[counter] for counters in session.counters().values())


def _packets(session: Session, interface: str) -> int:
    counters = session.counters()[interface]
    return counters[Counter.PACKETS_TO_SERVER] + counters[Counter.PACKETS_FROM_SERVER]


def _prove_record(session: Session) -> Check:
    before = _total(session, Counter.SUBMITTED)
    run = kernel.run_program(session.program_fd, _PROOF_FRAME)
    after = _total(session, Counter.SUBMITTED)
    if run.data != _PROOF_FRAME:
        return Check("program", "fail", "the program changed a packet")
    # Real packets may be counted meanwhile.
    if after <= before:
        return Check("program", "fail", f"a test packet was not counted ({before} before, {after} after)")
    deadline = time.monotonic() + _WATCH_S
    while time.monotonic() < deadline:
        for row in itertools.chain.from_iterable(session.poll(_WATCH_S)):
            segment = unpack_row(row)
            if segment.sequence == _PROOF_SEQUENCE and segment.payload == _PROOF_FRAME[-8:]:
                return Check("program", "ok", "a test packet was counted, recorded and read back, and not changed")
    return Check("program", "fail", "a test packet was counted, but its record did not arrive")


def _watch(session: Session, interface: str) -> Check:
    before = _packets(session, interface)
    deadline = time.monotonic() + _WATCH_S
    while (left := deadline - time.monotonic()) > 0:
        session.poll(left)
    seen = _packets(session, interface) - before
    if not seen:
        return Check("traffic", "ok", f"no packet of an endpoint mapper within {_WATCH_S:g} s; that can be normal")
    return Check("traffic", "ok", f"{seen} packets of endpoint mappers within {_WATCH_S:g} s")


def _prove_detached(interface: str, program_id: int, netns: str | None) -> Check:
    with inside(netns):
        try:
            device = devices.find_device(interface)
        except NoSuchInterfaceError as error:
            return Check("detach", "warn", str(error))
        left = [*device.xdp_program_ids.values(), *_tcx_programs(device.index)]
    if program_id in left:
        return Check("detach", "fail", f"program id {program_id} is still on {interface}")
    return Check("detach", "ok", "the program is gone again")
