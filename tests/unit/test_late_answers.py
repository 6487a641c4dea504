"""An answer that comes after its question was given up: one question, told twice and counted once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from inspector.consequence import Cause, Outcome
from inspector.decode.batch import FindingBatch
from inspector.http.outcomes import OutcomeHistory
from inspector.metrics.updates import Metrics
from inspector.model import Verdict
from tests.build.findings import Scraped
from tests.build.following import Followed
from tests.build.livefollowing import LiveInspection
from tests.cases.dialogue import CLIENT, DIP, SAMR, SERVER, VIP, bound, called, map_answer, map_question
from tests.cases.network import Network

if TYPE_CHECKING:
    from pathlib import Path

    from inspector.model import Finding

PORT = 49153
SLOW_S = 15


def slow_network(server: str = VIP, offered: str = DIP, target: str = "0.0.0.0") -> Network:  # noqa: S104
    """Return a network whose server takes its time; the client waits, and gets through."""
    network = Network()
    connection = bound(network.connect(CLIENT, server)).say(0, map_question(SAMR, target=target))
    network.wait(SLOW_S)
    connection.say(1, map_answer(SAMR, (offered, PORT))).close()
    called(network, server, PORT, SAMR)
    network.later(60)
    return network


def live_findings(network: Network) -> list[Finding]:
    """Return what a running inspection says."""
    live = LiveInspection()
    for frame in network.scenes[0].frames:
        live.take(frame.data, frame.time_ns)
    live.wait()
    live.close()
    return live.findings


def test_the_later_finding_refers_to_the_first() -> None:
    """With what the question asked, how long its answer took, and why; the follow-up belongs to the answer."""
    unanswered, late, follow_up = live_findings(slow_network())
    assert (unanswered.verdict, unanswered.outcome, unanswered.supersedes) == (Verdict.UNANSWERED, Outcome.BROKEN, None)
    form = late.as_dict()
    assert form["supersedes"] == {
        "time": unanswered.as_dict()["time"],
        "client_port": unanswered.client_port,
        "call_id": unanswered.call_id,
    }
    assert (form["latency_ms"], form["requested"]["name"]) == (pytest.approx(SLOW_S * 1000, rel=0.01), "SAMR")
    assert form["anomalies"] == []
    assert late.consequence is not None
    assert late.consequence.cause is Cause.SLOW_SERVER
    assert "answered after 15.0 s" in late.why
    assert follow_up.consequence is not None
    assert follow_up.consequence.answer is not None
    assert follow_up.consequence.answer.time == form["time"]


def test_a_question_is_counted_once() -> None:
    """As unanswered, when it was given up; then as answered late, which is no second response."""
    metrics, history = Metrics(CollectorRegistry(), vips=[VIP]), OutcomeHistory()
    for finding in live_findings(slow_network())[:2]:
        metrics.observe(FindingBatch.of([finding]))
        history.add(finding, 1, finding.time_ns)
    scraped = Scraped(metrics)
    at_vip = {"interface": "eth1", "vip": VIP}
    assert scraped("answers_late_total", **at_vip) == 1
    for name in ("responses_total", "vip_responses_total", "service_responses_total"):
        assert sum(value for (one, _), value in scraped.samples.items() if one == name) == 1
    assert scraped("vip_responses_total", **at_vip, verdict="unanswered") == 1
    assert scraped("connections_total", **at_vip, outcome="broken") == 1
    assert scraped("response_latency_seconds_count") == 1
    assert sum(history._minutes.values(), Counter()) == {Outcome.BROKEN: 1, Outcome.REACHED: 1}


def test_a_late_answer_is_judged_with_its_question() -> None:
    """What the client wrote into its request says that packets are translated before they are seen."""
    _, late, *_ = live_findings(slow_network(SERVER, SERVER, "10.30.9.9"))
    assert late.verdict is Verdict.MISMATCH
    assert "the request names 10.30.9.9" in late.why
    _, late, *_ = live_findings(slow_network(SERVER, SERVER, SERVER))
    assert late.verdict is Verdict.MATCH


def test_only_the_answer_to_that_question_is_late() -> None:
    """Another call of the connection has its own answer, in time."""
    network = Network()
    connection = bound(network.connect(CLIENT, VIP)).say(0, map_question(SAMR))
    network.wait(SLOW_S)
    again = bytearray(map_question(SAMR))
    again[12] = 3
    answer = bytearray(map_answer(SAMR, (DIP, PORT)))
    answer[12] = 3
    connection.ask(bytes(again), bytes(answer)).close()
    network.later(60)
    unanswered, answered = live_findings(network)
    assert (unanswered.call_id, answered.call_id) == (2, 3)
    assert answered.supersedes is None
    assert answered.latency_ns is not None
    assert answered.latency_ns < 1_000_000_000


def test_a_file_has_one_finding(tmp_path: Path) -> None:
    """It waits for the answer as long as the connection is open."""
    answer, follow_up = Followed(slow_network(), tmp_path).findings
    assert (answer.supersedes, answer.latency_ns and answer.latency_ns // 1_000_000_000) == (None, SLOW_S)
    assert follow_up.outcome is Outcome.REACHED
