"""Templates of findings: made of what comes again, right wherever they are forgotten, and bounded."""

from __future__ import annotations

import gc
from random import Random

import pytest
from prometheus_client import CollectorRegistry

from inspector.decode.batch import singly
from inspector.decode.judged import Judged
from inspector.decode.quota import Quota
from inspector.errors import Anomaly
from inspector.http.overview import Overview
from inspector.judge.policy import Policy
from inspector.metrics.updates import Metrics
from inspector.model import Finding, Segment, Verdict
from inspector.pipeline import Pipeline
from inspector.record import pack_record
from tests.build import pdu
from tests.build.blocks import block_of
from tests.build.connection import START_NS, Wire
from tests.build.epm import SAMR, map_request, map_response, tcp_tower
from tests.build.windows import windows_traffic
from tests.property.test_decode import compare


def test_a_full_table_of_templates_is_emptied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Findings stay right where templates are forgotten all the time."""
    monkeypatch.setattr(Judged, "MOST", 5)
    random = Random(1)  # noqa: S311  # traffic for a test
    compare(windows_traffic(random, 60), random)


def test_an_answer_that_comes_once_leaves_nothing_behind() -> None:
    """Forged answers, of which each offers something else, are found; only one that comes again is kept."""
    answers = 300
    pipeline, metrics, overview = Pipeline(Policy(), str, engine=True), Metrics(CollectorRegistry()), Overview()
    offers = [f"10.77.{number // 250}.{number % 250}" for number in range(answers)] + ["10.78.0.1"] * answers
    segments = [segment for number, offer in enumerate(offers) for segment in offering(offer, 10_000 + number)]
    others = {id(one) for one in gc.get_objects() if isinstance(one, Finding)}
    for batch in pipeline.feed([block_of([pack_record(segment) for segment in segments])]):
        metrics.observe(batch)
        overview.observe(batch)
    del batch
    assert pipeline.verdicts == {Verdict.MISMATCH: 2 * answers}
    others |= {id(one) for one in overview.findings()}
    assert len([one for one in gc.get_objects() if isinstance(one, Finding) and id(one) not in others]) == 1


def offering(address: str, port: int) -> list[Segment]:
    """Return a conversation in which an address is offered to a client's port."""
    tower = tcp_tower(SAMR, 49152, address)
    wire = Wire(client_port=port).open().client(pdu.bind()).server(pdu.bind_ack())
    wire.client(pdu.request(map_request(tcp_tower(SAMR)))).server(pdu.response(map_response([tower])))
    return wire.client_fin().server_fin().segments


def test_each_of_many_contents_gets_a_template() -> None:
    """Also two whose hashes would have the same place among those that were met."""
    contents, lasting = 2000, []
    pipeline = Pipeline(Policy(), str, engine=True)
    for turn in range(3):
        records = []
        for number in range(contents):
            offer = tcp_tower(SAMR, 49152, f"10.77.{number // 250}.{number % 250}")
            wire = Wire(client_port=1024 + turn * contents + number)
            records.append(pack_record(wire.server(pdu.response(map_response([offer]))).segments[0]))
        lasting.append({batch.lasting for batch in pipeline.feed([block_of(records)])})
    assert lasting == [{False}, {True}, {True}]


def test_answers_of_which_none_is_like_another_are_bounded_by_the_quota() -> None:
    """What the scalar decoder is asked about an answer counts as much as a record that it takes."""
    segments = []
    for number in range(2000):
        offer = tcp_tower(SAMR, 49152, f"10.77.{number // 250}.{number % 250}")
        wire = Wire(f"203.0.{number >> 8}.{number & 255}").open().client(pdu.bind()).server(pdu.bind_ack())
        wire.client(pdu.request(map_request(tcp_tower(SAMR)))).server(pdu.response(map_response([offer])))
        segments += [one._replace(time_ns=START_NS + 1000 * number) for one in wire.segments]
    pipeline = Pipeline(Policy(), str, engine=True, quota=Quota(rate=400))
    found = list(singly(pipeline.feed([block_of([pack_record(one) for one in segments])])))
    assert {one.verdict for one in found} == {Verdict.MISMATCH}
    assert 50 <= len(found) <= 53
    assert pipeline.anomalies == {Anomaly.DECODER_QUOTA: 2000 - len(found)}
