"""Checks before attaching: capabilities, kernel, tool chain, interface, hook. Nothing is changed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from inspector.errors import AttachError, InspectorError, ToolchainError
from inspector.live.attach import devices, drivers, hooks
from inspector.live.attach.drivers import XdpFeature
from inspector.live.attach.holders import find_tc_holders, find_xdp_holders, has_tcx
from inspector.live.attach.hooks import Plan
from inspector.live.attach.links import HALF_QDISC, has_half_qdisc
from inspector.live.bpf import loader
from inspector.live.process.capabilities import missing_capabilities
from inspector.live.process.namespaces import inside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inspector.live.attach.devices import Device
    from inspector.live.attach.hooks import Way
    from inspector.model import Mode

Level = Literal["ok", "warn", "fail"]

_LOCKDOWN: Final = Path("/sys/kernel/security/lockdown")
_TESTED_KERNEL: Final = (6, 1)
# bpf_xdp_load_bytes and fragments in XDP.
_LEAST_KERNEL: Final = (5, 18)
_WAYS: Final = {
    "native": "native XDP, reported by the driver",
    "generic": "generic XDP",
    "tc": "tc, on ingress and egress",
    "tc_ingress": "tc, on ingress",
}
# Beyond this a packet has more than one buffer, and a driver must support that.
_ONE_BUFFER_MTU: Final = 3498


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report: name of the check, result, explanation."""

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
        return Check("capabilities", "fail", f"missing: {', '.join(missing)}; run as root, or grant them")
    return Check("capabilities", "ok", "all required capabilities are held")


def _check_kernel(release: str) -> Check:
    major, minor = (int("".join(filter(str.isdigit, part)) or 0) for part in (*release.split("."), "0")[:2])
    if (major, minor) < _LEAST_KERNEL:
        return Check(
            "kernel", "fail", f"Linux {release}: too old; 5.18 is required, 6.1 is the oldest supported version"
        )
    if (major, minor) < _TESTED_KERNEL:
        return Check("kernel", "warn", f"Linux {release}: older than 6.1, the oldest supported version")
    return Check("kernel", "ok", f"Linux {release}")


def _check_lockdown(path: Path) -> Check:
    try:
        text = path.read_text(encoding="ascii")
    except OSError:
        return Check("lockdown", "ok", "not reported by this kernel")
    state = text.partition("[")[2].partition("]")[0] or text.strip()
    if state == "none":
        return Check("lockdown", "ok", "off")
    return Check("lockdown", "ok", f"{state}: allows reading packets")


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
    yield Check("interface", "ok" if device.up else "warn", facts + ("" if device.up else "; interface down"))
    features = drivers.find_xdp_features(device.index)
    try:
        plan = hooks.plan(device, mode)
    except AttachError as error:
        yield Check("mode", "fail", str(error))
        # What it would be, if it could.
        plan = Plan(("tc",) if mode == "tc" else ("native",))
    else:
        yield _check_mode(device, mode, plan, features)
    way = plan.ways[0]
    if device.mtu > _ONE_BUFFER_MTU and way == "native":
        yield _check_mtu(device, features)
    yield from _check_stacking(device, way)
    yield _check_offloads(device, way)
    yield from _check_hook(device, way)


def _check_mode(device: Device, mode: Mode, plan: Plan, features: XdpFeature | None) -> Check:
    """Say how attaching would be done, by the kind of interface and by what its driver says."""
    way = plan.ways[0]
    cost = hooks.describe_cost(device, way)
    remarks = (*plan.left_out, plan.preferred, cost, hooks.describe_view(device))
    reasons = "".join(f"; {why}" for why in remarks if why)
    level: Level = "warn" if plan.left_out or cost else "ok"
    if way == "native" and features is None:
        return Check("mode", level, f"native XDP if the driver supports it (not reported by this kernel){reasons}")
    if way == "native" and features is not None and not features & XdpFeature.BASIC:
        if mode == "native":
            return Check("mode", "fail", f"the driver has no native XDP; use --mode generic or tc{reasons}")
        return Check("mode", level, f"generic XDP: the driver has no native XDP{reasons}")
    return Check("mode", level, f"{_WAYS[way]}{reasons}")


def _check_mtu(device: Device, features: XdpFeature | None) -> Check:
    if features is not None and features & XdpFeature.FRAGMENTS:
        text = f"{device.mtu}: packets span several buffers; the driver reports support for that in native XDP"
        return Check("mtu", "ok", text)
    text = (
        f"{device.mtu}: native XDP needs a driver with multi-buffer support; if the driver refuses, use --mode generic"
    )
    return Check("mtu", "warn", text)


def _check_stacking(device: Device, way: Way) -> Iterator[Check]:
    """Say where else an interface's packets pass, and where to attach."""
    found = devices.find_neighbours(device)
    if found.members:
        names = devices.names_of(found.members)
        text = f"its members are {names}: attach to them or to {device.name}; on both, packets are seen twice"
        yield Check("stacking", "warn", text)
    if found.below:
        text = f"its lower interface is {found.below.name}: here only packets of {device.name} are seen"
        native = "; native XDP needs the lower interface" if way == "native" else ""
        yield Check("stacking", "ok", text + native)
    for other in found.above:
        what = f"it is a member of {other.name}" if other.index == device.master else f"it carries {other.name}"
        yield Check(
            "stacking", "ok", f"{what}: packets of {other.name} are seen here too; attach to only one of the two"
        )
    if not (found.members or found.below or found.above):
        yield Check("stacking", "ok", "no upper, lower or member interfaces")


def _check_offloads(device: Device, way: Way) -> Check:
    offloads = drivers.find_offloads(device.name)
    if offloads is None:
        return Check("offloads", "ok", "not reported by the driver")
    merging = {"lro": offloads.large_receive, "rx-gro-hw": offloads.hardware_gro}
    switches = [name for name, on in merging.items() if on]
    if switches and way not in hooks.TC_WAYS:
        text = (
            f"{' and '.join(switches)} on: the device merges packets. Generic XDP switches this off permanently. "
            "Native XDP makes some drivers switch it off with a link reset; other drivers refuse to attach. "
            f"Switch it off at a time of your choice with 'ethtool -K {device.name} {' off '.join(switches)} off'"
        )
        return Check("offloads", "warn", text)
    merged = "packets are merged" if switches or offloads.gro else "packets are not merged"
    stripped = "removed by the device" if offloads.vlan_stripping else "kept in the packet"
    return Check("offloads", "ok", f"{merged}; VLAN tags are {stripped}; both can be read")


def _check_hook(device: Device, way: Way) -> Iterator[Check]:
    """Say who is on the hooks already."""
    for holder in find_xdp_holders(device):
        if way in hooks.TC_WAYS:
            yield Check("hook", "ok", f"XDP: {holder.text}; tc sees the packets that this program passes")
        else:
            text = f"XDP: {holder.text}; it is never replaced; use --mode tc, or detach it first: {holder.remedy}"
            yield Check("hook", "fail", text)
    if not device.xdp_program_ids:
        yield Check("hook", "ok", "no XDP program attached")
    if way not in hooks.TC_WAYS:
        for carrier in devices.find_neighbours(device).above:
            for holder in find_xdp_holders(carrier):
                text = (
                    f"XDP on the upper interface {carrier.name}: {holder.text}; none is allowed below it; use --mode tc"
                )
                yield Check("hook", "fail", text)
        return
    for holder in find_tc_holders(device):
        yield Check("hook", "ok", f"tc: {holder.text}; it keeps working")
    if has_half_qdisc(device.index):
        yield Check("hook", "warn" if has_tcx(device.index) else "fail", f"tc: {HALF_QDISC}")
