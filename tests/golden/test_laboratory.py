"""The laboratory traces are all there, and show the case which they were recorded for."""

from __future__ import annotations

import json

import pytest

from inspector.errors import LaboratoryError
from tests.golden.laboratory import LARGEST, RUNS, frames_of
from tests.golden.layers import Frame
from tests.golden.store import CAPTURE, CONFIG, FINDINGS, GOLDEN, LABORATORY

RECORDINGS = {f"{LABORATORY}-{recording.name}": recording for run in RUNS for recording in run.recordings}
# Classic capture, little-endian, microseconds, Ethernet; one frame, cut from 1514 bytes to two.
HEAD = bytes.fromhex("d4c3b2a1 0200 0400 00000000 00000000 ffff0000 01000000")
RECORD = bytes.fromhex("01000000 02000000 02000000 ea050000 abcd")


def test_every_recording_is_there_and_nothing_else() -> None:
    """Captures small enough for a repository, and the configurations with which the script says they are read."""
    stored = {path.name: path.read_bytes() for path in (GOLDEN / "traces").glob(f"{LABORATORY}*")}
    configs = {name + CONFIG: one.config.encode() for name, one in RECORDINGS.items() if one.config}
    assert set(stored) == {name + CAPTURE for name in RECORDINGS} | set(configs)
    assert {name: stored[name] for name in configs} == configs
    assert max(map(len, stored.values())) <= LARGEST


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_shows_the_mismatch(name: str) -> None:
    """The virtual address was asked, over IPv6 only on the outer side, and the tower names the real server."""
    findings = [json.loads(line) for line in (GOLDEN / "baselines" / (name + FINDINGS)).read_text().splitlines()]
    raw = "2002:a01:86e8:8001::a0b:202" if name.endswith("outer") else None
    assert {(finding["asked"], finding.get("asked_raw")) for finding in findings} == {("10.11.2.2", raw)}
    mismatches = [finding for finding in findings if finding["verdict"] == "mismatch"]
    assert mismatches
    addresses = {mapping["address"] for finding in mismatches for mapping in finding["mappings"]}
    assert "10.11.2.7" in addresses
    assert "unanswered" not in {finding["verdict"] for finding in findings}


def test_frames_are_taken_over_as_tcpdump_wrote_them() -> None:
    """Time in nanoseconds, the captured bytes, the length on the wire."""
    assert list(frames_of(HEAD + RECORD + RECORD)) == [Frame(1_000_002_000, b"\xab\xcd", 1514)] * 2


def test_a_capture_of_another_kind_is_refused() -> None:
    """Nanoseconds, or another link layer, would be taken for something else."""
    with pytest.raises(LaboratoryError, match="0xa1b23c4d, link type 1"):
        list(frames_of(bytes.fromhex("4d3cb2a1") + HEAD[4:]))
    with pytest.raises(LaboratoryError, match="link type 101"):
        list(frames_of(HEAD[:20] + bytes.fromhex("65000000")))
