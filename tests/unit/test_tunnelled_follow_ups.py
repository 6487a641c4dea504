"""What answers led to within tunnels and VLANs: the same as outside, live and in files."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from inspector.config import Config
from inspector.model import Segment
from tests.build import tunnels
from tests.build.connection import raw_address
from tests.build.following import Followed
from tests.build.livefollowing import LiveInspection
from tests.cases.dialogue import CLIENT, OTHER_DIP, SAMR, VIP, called, mapped
from tests.cases.network import Network
from tests.golden.layers import ethernet, ip

if TYPE_CHECKING:
    from pathlib import Path

    from tests.golden.layers import Frame

OTHER = "10.20.1.16"
PORT = 49155
VLANS = bytes.fromhex("88a80064 81000065")
WAYS = ("vlan", "gre", "ipip", "vxlan", "geneve", "two tunnels")
OUTCOMES = [
    ("answer", None),
    ("answer", None),
    ("connection", "refused"),
    ("follow_up", "reached"),
    ("follow_up", "refused"),
    ("follow_up", "unreachable"),
]


def outside(packet: bytes, protocol: int) -> bytes:
    """Return a frame of a tunnel."""
    ends = Segment(0, raw_address("192.0.2.1"), raw_address("198.51.100.2"), 0, 0, 0, 0, 0, 0, 0, 1, b"")
    return ethernet(ends, ip(ends, packet, protocol, 60))


def carried(frame: Frame, way: str) -> Frame:
    """Return a frame as it passes within something else."""
    if way == "vlan":
        return frame.tagged(VLANS)
    if way == "two tunnels":
        return carried(carried(frame, "vxlan"), "gre")
    data = {
        "gre": (tunnels.gre(frame.data[14:]), tunnels.GRE),
        "ipip": (frame.data[14:], tunnels.IPV4),
        "vxlan": (tunnels.vxlan(frame.data), tunnels.UDP),
        "geneve": (tunnels.geneve(frame.data), tunnels.UDP),
    }[way]
    return replace(frame, data=outside(*data))


@pytest.fixture(params=WAYS)
def network(request: pytest.FixtureRequest) -> Network:
    """Return a network on which clients are refused, get through, and are rejected by a router."""
    network = Network()
    mapped(network, VIP, SAMR, (OTHER_DIP, PORT))
    network.connect(CLIENT, VIP, PORT).refused()
    network.wait(2)
    mapped(network, VIP, SAMR, (OTHER_DIP, PORT), client=OTHER)
    called(network, VIP, PORT, SAMR, client=OTHER)
    network.connect(OTHER, VIP, PORT).unreachable("10.30.0.1")
    network.connect("10.20.1.17", VIP).refused()
    network.later(60)
    network.scenes[0].frames = [carried(frame, request.param) for frame in network.scenes[0].frames]
    return network


def test_in_a_file(network: Network, tmp_path: Path) -> None:
    """With --tunnels, as for answers."""
    followed = Followed(network, tmp_path, Config(tunnels=True))
    assert sorted(followed.kinds(), key=str) == OUTCOMES
    assert not followed.anomalies


def test_live(network: Network) -> None:
    """As the kernel program's twin records it."""
    live = LiveInspection(Config(tunnels=True))
    for frame in network.scenes[0].frames:
        live.take(frame.data, frame.time_ns)
    live.wait()
    assert sorted(live.outcomes(), key=str) == OUTCOMES
    assert not live.following.anomalies
