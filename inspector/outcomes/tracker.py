"""The one entrance: packets and the findings of answers in, findings with outcomes out.

An answer is held for a second of the capture's time, so that an outcome which is known by then is part of its
finding; later ones are findings of their own. Findings of answers keep their order. Time is that of the packets.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from inspector.consequence import Outcome
from inspector.errors import Anomaly
from inspector.judge.addresses import server_address
from inspector.model import Direction, Verdict
from inspector.outcomes.connection import Flow
from inspector.outcomes.facts import CutAnswers, Facts, begun_of, is_impatient, question_of
from inspector.outcomes.follow import FollowUps
from inspector.outcomes.healthy import HealthyFollowUps
from inspector.outcomes.late import give_up, supersede
from inspector.outcomes.limits import OutcomeLimits
from inspector.outcomes.making import Maker
from inspector.outcomes.mapper import MapperConnections
from inspector.outcomes.offers import Accepted, Answer, followed_mappings
from inspector.outcomes.servers import Servers
from inspector.outcomes.sides import Ties
from inspector.protocols import IPV4_MAPPED
from inspector.wire.headers import Header, IcmpQuote

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from inspector.judge.policy import Policy
    from inspector.model import Finding, IPAddress
    from inspector.outcomes.live import Live

_KEPT_MAPPINGS: Final = 8
_QUESTIONS: Final = frozenset({Verdict.UNANSWERED})


class Tracker:
    """`take` packets with the findings that they completed, `flush` at the end of the input.

    `ports` are those of endpoint mappers, `ties` what other points of capture say of the same conversations. With
    `live` packets are records of a running inspection, which ends with `close`. Without `shown` nothing of healthy
    follow-ups is made but counts. `outcomes` counts what was found, `anomalies` what had to be let go.
    """

    def __init__(
        self,
        policy: Policy,
        source: str,
        ports: Collection[int],
        limits: OutcomeLimits | None = None,
        ties: Ties | None = None,
        live: Live | None = None,
        *,
        shown: bool = True,
    ) -> None:
        self._ties = ties if ties is not None else Ties()
        self._limits = limits or OutcomeLimits()
        self._ports = frozenset(ports)
        self._live = live
        self._servers = Servers(self._limits.servers)
        self._maker = Maker(policy, self._servers, source, self._ties, live)
        self._mapper = MapperConnections(policy, self._servers, self._maker, self._limits, live)
        self._follow_ups = FollowUps(policy, self._servers, self._maker, self._limits, live)
        self._healthy = HealthyFollowUps(policy, self._servers, self._follow_ups.offers, self._maker, self._limits)
        self._healthy.shown = shown
        self._held: deque[Answer] = deque()
        self._held_mappings = 0
        self._now_ns = 0
        self._frame = 0

    @property
    def outcomes(self) -> Counter[Outcome]:
        """How often each outcome was found."""
        return self._maker.outcomes

    @property
    def anomalies(self) -> Counter[Anomaly]:
        """What was let go since a table was full, and what cannot be seen."""
        counts = {
            Anomaly.OUTCOME_EVICTED: self._mapper.evicted + self._follow_ups.evicted,
            Anomaly.OUTCOME_UNDECIDED: self._mapper.undecided + self._follow_ups.undecided,
            Anomaly.ONE_WAY_VIEW: self._mapper.one_way,
        }
        return Counter({anomaly: count for anomaly, count in counts.items() if count})

    @property
    def cut(self) -> CutAnswers:
        """What could not be read since the capture cut packets."""
        return CutAnswers(self._mapper.cut, self._mapper.cut_at)

    def take_not_followed(self) -> list[Finding]:
        """Return the findings of answers of a running inspection that nobody has followed since the last call."""
        found, self._follow_ups.not_followed = self._follow_ups.not_followed, []
        return found

    @property
    def size(self) -> int:
        """How many things are kept, in all tables together."""
        connections = len(self._mapper) + len(self._follow_ups) + len(self._healthy)
        return connections + len(self._servers) + len(self._held) + self._held_mappings

    @property
    def due_ns(self) -> int | None:
        """The time at which there is something to judge next, or None."""
        times = [one for one in (self._mapper.due_ns, self._follow_ups.due_ns) if one is not None]
        return min(times, default=None)

    def take(
        self, packet: Header | IcmpQuote | None, findings: Sequence[Finding], time_ns: int, frame: int
    ) -> list[Finding]:
        """Take a packet (None for one of another kind) and the findings that it completed; return what is known."""
        found: list[Finding] = []
        self._frame = max(self._frame, frame)
        # What the decoder has given up is told by its finding, not once more by the connection.
        given_up: list[Finding] = []
        if findings:
            given_up = [
                one
                for one in findings
                if one.verdict in _QUESTIONS and (one.time_ns < time_ns or not _is_of(packet, one))
            ]
            for finding in given_up:
                self._hold(finding, time_ns, frame, found)
        if time_ns > self._now_ns:
            self._now_ns = time_ns
            self._mapper.advance(time_ns, found)
            self._follow_ups.advance(time_ns, found)
        if isinstance(packet, Header):
            self._route(packet, found)
        elif packet is not None:
            self._route_icmp(packet)
        for finding in findings:
            if finding not in given_up:
                self._hold(finding, time_ns, frame, found)
        if self._held:
            self._release(found)
        return found

    def reconfigure(self, policy: Policy, ports: Collection[int]) -> None:
        """Judge by another policy from now on, and take other ports for those of endpoint mappers."""
        self._ports = frozenset(ports)
        self._maker.policy = self._mapper.policy = self._follow_ups.policy = policy

    def forget(self, client: bytes, client_port: int, server: bytes, server_port: int) -> None:
        """Let go of a connection whose packets will not all be taken: nothing is said of it."""
        flow = Flow(client, client_port, server, server_port)
        self._mapper.forget(flow)
        self._follow_ups.forget(flow)

    def forget_all(self) -> list[Finding]:
        """Let go of everything, since packets were lost; return the answers that waited, with what is known of them."""
        found = self.close(())
        self._mapper.clear()
        self._follow_ups.clear()
        return found

    def close(self, findings: Sequence[Finding]) -> list[Finding]:
        """End a running inspection: give out the answers, with what is known of them. Its end is no silence."""
        found: list[Finding] = []
        for finding in findings:
            self._hold(finding, finding.time_ns, -1, found)
        self._release(found, everything=True)
        return found

    def settle(self, now_ns: int) -> list[Finding]:
        """Move time on, before anything is due; return the answers that have waited for long enough."""
        found: list[Finding] = []
        if now_ns > self._now_ns:
            self._now_ns = now_ns
            self._follow_ups.expire(now_ns)
        self._release(found)
        return found

    def take_healthy(self, finding: Finding, frame: int | None, *, follows: bool, last_ns: int) -> list[Finding]:
        """Take a finding of a healthy client; return what is known.

        Without `follows` the client connects to no offered port. `last_ns` is the latest time of the file.
        """
        found = self.settle(finding.time_ns)
        self._servers.of(finding.server).note_answer(finding)
        answer = Answer(finding, frame, 1, finding.time_ns)
        if finding.direction is Direction.FROM_SERVER:
            ports = list(self._follow_ups.offers.of(finding))
            if ports:
                answer.due_ns += self._limits.hold_ns
            if follows and ports:
                client = _packed(finding.client)
                self._follow_ups.offers.add(answer, client)
                self._healthy.expect(client, ports, found)
            elif ports and finding.time_ns + self._limits.follow_up_ns < last_ns:
                self._maker.count(finding, Outcome.NOT_FOLLOWED)
        self._held.append(answer)
        self._held_mappings += len(finding.mappings)
        self._release(found)
        return found

    def count_healthy(self, finding: Finding, times: int, not_followed: int) -> None:
        """Count so many findings of healthy clients; of `not_followed` the time for a follow-up is over."""
        self._servers.of(finding.server).note_answer(finding, times)
        if not_followed and finding.direction is Direction.FROM_SERVER and self._follow_ups.offers.of(finding):
            self._maker.count(finding, Outcome.NOT_FOLLOWED, not_followed)

    def explain(self, finding: Finding) -> Finding:
        """Return a finding of a healthy client with its cause, as far as it is known by now."""
        return self._maker.answer(Answer(finding, None, 1, finding.time_ns))

    def count_outcomes_by(self, counted: Callable[[Finding, Outcome, int], None]) -> None:
        """Have `counted` called for outcomes of which no finding is made, with their answer, and how many."""
        self._maker.counted = counted

    def refresh_by(self, refresh: Callable[[], None]) -> None:
        """Have `refresh` called before anything is judged: it may bring counts up to date."""
        self._servers.refresh = refresh

    @property
    def follow_up_ns(self) -> int:
        """How long after an answer a connection counts as its follow-up."""
        return self._limits.follow_up_ns

    def take_opened(self, flow: Flow, time_ns: int, frame: int) -> None:
        """Take the SYN of a healthy follow-up."""
        self._healthy.opened(flow, time_ns, frame)

    def take_reached(self, flow: Flow, accepted: Accepted) -> list[Finding]:
        """Take that a healthy follow-up reached its endpoint; return what is known."""
        found = self.settle(accepted.time_ns)
        self._healthy.reached(flow, accepted, found)
        self._release(found)
        return found

    def take_server(self, address: bytes, hop_limit: int | None, contexts: int, size: int) -> None:
        """Take what healthy connections say of a server; 0 says nothing."""
        server = self._servers.of(server_address(address, self._maker.policy.nat64_prefixes))
        if hop_limit is not None:
            server.note_hop_limit(hop_limit)
        server.both += 1
        server.note_bind(contexts)
        if size:
            server.note_size(size)

    def flush(self, findings: Sequence[Finding]) -> list[Finding]:
        """End the input: `findings` are those that its end completed; decide what can be decided."""
        found: list[Finding] = []
        for finding in findings:
            self._hold(finding, finding.time_ns, -1, found)
        self._follow_ups.flush(self._now_ns, found)
        self._mapper.flush(self._now_ns, found)
        self._release(found, everything=True)
        found += self._mapper.views(self._now_ns)
        return found

    def _route(self, header: Header, found: list[Finding]) -> None:
        if header.destination_port in self._ports:
            flow = Flow(header.source, header.source_port, header.destination, header.destination_port)
            self._mapper.take(flow, header, found, from_server=False)
        elif header.source_port in self._ports:
            flow = Flow(header.destination, header.destination_port, header.source, header.source_port)
            self._mapper.take(flow, header, found, from_server=True)
        else:
            self._follow_ups.take(header, found, self._mapper.knows_client(header.source))

    def _route_icmp(self, error: IcmpQuote) -> None:
        """Give an ICMP error to the connection whose packet it quotes, where that went to a server."""
        flow = Flow(error.source, error.source_port, error.destination, error.destination_port)
        if error.destination_port in self._ports:
            self._mapper.take_icmp(flow, error)
        else:
            self._follow_ups.take_icmp(flow, error)

    def _hold(self, finding: Finding, time_ns: int, frame: int, found: list[Finding]) -> None:
        flow = _flow_of(finding)
        connection = self._mapper.get(flow)
        if connection is not None and connection.given_up and finding.direction is Direction.FROM_SERVER:
            finding = supersede(connection, finding, self._maker.policy)
        server = self._servers.of(finding.server)
        server.note_answer(finding)
        answer = Answer(finding, frame if finding.time_ns == time_ns and frame > 0 else None, 1, finding.time_ns)
        if finding.verdict in _QUESTIONS:
            self._explain_silence(answer, flow)
        elif finding.direction is Direction.FROM_SERVER:
            dropped = self._maker.dropped(finding, flow)
            self._mapper.watch(answer, flow, dropped, found)
            followed = self._follow_ups.expect(answer, flow.client, found)
            if followed or (self._live is not None and self._live.has_sides):
                answer.due_ns = finding.time_ns + self._limits.hold_ns
        if answer.frame is None:
            answer.frame = self._mapper.frame_at(flow, finding.time_ns) or self._frame
        self._held.append(answer)
        self._held_mappings += len(finding.mappings)

    def _explain_silence(self, answer: Answer, flow: Flow) -> None:
        """Say what is known of a question that the decoder has given up."""
        finding = answer.finding
        connection = self._mapper.get(flow)
        question = None
        if connection is not None:
            connection.told_ns = finding.time_ns
            give_up(connection, finding)
            server = self._servers.of(finding.server)
            question = question_of(connection, finding.time_ns, server.hop_limits, in_full=self._live is None)
            if connection.asked is not None:
                answer.frame = connection.asked.frame
        rejected = connection.call_rejected if connection is not None and question is None else 0
        # Of a client that went at once, or has an answer that the capture lacks, nothing is said.
        if connection is not None and question is None and not rejected:
            if connection.unseen:
                return
            question = begun_of(connection, finding.time_ns, server.hop_limits)
        if question is not None and is_impatient(question):
            return
        outcome = Outcome.BROKEN if connection is not None else Outcome.TIMED_OUT
        if rejected or (question is not None and question.missing):
            outcome = Outcome.UNDELIVERED
        answer.facts = Facts(outcome=outcome, question=question, call_rejected=rejected)

    def _release(self, found: list[Finding], *, everything: bool = False) -> None:
        """Give answers out in their order: those with an outcome, and those whose time to wait is over."""
        while self._held:
            answer = self._held[0]
            full = len(self._held) > self._limits.held or self._held_mappings > self._limits.held_mappings
            if not (everything or full or answer.told is not None or answer.due_ns <= self._now_ns):
                return
            self._held.popleft()
            self._held_mappings -= len(answer.finding.mappings)
            if answer.told is None:
                self._look_for_drop(answer, found)
            if answer.told is None:
                self._follow_ups.decide_early(answer)
            found.append(self._maker.answer(answer))
            answer.held = False
            if len(answer.finding.mappings) > _KEPT_MAPPINGS:
                answer.finding = self._shortened(answer.finding)

    def _shortened(self, finding: Finding) -> Finding:
        """Return the finding with the first of its mappings, and those whose endpoints are followed."""
        first, rest = finding.mappings[:_KEPT_MAPPINGS], finding.mappings[_KEPT_MAPPINGS:]
        followed = {id(one) for one in followed_mappings(finding, self._limits.per_answer)}
        return replace(finding, mappings=(*first, *(one for one in rest if id(one) in followed)))

    def _look_for_drop(self, answer: Answer, found: list[Finding]) -> None:
        """Tell that another interface never showed an answer, if that has come to be known while it was held."""
        finding = answer.finding
        flow = _flow_of(finding)
        dropped = self._maker.dropped(finding, flow)
        if dropped is not None and self._live is not None:
            self._mapper.drop(answer, flow, dropped, found)


def _is_of(packet: Header | IcmpQuote | None, finding: Finding) -> bool:
    """Return whether a packet is of the connection that a finding is about: it has to be taken first."""
    return isinstance(packet, Header) and finding.client_port in (packet.source_port, packet.destination_port)


def _flow_of(finding: Finding) -> Flow:
    return Flow(_packed(finding.client), finding.client_port, _packed(finding.asked_raw), finding.server_port)


def _packed(address: IPAddress) -> bytes:
    return IPV4_MAPPED + address.packed if address.version == 4 else address.packed
