"""Time in `read`: it goes on with every packet of a file, and over the ends of files that are one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from inspector.capture.frames import build_frame
from inspector.reading.chain import chain
from tests.bench.conversations import conversation
from tests.build.capture_files import pcap
from tests.conftest import require_tools

ROOT = Path(__file__).parents[2]
SEGMENTS = conversation(0).segments
# The bind and its answer, the question, its answer, and how the connection ends.
QUESTION = next(
    number for number, one in enumerate(SEGMENTS) if one.destination_port == 135 and one.payload[2:3] == b"\0"
)
OTHER = build_frame(SEGMENTS[0]._replace(source_port=5000, destination_port=5001))


def write(path: Path, frames: list[tuple[float, bytes]]) -> Path:
    """Write frames with their seconds."""
    path.write_bytes(pcap("<", [(int(at), round(at % 1 * 1e6), frame) for at, frame in frames]))
    return path


def frames_of(first: int, end: int, at: float = 100.0) -> list[tuple[float, bytes]]:
    """Return frames of the conversation, a millisecond apart."""
    return [(at + number / 1000, build_frame(SEGMENTS[number])) for number in range(first, end)]


def read(*arguments: object) -> tuple[list[dict[str, Any]], str]:
    """Return findings, and what standard error says."""
    command = [sys.executable, "-m", "inspector", "read", "--json", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.mark.parametrize("follow_up", ["--follow-up", "--no-follow-up"])
def test_an_unanswered_question_is_found_by_the_time_of_others(tmp_path: Path, follow_up: str) -> None:
    """The last packet of port 135 is the question; later ones of other connections say that time went by."""
    question = frames_of(0, QUESTION + 1)
    found, _ = read(follow_up, write(tmp_path / "a.pcap", [*question, (100.5, OTHER), (130, OTHER)]))
    assert [one["verdict"] for one in found] == ["unanswered"]
    found, _ = read(follow_up, write(tmp_path / "b.pcap", [*question, (100.5, OTHER)]))
    assert [one["verdict"] for one in found if one["kind"] == "answer"] == []


def test_what_is_open_at_the_end_is_said(tmp_path: Path) -> None:
    """Too early to call it unanswered: an outcome, without follow-ups one line; nothing where it was answered."""
    path = write(tmp_path / "a.pcap", [*frames_of(0, QUESTION + 1), (102, OTHER)])
    found, _ = read(path)
    assert [one["cause"] for one in found] == ["capture_ends"]
    found, errors = read("--no-follow-up", path)
    assert found == []
    assert f"{path}: ended before these were answered, or could be called unanswered: 1 questions" in errors
    _, errors = read("--no-follow-up", write(tmp_path / "b.pcap", frames_of(0, len(SEGMENTS))))
    assert "ended before" not in errors


def test_time_goes_on_in_compiled_code(tmp_path: Path) -> None:
    """Thousands of packets of others in a row are read in one go."""
    others = [(103 + number / 100, OTHER) for number in range(5000)]
    found, _ = read(write(tmp_path / "a.pcap", [*frames_of(0, QUESTION + 1), *others]))
    assert [one["verdict"] for one in found] == ["unanswered"]


RINGS = [
    ("t_00001_20260101100000.pcap", "t_00002_20260101100100.pcap"),
    ("t_20260101100000_00009.pcapng", "t_20260101100100_00001.pcapng"),
]


@pytest.mark.parametrize("follow_up", ["--follow-up", "--no-follow-up"])
@pytest.mark.parametrize("names", [*RINGS, ("one.pcap", "two.pcap")])
def test_files_that_go_on(tmp_path: Path, names: tuple[str, str], follow_up: str) -> None:
    """A conversation that two files have parts of is one: the question is known; file and frame are the answer's."""
    first = write(tmp_path / names[0], frames_of(0, QUESTION + 1))
    second = write(tmp_path / names[1], [(100.002, OTHER), *frames_of(QUESTION + 1, len(SEGMENTS))])
    options = [] if names in RINGS else ["--follow-on"]
    found, errors = read(follow_up, *options, second, first)
    [answer] = [one for one in found if one["kind"] == "answer"]
    assert answer["source"] == str(second)
    assert answer["requested"]["name"]
    assert answer["anomalies"] == []
    assert answer.get("frame", 2) == 2
    assert "ended before" not in errors
    apart, _ = read("--no-follow-on", follow_up, first, second)
    assert any("request_not_seen" in one["anomalies"] for one in apart)


def test_a_chain_of_network_monitor(tmp_path: Path) -> None:
    """NAME.chn, which NMCap was told, is NAME.cap, NAME(1).cap; copies of one file, and a gap, are no chain."""
    require_tools(["editcap"])
    plain = [
        write(tmp_path / "1.pcap", frames_of(0, QUESTION + 1)),
        write(tmp_path / "2.pcap", [(100.002, OTHER), *frames_of(QUESTION + 1, len(SEGMENTS))]),
    ]
    links = [tmp_path / "n" / name for name in ("t.cap", "t(1).cap", "t(2).cap")]
    links[0].parent.mkdir()
    for source, link in zip(plain, links, strict=False):
        subprocess.run(["editcap", "-F", "netmon2", source, link], check=True, capture_output=True)
    for given in ([tmp_path / "n" / "t.chn"], [tmp_path / "n"]):
        found, _ = read(*given)
        [answer] = [one for one in found if one["kind"] == "answer"]
        assert (answer["source"], answer["frame"], answer["anomalies"]) == (str(links[1]), 2, [])
    assert chain(links[:2], None) == {links[0]: (links[1],)}
    links[1].rename(links[2])
    assert chain([links[0], links[2]], None) == {}
    shutil.copy(links[2], links[0])
    shutil.copy(plain[0], links[1])
    assert chain(links[:2], None) == {}


def test_a_file_of_a_ring_that_cannot_be_read(tmp_path: Path) -> None:
    """One line, and the others are read as one all the same."""
    paths = [tmp_path / f"t_0000{number}_2026010110000{number}.pcap" for number in (1, 2, 3)]
    write(paths[0], frames_of(0, QUESTION + 1))
    paths[1].write_bytes(b"Dear colleague,")
    write(paths[2], frames_of(QUESTION + 1, len(SEGMENTS)))
    for follow_up in ("--follow-up", "--no-follow-up"):
        found, errors = read(follow_up, *paths)
        assert [one["anomalies"] for one in found if one["kind"] == "answer"] == [[]]
        assert f"{paths[1]}: is no capture file" in errors
        assert "files not read" in errors


def test_rings_are_told_apart() -> None:
    """By folder, start and suffix; other names are files of their own."""
    names = ["a_00001_20260101100000.pcap", "a_00002_20260101100001.pcap", "b_00001_20260101100000.pcap", "a.pcap"]
    paths = [Path(name) for name in (*names, f"x/{names[0]}")]
    assert chain(paths, None) == chain(paths * 2, None) == {paths[0]: (paths[1],)}
    assert chain(paths, False) == {}
