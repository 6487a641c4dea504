"""The laboratory's NAT64: an IPv6 client in front of the gateway, and tayga, a real translator, inside it.

    client 2001:0:a0b:86e8:388e:fcb:4337:1876
      asks 2002:a01:86e8:8001::a0b:202 -- clients0 [gateway: tayga] servers0 -- sees 10.1.64.1 ask 10.11.2.2

The client's address and the prefix are those of the original case, a Teredo client of a
DirectAccess gateway. The IPv6 address is one more of the client's, beside its IPv4 address.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from pathlib import Path
from typing import Final, NamedTuple

from inspector.errors import LaboratoryError
from inspector.lab import processes, topology
from inspector.live.process.namespaces import inside

PREFIX: Final = "2002:a01:86e8:8001::/96"
CLIENT_ADDRESS: Final = "2001:0:a0b:86e8:388e:fcb:4337:1876"
# What servers see of that client: tayga is stateless, every IPv6 host has an IPv4 address of its own.
TRANSLATED_CLIENT_ADDRESS: Final = "10.1.64.1"

_GATEWAY_ADDRESS: Final = "2001:0:a0b:86e8::1"
_TRANSLATED_NETWORK: Final = "10.1.64.0/24"
_TRANSLATOR_ADDRESS: Final = "10.1.64.254"
DEVICE: Final = "nat64"
_LINK_PREFIX_LENGTH: Final = 64
# Duplicate address detection would keep an address unusable for a second or more (RFC 4862 section 5.4).
_IFA_F_NODAD: Final = 0x02  # linux/if_addr.h
_TUN: Final = Path("/dev/net/tun")


class Address(NamedTuple):
    """An IPv6 address of a host's interface."""

    host: str
    interface: str
    address: str


_ADDRESSES: Final = (
    Address("client", "uplink", CLIENT_ADDRESS),
    Address("gateway", topology.CLIENT_PORT, _GATEWAY_ADDRESS),
)


def mapped(address: str) -> str:
    """Return the IPv6 address at which the client reaches an IPv4 address (RFC 6052 section 2.2, prefix of 96 bits)."""
    return str(IPv6Address(int(IPv6Network(PREFIX).network_address) + int(IPv4Address(address))))


VIRTUAL_ADDRESS: Final = mapped(topology.VIRTUAL_ADDRESS)


def check_requirements() -> None:
    """Raise LaboratoryError when tayga is missing, or the kernel has no tun devices."""
    processes.find_program("tayga", "tayga")
    if not _TUN.exists():
        raise LaboratoryError(f"there is no {_TUN}: NAT64 needs tun devices (modprobe tun)")


def write_settings(folder: Path) -> Path:
    """Make a folder with a tayga.conf; return its path."""
    folder.mkdir(mode=0o700)
    settings = folder / "tayga.conf"
    settings.write_text(
        f"tun-device {DEVICE}\n"
        f"ipv4-addr {_TRANSLATOR_ADDRESS}\n"
        f"prefix {PREFIX}\n"
        f"map {TRANSLATED_CLIENT_ADDRESS} {CLIENT_ADDRESS}\n"
    )
    return settings


def device_command(settings: Path) -> list[str]:
    """Return the command that makes the tun device, so that there is one to route to; it goes with its namespace."""
    return [processes.find_program("tayga", "tayga"), "--mktun", "--config", str(settings)]


def translator_command(settings: Path) -> list[str]:
    """Return the command that translates, in the foreground."""
    return [processes.find_program("tayga", "tayga"), "--nodetach", "--config", str(settings)]


def configure(names: dict[str, str]) -> None:
    """Give addresses and routes to client, gateway and balancer; the tun device exists.

    `names` gives each host's namespace name. Raises OSError or pyroute2's NetlinkError (a kernel without IPv6).
    """
    with inside(names["gateway"]):
        Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")
    for host, interface, address in _ADDRESSES:
        with topology.links_of(names[host]) as routes:
            (index,) = routes.link_lookup(ifname=interface)
            routes.addr("add", index=index, address=address, prefixlen=_LINK_PREFIX_LENGTH, flags=_IFA_F_NODAD)
    with topology.links_of(names["client"]) as routes:
        routes.route("add", family=socket.AF_INET6, dst=PREFIX, gateway=_GATEWAY_ADDRESS)
    with topology.links_of(names["gateway"]) as routes:
        (index,) = routes.link_lookup(ifname=DEVICE)
        routes.link("set", index=index, state="up")
        routes.route("add", family=socket.AF_INET6, dst=PREFIX, oif=index)
        routes.route("add", dst=_TRANSLATED_NETWORK, oif=index)
    with topology.links_of(names["balancer"]) as routes:
        routes.route("add", dst=_TRANSLATED_NETWORK, gateway=topology.GATEWAY_ADDRESS)
