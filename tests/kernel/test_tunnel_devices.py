"""Attached to a real interface which carries tunnels: real tunnel devices, and frames of every kind on the wire."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from inspector.decode.batch import singly
from inspector.judge.policy import Policy
from inspector.live.process.namespaces import inside
from inspector.model import Tunnel, TunnelKind, Verdict
from inspector.pipeline import Pipeline
from inspector.record import KernelCounter, unpack_record
from tests.build import pdu
from tests.build.blocks import findings_of_batch
from tests.build.connection import raw_address
from tests.build.epm import SAMR, map_request, map_response, tcp_tower
from tests.build.tunnels import UDP, geneve
from tests.kernel import frames
from tests.kernel.conftest import Cable, wait_until_up
from tests.kernel.harness import expected, without_time
from tests.kernel.live import EVERY_HOOK, attached, collect, conserved, each_gives_its_record, stream
from tests.kernel.tunnel_frames import TUNNEL_FRAMES

if TYPE_CHECKING:
    from inspector.model import Mode

pytestmark = [pytest.mark.kernel]

NEAR, FAR = "10.77.0.1", "10.77.0.2"
DEVICE: Final = "carrier"
DIP: Final = "10.11.2.7"


def _devices(local: str, remote: str, link: int) -> dict[str, tuple[TunnelKind, dict[str, Any]]]:
    """Return, by the kernel's name of a kind, what it is here and the attributes of a device from `local`."""
    ends = {"local": local, "remote": remote}
    return {
        "vxlan": (
            TunnelKind.VXLAN,
            {"vxlan_id": 42, "vxlan_link": link, "vxlan_local": local, "vxlan_group": remote, "vxlan_port": 4789},
        ),
        "geneve": (TunnelKind.GENEVE, {"geneve_id": 42, "geneve_remote": remote, "geneve_port": 6081}),
        "gre": (TunnelKind.GRE, {f"gre_{end}": address for end, address in ends.items()}),
        "gretap": (TunnelKind.GRE, {f"gre_{end}": address for end, address in ends.items()}),
        "ipip": (TunnelKind.IPIP, {f"ipip_{end}": address for end, address in ends.items()}),
    }


KINDS: Final = tuple(_devices("", "", 0))


def lay_tunnel(cable: Cable, kind: str) -> tuple[Cable, TunnelKind]:
    """Make a tunnel device at each end of the cable; return them as a cable, and what the tunnel is."""
    ends = (
        (cable.here, cable.near, cable.near_address, cable.far_address, NEAR),
        (cable.there, cable.far, cable.far_address, cable.near_address, FAR),
    )
    for namespace, name, local, remote, address in ends:
        with inside(namespace), IPRoute() as rtnetlink:
            tunnel_kind, attributes = _devices(local, remote, rtnetlink.link_lookup(ifname=name)[0])[kind]
            try:
                rtnetlink.link("add", ifname=DEVICE, kind=kind, **attributes)
            except NetlinkError as error:
                # Each kind is a module, and a kernel need not have them all.
                pytest.skip(f"this kernel makes no device of kind {kind}: {error}")
            index = rtnetlink.link_lookup(ifname=DEVICE)[0]
            rtnetlink.addr("add", index=index, address=address, prefixlen=24)
            rtnetlink.link("set", index=index, state="up")
    return replace(cable, near=DEVICE, far=DEVICE, near_address=NEAR, far_address=FAR), tunnel_kind


@pytest.mark.parametrize("kind", KINDS)
@EVERY_HOOK
def test_a_conversation_through_a_tunnel(cable: Cable, mode: Mode, tcx: bool, kind: str) -> None:
    """A real connection through a real tunnel is read on the device below it; the finding has all four addresses."""
    wait_until_up(cable)
    tunnel, tunnel_kind = lay_tunnel(cable, kind)
    request = pdu.request(map_request(tcp_tower(SAMR)))
    answer = pdu.response(map_response([tcp_tower(SAMR, 49152, DIP)]))
    with attached(cable, mode, tcx=tcx, tunnels=True) as session:
        client_port = tunnel.converse(request, answer)
        records = collect(session, 10_000, timeout_s=0.3)
        conserved(session)
    segments = [unpack_record(record) for record in records]
    back = Tunnel(tunnel_kind, raw_address(cable.far_address), raw_address(cable.near_address))
    there = Tunnel(tunnel_kind, back.destination_address, back.source_address)
    assert {segment.tunnel for segment in segments} == ({there, back} if mode == "tc" else {back})
    assert stream(segments, from_server=True) == answer
    pipeline = Pipeline(Policy(), lambda _: cable.near)
    [finding] = [one for record in records for one in findings_of_batch(pipeline, record)] + list(
        singly(pipeline.flush())
    )
    said = finding.as_dict()
    assert (said["client"], said["client_port"], said["asked"]) == (NEAR, client_port, FAR)
    assert said["tunnel"] == {
        "kind": tunnel_kind.label,
        "source": cable.far_address,
        "destination": cable.near_address,
    }
    assert (finding.verdict, said["mappings"][0]["address"]) == (Verdict.MISMATCH, DIP)


def test_closed_by_default(cable: Cable) -> None:
    """Without being told to, nothing is seen of what a tunnel carries."""
    wait_until_up(cable)
    tunnel, _ = lay_tunnel(cable, "vxlan")
    with attached(cable, "tc") as session:
        tunnel.converse(b"x", b"y")
        assert collect(session, 1, timeout_s=0.2) == []
        assert not any(conserved(session)[cable.near].values())


@EVERY_HOOK
def test_frames_from_the_wire(cable: Cable, mode: Mode, tcx: bool) -> None:
    """Every frame of the table, put on the wire, gives the Python reader's record."""
    each_gives_its_record(cable, mode, TUNNEL_FRAMES, tcx=tcx, tunnels=True)


@EVERY_HOOK
@pytest.mark.parametrize("linear", [14, 50, 300])
def test_headers_outside_the_first_buffer(cable: Cable, mode: Mode, tcx: bool, linear: int) -> None:
    """Headers within tunnels are found wherever the packet's first buffer ends."""
    cable.set_mtu(9000)
    packet = frames.ipv6(frames.extension(6, 64) + frames.tcp(frames.payload(5000), ports=(135, 7)), next_header=60)
    inner = frames.ethernet(packet, 0x86DD, tags=(0x8100,))
    frame = frames.ethernet(frames.ipv4(geneve(inner, options=bytes(200)), protocol=UDP))
    with attached(cable, mode, tcx=tcx, tunnels=True) as session:
        for outwards in (False, True) if mode == "tc" else (False,):
            cable.send_scattered(frame, linear, outwards=outwards)
            [record] = collect(session, 1)
            [wanted] = expected(frame, session.attachments[0].index, tunnels=True)[0]
            assert without_time(record)[: len(wanted)] == wanted
        assert conserved(session)[cable.near][KernelCounter.UNREADABLE_HEADERS] == 0
