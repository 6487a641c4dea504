"""Network interfaces: what they are, and which XDP program they carry. Read-only.

Interface facts come over rtnetlink (pyroute2), driver and offloads by the ethtool requests of SIOCETHTOOL.
Everything is asked in the network namespace of the calling thread.
"""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from inspector.errors import NoSuchInterfaceError
from inspector.live import kernel

if TYPE_CHECKING:
    from inspector.live.kernel import ProgramInfo

# linux/sockios.h, linux/ethtool.h
_SIOCETHTOOL: Final = 0x8946
_GET_DRIVER: Final = 0x03
_GET_FLAGS: Final = 0x25
_DRIVER_INFO_BYTES: Final = 196
_FLAG_RX_VLAN: Final = 1 << 8
_FLAG_LRO: Final = 1 << 15
_IFF_UP: Final = 1


@dataclass(frozen=True, slots=True)
class Device:
    """One interface. `kind` is rtnetlink's (veth, bridge, ...), empty for hardware; `master` is an index or 0."""

    name: str
    index: int
    kind: str
    driver: str
    up: bool
    mtu: int
    rx_queues: int
    master: int
    xdp_program_ids: dict[str, int]


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


def find_device(name: str) -> Device:
    """Return the interface of that name; raise NoSuchInterfaceError."""
    try:
        with IPRoute() as rtnetlink:
            link = rtnetlink.link("get", ifname=name)[0]
    except (NetlinkError, IndexError) as error:
        raise NoSuchInterfaceError(f"there is no network interface {name!r} ('ip link' shows them)") from error
    return Device(
        name=name,
        index=int(link["index"]),
        kind=link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") or "",
        driver=driver_name(name),
        up=bool(link["flags"] & _IFF_UP),
        mtu=int(link.get_attr("IFLA_MTU") or 0),
        rx_queues=int(link.get_attr("IFLA_NUM_RX_QUEUES") or 1),
        master=int(link.get_attr("IFLA_MASTER") or 0),
        xdp_program_ids=_xdp_programs(link),
    )


def _ethtool(name: str, request: bytes) -> bytes | None:
    """Return the request's buffer as the driver filled it; None where the driver does not know it."""
    buffer = bytearray(request)
    # struct ifreq: the name, then a pointer to the buffer.
    view = (ctypes.c_char * len(buffer)).from_buffer(buffer)
    ifreq = struct.pack("16sP16x", name.encode(), ctypes.addressof(view))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        try:
            fcntl.ioctl(channel, _SIOCETHTOOL, ifreq)
        except OSError:
            return None
    return bytes(buffer)


def driver_name(name: str) -> str:
    """Return the driver's name, or an empty string."""
    answer = _ethtool(name, struct.pack("I", _GET_DRIVER) + bytes(_DRIVER_INFO_BYTES - 4))
    return answer[4:36].split(b"\0")[0].decode(errors="replace") if answer else ""


@dataclass(frozen=True, slots=True)
class Offloads:
    """Offloads which change what a hook sees: merging of packets in hardware, VLAN tags taken off."""

    large_receive: bool
    vlan_stripping: bool


def offloads(name: str) -> Offloads | None:
    """Return the offloads in force, or None where the driver does not say."""
    answer = _ethtool(name, struct.pack("II", _GET_FLAGS, 0))
    if answer is None:
        return None
    flags = struct.unpack_from("I", answer, 4)[0]
    return Offloads(bool(flags & _FLAG_LRO), bool(flags & _FLAG_RX_VLAN))


def describe_program(program_id: int) -> str:
    """Return name, id and tag of a program in words; the id alone where the kernel does not let us ask."""
    try:
        info: ProgramInfo = kernel.program_info_by_id(program_id)
    except OSError:
        return f"program id {program_id}"
    return f"program {info.name or '(without a name)'!s} (id {info.id}, tag {info.tag})"
