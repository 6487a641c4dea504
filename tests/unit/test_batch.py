"""Batches of findings: what leaves the decoder, whichever it was."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address

import pytest

from inspector.decode.batch import FindingBatch, singly
from inspector.judge.policy import Policy
from inspector.model import Verdict
from inspector.pipeline import Pipeline
from inspector.record import pack_record
from tests.build import pdu
from tests.build.blocks import block_of
from tests.build.connection import Wire
from tests.build.epm import SAMR, map_request, map_response, tcp_tower
from tests.unit.test_console import FINDING

FINDINGS = [
    FINDING,
    replace(FINDING, client=IPv6Address("2001:db8::1"), call_id=None, latency_ns=None, verdict=Verdict.UNANSWERED),
    replace(FINDING, time_ns=FINDING.time_ns + 5, latency_ns=FINDING.time_ns + 7),
    replace(FINDING, latency_ns=3),
]


def asked_by(clients: int) -> list[bytes]:
    """Return the records of connections on which SAMR was found at another address, one for each client."""
    records = []
    for number in range(clients):
        wire = Wire(client_port=5000 + number).open().client(pdu.bind()).server(pdu.bind_ack())
        wire.client(pdu.request(map_request(tcp_tower(SAMR)), call_id=2))
        wire.server(pdu.response(map_response([tcp_tower(SAMR, 49152, "10.11.2.7")]), call_id=2))
        records += [pack_record(segment) for segment in wire.segments]
    return records


def test_findings_that_are_there_already() -> None:
    """They come out as they went in, whatever their fields are, also from a part; nothing of them is joined."""
    batch = FindingBatch.of(FINDINGS)
    assert list(batch.findings()) == FINDINGS
    assert list(batch[1:].findings()) == FINDINGS[1:]
    assert list(batch.counts()) == [(finding, 1) for finding in FINDINGS]
    assert batch.latencies_ns().tolist() == [FINDING.time_ns + 7, 3]
    assert batch.newest_ns == FINDING.time_ns + 5
    assert batch.rows_where(lambda one: one.verdict is Verdict.UNANSWERED).tolist() == [1]
    assert batch.ports(batch.rows_of(0)).tolist() == [FINDING.client_port]
    assert batch.kept() is batch
    assert not batch.joins(FindingBatch.of(FINDINGS))


def test_no_findings() -> None:
    """A batch may be empty."""
    batch = FindingBatch.of([])
    assert (len(batch), list(batch.findings()), list(batch.counts()), len(batch.latencies_ns())) == (0, [], [], 0)


@pytest.mark.parametrize("engine", [True, False])
def test_both_decoders_yield_batches(engine: bool) -> None:
    """The engine makes a template when an answer comes again; batches of single findings are not long."""
    pipeline = Pipeline(Policy(), str, engine=engine)
    batches = [batch.kept() for batch in pipeline.feed([block_of(asked_by(200))])]
    assert [finding.client_port for finding in singly(batches)] == list(range(5000, 5200))
    assert [batch.lasting for batch in batches] == ([False, True] if engine else [False] * 4)
    assert all(len(batch) <= 64 for batch in batches if not batch.lasting)
    assert pipeline.verdicts == {Verdict.MISMATCH: 200}
