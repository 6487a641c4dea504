"""Configuration that changes while an inspection runs: what it does to verdicts, waiting, metrics, and what is said."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from inspector.config import Config, load_config
from inspector.decode.batch import singly
from inspector.http.overview import Overview
from inspector.inspection import delivery
from inspector.inspection.upkeep import Upkeep, changes
from inspector.judge.policy import Policy
from inspector.metrics.updates import Metrics
from inspector.model import Verdict
from inspector.output import batchlines
from inspector.output.jsonl import JsonLines, StreamLines
from inspector.pipeline import Pipeline
from inspector.record import pack_record
from inspector.wire.limits import Limits
from tests.build import pdu
from tests.build.blocks import block_of
from tests.build.connection import START_NS, Wire
from tests.build.epm import SAMR, map_request, map_response, tcp_tower
from tests.unit.test_metrics import Scraped

POOL = Policy({IPv4Address("10.11.2.2"): (IPv4Network("10.11.2.7/32"),)})
BOTH_PATHS = pytest.mark.parametrize("engine", [False, True], ids=["scalar", "engine"])


def pipeline_of(engine: bool, limits: Limits | None = None) -> Pipeline:
    """Return a pipeline on one of the two paths."""
    return Pipeline(Policy(), lambda index: f"eth{index}", limits, engine=engine)


def asked(client_port: int, *, answered: bool = True) -> list[bytes]:
    """Return the records of a connection on which SAMR was asked for, and found at another address."""
    wire = Wire(client_port=client_port).open().client(pdu.bind()).server(pdu.bind_ack())
    wire.client(pdu.request(map_request(tcp_tower(SAMR)), call_id=2))
    if answered:
        wire.server(pdu.response(map_response([tcp_tower(SAMR, 49152, "10.11.2.7")]), call_id=2))
    return [pack_record(segment) for segment in wire.segments]


class Sinks:
    """What an inspection does with findings: metrics, and lines of JSON."""

    def __init__(self) -> None:
        self.metrics = Metrics(CollectorRegistry(), learned_vips=0)
        self._text = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        self._lines = JsonLines(StreamLines(self._text))

    def take(self, pipeline: Pipeline, records: Sequence[bytes]) -> None:
        """Put records through as one block."""
        for batch in pipeline.feed([block_of(records)]):
            self.metrics.observe(batch)
            self._lines.show(batch)

    def verdicts(self) -> list[str]:
        """Return the verdict of each line, and of its mapping."""
        self._text.seek(0)
        findings = [json.loads(line) for line in self._text]
        assert all(mapping["verdict"] == one["verdict"] for one in findings for mapping in one["mappings"])
        return [one["verdict"] for one in findings]


@BOTH_PATHS
def test_a_mismatch_becomes_pooled_when_its_pool_is_declared(engine: bool) -> None:
    """The same answers, judged before and after: in lines, in counts, in metrics; and back again."""
    pipeline, sinks = pipeline_of(engine), Sinks()
    expected = []
    for number, policy in enumerate((None, POOL, Policy())):
        if policy is not None:
            pipeline.reconfigure(policy, Limits())
        for repeat in range(2):
            sinks.take(pipeline, asked(5000 + 2 * number + repeat))
        expected += ["pooled" if policy is POOL else "mismatch"] * 2
        assert sinks.verdicts() == expected
    assert pipeline.verdicts == {Verdict.MISMATCH: 4, Verdict.POOLED: 2}
    scraped = Scraped(sinks.metrics)
    assert scraped("responses_total", interface="eth1", verdict="mismatch") == 4
    assert scraped("responses_total", interface="eth1", verdict="pooled") == 2
    # No VIP was declared, and none may be learned.
    assert scraped("mismatches_total", interface="eth1", vip="other", service="SAMR") == 4


@BOTH_PATHS
def test_a_declared_vip_gets_its_label(engine: bool) -> None:
    """What was `other` before has a label of its own afterwards; what it counted stays where it was."""
    pipeline, sinks = pipeline_of(engine), Sinks()
    sinks.take(pipeline, asked(5000))
    pipeline.reconfigure(Policy(), Limits())
    sinks.metrics.reconfigure(["10.11.2.2"], 0)
    sinks.take(pipeline, asked(5001))
    sinks.take(pipeline, asked(5002))
    scraped = Scraped(sinks.metrics)
    assert scraped("mismatches_total", interface="eth1", vip="other", service="SAMR") == 1
    assert scraped("mismatches_total", interface="eth1", vip="10.11.2.2", service="SAMR") == 2
    assert scraped("label_overflow_total", label="vip") == 1


@BOTH_PATHS
def test_an_interface_that_takes_anothers_index(engine: bool) -> None:
    """Findings of the index carry the new name once what was judged before is forgotten."""
    names = {1: "eth1"}
    pipeline = Pipeline(Policy(), lambda index: names[index], engine=engine)
    sinks = Sinks()
    sinks.take(pipeline, asked(5000))
    names[1] = "eth2"
    pipeline.forget_judgements()
    sinks.take(pipeline, asked(5001))
    scraped = Scraped(sinks.metrics)
    for name in ("eth1", "eth2"):
        assert scraped("responses_total", interface=name, verdict="mismatch") == 1


@BOTH_PATHS
@pytest.mark.parametrize(("before", "after"), [(10, 1), (1, 10)])
def test_patience_changes_for_what_waits_already(engine: bool, before: int, after: int) -> None:
    """A question which waits is given up after the new time, be it shorter or longer."""
    pipeline = pipeline_of(engine, Limits(unanswered_ns=before * 10**9))
    assert list(feed(pipeline, asked(5000, answered=False))) == []
    pipeline.reconfigure(Policy(), Limits(unanswered_ns=after * 10**9))
    [question_ns] = [START_NS + 4_000_000]
    assert list(pipeline.advance(question_ns + after * 10**9 - 1)) == []
    [finding] = singly(pipeline.advance(question_ns + after * 10**9))
    assert (finding.verdict, finding.time_ns) == (Verdict.UNANSWERED, question_ns + after * 10**9)


@BOTH_PATHS
def test_silent_connections_are_forgotten_after_the_new_time(engine: bool) -> None:
    """The idle time holds for connections that are there already; limits on memory stay what they were."""
    pipeline = pipeline_of(engine)
    assert len(list(feed(pipeline, asked(5000)))) == 1
    pipeline.reconfigure(Policy(), Limits(idle_ns=10**9, connections=1, buffered_bytes=1))
    assert len(list(feed(pipeline, asked(5001)))) == 1
    assert pipeline.tracked_connections == 2
    assert list(pipeline.advance(START_NS + 2 * 10**9)) == []
    assert pipeline.tracked_connections == 0


def feed(pipeline: Pipeline, records: Sequence[bytes]) -> Iterator[object]:
    """Yield what records complete."""
    yield from pipeline.feed([block_of(records)])


def test_texts_of_replaced_judgements_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the configuration again and again takes no more memory than once."""
    monkeypatch.setattr(batchlines, "JUDGEMENTS", 8)
    pipeline, lines = pipeline_of(engine=True), batchlines.BatchLines()
    held = []
    # An answer becomes a template when it comes again.
    assert [found.lasting for found in pipeline.feed([block_of(asked(4999))])] == [False]
    for number in range(40):
        pipeline.reconfigure(POOL if number % 2 else Policy(), Limits())
        for found in pipeline.feed([block_of(asked(5000 + number))]):
            assert found.lasting
            made = b"".join(lines.make(found))
            assert json.loads(made)["verdict"] == ("pooled" if number % 2 else "mismatch")
        held.append(lines._text.nbytes + np.asarray(lines._pieces).nbytes)
    assert max(held) == max(held[:20])


@pytest.mark.parametrize(
    ("old", "new", "changed", "fixed"),
    [
        ("", "", [], []),
        ("", 'vip = [{address = "10.0.0.1"}]', ["vip"], []),
        ("", "ports = [135]\nlearned_vips = 3", ["ports", "learned_vips"], []),
        ("", 'listen = "127.0.0.1:1"\ntunnels = true', [], ["tunnels", "listen"]),
        (
            "[limits]\nidle_seconds = 3",
            "[limits]\nidle_seconds = 4\nconnections = 5",
            ["limits.idle_seconds"],
            ["limits.connections"],
        ),
        ("", "[limits]\nbuffered_bytes = 5", [], ["limits.buffered_bytes"]),
        ('runtime_directory = "/a"', 'nat64_prefixes = ["64:ff9b:1::/48"]', ["nat64_prefixes"], ["runtime_directory"]),
        (
            'interfaces = ["eth0"]\nmode = "tc"',
            'interfaces = ["eth0", "eth1"]\nnetns = "blue"\nfindings_json = true\nwrite = "/w"\ndrop_all = true',
            [],
            ["interfaces", "mode", "netns", "drop_all", "findings_json", "write"],
        ),
    ],
)
def test_what_needs_a_restart(tmp_path: Path, old: str, new: str, changed: list[str], fixed: list[str]) -> None:
    """Every key that differs is named, on the right side."""
    configs = []
    for number, text in enumerate((old, new)):
        path = tmp_path / f"{number}.toml"
        path.write_text(text)
        configs.append(load_config(path))
    assert changes(configs[0], configs[1]) == (changed, fixed)


class Running:
    """An upkeep with a real pipeline and real metrics, whose notes and ports are kept."""

    def __init__(self, path: Path) -> None:
        self.notes: list[str] = []
        self.ports: list[int] = []
        self.metrics = Metrics(CollectorRegistry())
        session: Any = SimpleNamespace(places=SimpleNamespace(set_ports=self.ports.extend), changes=list)
        self.reopened = 0
        output: Any = SimpleNamespace(note=self.notes.append, reopen=self._reopen)
        self.pipeline = pipeline_of(engine=False)
        sinks = delivery.Sinks(self.metrics, Overview(), output, None, None)
        self.upkeep = Upkeep(session, self.pipeline, None, sinks, Config(), path, lambda: load_config(path))

    def _reopen(self) -> None:
        self.reopened += 1

    def successful(self) -> float | None:
        """Return whether the last attempt succeeded, as a scraper sees it."""
        return Scraped(self.metrics)("config_last_reload_successful")

    def read_at(self) -> float | None:
        """Return when the configuration was read the last time, as a scraper sees it."""
        return Scraped(self.metrics)("config_last_reload_success_timestamp_seconds")


def test_a_bad_file_changes_nothing(tmp_path: Path) -> None:
    """One line says what is wrong with it, the metric is 0 until it is put right, and the old one holds."""
    path = tmp_path / "c.toml"
    running = Running(path)
    assert running.successful() == 1
    began = running.read_at()
    for text, complaint in (
        ("ports = [", "not valid TOML"),
        ("ports = [0]", "ports[0]"),
        ('vip = [{name = "x"}]', "vip[0].address: Field required"),
        (None, "cannot be read: No such file or directory"),
    ):
        path.write_text(text) if text is not None else path.unlink()
        running.upkeep.reload()
        assert running.notes[-1].startswith(f"SIGHUP: reload failed, previous configuration kept: {path}: ")
        assert complaint in running.notes[-1]
        assert "\n" not in running.notes[-1]
        assert (running.successful(), running.read_at(), running.upkeep.valid) == (0, began, False)
    assert (running.ports, running.upkeep.config) == ([], Config())
    path.write_text("ports = [135, 1135]\ntunnels = true\n")
    running.upkeep.reload()
    assert running.notes[-1] == f"{path} reloaded; changed: ports; restart required for: tunnels"
    # Files that are written are opened anew all the same: a rotation has nothing to do with mistakes.
    assert running.reopened == 5
    assert (running.successful(), running.upkeep.valid, running.ports) == (1, True, [135, 1135])
    assert began is not None
    assert (running.read_at() or 0) > began
    # What needs a restart is named again until there was one.
    running.upkeep.reload()
    assert running.notes[-1] == f"{path} reloaded; nothing changed; restart required for: tunnels"


def test_without_a_file(tmp_path: Path) -> None:
    """There is nothing to read, which is no failure."""
    running = Running(tmp_path / "c.toml")
    running.upkeep.file = None
    running.upkeep.reload()
    assert running.notes == ["SIGHUP: started without --config, nothing to reload"]
    assert running.successful() == 1
