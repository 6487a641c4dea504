"""From frame to segment through tunnels: each kind, what it carries, and where it ends; tshark sees the same."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from inspector import cli
from inspector.capture.writer import CaptureWriter
from inspector.model import Segment, Tunnel, TunnelKind
from inspector.record import Attribute, KernelCounter, pack_record
from inspector.wire.frame import LinkType, read_frame
from tests.build import pdu
from tests.build.capture_files import pcap
from tests.build.connection import Wire, raw_address
from tests.build.epm import SAMR, map_request, map_response, tcp_tower
from tests.build.observe import findings_of
from tests.build.tunnels import ETHERTYPE_ETHERNET, ETHERTYPE_IPV6, geneve, gre, teredo, vxlan
from tests.conftest import require_tools
from tests.unit.test_frame import (
    CLIENT4,
    CLIENT6,
    ETHERNET4,
    ETHERNET6,
    MAPPED,
    PORTS,
    SERVER4,
    SERVER6,
    ipv4,
    ipv6,
    tcp,
)

INNER4, INNER6 = ipv4(tcp(b"inner")), ipv6(tcp(b"inner"))
FRAME4, FRAME6 = ETHERNET4 + INNER4, ETHERNET6 + INNER6
CARRIED = [
    ("4in4", TunnelKind.IPIP, ETHERNET4 + ipv4(INNER4, protocol=4)),
    ("6in4", TunnelKind.SIX_IN_FOUR, ETHERNET4 + ipv4(INNER6, protocol=41)),
    ("4in6", TunnelKind.FOUR_IN_SIX, ETHERNET6 + ipv6(INNER4, next_header=4)),
    ("6in6", TunnelKind.SIX_IN_SIX, ETHERNET6 + ipv6(INNER6, next_header=41)),
    ("gre", TunnelKind.GRE, ETHERNET4 + ipv4(gre(INNER4), protocol=47)),
    ("gre all fields", TunnelKind.GRE, ETHERNET6 + ipv6(gre(INNER6, ETHERTYPE_IPV6, flags=0xB000), next_header=47)),
    ("gre ethernet", TunnelKind.GRE, ETHERNET4 + ipv4(gre(FRAME6, ETHERTYPE_ETHERNET, flags=0x2000), protocol=47)),
    ("vxlan", TunnelKind.VXLAN, ETHERNET4 + ipv4(vxlan(FRAME4), protocol=17)),
    ("vxlan over ipv6", TunnelKind.VXLAN, ETHERNET6 + ipv6(vxlan(FRAME6), next_header=17)),
    ("geneve", TunnelKind.GENEVE, ETHERNET4 + ipv4(geneve(FRAME4, options=bytes(8)), protocol=17)),
    ("geneve ipv6", TunnelKind.GENEVE, ETHERNET4 + ipv4(geneve(INNER6, ETHERTYPE_IPV6), protocol=17)),
    ("teredo", TunnelKind.TEREDO, ETHERNET4 + ipv4(teredo(INNER6), protocol=17)),
    ("teredo origin", TunnelKind.TEREDO, ETHERNET4 + ipv4(teredo(INNER6, origin=True), protocol=17)),
    (
        "teredo both",
        TunnelKind.TEREDO,
        ETHERNET4 + ipv4(teredo(INNER6, authentication=(b"me", b"secret"), origin=True), protocol=17),
    ),
]
EACH = pytest.mark.parametrize(("kind", "frame"), [case[1:] for case in CARRIED], ids=[case[0] for case in CARRIED])


def read(
    frame: bytes, *, ports: frozenset[int] = PORTS, wire_length: int | None = None
) -> Segment | KernelCounter | None:
    """Read a frame, and what is in tunnels."""
    return read_frame(
        frame,
        link_type=LinkType.ETHERNET,
        time_ns=7,
        interface_index=3,
        ports=ports,
        wire_length=wire_length,
        tunnels=True,
    )


def segment(frame: bytes, **more: int) -> Segment:
    """Read a frame that must be a segment."""
    found = read(frame, **more)  # type: ignore[arg-type]  # the only one given is an integer
    assert isinstance(found, Segment), found
    return found


@EACH
def test_each_kind(kind: TunnelKind, frame: bytes) -> None:
    """The segment is the inner packet's, and names the tunnel with the outer addresses."""
    found = segment(frame)
    outer = (CLIENT6, SERVER6) if frame[12:14] == b"\x86\xdd" else (MAPPED + CLIENT4, MAPPED + SERVER4)
    assert found.tunnel == Tunnel(kind, *outer, 1)
    assert (found.payload, found.payload_length, found.destination_port) == (b"inner", 5, 135)
    inner6 = bool(found.attributes & Attribute.IPV6)
    assert found.attributes == Attribute.TUNNELLED | (Attribute.IPV6 if inner6 else 0)
    assert found.source_address == (CLIENT6 if inner6 else MAPPED + CLIENT4)


@EACH
def test_closed_unless_asked_for(kind: TunnelKind, frame: bytes) -> None:  # noqa: ARG001 - of the same table
    """By default nothing is seen of what a tunnel carries."""
    assert read_frame(frame, link_type=1, time_ns=7, interface_index=3, ports=PORTS) is None


@EACH
def test_tshark_sees_the_same_layers(kind: TunnelKind, frame: bytes, tmp_path: Path) -> None:
    """The frames of this test are what they say: an independent decoder finds the tunnel, and the port within."""
    require_tools(["tshark"])
    path = tmp_path / "tunnel.pcap"
    path.write_bytes(pcap("<", [(1, 0, frame)]))
    fields = ("frame.protocols", "tcp.dstport", "tcp.payload")
    chosen = [argument for field in fields for argument in ("-e", field)]
    result = subprocess.run(
        ["tshark", "-n", "-r", path, "-Tfields", *chosen], capture_output=True, text=True, check=True
    )
    protocols, port, payload = result.stdout.rstrip("\n").split("\t")
    names = {TunnelKind.GRE: "gre", TunnelKind.VXLAN: "vxlan", TunnelKind.GENEVE: "geneve", TunnelKind.TEREDO: "teredo"}
    version = {True: "ipv6", False: "ip"}
    inner = version[bool(segment(frame).attributes & Attribute.IPV6)]
    assert names.get(kind, inner) in protocols.split(":")
    assert protocols.split(":").count("ip") + protocols.split(":").count("ipv6") == 2
    assert (port, payload) == ("135", b"inner".hex())


def test_written_conversations_give_the_same_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What `attach --write` keeps of a conversation in a tunnel, `read --tunnels` judges as it was judged live."""
    wire = Wire("2001:db8::c11e", "2002:a0b:202::1").open()
    wire.client(pdu.request(map_request(tcp_tower(SAMR)))).server(pdu.response(map_response([tcp_tower(SAMR, 1)])))
    tunnel = Tunnel(TunnelKind.TEREDO, raw_address("192.0.2.9"), raw_address("203.0.113.5"))
    segments = [
        one._replace(tunnel=tunnel, attributes=one.attributes | Attribute.TUNNELLED, interface_index=0)
        for one in wire.segments
    ]
    path = tmp_path / "written.pcapng"
    with CaptureWriter(path, {0: "outer"}) as writer:
        for one in segments:
            writer.write(pack_record(one))
    [live] = findings_of(segments)
    assert live.as_dict()["tunnel"] == {"kind": "teredo", "source": "192.0.2.9", "destination": "203.0.113.5"}
    assert cli.main(["read", "--json", "--tunnels", "--no-follow-up", str(path)]) == 0
    assert json.loads(capsys.readouterr().out) == live.as_dict() | {"source": str(path), "frame": 4}
    assert cli.main(["read", "--json", "--no-tunnels", str(path)]) == 0
    assert capsys.readouterr().out == ""
    config = tmp_path / "tunnels.toml"
    config.write_text("tunnels = true")
    assert cli.main(["read", "--json", "--config", str(config), str(path)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_two_levels_and_no_third() -> None:
    """The outermost tunnel is named; a third one is left alone."""
    two = segment(ETHERNET4 + ipv4(ipv6(vxlan(FRAME4), next_header=17), protocol=41))
    assert two.tunnel == Tunnel(TunnelKind.SIX_IN_FOUR, MAPPED + CLIENT4, MAPPED + SERVER4, 2)
    assert two.payload == b"inner"
    assert read(ETHERNET4 + ipv4(ipv4(ipv4(INNER4, protocol=4), protocol=4), protocol=4)) is None


def test_a_port_of_an_endpoint_mapper_is_no_tunnel() -> None:
    """What is served comes first, whatever else the port may mean."""
    found = read(ETHERNET4 + ipv4(vxlan(FRAME4), protocol=17), ports=frozenset({4789}))
    assert isinstance(found, Segment)
    assert (found.tunnel, found.destination_port) == (None, 4789)


@pytest.mark.parametrize(
    "packet",
    [
        ipv4(gre(INNER4, flags=0x4000), protocol=47),
        ipv4(gre(INNER4, flags=0x0001), protocol=47),
        ipv4(gre(INNER4, 0x88BE), protocol=47),
        ipv4(vxlan(FRAME4, flags=0), protocol=17),
        ipv4(geneve(FRAME4, version=1), protocol=17),
        ipv4(teredo(ipv6(b"", next_header=59)), protocol=17),
        ipv4(ipv4(b"ping", protocol=1), protocol=4),
        ipv4(INNER4, protocol=4, fragment=0x0010),
    ],
    ids=[
        "GRE with routes",
        "GRE of version 1",
        "GRE with ERSPAN",
        "VXLAN without network",
        "Geneve of version 1",
        "Teredo bubble",
        "ICMP within",
        "later fragment outside",
    ],
)
def test_not_inspected(packet: bytes) -> None:
    """Tunnels of other versions and with other contents."""
    assert read(ETHERNET4 + packet) is None


@pytest.mark.parametrize(
    "packet",
    [
        ipv4(gre(b"", flags=0xB000, fields=2), protocol=47),
        ipv4(vxlan(b"")[:-1], protocol=17),
        ipv4(geneve(b"", words=1), protocol=17),
        ipv4(teredo(b""), protocol=17),
        ipv4(teredo(b"", origin=True)[:-1], protocol=17),
        ipv4(vxlan(FRAME4[:13]), protocol=17),
        ipv4(INNER6, protocol=4),
        ipv4(INNER4, protocol=4, total=59),
    ],
    ids=[
        "GRE cut",
        "VXLAN cut",
        "Geneve cut",
        "Teredo empty",
        "Teredo cut",
        "Ethernet within cut",
        "another version within",
        "outer length within the inner headers",
    ],
)
def test_unreadable(packet: bytes) -> None:
    """Headers that are cut or contradict themselves are counted; padding behind the packet does not complete them."""
    assert read(ETHERNET4 + packet) is KernelCounter.UNREADABLE_HEADERS
    assert read(ETHERNET4 + packet + bytes(4)) is KernelCounter.UNREADABLE_HEADERS


def test_fragments() -> None:
    """A first fragment, inside or outside, marks the segment; a later one inside is counted."""
    inside = segment(ETHERNET4 + ipv4(ipv4(tcp(b"x"), fragment=0x2000), protocol=4))
    outside = segment(ETHERNET4 + ipv4(ipv4(tcp(b"x" * 100))[:60], protocol=4, fragment=0x2000))
    assert inside.attributes == outside.attributes == Attribute.FIRST_FRAGMENT | Attribute.TUNNELLED
    assert (outside.payload, outside.payload_length) == (b"x" * 20, 100)
    assert read(ETHERNET4 + ipv4(ipv4(b"tail", fragment=0x0010), protocol=4)) is KernelCounter.LATER_FRAGMENTS


def test_padding_belongs_to_no_packet() -> None:
    """The outer packet's end is the inner one's as well, also where the inner one has no length."""
    assert segment(ETHERNET4 + ipv4(ipv4(tcp(b"x"), total=0), protocol=4) + bytes(9)).payload == b"x"
    cut = segment(ETHERNET4 + ipv4(ipv4(tcp(b"x"), total=90), protocol=4) + bytes(9))
    assert (cut.payload, cut.payload_length) == (b"x", 50)


def test_length_zero_of_a_cut_frame_refers_to_the_wire() -> None:
    """Without any length, what the capture cut off is still known to have been there."""
    frame = ETHERNET4 + ipv4(ipv4(tcp(b"abc"), total=0), protocol=4, total=0)
    found = segment(frame, wire_length=len(frame) + 100)
    assert (found.payload, found.payload_length) == (b"abc", 103)
