"""From evidence to cause and remedy: a table of rows, of which the first that holds is the cause.

Each row is a pure function of `Evidence`. The order is: what the capture cannot show, then connections that failed,
then answers that were lost, then what the answer itself says. Where no row holds and a client is hurt the cause is
`unknown`, with the facts; where nobody is hurt there is no cause.
"""

# ruff: noqa: D401  # a row's docstring says when it holds: it describes a state, not a deed
from __future__ import annotations

from typing import Final

from inspector.consequence import HARMFUL, Cause, FindingKind, Outcome
from inspector.judge.cause_answer import ANSWER_ROWS, LOSS_ROWS, REFUSAL_ROWS, dropped_here
from inspector.judge.cause_connection import CONNECT_ROWS, FILTER_ROWS, QUESTION_ROWS, VIEW_ROWS
from inspector.judge.cause_follow_up import FOLLOW_UP_ROWS
from inspector.judge.diagnosis import Diagnosis, Row, seconds, sender_of, syns_sent, times
from inspector.judge.evidence import Evidence
from inspector.model import Verdict


def unknown(evidence: Evidence) -> Diagnosis | None:
    """A client is hurt, and no other row holds: only what was seen."""
    if evidence.outcome not in HARMFUL:
        return None
    facts, remedy = _facts_of(evidence), ""
    if evidence.delivery is not None:
        remedy = "capture nearer to the client: a device on the way drops this answer, or its acknowledgment"
    elif evidence.outcome is Outcome.BROKEN and evidence.question is not None:
        remedy = "look at the service on the server: it accepts connections and does not answer"
        if evidence.question.acknowledged is False:
            remedy = (
                "check what accepts the connection: a SYN proxy, a load balancer without members, or a firewall that "
                "drops what the client sends"
            )
    if not facts and evidence.verdict is Verdict.UNANSWERED:
        facts = (f"{evidence.client} sent its {evidence.operation or 'request'}, and no answer was seen",)
    return Diagnosis(Cause.UNKNOWN, remedy, facts) if facts else None


def _facts_of(evidence: Evidence) -> tuple[str, ...]:
    """Return what was seen of a connection or a lost answer."""
    facts = []
    attempt, question = evidence.attempt, evidence.question
    if attempt is not None and attempt.rejection is not None:
        of = f" of {evidence.service}" if evidence.service else ""
        facts.append(f"{attempt} answered the bind{of} with a rejection: {attempt.rejection}")
    elif attempt is not None:
        facts.append(f"{attempt} accepted the connection" if attempt.answered else syns_sent(attempt, evidence.client))
    if attempt is not None and attempt.reset is not None:
        facts.append(sender_of(attempt.reset, str(attempt.address if attempt.reset.from_server else evidence.client)))
    if attempt is not None and attempt.syn_acks > 1 and evidence.outcome is Outcome.UNDELIVERED:
        facts.append(f"{attempt} sent its SYN-ACK {times(attempt.syn_acks)}, never acknowledged")
    if question is not None:
        facts.append(f"the request was sent {times(question.sent)}, no answer in {seconds(question.waited_ns)}")
    if evidence.delivery is not None:
        facts.append(f"the answer was sent {times(evidence.delivery.sent)} and not acknowledged")
    return tuple(facts)


ROWS: Final[tuple[Row, ...]] = (
    *VIEW_ROWS,
    *CONNECT_ROWS,
    dropped_here,
    *REFUSAL_ROWS,
    *FILTER_ROWS,
    *FOLLOW_UP_ROWS,
    *LOSS_ROWS,
    *QUESTION_ROWS,
    *ANSWER_ROWS,
    unknown,
)


def diagnose(evidence: Evidence) -> Diagnosis | None:
    """Return the cause of the first row that holds; None where nobody is hurt, or nothing was seen."""
    if evidence.kind in (FindingKind.FOLLOW_UP, FindingKind.CONNECTION) and evidence.outcome in (
        Outcome.REACHED,
        Outcome.NOT_FOLLOWED,
    ):
        return None
    for row in ROWS:
        found = row(evidence)
        if found is not None:
            return found
    return None
