"""A view in one direction only: a finding of its own, that nobody takes for an endpoint mapper without answers."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from inspector.consequence import Cause, FindingKind
from inspector.decode.batch import FindingBatch
from inspector.errors import Anomaly
from inspector.metrics.updates import Metrics
from inspector.model import Verdict
from inspector.output.journal import fields_of
from tests.build.connection import ACK, FIN, PSH, SYN
from tests.build.findings import Scraped
from tests.build.livefollowing import LiveInspection
from tests.cases.dialogue import DIP, MAPI, VIP, acceptance_of, bind_of, map_answer, map_question
from tests.cases.network import Network

_CONVERSATIONS = 20


def one_direction(seen: int) -> LiveInspection:
    """Return an inspection of whole conversations of which packets of the client (0) or the server (1) pass alone."""
    live, network = LiveInspection(), Network()
    for number in range(_CONVERSATIONS):
        connection = network.connect(f"10.20.1.{number + 1}", VIP)
        for sender, flags, payload in (
            (0, SYN, b""),
            (1, SYN | ACK, b""),
            (0, ACK, b""),
            (0, PSH | ACK, bind_of()),
            (1, PSH | ACK, acceptance_of()),
            (0, PSH | ACK, map_question(MAPI)),
            (1, PSH | ACK, map_answer(MAPI, (DIP, 59531))),
            (0, FIN | ACK, b""),
            (1, FIN | ACK, b""),
        ):
            connection.send(sender, flags, payload, at=None if sender == seen else ())
        network.wait(1)
    for frame in network.scenes[0].frames:
        live.take(frame.data, frame.time_ns)
    live.wait()
    live.close()
    return live


@pytest.mark.parametrize(("seen", "missing"), [(0, "answers"), (1, "requests")])
def test_a_view_in_one_direction_is_told_once(seen: int, missing: str) -> None:
    """As a finding without outcome, with what to do while an inspection runs; no question is called unanswered."""
    live = one_direction(seen)
    [view] = [one for one in live.findings if one.kind is FindingKind.CONNECTION]
    assert (view.verdict, view.outcome) == (Verdict.ONE_WAY, None)
    assert view.consequence is not None
    assert view.consequence.cause is Cause.ONE_WAY_VIEW
    assert view.consequence.remedy is not None
    assert f"attach to the interface where the {missing} arrive too" in view.consequence.remedy
    assert not [one for one in live.findings if one.verdict is Verdict.UNANSWERED]
    assert live.following.anomalies[Anomaly.ONE_WAY_VIEW] == 1


@pytest.mark.parametrize("seen", [0, 1])
def test_a_view_in_one_direction_hurts_nobody(seen: int) -> None:
    """No series that an alert on harm reads has it, and the journal has it as a notice."""
    findings = one_direction(seen).findings
    metrics = Metrics(CollectorRegistry(), vips=[VIP])
    metrics.observe(FindingBatch.of(findings))
    harm = {
        name: value
        for (name, labels), value in Scraped(metrics).samples.items()
        if name in {"follow_ups_total", "connections_total", "answers_undelivered_total", "causes_total"}
        or dict(labels).get("verdict") == Verdict.UNANSWERED
    }
    assert not any(harm.values())
    [view] = [one for one in findings if one.kind is FindingKind.CONNECTION]
    assert dict(fields_of(view))["PRIORITY"] == "5"
