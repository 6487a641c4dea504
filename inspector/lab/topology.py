"""What the laboratory looks like: hosts, cables, addresses, routes. Plain data and the one way to build it.

    client 10.1.1.1 -- clients0 [gateway] servers0 -- [balancer: 10.11.2.2 becomes 10.11.2.7] -- server 10.11.2.7
                                                                                               -- spare 10.11.2.8

The virtual address belongs to no host: the balancer translates it before it routes, as an
appliance in front of real servers does, and never looks into the RPC payload. The spare server is a bare host
with a cable of its own, for scenarios with two servers.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from pyroute2 import IPRoute, netns

from inspector.live.process.namespaces import inside

if TYPE_CHECKING:
    from collections.abc import Iterator

HOSTS: Final = ("client", "gateway", "balancer", "server", "spare")
ROUTERS: Final = ("gateway", "balancer")

CLIENT_ADDRESS: Final = "10.1.1.1"
VIRTUAL_ADDRESS: Final = "10.11.2.2"
SERVER_ADDRESS: Final = "10.11.2.7"
SPARE_ADDRESS: Final = "10.11.2.8"
# The balancer's, on the servers' side.
POOL_ADDRESS: Final = "10.11.2.1"
# The gateway's, on the servers' side.
GATEWAY_ADDRESS: Final = "10.11.1.1"

CLIENT_PORT: Final = "clients0"
SERVER_PORT: Final = "servers0"
PORTS: Final = (CLIENT_PORT, SERVER_PORT)
"""The gateway's ports, which the inspector watches."""
PREFIX_LENGTH: Final = 24


class CableEnd(NamedTuple):
    """One end of a veth pair: which host, the interface's name there, its IPv4 address."""

    host: str
    interface: str
    address: str
    prefix_length: int = PREFIX_LENGTH


class Route(NamedTuple):
    """One IPv4 route of a host."""

    host: str
    destination: str
    gateway: str


CABLES: Final = (
    (CableEnd("client", "uplink", CLIENT_ADDRESS), CableEnd("gateway", CLIENT_PORT, "10.1.1.254")),
    (CableEnd("gateway", SERVER_PORT, GATEWAY_ADDRESS), CableEnd("balancer", "uplink", "10.11.1.2")),
    (CableEnd("balancer", "pool", POOL_ADDRESS), CableEnd("server", "uplink", SERVER_ADDRESS)),
    (CableEnd("balancer", "pool2", POOL_ADDRESS, 32), CableEnd("spare", "uplink", SPARE_ADDRESS)),
)
ROUTES: Final = (
    Route("client", "default", "10.1.1.254"),
    Route("gateway", "10.11.2.0/24", "10.11.1.2"),
    Route("balancer", "10.1.1.0/24", GATEWAY_ADDRESS),
    Route("server", "default", POOL_ADDRESS),
    Route("spare", "default", POOL_ADDRESS),
)
# More exact than the route of the balancer's first port, which has the whole network.
_SPARE_ROUTE: Final = f"{SPARE_ADDRESS}/32"

# Connection tracking turns the answers' source address back into the virtual one.
TRANSLATION: Final = f"""\
table ip balancer {{
    chain prerouting {{
        type nat hook prerouting priority dstnat;
        ip daddr {VIRTUAL_ADDRESS} dnat to {SERVER_ADDRESS}
    }}
}}
"""


@contextlib.contextmanager
def links_of(name: str) -> Iterator[IPRoute]:
    """Give rtnetlink of the network namespace with that name.

    Given the name, pyroute2 would fork to make a socket there, and end the fork with SIGTERM. The fork has the handler
    of the laboratory's owner, which raises KeyboardInterrupt: it would remove the laboratory, and kill what runs there.
    """
    with inside(name), IPRoute() as routes:
        yield routes


def build(names: dict[str, str]) -> None:
    """Make the namespaces, cables, addresses and routes; `names` gives each host's namespace name.

    Raises OSError or pyroute2's NetlinkError (a kernel without veth, a missing capability).
    """
    for host in HOSTS:
        netns.create(names[host])
    for host in ROUTERS:
        with inside(names[host]):
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    for near, far in CABLES:
        with links_of(names[near.host]) as link_maker:
            peer = {"ifname": far.interface, "net_ns_fd": names[far.host]}
            link_maker.link("add", ifname=near.interface, kind="veth", peer=peer)
    for host in HOSTS:
        _configure(host, names[host])


def _configure(host: str, name: str) -> None:
    with links_of(name) as routes:
        routes.link("set", index=1, state="up")
        for end in (end for cable in CABLES for end in cable if end.host == host):
            (index,) = routes.link_lookup(ifname=end.interface)
            routes.addr("add", index=index, address=end.address, prefixlen=end.prefix_length)
            routes.link("set", index=index, state="up")
        for route in (route for route in ROUTES if route.host == host):
            routes.route("add", dst=route.destination, gateway=route.gateway)
        if host == "balancer":
            (index,) = routes.link_lookup(ifname="pool2")
            routes.route("add", dst=_SPARE_ROUTE, oif=index)
