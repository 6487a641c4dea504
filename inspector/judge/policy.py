"""What the operator declared: virtual addresses with their pools, and NAT64 prefixes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from inspector.model import IPAddress


@dataclass(frozen=True, slots=True)
class Policy:
    """`pools` maps a VIP (after unmapping) to the networks of its real servers' addresses (DIPs)."""

    pools: Mapping[IPAddress, tuple[IPv4Network, ...]] = field(default_factory=dict)
    nat64_prefixes: tuple[IPv6Network, ...] = ()

    def is_pooled(self, asked: IPAddress, offered: IPv4Address) -> bool:
        """Return whether the offered address is a declared server of the VIP that was asked."""
        return any(offered in network for network in self.pools.get(asked, ()))
