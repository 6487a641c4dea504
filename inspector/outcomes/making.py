"""Findings of what answers led to, made from facts: evidence is put together, judged and put into words."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from inspector.consequence import Cause, Consequence, FindingKind, Outcome
from inspector.judge.addresses import address_of, unmap
from inspector.judge.cause import diagnose
from inspector.judge.evidence import Evidence
from inspector.judge.outcome import explain_outcome, slow_words
from inspector.model import Direction, Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from inspector.judge.evidence import OtherSide
    from inspector.judge.policy import Policy
    from inspector.outcomes.connection import Connection, Flow
    from inspector.outcomes.facts import Facts
    from inspector.outcomes.live import Live
    from inspector.outcomes.offers import Answer, HealthyFollowUp
    from inspector.outcomes.servers import Server, Servers
    from inspector.outcomes.sides import Ties

_MAPPINGS: Final = 16
"""Mappings whose addresses are evidence; a forged answer has up to 500."""


class Maker:
    """Makes findings; `outcomes` counts those which were told. `policy` may be replaced.

    `counted` is called for outcomes of which no finding is made.
    """

    def __init__(self, policy: Policy, servers: Servers, source: str, ties: Ties, live: Live | None) -> None:
        self.policy = policy
        self._live = live
        self._servers = servers
        self._source = source
        self._ties = ties
        self.outcomes: Counter[Outcome] = Counter()
        self.counted: Callable[[Finding, Outcome, int], None] | None = None

    def count(self, finding: Finding, outcome: Outcome, times: int = 1) -> None:
        """Count an outcome of an answer of which no finding is made."""
        self.outcomes[outcome] += times
        if self.counted is not None:
            self.counted(finding, outcome, times)

    def dropped(self, finding: Finding, flow: Flow) -> OtherSide | None:
        """Return what the other side shows of an answer that did not come through there."""
        return self._ties.dropped.get((finding.source, flow, finding.time_ns))

    def answer(self, answer: Answer) -> Finding:
        """Return the finding of an answer with its cause, and with what is known already of what came of it."""
        finding = answer.finding
        consequence, words = self._judge(FindingKind.ANSWER, finding, answer.facts, answer.fragments)
        why = finding.why
        if consequence is None or consequence.cause is not Cause.SLOW_SERVER:
            why += slow_words(finding.latency_ns)
        if words:
            why += f"; {words}"
        frame = answer.frame or None
        return replace(finding, why=why, consequence=consequence, frame=frame, follow_up=answer.told)

    def later(
        self, kind: FindingKind, answer: Answer, facts: Facts, connection: Connection | HealthyFollowUp, now_ns: int
    ) -> Finding:
        """Return the finding of a follow-up or a delivery, which refers to its answer.

        A follow-up's frame is its first, a delivery's that of the answer.
        """
        finding, mapping = answer.finding, facts.mapping
        consequence, words = self._judge(kind, finding, facts, answer.fragments)
        assert consequence is not None  # noqa: S101 - there is an outcome
        return replace(
            finding,
            time_ns=now_ns,
            client_port=connection.flow.client_port,
            server_port=connection.flow.server_port if kind is FindingKind.FOLLOW_UP else finding.server_port,
            verdict=mapping.verdict if mapping is not None else finding.verdict,
            why=words,
            mappings=(mapping,) if mapping is not None else finding.mappings[:1],
            latency_ns=None,
            anomalies=(),
            kind=kind,
            consequence=replace(
                consequence,
                answer=answer.reference,
                connect_ns=connection.connect_ns if kind is FindingKind.FOLLOW_UP else None,
            ),
            frame=(connection.frame if kind is FindingKind.FOLLOW_UP else answer.frame) or None,
        )

    def connection(self, connection: Connection, facts: Facts, operation: str, time_ns: int) -> Finding:
        """Return the finding of a connection to port 135; its frame is that of the question, or the first."""
        frame = connection.asked.frame if connection.asked is not None else connection.frame
        return self._of_port(connection, facts, operation, time_ns, frame)

    def view(self, connection: Connection, facts: Facts, time_ns: int) -> Finding:
        """Return the finding of what a capture does not show, of which this connection is an example."""
        return self._of_port(connection, facts, "connect", time_ns, connection.frame)

    def _of_port(self, connection: Connection, facts: Facts, operation: str, time_ns: int, frame: int) -> Finding:
        flow = connection.flow
        raw = address_of(flow.server)
        finding = Finding(
            time_ns=time_ns,
            source=self._live.name_of(connection.interface) if self._live is not None else self._source,
            direction=Direction.TO_SERVER,
            client=address_of(flow.client),
            client_port=flow.client_port,
            asked=unmap(raw, self.policy.nat64_prefixes),
            asked_raw=raw,
            server_port=flow.server_port,
            operation=operation,
            call_id=None,
            transfer_syntax=None,
            status=None,
            verdict=_verdict_of(facts),
            why="",
            kind=FindingKind.CONNECTION,
            frame=frame or None,
        )
        consequence, words = self._judge(FindingKind.CONNECTION, finding, facts, 1)
        return replace(finding, why=words, consequence=consequence)

    def _judge(
        self, kind: FindingKind, finding: Finding, facts: Facts, fragments: int
    ) -> tuple[Consequence | None, str]:
        """Return what became of an answer with cause and remedy, and that in words."""
        self._servers.refresh()
        server = self._servers.of(finding.server)
        evidence = _evidence(kind, finding, facts, fragments, server, self._ties)
        if facts.outcome is not None:
            self.outcomes[facts.outcome] += 1
        diagnosis = diagnose(evidence)
        has_words = facts.outcome is not None or kind is FindingKind.CONNECTION
        words = explain_outcome(evidence) if has_words else "; ".join(diagnosis.evidence_seen) if diagnosis else ""
        if facts.outcome is None and diagnosis is None:
            return None, words
        return Consequence(
            facts.outcome,
            facts.target,
            facts.endpoint,
            diagnosis.cause if diagnosis else None,
            diagnosis.remedy or None if diagnosis else None,
            diagnosis.evidence_seen if diagnosis else (),
        ), words


def _verdict_of(facts: Facts) -> Verdict:
    """Return the verdict on a connection to port 135."""
    if facts.outcome is Outcome.DENIED:
        return Verdict.REJECTED
    if facts.capture.ended_after_ns is not None:
        return Verdict.OPEN
    if facts.capture.one_way:
        return Verdict.ONE_WAY
    return Verdict.MALFORMED if facts.capture.unread else Verdict.UNANSWERED


def _evidence(
    kind: FindingKind,
    finding: Finding,
    facts: Facts,
    fragments: int,
    server: Server,
    ties: Ties,
) -> Evidence:
    interface = finding.requested
    if facts.mapping is not None and facts.mapping.interface is not None:
        interface = facts.mapping.interface
    mappings = finding.mappings[:_MAPPINGS]
    offered = tuple(dict.fromkeys(one.address for one in mappings if one.address is not None))
    endpoint = (facts.attempt.address, facts.attempt.port) if facts.attempt is not None else None
    return Evidence(
        kind=kind,
        client=finding.client,
        asked=finding.server,
        asked_raw=finding.asked_raw,
        verdict=finding.verdict,
        outcome=facts.outcome,
        target=facts.target,
        operation=finding.operation,
        service=(interface.name or str(interface.uuid)) if interface is not None else facts.service,
        version=interface.version if interface is not None else None,
        offered=offered,
        port=facts.endpoint.port if facts.endpoint is not None else None,
        requested_address=finding.requested_address,
        pooled=any(one.verdict is Verdict.POOLED for one in mappings),
        status=finding.status,
        latency_ns=finding.latency_ns,
        fragments=max(fragments, 1),
        authentication_level=facts.level or (finding.dcom.level if finding.dcom is not None else 0),
        names=tuple(dict.fromkeys(one.host for one in mappings if one.host)),
        dcom=finding.dcom is not None,
        delivery=facts.delivery,
        attempt=facts.attempt,
        question=facts.question,
        siblings=server.siblings(str(interface.uuid) if interface is not None else None, endpoint, finding.time_ns),
        capture=facts.capture,
        learned=ties.learned.get(finding.server, ()),
        asked_over_nat64=ties.over_nat64.get(finding.server),
        other_side=facts.other_side,
        scanned=facts.scanned,
        call_rejected=facts.call_rejected,
        bind_contexts=facts.bind_contexts,
    )
