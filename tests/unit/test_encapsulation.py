"""What is around packets in captures is taken off: the packet within is read as if it had stood alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from inspector.capture.frames import build_frame
from inspector.capture.pcap import read_records
from inspector.capture.seen import Seen
from inspector.record import KernelCounter, unpack_record
from inspector.wire.encapsulation import unwrap
from tests.bench.conversations import conversation
from tests.build.capture_files import pcap
from tests.build.encapsulation import PSEUDOWIRE_LABEL, ethernet, ipv4, kinds_of, over_udp
from tests.build.reading import compare
from tests.build.tunnels import gre
from tests.conftest import require_tools

ROOT = Path(__file__).parents[2]
SEGMENTS = conversation(0).segments
PACKETS = [build_frame(segment)[14:] for segment in SEGMENTS]
KINDS = list(kinds_of(b""))
# 802.11 (radiotap), a compressed PPP packet, NSH in VXLAN-GPE.
UNREAD = {
    "802.11": (127, bytes(60)),
    "compressed PPP": (9, b"\0\xfd" + bytes(40)),
    "VXLAN-GPE": (1, over_udp(b"\x0c\0\0\x04" + bytes(60), 4790)),
    "802.11 in TZSP": (1, over_udp(b"\x01\0\0\x12\x01" + bytes(60), 37008)),
    "L2TP version 3": (1, over_udp(b"\0\x03\0\0\0\x01" + bytes(60), 1701)),
}


def write(path: Path, kind: str) -> Path:
    """Write a conversation in something."""
    carried = [kinds_of(packet)[kind] for packet in PACKETS]
    frames = [(1 + number, 0, one.frame) for number, one in enumerate(carried)]
    path.write_bytes(pcap("<", frames, link_type=carried[0].link_type))
    return path


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `read`."""
    command = [sys.executable, "-m", "inspector", "read", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)


@pytest.mark.parametrize("kind", KINDS)
def test_the_packet_within(tmp_path: Path, kind: str) -> None:
    """The records are those of the packets alone, read in both ways; what was around them is counted."""
    path = write(tmp_path / "a.pcap", kind)
    seen = Seen()
    records = list(read_records(path, ports={135}, counters=[0] * len(KernelCounter), tunnels=True, seen=seen))
    found = [unpack_record(record)._replace(time_ns=0, interface_index=0) for record in records]
    assert found == [segment._replace(time_ns=0, interface_index=0) for segment in SEGMENTS]
    names = kinds_of(PACKETS[0])[kind].names
    assert seen.taken_off == Counter(dict.fromkeys(names, len(SEGMENTS)))
    assert compare(path, tunnels=True) == records


@pytest.mark.parametrize("link_type", sorted({one.link_type for one in kinds_of(b"").values()}))
def test_as_tshark_reads_it(tmp_path: Path, link_type: int) -> None:
    """An independent reader finds the same ports in the same frames."""
    require_tools(["tshark"])
    frames = [one.frame for packet in PACKETS for one in kinds_of(packet).values() if one.link_type == link_type]
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap("<", [(1, 0, frame) for frame in frames], link_type=link_type))
    # What is in a pseudowire nothing says.
    done = subprocess.run(
        [
            "tshark",
            "-d",
            f"mpls.label=={PSEUDOWIRE_LABEL},pwethcw",
            "-r",
            path,
            "-T",
            "fields",
            "-e",
            "tcp.srcport",
            "-e",
            "tcp.dstport",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    each = len(frames) // len(PACKETS)
    assert done.stdout.splitlines() == [
        f"{one.source_port}\t{one.destination_port}" for one in SEGMENTS for _ in range(each)
    ]


@pytest.mark.parametrize("kind", ["erspan 2", "pppoe", "gtp-u", "ppp"])
@pytest.mark.parametrize("follow_up", ["--follow-up", "--no-follow-up"])
def test_read(tmp_path: Path, kind: str, follow_up: str) -> None:
    """The command finds the answer by default, and says what it was carried in."""
    done = run("--summary", "--json", follow_up, write(tmp_path / "a.pcap", kind))
    counts = json.loads(done.stdout)
    assert counts["verdicts"] == {"mismatch": 1}
    assert set(counts["carried_in"]) == set(kinds_of(PACKETS[0])[kind].names)


@pytest.mark.parametrize(("name", "packet"), UNREAD.items(), ids=UNREAD)
def test_what_cannot_be_read_is_counted_by_name(tmp_path: Path, name: str, packet: tuple[int, bytes]) -> None:
    """One line says so; a file of nothing else, of a link type that cannot be read, is an error with that name."""
    link_type, frame = packet
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap("<", [(1, 0, frame)] * 3, link_type=link_type))
    done = run("--summary", "--json", path)
    if link_type == 127:
        assert "its packets are of link type 127 (802.11), which cannot be read" in done.stderr
        assert done.returncode == 1
        return
    assert json.loads(done.stdout)["not_looked_into"] == {name: 3}
    assert f"{path}: not looked into: packets that cannot be read ({name}: 3)" in done.stderr


@pytest.mark.parametrize("follow_up", ["--follow-up", "--no-follow-up"])
def test_tunnels_that_were_not_to_be_entered(tmp_path: Path, follow_up: str) -> None:
    """Without tunnels one line says which there were, and how to look into them."""
    frames = [kinds_of(PACKETS[2])[kind].frame for kind in ("erspan 2", "gtp-u", "mpls")]
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap("<", [(1, 0, frame) for frame in frames]))
    done = run("--summary", "--json", "--no-tunnels", follow_up, path)
    counts = json.loads(done.stdout)
    assert (counts["carried_in"], counts["not_looked_into"]) == ({"MPLS": 1}, {"ERSPAN": 1, "GTP-U": 1})
    assert "not looked into: packets in tunnels (ERSPAN: 1, GTP-U: 1); read it with --tunnels" in done.stderr
    config = tmp_path / "a.toml"
    config.write_text("tunnels = false\n")
    assert "read it with --tunnels" in run("--config", config, path).stderr


def test_follow_ups_in_tunnels(tmp_path: Path) -> None:
    """What became of an answer is seen within tunnels, too."""
    frames = [(1, number, ethernet(_in_gre(gre(packet)))) for number, packet in enumerate(PACKETS)]
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap("<", frames))
    plain = tmp_path / "b.pcap"
    plain.write_bytes(pcap("<", [(1, number, ethernet(packet)) for number, packet in enumerate(PACKETS)]))
    found, expected = (
        [json.loads(line) for line in run("--json", "--follow-up", one).stdout.splitlines()] for one in (path, plain)
    )
    assert found
    for one, other in zip(found, expected, strict=True):
        assert one.pop("tunnel")["kind"] == "gre"
        assert one | {"source": ""} == other | {"source": ""}


def _in_gre(data: bytes) -> bytes:
    return ipv4(data, 47)


@pytest.mark.parametrize("kind", KINDS)
def test_cut_anywhere(kind: str) -> None:
    """Nothing is raised, and what is left is never longer than the frame."""
    one = kinds_of(PACKETS[2])[kind]
    for length in range(len(one.frame)):
        found = unwrap(one.frame[:length], one.link_type, tunnels=True)
        assert found is None or len(found.data) + found.taken == length
    for at in range(len(one.frame)):
        for value in (0, 1, 0x45, 0xFF):
            unwrap(one.frame[:at] + bytes([value]) + one.frame[at + 1 :], one.link_type, tunnels=True)
