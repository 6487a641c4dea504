"""Evidence: a mismatch's conversation as a file which gives the same finding, whatever else goes on."""

from __future__ import annotations

import subprocess
import threading
import time
from collections import Counter
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from inspector.capture.pcap import read_records
from inspector.config import Config
from inspector.decode.batch import FindingBatch, singly
from inspector.evidence import recorder as module
from inspector.evidence.quota import LeftOut
from inspector.evidence.recorder import Evidence, open_evidence
from inspector.model import Finding, Verdict
from inspector.pipeline import Pipeline
from inspector.reading.filereader import FileReader
from inspector.record import pack_record, unpack_record
from tests.build import pdu
from tests.build.blocks import block_of
from tests.build.connection import Wire
from tests.build.disk import small_disk
from tests.build.epm import SAMR, map_request, map_response, tcp_tower
from tests.build.traffic import traffic
from tests.conftest import require_tools
from tests.golden.store import CAPTURE, GOLDEN, config_of, trace_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from inspector.model import Segment

MANY: dict[str, Any] = {"per_minute": 10_000, "per_vip_minute": 10_000, "per_client_minute": 10_000}


def config(base: Config | None = None, **settings: int) -> Config:
    """Return a configuration with settings of evidence."""
    base = base or Config()
    return base.model_copy(update={"evidence": base.evidence.model_copy(update=settings)})


def call(number: int = 2, offered: str = "10.11.2.7", **ends: Any) -> Wire:
    """Return a connection with a bind and a map call."""
    wire = Wire(**ends).open().client(pdu.bind()).server(pdu.bind_ack())
    return ask(wire, number, offered)


def ask(wire: Wire, number: int = 2, offered: str = "10.11.2.7") -> Wire:
    """Let a client ask once more."""
    wire.client(pdu.request(map_request(tcp_tower(SAMR)), call_id=number))
    return wire.server(pdu.response(map_response([tcp_tower(SAMR, 49152, offered)]), call_id=number))


def inspect(
    evidence: Evidence | None,
    batches: Iterable[Sequence[Segment]],
    *,
    engine: bool = True,
    settings: Config | None = None,
) -> list[Finding]:
    """Take blocks of segments through a pipeline as `attach` does; return all findings, one by one."""
    settings = settings or Config()
    pipeline = Pipeline(settings.policy(), lambda _: "eth0", settings.decoder_limits(), engine=engine)
    findings: list[Finding] = []

    def take(found: Iterable[FindingBatch]) -> None:
        findings.extend(singly(found if evidence is None else evidence.name(found)))

    for segments in batches:
        block = block_of([pack_record(segment) for segment in segments])
        if evidence is not None:
            evidence.keep(block)
        take(pipeline.feed([block]))
    take(pipeline.flush())
    return findings


def reread(path: Path, settings: Config | None = None) -> list[Finding]:
    """Return the findings of a file, without what they led to."""
    settings = (settings or Config()).model_copy(update={"follow_up": False})
    return list(singly(FileReader(path, settings).findings(print)))


def proved(findings: Iterable[Finding], folder: Path, settings: Config | None = None) -> int:
    """Check that each file gives its finding, but for source, frame and evidence; return how many files there are."""
    named = [finding for finding in findings if finding.evidence is not None]
    for finding in named:
        assert finding.evidence is not None
        found = [
            replace(one, source=finding.source, frame=finding.frame, evidence=finding.evidence)
            for one in reread(folder / finding.evidence, settings)
        ]
        assert finding in found
    assert len({finding.evidence for finding in named}) == len(named) == len(list(folder.glob("*.pcapng")))
    return len(named)


def accounted(evidence: Evidence, findings: Iterable[Finding]) -> Counter[LeftOut]:
    """Check that each mismatch has a file or was counted; return how many were, by reason."""
    counts = evidence.counts()
    mismatches = sum(finding.verdict is Verdict.MISMATCH for finding in findings)
    assert counts.written + sum(counts.left_out.values()) == mismatches
    return Counter(counts.left_out)


@pytest.mark.parametrize("name", trace_names())
def test_every_golden_trace(tmp_path: Path, name: str) -> None:
    """Tunnels, UDP, IPv6, fragments, lost packets, connections from the middle: each file gives its finding."""
    settings = config(config_of(name), **MANY)
    evidence = Evidence(tmp_path, settings, {}, live=False)
    reader = FileReader(GOLDEN / "traces" / (name + CAPTURE), settings, evidence)
    findings = list(singly(reader.findings(print)))
    evidence.close()
    assert not accounted(evidence, findings)
    assert all((finding.evidence is not None) == (finding.verdict is Verdict.MISMATCH) for finding in findings)
    proved(findings, tmp_path, settings)


@pytest.mark.parametrize("engine", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_much_traffic_at_once(tmp_path: Path, seed: int, engine: bool) -> None:
    """Interleaved connections, a thread that writes: the findings are those without evidence, and each file proves."""
    segments = traffic(Random(seed), 800)  # noqa: S311 - nothing secret
    batches = [segments[start : start + 300] for start in range(0, len(segments), 300)]
    settings = config(most_files=10_000, **MANY)
    evidence = Evidence(tmp_path, settings, {1: "wan", 2: "lan"})
    findings = inspect(evidence, batches, engine=engine)
    evidence.close()
    assert [replace(finding, evidence=None) for finding in findings] == inspect(None, batches, engine=engine)
    assert set(accounted(evidence, findings)) <= {LeftOut.WRITER_BEHIND}
    assert proved(findings, tmp_path, Config(tunnels=True)) > 40


def storm(count: int, clients: int = 1, vips: int = 1) -> list[Segment]:
    """Return that many mismatches at once, of so many clients and virtual addresses."""
    server = call().segments[-1]
    found = []
    for number in range(count):
        vip, client = bytearray(server.source_address), bytearray(server.destination_address)
        vip[15] = number % vips
        client[14:] = (number // vips % clients).to_bytes(2, "big")
        found.append(
            server._replace(
                source_address=bytes(vip),
                destination_address=bytes(client),
                destination_port=1024 + number % 60000,
                time_ns=server.time_ns + number,
            )
        )
    return found


@pytest.mark.parametrize("engine", [True, False])
@pytest.mark.parametrize(
    ("clients", "vips", "written", "reasons"),
    [
        (1, 1, 2, {LeftOut.CLIENT_LIMIT}),
        (1000, 1, 10, {LeftOut.VIP_LIMIT}),
        (4, 1, 8, {LeftOut.CLIENT_LIMIT}),
        (1000, 50, 60, {LeftOut.TOTAL_LIMIT}),
    ],
)
def test_a_storm_writes_few_files(
    tmp_path: Path, clients: int, vips: int, written: int, reasons: set[LeftOut], engine: bool
) -> None:
    """So many per client, VIP and minute, every other one counted under its reason; the next minute there are more."""
    evidence = Evidence(tmp_path, config(), {}, live=False)
    segments = storm(3000, clients, vips)
    later = [one._replace(time_ns=one.time_ns + 61 * 10**9, sequence=one.sequence + 152) for one in segments]
    findings = inspect(evidence, [segments, later], engine=engine)
    evidence.close()
    assert len(findings) == 6000
    assert set(accounted(evidence, findings)) >= reasons
    assert evidence.counts().written == 2 * written
    assert proved(findings, tmp_path) == 2 * written


def test_a_batch_with_few_of_them_keeps_its_order(tmp_path: Path) -> None:
    """Matches around the one mismatch: findings come in the order of their answers, and one has a name."""
    offered = ["10.11.2.2"] * 40
    offered[17] = "10.11.2.7"
    segments = [
        segment
        for number, one in enumerate(offered)
        for segment in call(offered=one, client_port=2000 + number).segments
    ]
    evidence = Evidence(tmp_path, config(), {})
    findings = inspect(evidence, [segments])
    assert [finding.client_port for finding in findings] == list(range(2000, 2040))
    assert [finding.client_port for finding in findings if finding.evidence] == [2017]
    evidence.close()
    assert proved(findings, tmp_path) == 1


def test_only_the_connection_that_was_asked_about(tmp_path: Path) -> None:
    """An older connection between the same ports is not in the file, nor is what comes after the answer."""
    old, new = call(client_sequence=77), call(client_sequence=5, server_sequence=9, start_ns=1_700_000_100_000_000_000)
    again = new.segments[0]._replace(time_ns=new.segments[0].time_ns + 1)
    count = len(new.segments)
    ask(new.client_fin().server_fin(), 9)
    segments = [*old.client_fin().server_fin().segments, new.segments[0], again, *new.segments[1:]]
    evidence = Evidence(tmp_path, config(per_client_minute=1), {})
    _, second, third = inspect(evidence, [segments])
    evidence.close()
    assert second.evidence is not None
    assert (third.call_id, third.anomalies, third.evidence) == (9, ("data_after_end",), None)
    assert second.time_ns == new.segments[count - 1].time_ns
    records = read_records(tmp_path / second.evidence, ports={135}, counters=Counter())
    assert [unpack_record(record)._replace(interface_index=1) for record in records] == [
        new.segments[0],
        again,
        *new.segments[1:count],
    ]


def comments(path: Path) -> tuple[str, list[str]]:
    """Return the comment on a file and those on its packets, as tshark and capinfos show them."""
    require_tools(["tshark", "capinfos"])
    about = subprocess.run(["capinfos", "-k", path], capture_output=True, text=True, check=True).stdout
    shown = subprocess.run(
        ["tshark", "-n", "-r", path, "-Tfields", "-e", "frame.comment"], capture_output=True, text=True, check=True
    ).stdout
    return about, shown.splitlines()


def test_wireshark_shows_the_comments(tmp_path: Path) -> None:
    """The answer says what is wrong with it, the file says what it is and what is not of the wire in it."""
    evidence = Evidence(tmp_path, config(), {1: "wan0"})
    (finding,) = inspect(evidence, [call().segments])
    evidence.close()
    assert finding.evidence is not None
    about, (*others, answer) = comments(tmp_path / finding.evidence)
    assert answer == f"mismatch: {finding.why}"
    assert others == [""] * 5
    for said in ("client 10.1.1.1 port 33654, asked 10.11.2.2 port 135", "rebuilt", "gives this finding"):
        assert said in about
    for not_said in ("start is not here", "another finding", "one was kept", "--tunnels"):
        assert not_said not in about
    interfaces = subprocess.run(
        ["capinfos", "-I", tmp_path / finding.evidence], capture_output=True, text=True, check=True
    )
    assert "Name = wan0" in interfaces.stdout


def test_a_conversation_whose_start_is_gone(tmp_path: Path) -> None:
    """What was overwritten is said in the file; the answer is there all the same."""
    wire = call(offered="10.11.2.2")
    for number in range(3, 3000):
        ask(wire, number, "10.11.2.2")
    ask(wire, 3000)
    segments = wire.segments
    evidence = Evidence(tmp_path, config(memory_bytes=1 << 20), {})
    findings = inspect(evidence, [segments[start : start + 500] for start in range(0, len(segments), 500)])
    evidence.close()
    assert findings[-1].evidence is not None
    about, shown = comments(tmp_path / findings[-1].evidence)
    assert "The connection's start is not here" in about
    assert "gives another finding" in about, "without the bind it is not known what was negotiated"
    assert shown[-1].startswith("mismatch: ")
    *_, last = reread(tmp_path / findings[-1].evidence)
    assert last.verdict is Verdict.MISMATCH
    assert last.anomalies == ("bind_not_seen",)


def test_a_share_of_connections_is_declared(tmp_path: Path) -> None:
    """Where packets come too fast a part of the connections is held: the rest is counted, and the files say so."""
    evidence = Evidence(tmp_path, config(memory_bytes=1 << 20), {1: "wan0"})
    times = [number * 10**8 for number in range(30)] + [62 * 10**9]
    blocks = [
        [one._replace(time_ns=one.time_ns + time_ns, sequence=one.sequence + number * 152) for one in storm(2500)]
        for number, time_ns in enumerate(times)
    ]
    findings = inspect(evidence, blocks)
    evidence.close()
    named = [finding for finding in findings if finding.evidence is not None]
    assert len(named) == 4
    assert proved(findings, tmp_path) == 4
    assert evidence.counts().one_of > 4
    left_out = accounted(evidence, findings)
    assert set(left_out) == {LeftOut.SAMPLED, LeftOut.CLIENT_LIMIT}
    assert left_out[LeftOut.SAMPLED] > len(findings) / 2
    said = [comments(tmp_path / str(finding.evidence))[0] for finding in named]
    assert ["one was kept" in one for one in said] == [False, False, True, True]


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("live", [True, False])
def test_a_full_disk_is_counted_and_said_once(tmp_path: Path, live: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Findings go on; no file is promised while none can be written, and there are files again when there is room."""
    said: list[str] = []
    written = threading.Semaphore(0)
    monkeypatch.setattr(module, "_PAUSE_S", 3600.0)
    with small_disk(tmp_path / "disk") as disk:
        evidence = Evidence(disk.path / "e", config(**MANY), {}, live=live, warn=said.append)
        write = evidence._write
        monkeypatch.setattr(evidence, "_write", lambda case: (write(case), written.release())[0])
        disk.fill()
        findings = inspect(evidence, [call(client_port=1000).segments])
        written.acquire()
        findings += inspect(evidence, [call(client_port=1001).segments])
        disk.make_room()
        evidence._paused_until = 0.0
        findings += inspect(evidence, [call(client_port=1002).segments])
        evidence.close()
        assert [finding.evidence is not None for finding in findings] == [live, False, True]
        assert accounted(evidence, findings) == {LeftOut.WRITE_FAILED: 2}
        assert [path.name for path in (disk.path / "e").iterdir()] == [findings[2].evidence]
    assert [line.partition("can")[2] for line in said] == [
        "not be written: No space left on device; inspection continues, losses are counted in the metrics",
        " be written again",
    ]


def test_a_disk_that_hangs_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Findings go on without files once so many wait, and the end is not waited for for ever."""
    hangs = threading.Event()
    evidence = Evidence(tmp_path, config(**MANY), {})
    monkeypatch.setattr(evidence._folder, "write", lambda *_: hangs.wait())
    monkeypatch.setattr(module, "_END_S", 0.1)
    findings = inspect(evidence, [storm(200)])
    evidence.close()
    assert sum(finding.evidence is not None for finding in findings) in (64, 65)
    assert evidence.counts().left_out[LeftOut.WRITER_BEHIND] >= 199
    hangs.set()


def test_a_defect_costs_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong with one conversation, it is said and counted, and the next has its file."""
    said: list[str] = []
    evidence = Evidence(tmp_path, config(**MANY), {}, warn=said.append)
    monkeypatch.setattr(module, "_PAUSE_S", 0.0)
    with monkeypatch.context() as broken:
        broken.setattr(module, "capture_of", lambda *_: 1 // 0)
        findings = inspect(evidence, [call(client_port=1000).segments])
        while evidence.counts().left_out == {}:
            time.sleep(0.01)
    findings += inspect(evidence, [call(client_port=1001).segments])
    evidence.close()
    assert accounted(evidence, findings) == {LeftOut.WRITE_FAILED: 1}
    assert [path.name for path in tmp_path.iterdir()] == [findings[1].evidence]
    assert "internal error: ZeroDivisionError" in said[0]


def test_no_folder_no_evidence() -> None:
    """Without a folder nothing is held."""
    assert open_evidence(None, Config(), {}) is None
