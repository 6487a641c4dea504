"""Network interfaces: what they are, what is above and below them, and which XDP program they carry. Read-only.

Facts come over rtnetlink (pyroute2), the driver's name by the ethtool request of SIOCETHTOOL. Everything is asked in
the network namespace of the calling thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from inspector.errors import NoSuchInterfaceError
from inspector.escape import display_name

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST_NAME: Final = 15

# linux/sockios.h, linux/ethtool.h
_SIOCETHTOOL: Final = 0x8946
_GET_DRIVER: Final = 0x03
_DRIVER_INFO_BYTES: Final = 196
_IFF_UP: Final = 1
# Of these, what the kernel calls the link is the other end.
_PAIRS: Final = ("veth", "netkit")


@dataclass(frozen=True, slots=True)
class Device:
    """One interface. `kind` is rtnetlink's (veth, bridge, ...), empty for hardware; `link_type` is its ARPHRD_*.

    `name` is printable: what the kernel has for it may be any bytes but white space, colon and slash.

    `master` is the index of the bridge, bond or the like which it is part of, `below` that of the interface which
    carries it (a VLAN's, a macvlan's); 0 where there is none in this namespace. `operation` is the mode of an ipvlan.
    """

    name: str
    index: int
    kind: str
    driver: str
    up: bool
    mtu: int
    rx_queues: int
    master: int
    xdp_program_ids: dict[str, int]
    link_type: int
    below: int = 0
    operation: int | None = None


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Interfaces which share packets with one: those it consists of, those it is part of or carries, the one below."""

    members: tuple[Device, ...] = ()
    above: tuple[Device, ...] = ()
    below: Device | None = None


def _xdp_programs(link: Any) -> dict[str, int]:
    """Return the XDP programs of a link message: mode (native, generic, offloaded) to program id."""
    xdp = link.get_attr("IFLA_XDP")
    if xdp is None:
        return {}
    programs = {}
    attributes = {"native": "DRV", "generic": "SKB", "offloaded": "HW"}
    for mode, letters in attributes.items():
        program_id = xdp.get_attr(f"IFLA_XDP_{letters}_PROG_ID")
        if program_id:
            programs[mode] = int(program_id)
    return programs


def _device(link: Any) -> Device:
    """Return what a link message says."""
    raw = _raw_name(link)
    kind = link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") or ""
    # The index of an interface in another namespace says nothing here.
    is_carried_here = kind not in _PAIRS and link.get_attr("IFLA_LINK_NETNSID") is None
    return Device(
        name=display_name(raw),
        index=int(link["index"]),
        kind=kind,
        driver=driver_name(raw),
        up=bool(link["flags"] & _IFF_UP),
        mtu=int(link.get_attr("IFLA_MTU") or 0),
        rx_queues=int(link.get_attr("IFLA_NUM_RX_QUEUES") or 1),
        master=int(link.get_attr("IFLA_MASTER") or 0),
        xdp_program_ids=_xdp_programs(link),
        link_type=int(link["ifi_type"]),
        below=int(link.get_attr("IFLA_LINK") or 0) if is_carried_here else 0,
        operation=link.get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA", "IFLA_IPVLAN_MODE"),
    )


def _raw_name(link: Any) -> bytes:
    """Return the name in a link message, which pyroute2 leaves as bytes where it is no UTF-8."""
    name: str | bytes = link.get_attr("IFLA_IFNAME")
    return name if isinstance(name, bytes) else name.encode()


def find_device(name: str) -> Device:
    """Return the interface of that name, which may also be written as `Device.name` has it; NoSuchInterfaceError."""
    with IPRoute() as rtnetlink:
        with contextlib.suppress(NetlinkError, IndexError, UnicodeEncodeError):
            return _device(rtnetlink.link("get", ifname=name)[0])
        shown = display_name(os.fsencode(name))
        for link in rtnetlink.get_links() if "\\" in shown else ():
            if display_name(_raw_name(link)) == shown:
                return _device(link)
    raise NoSuchInterfaceError(f"no network interface is named {name!r} ('ip link' lists them)")


def find_index(name: str) -> int | None:
    """Return the index of the interface of that name, None where there is none: fast where it is an ordinary name."""
    try:
        # Only netlink takes longer names, which an interface may have besides its own.
        is_ordinary = len(name) <= LONGEST_NAME and "\\" not in name
        return socket.if_nametoindex(name) if is_ordinary else find_device(name).index
    except (OSError, NoSuchInterfaceError):
        return None


def find_name(index: int) -> str | None:
    """Return the name of an index as `Device.name` has it, None where there is none."""
    try:
        return display_name(os.fsencode(socket.if_indextoname(index)))
    except OSError:
        return None


def raw_name(name: str) -> bytes:
    """Return what the kernel calls the interface of that name. Raises OSError where there is none."""
    if "\\" not in name:
        return name.encode()
    return os.fsencode(socket.if_indextoname(find_index(name) or 0))


def find_neighbours(device: Device) -> Neighbours:
    """Return the interfaces of this namespace which share packets with one, each list by index."""
    with IPRoute() as rtnetlink:
        others = [_device(link) for link in rtnetlink.get_links() if link["index"] != device.index]
    return Neighbours(
        members=tuple(other for other in others if other.master == device.index),
        above=tuple(other for other in others if other.below == device.index or other.index == device.master),
        below=next((other for other in others if other.index == device.below), None),
    )


def names_of(found: Iterable[Device]) -> str:
    """Return the names of interfaces as a command line takes them."""
    return " ".join(device.name for device in found)


def driver_name(name: bytes) -> str:
    """Return the name of an interface's driver, or an empty string."""
    buffer = bytearray(struct.pack("I", _GET_DRIVER) + bytes(_DRIVER_INFO_BYTES - 4))
    # struct ifreq: the name, then a pointer to the buffer.
    view = (ctypes.c_char * len(buffer)).from_buffer(buffer)
    ifreq = struct.pack("16sP16x", name, ctypes.addressof(view))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        try:
            fcntl.ioctl(channel, _SIOCETHTOOL, ifreq)
        except OSError:
            return ""
    return bytes(buffer[4:36]).split(b"\0")[0].decode(errors="replace")
