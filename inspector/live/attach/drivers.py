"""What an interface's driver does with packets before a hook sees them, and what XDP it says it has.

Offloads come by the ethtool requests (pyroute2), XDP features over the generic netlink family `netdev` of Linux 6.3
and later. Everything is asked in the network namespace of the calling thread.
"""

from __future__ import annotations

import contextlib
import enum
from dataclasses import dataclass
from typing import Final

from pyroute2.ethtool import Ethtool
from pyroute2.ethtool.ioctl import EthtoolError
from pyroute2.netlink import NLM_F_REQUEST, genlmsg
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic import GenericNetlinkSocket

# linux/netdev.h
_NETDEV_FAMILY: Final = "netdev"
_NETDEV_GET: Final = 1


@dataclass(frozen=True, slots=True)
class Offloads:
    """Offloads in force which change what a hook sees: merging of packets, VLAN tags taken off."""

    large_receive: bool
    hardware_gro: bool
    gro: bool
    vlan_stripping: bool


def find_offloads(name: str) -> Offloads | None:
    """Return the offloads in force, or None where the driver does not say."""
    try:
        with contextlib.closing(Ethtool()) as ethtool:
            features = ethtool.get_features(name).features
    except (EthtoolError, NetlinkError, OSError):
        return None

    def is_on(feature: str) -> bool:
        return feature in features and bool(features[feature].enable)

    return Offloads(is_on("rx-lro"), is_on("rx-gro-hw"), is_on("rx-gro"), is_on("rx-vlan-hw-parse"))


class XdpFeature(enum.IntFlag):
    """enum netdev_xdp_act: what the driver's own XDP can do; 0 means that there is none."""

    NONE = 0
    BASIC = 1
    FRAGMENTS = 32


class _NetdevMessage(genlmsg):  # type: ignore[misc]
    nla_map = (
        ("NETDEV_A_DEV_UNSPEC", "none"),
        ("NETDEV_A_DEV_IFINDEX", "uint32"),
        ("NETDEV_A_DEV_PAD", "none"),
        ("NETDEV_A_DEV_XDP_FEATURES", "uint64"),
    )


def find_xdp_features(index: int) -> XdpFeature | None:
    """Return what the driver says of its XDP, or None where the kernel cannot tell (before Linux 6.3)."""
    question = _NetdevMessage()
    question["cmd"], question["version"] = _NETDEV_GET, 1
    question["attrs"] = [("NETDEV_A_DEV_IFINDEX", index)]
    try:
        with GenericNetlinkSocket() as channel:
            channel.bind(_NETDEV_FAMILY, _NetdevMessage)
            answer, *_ = channel.nlm_request(question, msg_type=channel.prid, msg_flags=NLM_F_REQUEST)
    except (NetlinkError, OSError):
        return None
    said = int(answer.get_attr("NETDEV_A_DEV_XDP_FEATURES") or 0)
    return XdpFeature(said & (XdpFeature.BASIC | XdpFeature.FRAGMENTS))
