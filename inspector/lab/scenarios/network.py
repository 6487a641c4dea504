"""Network parts of the scenarios: rules of nftables for balancers and firewalls, a small MTU, the way to the filter."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from inspector.errors import LaboratoryError
from inspector.lab import processes, topology
from inspector.protocols import EPM_PORT

if TYPE_CHECKING:
    from inspector.lab.gateway import Laboratory

FILTER_DEVICE: Final = "filter0"
_FILTER_TABLE: Final = 100
_DEVICE_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.02
_VIP: Final = topology.VIRTUAL_ADDRESS
_DIP: Final = topology.SERVER_ADDRESS
_SPARE: Final = topology.SPARE_ADDRESS
_FROM_CLIENTS: Final = f"iifname {topology.CLIENT_PORT} tcp dport 1024-65535"


def set_rules(laboratory: Laboratory, host: str, rules: str) -> None:
    """Load rules of nftables on a host, in one transaction. Raises LaboratoryError with nft's complaint."""
    path = laboratory.folder / f"{host}-{time.monotonic_ns()}.nft"
    path.write_text(rules)
    laboratory.run(host, [processes.find_program("nft", "nftables"), "--file", str(path)])


def add_chain(laboratory: Laboratory, host: str, hook: str, *rules: str, table: str = "obstacle") -> None:
    """Add a chain with rules at a hook ("filter hook input priority filter") on a host, in a table of its own."""
    body = "\n".join(("chain rules {", f"type {hook};", *rules, "}"))
    set_rules(laboratory, host, f"table ip {table} {{\n{body}\n}}\n")


def translate(laboratory: Laboratory, *rules: str, host: str = "balancer") -> None:
    """Replace what the balancer translates by these rules; they may run on another host instead."""
    set_rules(laboratory, "balancer", "delete table ip balancer\n")
    add_chain(laboratory, host, "nat hook prerouting priority dstnat", *rules, table="balancer")


def forward(laboratory: Laboratory, *rules: str) -> None:
    """Add rules for the packets that the gateway forwards."""
    add_chain(laboratory, "gateway", "filter hook forward priority filter", *rules)


def publish_only_135(laboratory: Laboratory, otherwise: str) -> None:
    """Let the balancer translate port 135 alone; `otherwise` is what becomes of packets to its other ports."""
    translate(laboratory, f"ip daddr {_VIP} tcp dport {EPM_PORT} dnat to {_DIP}")
    add_chain(laboratory, "balancer", "filter hook forward priority filter", f"ip daddr {_VIP} {otherwise}")


def split_ports(laboratory: Laboratory, port: int, other_port: int) -> None:
    """Let one port of the virtual address go to the spare server: no affinity. There it is `other_port`.

    Which ports Samba's services get is the luck of their start; translating the number makes it another service's.
    """
    translate(
        laboratory,
        f"ip daddr {_VIP} tcp dport {port} dnat to {_SPARE}:{other_port}",
        f"ip daddr {_VIP} dnat to {_DIP}",
    )


def balance_port_135(laboratory: Laboratory) -> None:
    """Let connections to port 135 go to both servers in turn, all others to the first one."""
    in_turn = f"numgen inc mod 2 map {{ 0 : {_DIP}, 1 : {_SPARE} }}"
    translate(
        laboratory,
        f"ip daddr {_VIP} tcp dport {EPM_PORT} dnat to {in_turn}",
        f"ip daddr {_VIP} dnat to {_DIP}",
    )


def translate_at_gateway(laboratory: Laboratory) -> None:
    """Let the gateway itself be the balancer."""
    translate(laboratory, f"ip daddr {_VIP} dnat to {_DIP}", host="gateway")


def stop_at_gateway(laboratory: Laboratory, verdict: str) -> None:
    """Let the gateway's firewall do that with connections from clients to all ports but the endpoint mapper's."""
    forward(laboratory, f"{_FROM_CLIENTS} {verdict}")


def forbid_dip(laboratory: Laboratory) -> None:
    """Let the gateway drop what clients send to the server's own address."""
    forward(laboratory, f"iifname {topology.CLIENT_PORT} ip daddr {_DIP} drop")


def drop_at_server(laboratory: Laboratory) -> None:
    """Let the server drop everything that comes to port 135."""
    add_chain(laboratory, "server", "filter hook input priority filter", f"tcp dport {EPM_PORT} drop")


def reset_binds(laboratory: Laboratory) -> None:
    """Let the gateway reset connections to endpoints at the client's first data, as an inspecting device does."""
    stop_at_gateway(laboratory, "tcp flags & psh == psh reject with tcp reset")


def lose_first_copies(laboratory: Laboratory) -> None:
    """Let the gateway lose each second SYN of clients, and each second segment with data of port 135."""
    forward(
        laboratory,
        f"iifname {topology.CLIENT_PORT} tcp flags & (syn | ack) == syn numgen inc mod 2 == 0 drop",
        f"tcp sport {EPM_PORT} tcp flags & psh == psh numgen inc mod 2 == 0 drop",
    )


def shrink_path(laboratory: Laboratory, mtu: int = 700) -> None:
    """Give the way from the gateway to the clients a small MTU, and drop the ICMP errors that would say so."""
    with topology.links_of(laboratory.names["gateway"]) as links:
        (index,) = links.link_lookup(ifname=topology.CLIENT_PORT)
        links.link("set", index=index, mtu=mtu)
    add_chain(laboratory, "gateway", "filter hook output priority filter", "icmp type destination-unreachable drop")


def own_virtual_address(laboratory: Laboratory) -> None:
    """Give the virtual address to the gateway itself."""
    with topology.links_of(laboratory.names["gateway"]) as routes:
        routes.addr("add", index=1, address=_VIP, prefixlen=32)


def divert(laboratory: Laboratory, *ways_in: str) -> None:
    """Route what enters the gateway at these interfaces through the filter's device, and let it go on from there.

    Connection tracking translates a packet before it goes to the filter and leaves it alone when it comes back.
    """
    gateway = laboratory.names["gateway"]
    deadline = time.monotonic() + _DEVICE_SECONDS
    with topology.links_of(gateway) as routes:
        while not (found := routes.link_lookup(ifname=FILTER_DEVICE)):
            if time.monotonic() > deadline:
                raise LaboratoryError(f"the filter's device {FILTER_DEVICE} did not come: is /dev/net/tun usable?")
            time.sleep(_POLL_SECONDS)
        for name in ("all", FILTER_DEVICE):
            Path(f"/proc/sys/net/ipv4/conf/{name}/rp_filter").write_text("0")
        routes.link("set", index=found[0], state="up")
        routes.route("add", family=socket.AF_INET, dst="0.0.0.0/0", oif=found[0], table=_FILTER_TABLE)
        for name in ways_in:
            routes.rule("add", family=socket.AF_INET, iifname=name, table=_FILTER_TABLE, priority=_FILTER_TABLE)
    add_chain(laboratory, "gateway", "filter hook prerouting priority raw", f"iifname {FILTER_DEVICE} notrack")
