"""Answers that come after their question was given up: one finding has gone out, and the later one refers to it.

A running inspection cannot wait for ever. What the question asked, and when, is kept until its connection is let go.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from inspector.consequence import AnswerReference
from inspector.errors import Anomaly
from inspector.judge.verdict import rejudge
from inspector.model import format_time
from inspector.outcomes.seen import GivenUp

if TYPE_CHECKING:
    from inspector.judge.policy import Policy
    from inspector.model import Finding
    from inspector.outcomes.connection import Connection

_KEPT: Final = 4
"""Questions of one connection that are kept: a client has one or two under way."""


def give_up(connection: Connection, finding: Finding) -> None:
    """Keep the question that a finding tells to be unanswered."""
    asked = connection.asked
    is_this = asked is not None and asked.call_id == finding.call_id
    given_up = GivenUp(finding, asked.first_ns if asked and is_this else None, asked.frame if asked else None)
    connection.given_up = [*connection.given_up[1 - _KEPT :], given_up]


def supersede(connection: Connection, finding: Finding, policy: Policy) -> Finding:
    """Return the finding of an answer; if its question was given up, with what that asked and a reference to it."""
    number = next((n for n, one in enumerate(connection.given_up) if one.finding.call_id == finding.call_id), None)
    if number is None or finding.requested is not None or finding.latency_ns is not None:
        return finding
    before, asked_ns, frame = connection.given_up[number]
    connection.given_up = connection.given_up[:number] + connection.given_up[number + 1 :]
    finding = rejudge(finding, before.requested_address, policy)
    return replace(
        finding,
        operation=before.operation or finding.operation,
        requested=before.requested,
        latency_ns=finding.time_ns - asked_ns if asked_ns is not None and asked_ns <= finding.time_ns else None,
        anomalies=tuple(one for one in finding.anomalies if one != Anomaly.REQUEST_NOT_SEEN),
        supersedes=AnswerReference(format_time(before.time_ns), before.client_port, before.call_id, frame or None),
    )
