"""Files of `--write` and of evidence: no token of an authenticated bind is in them, and they give the same findings."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from inspector.capture.recording import Recording
from inspector.capture.writer import CaptureWriter
from inspector.cli import _load, _load_attach, make_parser
from inspector.config import Config
from inspector.evidence.recorder import Evidence
from inspector.losses import Loss
from inspector.model import Verdict
from inspector.record import Attribute, pack_record
from tests.build import ntlm, pdu
from tests.build.connection import Wire
from tests.build.traffic import traffic
from tests.conftest import require_tools
from tests.unit.test_evidence import MANY, inspect, proved, reread
from tests.unit.test_evidence import config as evidence_config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inspector.model import Finding, Segment

ROOT = Path(__file__).parents[2]


def spoken(seed: int = 1, mss: int = 65000, **ends: Any) -> tuple[Wire, list[bytes]]:
    """Return a connection of a client that authenticates itself, and all tokens and signatures in it."""
    client, server = ntlm.conversation(Random(seed))  # noqa: S311 - no real secret
    wire = Wire(**ends).open()
    answers = iter(server.pdus)
    for one in client.pdus:
        wire.client(one, mss)
        if one[2] != pdu.AUTH3:
            wire.server(next(answers), mss)
    return wire, [value for value in client.values + server.values if value]


def holds(content: bytes, values: Sequence[bytes]) -> int:
    """Return how many pieces of tokens are in a file; those which may be there otherwise, with many zeros, apart."""
    pieces = {value[at : at + 8] for value in values for at in range(0, len(value) - 7, 8)}
    return sum(piece in content for piece in pieces if len(set(piece)) > 5)


def recorded(path: Path, segments: Sequence[Segment], *, keep: bool = False) -> Path:
    """Return what `--write` keeps of segments."""
    with Recording(path, Config(keep_credentials=keep), {1: "eth0"}, print) as recording:
        for number, segment in enumerate(segments):
            recording.write(pack_record(segment))
            if number % 50 == 0:
                recording.flush(segment.time_ns)
    assert dict(recording.losses()) == {Loss.CAPTURE_FAILED: 0}
    return path


def without_source(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings as they are whatever they came from: a file numbers its packets."""
    return [replace(finding, source="", frame=None) for finding in findings]


@pytest.mark.parametrize("mss", [65000, 1460, 100, 30, 9])
@pytest.mark.parametrize("keep", [False, True])
def test_what_write_keeps(tmp_path: Path, keep: bool, mss: int) -> None:
    """No part of a token, unless it is asked for; the findings are those of the live run."""
    wire, values = spoken(mss=mss)
    path = recorded(tmp_path / "a.pcapng", wire.segments, keep=keep)
    content = path.read_bytes()
    assert bool(holds(content, values)) == keep
    assert b"passwords can be guessed from them" in content if keep else b"are blanked" in content
    live = inspect(None, [wire.segments])
    assert [finding.verdict for finding in live] == [Verdict.MISMATCH] * 2
    assert without_source(reread(path)) == without_source(live)


@pytest.mark.parametrize("seed", range(8))
def test_the_same_findings_whatever_the_network_does(tmp_path: Path, seed: int) -> None:
    """Lost, late, repeated, cut packets, junk, tunnels, connections from the middle: blanking changes no finding."""
    random = Random(seed)  # noqa: S311 - no real secret
    segments = traffic(random, 400, trouble=random.choice((0.0, 0.1, 0.3)))
    values: list[bytes] = []
    for number in range(10):
        wire, more = spoken(seed * 10 + number, random.choice((65000, 300, 50)), client_port=1000 + number)
        at = random.randrange(len(segments))
        values += more
        segments[at:at] = [
            one._replace(time_ns=segments[at].time_ns) for one in wire.segments if random.random() < 0.95
        ]
    settings = Config(tunnels=True)
    kept, blanked = (
        reread(recorded(tmp_path / str(keep) / "a.pcapng", segments, keep=keep), settings)
        for keep in (True, False)
        if (tmp_path / str(keep)).mkdir() is None
    )
    assert len(kept) > 50
    assert without_source(blanked) == without_source(kept)
    assert not holds((tmp_path / "False" / "a.pcapng").read_bytes(), values)


@pytest.mark.parametrize("mss", [65000, 100])
@pytest.mark.parametrize("keep", [False, True])
def test_evidence(tmp_path: Path, keep: bool, mss: int) -> None:
    """Files of evidence likewise; each gives its finding all the same."""
    wire, values = spoken(mss=mss)
    settings = evidence_config(Config(keep_credentials=keep), **MANY)
    evidence = Evidence(tmp_path, settings, {1: "eth0"})
    findings = inspect(evidence, [wire.segments])
    evidence.close()
    assert proved(findings, tmp_path, settings) == 2
    for path in tmp_path.iterdir():
        assert bool(holds(path.read_bytes(), values)) == keep


def test_read_keeps_evidence_without_them(tmp_path: Path) -> None:
    """The command, with and without its option."""
    wire, values = spoken()
    path = tmp_path / "a.pcapng"
    with CaptureWriter(path, {}) as writer:
        for segment in wire.segments:
            writer.write(pack_record(segment))
    assert holds(path.read_bytes(), values)
    for option in ([], ["--keep-credentials"]):
        folder = tmp_path / f"proof{len(option)}"
        command = [sys.executable, "-m", "inspector", "read", "--evidence", str(folder), *option, str(path)]
        subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
        assert [bool(holds(one.read_bytes(), values)) for one in folder.iterdir()] == [bool(option)] * 2


def dissected(path: Path, *fields: str) -> list[list[str]]:
    """Return fields of every packet, as tshark sees them with all checksums verified."""
    require_tools(["tshark"])
    chosen = [argument for field in fields for argument in ("-e", field)]
    done = subprocess.run(
        ["tshark", "-n", "-r", path, "-otcp.check_checksum:TRUE", "-Tfields", *chosen],
        capture_output=True,
        text=True,
        check=True,
    )
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_wireshark_sees_valid_pdus(tmp_path: Path) -> None:
    """Types, lengths and trailers are those of the wire; checksums are right, nothing is malformed, values are 0."""
    wire, values = spoken()
    fields = ("dcerpc.pkt_type", "dcerpc.cn_frag_len", "dcerpc.cn_auth_len", "dcerpc.auth_type", "dcerpc.auth_level")
    more = ("_ws.malformed", "tcp.checksum.status", "frame.comment", "ntlmssp.auth.username", "ntlmssp.ntlmv2_response")
    before, after = (
        dissected(recorded(tmp_path / f"{keep}.pcapng", wire.segments, keep=keep), *fields, *more)
        for keep in (True, False)
    )
    assert [row[:5] for row in after] == [row[:5] for row in before]
    assert {row[0] for row in after} == {"", "11", "12", "14", "15", "16", "0", "2"}
    assert [(row[5], row[6]) for row in after] == [("", "1")] * len(after)
    assert "administrator" in {row[8] for row in before}
    assert {(row[8], row[9]) for row in after} == {("", "")}
    comments = [row[7] for row in after if row[7]]
    assert comments == [
        f"{row[2]} bytes of authentication values are blanked" for row in after if row[2] not in ("", "0")
    ]
    assert sum(map(len, values)) == sum(int(row[2] or 0) for row in after)


def test_the_middle_says_so(tmp_path: Path) -> None:
    """Of a connection whose start was not seen nothing is kept that may be a token, and the packets say it."""
    wire, values = spoken(mss=100)
    bind = [one for one in wire.segments if one.payload and not one.attributes & Attribute.FROM_SERVER]
    path = recorded(tmp_path / "a.pcapng", bind[1:2])
    assert not holds(path.read_bytes(), values)
    [[comment]] = dissected(path, "frame.comment")
    assert comment.endswith("bytes are blanked: which PDU they are of was not seen")


def test_the_configuration_says_it(tmp_path: Path) -> None:
    """Off unless the file or the command line says otherwise, for both commands."""
    file = tmp_path / "c.toml"
    file.write_text("keep_credentials = true\nwrite_max_bytes = 2000000\nwrite_files = 3\n")
    for words, keep, length, files in (
        (["attach", "a"], False, 64 << 20, 8),
        (
            ["attach", "a", "--keep-credentials", "--write-max-bytes", "3000000", "--write-files", "2"],
            True,
            3_000_000,
            2,
        ),
        (["attach", "a", "--config", str(file)], True, 2_000_000, 3),
    ):
        config = _load_attach(make_parser().parse_args(words))
        assert (config.keep_credentials, config.write_max_bytes, config.write_files) == (keep, length, files)
    for words, keep in ((["read", "a"], False), (["read", "a", "--keep-credentials"], True)):
        assert _load(make_parser().parse_args(words)).keep_credentials is keep
