"""Follow-ups: the connections that clients make to endpoints which they were offered."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from inspector.consequence import HARMFUL, Endpoint, FindingKind, Outcome
from inspector.judge.addresses import address_of, server_address
from inspector.judge.outcome import attempt_outcome
from inspector.outcomes.agenda import Agenda
from inspector.outcomes.connection import Flow
from inspector.outcomes.facts import Facts, attempt_of, name_of_syntax, question_of
from inspector.outcomes.offers import Answer, FollowUp, Offers
from inspector.outcomes.pdus import Reply
from inspector.outcomes.timing import follow_up_due_ns, may_pass
from inspector.protocols import ACK, SYN

if TYPE_CHECKING:
    from inspector.judge.evidence import Question
    from inspector.judge.policy import Policy
    from inspector.model import Finding
    from inspector.outcomes.limits import OutcomeLimits
    from inspector.outcomes.live import Live
    from inspector.outcomes.making import Maker
    from inspector.outcomes.servers import Server, Servers
    from inspector.wire.headers import Header, IcmpQuote

_LOST_AFTER: Final = 3
_SILENCE: Final = frozenset({Outcome.TIMED_OUT, Outcome.BROKEN})


def _reply_of(connection: FollowUp) -> Reply | None:
    """Return what the endpoint said of the interface that was offered; of others it may reject any."""
    reply, offer = connection.reply, connection.offer
    if reply is None or reply.rejection is None or reply.abstract is None:
        return reply
    interface = offer.mapping.interface if offer is not None and offer.mapping is not None else None
    if interface is None or interface.uuid == reply.abstract.uuid:
        return reply
    return Reply(accepted=True)


class FollowUps:
    """Offered endpoints and the connections to them. Findings are appended to the list that each method takes.

    A connection can be seen before the answer that led to it has been read: SYNs of clients that talk to port 135
    are kept for a while, without an offer. `undecided` counts those of which too little was recorded, and answers whose
    clients are not seen. `not_followed` has the findings of answers of a running inspection that nobody followed, until
    its owner takes them.
    """

    def __init__(
        self, policy: Policy, servers: Servers, maker: Maker, limits: OutcomeLimits, live: Live | None
    ) -> None:
        self.policy = policy
        self._live = live
        self.undecided = 0
        self.not_followed: list[Finding] = []
        self._servers = servers
        self._maker = maker
        self._limits = limits
        self.offers = Offers(limits)
        self._agenda: Agenda[FollowUp] = Agenda(limits.connections)
        self._strangers: Agenda[FollowUp] = Agenda(limits.strangers)
        self._early: dict[tuple[bytes, int], FollowUp] = {}
        self._opened: dict[tuple[bytes, int, int], tuple[int, bytes]] = {}
        self._evicted = 0

    def __len__(self) -> int:
        return self._agenda.size + self._strangers.size + len(self._early) + len(self.offers) + len(self._opened)

    @property
    def due_ns(self) -> int | None:
        """The time at which a follow-up is to be judged next, or None."""
        return self._agenda.due_ns

    @property
    def evicted(self) -> int:
        """How many offers and connections had to go before their outcome was known."""
        return self._evicted + self.offers.evicted

    def take(self, header: Header, found: list[Finding], knows_client: bool) -> None:
        """Take a packet that is not of port 135; `knows_client`: its sender has talked to one."""
        if header.flags & (SYN | ACK) == SYN:
            self._take_syn(header, found, knows_client)
            return
        flow = Flow(header.source, header.source_port, header.destination, header.destination_port)
        connection = self._find(flow)
        from_server = connection is None
        if connection is None:
            connection = self._find(
                Flow(header.destination, header.destination_port, header.source, header.source_port)
            )
        if connection is not None:
            connection.feed(header, from_server=from_server)
            self._look_at(connection, header.time_ns, found)

    def take_icmp(self, flow: Flow, error: IcmpQuote) -> None:
        """Take an ICMP error about a follow-up."""
        connection = self._find(flow)
        if connection is not None:
            connection.take_icmp(error)
            if connection.offer is not None:
                self._agenda.schedule(connection, follow_up_due_ns(connection, self._limits))

    def forget(self, flow: Flow) -> None:
        """Let go of a connection, without a word."""
        connection = self._find(flow)
        if connection is not None:
            self._agenda.remove(flow)
            self._forget(connection)

    def clear(self) -> None:
        """Let go of all offers and connections."""
        self._evicted += sum(not one.concluded for one in self._agenda)
        self._agenda.clear()
        self._strangers.clear()
        self._early.clear()
        self.offers.clear()

    def expect(self, answer: Answer, client: bytes, found: list[Finding]) -> bool:
        """Expect the follow-ups of an answer; return whether there can be any."""
        ports = self.offers.add(answer, client)
        for port in ports:
            connection = self._early.get((client, port))
            if connection is not None and connection.offer is None:
                self._adopt(connection, found)
        return bool(ports)

    def decide_early(self, answer: Answer) -> None:
        """Decide refusals of an answer that is given out now, without waiting for another attempt."""
        for connection in answer.connections:
            if (
                isinstance(connection, FollowUp)
                and not connection.concluded
                and not connection.answered
                and (connection.reset or (connection.icmp and not may_pass(connection)))
            ):
                self._conclude(connection, connection.last_ns, [], final=False)
                return

    def advance(self, now_ns: int, found: list[Finding]) -> None:
        """Judge the follow-ups whose time has come, and the answers that nobody followed."""
        if self._agenda.is_due(now_ns):
            self._judge_due(now_ns, found)
        self.expire(now_ns)

    def _judge_due(self, now_ns: int, found: list[Finding]) -> None:
        for connection in self._agenda.due(now_ns):
            due_ns = follow_up_due_ns(connection, self._limits)
            if due_ns is not None and due_ns > now_ns:
                self._agenda.schedule(connection, due_ns)
            else:
                self._conclude(connection, now_ns, found, final=False)
                self._give_up(connection)

    def _give_up(self, connection: FollowUp) -> None:
        """Let go of a connection of a running inspection whose time is over, and of which nothing can be said."""
        if self._live is None or connection.concluded or self._agenda.get(connection.flow) is not connection:
            return
        self._agenda.remove(connection.flow)
        self.undecided += 1

    def expire(self, now_ns: int) -> None:
        """Count the answers that nobody followed; of one whose offers had to go that is not known."""
        if not self.offers.has_expired(now_ns):
            return
        for answer in self.offers.expired(now_ns):
            if answer.followed or answer.forgotten or answer.undelivered:
                continue
            server = self._servers.of(answer.finding.server)
            if server.one_way[1] and not server.both:
                # What clients do passes elsewhere.
                self.undecided += 1
                continue
            self._maker.count(answer.finding, Outcome.NOT_FOLLOWED)
            if self._live is not None:
                self.not_followed.append(answer.finding)

    def flush(self, now_ns: int, found: list[Finding]) -> None:
        """Judge all follow-ups: nothing more comes."""
        for connection in self._agenda:
            self._conclude(connection, now_ns, found, final=True)

    def _find(self, flow: Flow) -> FollowUp | None:
        return self._agenda.get(flow) or self._strangers.get(flow)

    def _take_syn(self, header: Header, found: list[Finding], knows_client: bool) -> None:
        flow = Flow(header.source, header.source_port, header.destination, header.destination_port)
        connection = self._find(flow)
        if connection is not None and connection.restarted_by(header):
            if connection.offer is not None:
                self._conclude(connection, header.time_ns, found, final=True)
            self._agenda.remove(flow)
            self._forget(connection)
            connection = None
        if connection is None:
            if not knows_client or self._is_translated(header):
                return
            connection = FollowUp(flow, header.time_ns, header.frame, header.interface)
            self._add_stranger(connection)
            connection.feed(header, from_server=False)
            self._adopt(connection, found)
            return
        connection.feed(header, from_server=False)
        self._look_at(connection, header.time_ns, found)

    def _is_translated(self, header: Header) -> bool:
        """Return whether a SYN is one that was seen before a destination NAT, on another interface; note it if not."""
        if self._live is None:
            return False
        key = header.source, header.source_port, header.destination_port
        sequence, destination = self._opened.get(key, (-1, b""))
        if sequence == header.sequence and destination != header.destination:
            return True
        self._opened.pop(key, None)
        self._opened[key] = header.sequence, header.destination
        if len(self._opened) > self._limits.strangers:
            del self._opened[next(iter(self._opened))]
        return False

    def _add_stranger(self, connection: FollowUp) -> None:
        oldest = self._strangers.add(connection)
        if oldest is not None:
            self._forget(oldest)
        self._early[connection.flow.client, connection.flow.server_port] = connection

    def _forget(self, connection: FollowUp) -> None:
        """Let go of a connection that follows no answer."""
        self._strangers.remove(connection.flow)
        key = (connection.flow.client, connection.flow.server_port)
        if self._early.get(key) is connection:
            del self._early[key]

    def _adopt(self, connection: FollowUp, found: list[Finding]) -> None:
        """Give a connection the offer that it follows, where there is one."""
        flow = connection.flow
        asked = self.offers.asked_of(flow.client, flow.server_port)
        if asked is None:
            return
        self._servers.refresh()
        address = server_address(flow.server, self.policy.nat64_prefixes)
        server = self._servers.of(asked)
        offer = self.offers.find(flow.client, address, flow.server_port, connection.first_ns, server)
        if offer is None:
            return
        self._forget(connection)
        connection.offer = offer
        offer.answer.follow(connection)
        oldest = self._agenda.add(connection)
        if oldest is not None:
            self._evicted += not oldest.concluded
        self._look_at(connection, connection.last_ns, found)

    def _look_at(self, connection: FollowUp, now_ns: int, found: list[Finding]) -> None:
        if connection.offer is None:
            return
        due_ns = follow_up_due_ns(connection, self._limits)
        if due_ns is not None and due_ns <= now_ns:
            self._conclude(connection, now_ns, found, final=False)
        else:
            self._agenda.schedule(connection, due_ns)

    def _server(self, connection: FollowUp) -> Server:
        assert connection.offer is not None  # noqa: S101 - strangers are not judged
        return self._servers.of(connection.offer.answer.finding.server)

    def _conclude(self, connection: FollowUp, now_ns: int, found: list[Finding], *, final: bool) -> None:
        """Tell the outcome of a follow-up, once; and once more where one that worked fails."""
        server = self._server(connection)
        question = self._silent_question(connection, now_ns, server, final=final)
        # The SYN-ACK of another address says nothing of a reset from this one.
        address = server_address(connection.flow.server, self.policy.nat64_prefixes)
        reply = _reply_of(connection)
        attempt = attempt_of(connection, self.policy, self._servers.hop_limits(address), reply)
        outcome = attempt_outcome(
            attempt,
            question,
            unknown_interface=reply is not None and reply.unknown_interface,
            accepted=reply is not None and reply.accepted,
        )
        if outcome is Outcome.REACHED and connection.half_open and self._live is None:
            outcome = Outcome.UNDELIVERED
        if outcome is None or outcome is connection.outcome or connection.one_sided:
            return
        if not self._is_sure(connection, outcome, now_ns, final):
            return
        if connection.concluded and (outcome not in HARMFUL or connection.outcome is not Outcome.REACHED):
            return
        if outcome in _SILENCE and not self._was_recorded(connection):
            self._agenda.remove(connection.flow)
            self.undecided += 1
            return
        connection.concluded = True
        connection.outcome = outcome
        if outcome is Outcome.REFUSED:
            server.note_refusal(attempt.address, attempt.port)
        if outcome is Outcome.REACHED and address == server.asked:
            server.note_reached(attempt.port)
        offer = connection.offer
        assert offer is not None  # noqa: S101 - strangers are not judged
        facts = Facts(
            outcome=outcome,
            target=offer.target,
            mapping=offer.mapping,
            endpoint=Endpoint(address_of(connection.flow.server), connection.flow.server_port),
            attempt=attempt,
            question=question,
            level=connection.bind.level if connection.bind is not None else 0,
            service=name_of_syntax(connection.bind.abstract) if connection.bind is not None else None,
        )
        answer = offer.answer
        # A connection that was seen before its answer reached the endpoint when that said so.
        replied_ns = connection.reply_ns if outcome is Outcome.REACHED else None
        time_ns = connection.last_ns if replied_ns is None else replied_ns
        finding = self._maker.later(FindingKind.FOLLOW_UP, answer, facts, connection, time_ns)
        answer.tell(finding, found)

    def _was_recorded(self, connection: FollowUp) -> bool:
        """Return whether an answer would have been seen."""
        flow = connection.flow
        return self._live is None or self._live.has_recorded(flow.server, flow.server_port, connection.first_ns)

    def _silent_question(self, connection: FollowUp, now_ns: int, server: Server, *, final: bool) -> Question | None:
        """Return the bind or call that waits for its answer, where it has waited for long enough."""
        asked = connection.asked
        if not connection.answered:
            return None
        question = question_of(connection, now_ns, server.hop_limits, in_full=self._live is None)
        if question is None:
            return None
        if self._live is not None:
            # Of a follow-up not all is recorded: what is missing is no hole.
            question = replace(question, hole=False)
        if asked is None:
            return question if question.hole and (final or connection.closed) else None
        if asked.name == "request" or (connection.reply is not None and connection.reply.accepted):
            # A call may take its time; one that is sent again and again is lost.
            lost = asked.sent >= _LOST_AFTER and not question.acknowledged
            return question if lost or question.reset is not None else None
        if question.reset is not None or question.server_ended or asked.sent >= _LOST_AFTER:
            return question
        limit_ns = self._limits.quiet_ns if final or connection.closed else self._limits.silence_ns
        return question if question.waited_ns >= limit_ns else None

    def _is_sure(self, connection: FollowUp, outcome: Outcome, now_ns: int, final: bool) -> bool:
        """Return whether an outcome may be told: the end of a file is no silence."""
        if outcome is Outcome.TIMED_OUT:
            server = self._server(connection)
            if connection.confirmed or (server.one_way[0] and not server.both):
                return False
            waited_ns = now_ns - connection.syn_last_ns
            return connection.reset is None and (connection.syns > 1 or waited_ns >= self._limits.quiet_ns or not final)
        if outcome is Outcome.REACHED and connection.reply is None:
            # A server that was not confirmed would have sent its SYN-ACK once more.
            confirmed = connection.confirmed or (self._live is not None and connection.syn_acks == 1)
            return confirmed and (connection.asked is None or connection.closed)
        return True
