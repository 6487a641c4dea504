"""Each benchmark runs once, small, so that none rots; figures are printed by `make bench`, never asserted."""

from __future__ import annotations

import itertools
import json
import os
import zipfile
from typing import TYPE_CHECKING

import pytest

from inspector.live.bpf import loader, syscalls
from inspector.live.bpf.options import pack_options
from inspector.live.rings.readers import open_compact, take
from inspector.record import unpack_record
from tests.bench import __main__ as bench
from tests.bench import (
    contention,
    evidence,
    installed,
    memory,
    mixed_load,
    mixes,
    pipeline_rate,
    producer,
    read_real,
    read_speed,
    start,
    sustained,
    veth_bulk,
    vips,
    xdp_cost,
)
from tests.bench.producer import Producer, Production
from tests.bench.rig import Rig, Run
from tests.bench.workloads import calls, responses
from tests.conftest import require_tools, unavailable

if TYPE_CHECKING:
    from pathlib import Path

    from inspector.model import Segment
    from tests.bench.workloads import Workload

pytestmark = pytest.mark.bench

_RING_BYTES = 1 << 20


@pytest.fixture
def two_cpus() -> None:
    """Ask for one CPU that produces and one that consumes."""
    if len(os.sched_getaffinity(0)) < 2:
        unavailable("two CPUs are needed")


def _produced(workload: Workload, rate: float, seconds: float) -> tuple[list[Segment], producer.Production]:
    """Return what the kernel program makes of a producer's packets, and what the producer says of them."""
    program = loader.load((loader.XDP_PROGRAM,), compact_ring_bytes=_RING_BYTES)
    syscalls.map_update(program.maps["epm_options"], 0, pack_options([], (135,)))
    rings = open_compact(program)
    try:
        with Producer(program.programs[loader.XDP_PROGRAM], workload, producer.cpus()[0]) as process:
            production = process.run(rate, seconds)
        taken = [take(ring) for ring in rings]
        assert all(complete for _, complete in taken)
        return [unpack_record(record) for records, _ in taken for record in records], production
    finally:
        for ring in rings:
            ring.close()
        program.close()


@pytest.mark.usefixtures("bpf")
def test_producer_responses() -> None:
    """Every packet is its connection's next response: sequence and call id go on, VIPs and servers are spread."""
    segments, production = _produced(responses(10, vips=3, servers=2), 10_000, 0.05)
    assert production.packets == production.responses == len(segments) > 100
    by_client: dict[int, list[Segment]] = {}
    for segment in segments:
        by_client.setdefault(segment.destination_port, []).append(segment)
    assert len(by_client) == 10
    assert len({segment.source_address for segment in segments}) == 3
    for of_client in by_client.values():
        assert len({(segment.source_address, segment.payload[16:]) for segment in of_client}) == 1
        steps = {later.sequence - one.sequence for one, later in itertools.pairwise(of_client)}
        assert steps == {152}
        call_ids = [int.from_bytes(segment.payload[12:16], "little") for segment in of_client]
        assert call_ids == list(range(2, 2 + len(of_client)))


@pytest.mark.usefixtures("bpf", "two_cpus")
@pytest.mark.parametrize("workload", [responses(10, vips=2), calls(32)], ids=["responses", "calls"])
def test_rig_accounts_for_all(workload: Workload) -> None:
    """Packets that are sent arrive, and each response becomes a finding: the rig itself raises otherwise."""
    with Rig(workload) as rig:
        run = rig.run(5_000, 0.5)
    assert run.consumed == run.production.packets > 1000
    assert run.responses == run.production.responses > 100


@pytest.mark.usefixtures("bpf", "two_cpus")
def test_calls_are_read_whole() -> None:
    """The conversations which the producer interleaves hold nothing that the pipeline finds odd."""
    with Rig(calls(32)) as rig:
        assert rig.run(5_000, 0.5).anomalies == 0


@pytest.mark.usefixtures("bpf")
def test_xdp_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program's costs and their ratios to the empty one are measured."""
    monkeypatch.setattr(xdp_cost, "REPETITIONS", 5_000)
    monkeypatch.setattr(xdp_cost, "TURNS", 2)
    figures = xdp_cost.measure()
    assert {"xdp_empty_ns", "xdp_non_epm_ns", "xdp_map_response_ns", "xdp_full_segment_ratio"} <= set(figures)


@pytest.mark.usefixtures("bpf", "two_cpus")
def test_contention(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processors submit at once, into lanes and into a ring that they share; records are made in both."""
    monkeypatch.setattr(contention, "TURNS", 1)
    figures = contention.measure()
    empty = figures["contention_empty_1_ns"]
    assert all(figures[f"contention_{ring}_{cpus}_ns"] > empty for ring in ("lanes", "shared_ring") for cpus in (1, 2))


@pytest.mark.usefixtures("bpf", "root")
def test_veth_bulk() -> None:
    """Every mode is measured beside the rate without a program."""
    figures = veth_bulk.measure(1, 0.1)
    assert set(figures) == {"veth_bulk_gbit_per_s", *(f"veth_bulk_{mode}_ratio" for mode in veth_bulk.MODES)}
    assert all(figure > 0 for figure in figures.values())


@pytest.mark.usefixtures("bpf")
def test_producer_alone() -> None:
    """Both workloads can be sent into a program which does nothing."""
    assert all(cost > 0 for cost in producer.measure(0.05).values())


@pytest.mark.usefixtures("bpf", "two_cpus")
def test_pipeline_rate() -> None:
    """Every conversation that goes into the ring comes out as a finding."""
    assert pipeline_rate.measure(1)["pipeline_lost"] == 0


@pytest.mark.usefixtures("bpf", "two_cpus")
def test_sustained(monkeypatch: pytest.MonkeyPatch) -> None:
    """All line-rate figures come out; a tiny ring overflows, and all packets are accounted for."""
    monkeypatch.setattr(sustained, "SHARE_RATES", {"1k": 1000})
    monkeypatch.setattr(sustained, "_FIRST_RATE", 1000.0)
    monkeypatch.setattr(sustained, "_WARM_UP_S", 0.1)
    figures = sustained.measure(0.2, 1000.0, step_s=0.2, budget_s=0.5)
    assert figures["sustained_lost"] == 0
    assert figures["overflow_conserved"] == 1.0
    assert figures["overflow_lost"]
    assert {"highest_lossless_per_s", "loss_begins_per_s", "cpu_share_1k", "calls_rate_per_s"} <= set(figures)


class LateRig:
    """A rig whose rings hold all that is sent, and whose reader takes 15,000 packets a second."""

    def run(self, rate: float, seconds: float) -> Run:
        """Return a run without loss."""
        packets = int(rate * seconds)
        sent = Production(packets, 0, packets, seconds, 0)
        until = max(packets / 15_000, seconds)
        return Run(sent, packets, packets, {}, packets, 0, 0, 0, until, until, 0)


def test_rings_that_fill_are_no_rate() -> None:
    """A rate at which the reader falls behind is not sustained, though nothing is lost in a short run."""
    best, failed = sustained.search(LateRig(), 2.0, 1.0, first_rate=5_000)  # type: ignore[arg-type]
    assert 14_000 < best < 17_500
    assert failed is not None
    assert best < failed < 18_500


@pytest.mark.usefixtures("bpf", "two_cpus")
def test_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are written, and every mismatch is accounted for: `measure` itself raises otherwise."""
    monkeypatch.setattr(evidence, "RATES", {"10k": 10_000})
    monkeypatch.setattr(evidence, "calls", lambda: calls(32))
    figures = evidence.measure(0.5)
    assert figures["evidence_files_10k"]
    assert figures["evidence_one_of_10k"] == 1


def test_vips() -> None:
    """Responses from one and from many virtual addresses are all counted: `cost` itself raises otherwise."""
    assert all(cost > 0 for cost in vips.measure(1).values())


def test_memory() -> None:
    """Connections are held open, and cost memory."""
    assert set(memory.measure(("none", "1k"))) >= {"memory_connections_1k_mib"}


@pytest.mark.usefixtures("bpf", "root")
def test_start() -> None:
    """The command attaches and says so."""
    assert start.measure(1)["start_to_attached_s"] > 0


def test_read_speed() -> None:
    """All decoders read the same files."""
    require_tools(["tshark"])
    figures = read_speed.measure(read_speed.Sizes(100, 200, 100, 20, 20))
    assert figures["read_vs_tshark"] > 0
    assert figures["read_big_conversations"] == 200


def test_mixes() -> None:
    """Both mixes are decoded, and each answer of the real one is counted: `measure` itself raises otherwise."""
    figures = mixes.measure(400, 1.0)
    assert figures["real_records_per_s"] > 0
    assert figures["hostile_honest_share"] == 1


@pytest.mark.usefixtures("bpf", "two_cpus")
def test_mixed_load() -> None:
    """Both mixes pass the kernel program, every packet is accounted for, honest answers are found at a low rate."""
    figures = mixed_load.measure(
        0.5, step_s=0.3, budget_s=0.5, hostile_s=0.5, forged_per_s=2_000, conversations=200, first_rate=3_000
    )
    assert figures["real_lost"] == 0
    assert figures["honest_found_share"] == 1


def test_installed(tmp_path: Path) -> None:
    """What is installed counts, by its size; here it is a wheel of two million bytes without dependencies."""
    wheel = tmp_path / "small-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("small.txt", os.urandom(2_000_000))
        archive.writestr("small-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: small\nVersion: 1\n")
        archive.writestr("small-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("small-1.dist-info/RECORD", "")
    figures = installed.measure(str(wheel))
    assert 2 <= figures["installed_mb"] - figures["installed_empty_mb"] < 2.2


def test_read_real() -> None:
    """Both read the same file, and ours finds every answer: `measure` itself raises otherwise."""
    require_tools(["tshark"])
    assert read_real.measure(300, 1)["read_real_vs_tshark"] > 0


def test_read_follow_up() -> None:
    """Healthy conversations are read with their follow-ups and without."""
    require_tools(["tshark"])
    figures = read_real.measure_follow_up(30, 1)
    assert figures["read_follow_up_vs_tshark"] > 0
    assert 0 < figures["read_follow_up_vs_plain"] < 10


def test_failure_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A benchmark that fails is in table, file and exit status; the others' figures are kept."""
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "bench.json")
    monkeypatch.setattr(bench, "BENCHMARKS", {name: bench.Benchmark(name, "nothing") for name in ("absent", "good")})
    run = bench.run
    monkeypatch.setattr(bench, "run", lambda name: {"figure": 1.5} if name == "good" else run(name))
    assert bench.main() == 1
    assert "absent FAILED" in capsys.readouterr().out
    results = json.loads(bench.RESULTS.read_text())
    assert results["figure"] == 1.5
    assert "No module named" in results["failures"]["absent"]
