"""Which hooks of an interface see its packets, how those begin, and so: which ways of attaching are worth trying.

What is said here of kinds of interfaces was measured (tests/kernel/test_devices.py does it again): a program can be
attached to hooks which no packet ever passes, and an inspector that sees nothing must say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from inspector.errors import AttachError
from inspector.live.attach.devices import find_neighbours, names_of
from inspector.live.bpf.loader import TC_BARE_PROGRAM, TC_PROGRAM, XDP_BARE_PROGRAM, XDP_PROGRAM
from inspector.model import Mode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from inspector.live.attach.devices import Device

Way = Literal["native", "generic", "tc", "tc_ingress"]

# linux/if_arp.h: link types of Ethernet and of what has its header, and of what has none before the IP header.
LOOPBACK_TYPE: Final = 772
_ETHERNET_TYPES: Final = (1, LOOPBACK_TYPE)
_BARE_TYPES: Final = {
    512: "PPP",
    519: "raw IP",
    768: "IP in IP",
    769: "IP in IPv6",
    776: "SIT",
    778: "GRE",
    823: "GRE in IPv6",
    0xFFFE: "none",
}
# linux/if_link.h: IPVLAN_MODE_L3S
_IPVLAN_L3S: Final = 2
_ORDER: Final[dict[Mode, tuple[Way, ...]]] = {
    "auto": ("native", "generic"),
    "native": ("native",),
    "generic": ("generic",),
    "tc": ("tc",),
}
TC_WAYS: Final[tuple[Way, ...]] = ("tc", "tc_ingress")
# Bulk TCP toward a veth with a program, as a part of the rate without one (docs/performance.md, `veth_bulk_*`): without
# segmentation offload a packet is 1,500 bytes and not 64 KiB, and generic XDP wants a packet in one buffer.
_VETH_BULK: Final[dict[Way, str]] = {"native": "0.2", "generic": "0.5"}
_VETH_COST: Final[dict[Way, str]] = {
    "native": f"native XDP turns the peer's segmentation offload off: bulk TCP at {_VETH_BULK['native']} of its rate",
    "generic": f"generic XDP copies large packets: bulk TCP at {_VETH_BULK['generic']} of its rate",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """Ways to attach, to be tried in this order, why others are left out, and why the first one is preferred."""

    ways: tuple[Way, ...]
    left_out: tuple[str, ...] = ()
    preferred: str = ""


def is_bare(device: Device) -> bool:
    """Say whether an interface's packets begin with the IP header; AttachError where with neither that nor Ethernet's.

    True of tun, WireGuard, PPP and tunnels of IP packets. Such a packet has no tags either.
    """
    if device.link_type in _ETHERNET_TYPES:
        return False
    if device.link_type in _BARE_TYPES:
        return True
    raise AttachError(
        f"{device.name}: link type {device.link_type} (linux/if_arp.h) is not supported: packets must begin with an "
        "Ethernet or IP header; attach to another interface on the path"
    )


def program_for(device: Device, way: Way) -> str:
    """Return the name of the program which reads an interface's packets; AttachError as of `is_bare`."""
    if is_bare(device):
        return TC_BARE_PROGRAM if way in TC_WAYS else XDP_BARE_PROGRAM
    return TC_PROGRAM if way in TC_WAYS else XDP_PROGRAM


def plan(device: Device, mode: Mode) -> Plan:
    """Return how to attach to an interface. AttachError, with what to do instead, where no hook sees its packets."""
    is_bare(device)
    if mode == "auto" and device.kind == "veth":
        # What arrives, as with XDP: two ports of a gateway show each packet once.
        return Plan(
            ("tc_ingress", "generic"), preferred=f"on a veth {'; '.join(_VETH_COST.values())}; tc costs neither"
        )
    blind = {way: why for way in ("native", "generic", "tc") if (why := _why_blind(device, way))}
    wanted = _ORDER[mode]
    if mode == "auto" and all(way in blind for way in wanted):
        wanted = ("native", "generic", "tc")
    ways = tuple(way for way in wanted if way not in blind)
    left_out = tuple(dict.fromkeys(blind[way] for way in wanted if way in blind))
    if not ways:
        raise AttachError(f"{device.name}: {'; '.join(left_out)}")
    return Plan(ways, left_out)


def describe_cost(device: Device, way: Way) -> str:
    """Return what a way of attaching costs the interface's other traffic, with the figure; '' where that is nothing."""
    return _VETH_COST.get(way, "") if device.kind == "veth" else ""


def programs_for(devices: Iterable[Device], mode: Mode) -> tuple[str, ...]:
    """Return the names of the programs which attaching to these interfaces may need; AttachError as of `plan`."""
    return tuple(
        dict.fromkeys(program_for(device, way) for device in devices for way in plan(device, mode).ways),
    )


def _why_blind(device: Device, way: Way) -> str:
    """Return why a hook sees nothing of an interface, or reports it as another's; empty where it sees its packets."""
    if device.kind == "vrf":
        return f"hooks of a VRF see no packets, those of its members do; attach to {_members(device)}"
    if device.kind == "ipvlan" and device.operation == _IPVLAN_L3S:
        return f"hooks of an ipvlan in mode l3s see no arriving packets; attach to {_below(device)}"
    if device.kind in ("dummy", "ifb") and way != "tc":
        return f"no packets arrive on a device of kind {device.kind}; use --mode tc, which sees the packets sent to it"
    if device.kind == "bond" and way == "native":
        return (
            "native XDP on a bond runs in its members, which would report the packets; "
            f"for native XDP attach to {_members(device)}"
        )
    return ""


def _members(device: Device) -> str:
    return names_of(find_neighbours(device).members) or "its members (none yet)"


def _below(device: Device) -> str:
    below = find_neighbours(device).below
    return below.name if below else "its lower interface"


def describe_view(device: Device) -> str:
    """Return what an interface's hooks see of its packets where that is less, or other, than one may think; or ''."""
    if device.kind == "bridge":
        ports = names_of(find_neighbours(device).members) or "none yet"
        return f"on a bridge only traffic of this machine is seen; attach to its ports ({ports}) for bridged traffic"
    if is_bare(device):
        return f"packets begin with the IP header (link type {_BARE_TYPES[device.link_type]})"
    return ""
