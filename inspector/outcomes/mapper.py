"""Connections to port 135: whether they came about, whether answers were delivered, and what stayed without answer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from inspector.consequence import FindingKind, Outcome
from inspector.judge.addresses import server_address
from inspector.judge.evidence import CaptureLimits, OtherSide
from inspector.judge.outcome import attempt_outcome, delivery_outcome
from inspector.model import Verdict
from inspector.outcomes.agenda import Agenda
from inspector.outcomes.connection import Connection
from inspector.outcomes.facts import (
    Facts,
    attempt_of,
    delivery_of,
    is_of_mapper,
    name_of_syntax,
    operation_of,
    question_of,
)
from inspector.outcomes.offers import Answer
from inspector.outcomes.scans import PATIENT, Scans
from inspector.outcomes.timing import mapper_due_ns
from inspector.protocols import ACK, SYN

if TYPE_CHECKING:
    from inspector.judge.policy import Policy
    from inspector.model import Finding
    from inspector.outcomes.connection import Flow
    from inspector.outcomes.limits import OutcomeLimits
    from inspector.outcomes.live import Live
    from inspector.outcomes.making import Maker
    from inspector.outcomes.servers import Server, Servers
    from inspector.wire.headers import Header, IcmpQuote

_OPEN_NS: Final = 1_000_000_000
"""A question younger than this is no open conversation: its answer was on the way."""


class MapperConnections:
    """The connections to port 135. Findings are appended to the list that each method takes.

    `evicted` had to go before their outcome was known. Of `cut` answers the capture kept up to `cut_at` bytes of each
    packet. Of `undecided` answers the kernel has forgotten whether they were acknowledged. `one_way` counts findings of
    servers that are seen in one direction.
    """

    def __init__(
        self, policy: Policy, servers: Servers, maker: Maker, limits: OutcomeLimits, live: Live | None
    ) -> None:
        self.policy = policy
        self._live = live
        self._servers = servers
        self._maker = maker
        self._limits = limits
        self._agenda: Agenda[Connection] = Agenda(limits.connections)
        self._clients: dict[bytes, None] = {}
        self._limited: dict[Server, Connection] = {}
        self._scans = Scans(limits.servers)
        self.evicted = self.undecided = self.one_way = self.cut = self.cut_at = 0

    def __len__(self) -> int:
        return self._agenda.size + len(self._clients) + len(self._limited) + len(self._scans)

    @property
    def due_ns(self) -> int | None:
        """The time at which a connection is to be judged next, or None."""
        return self._agenda.due_ns

    def get(self, flow: Flow) -> Connection | None:
        """Return a connection."""
        return self._agenda.get(flow)

    def frame_at(self, flow: Flow, time_ns: int) -> int | None:
        """Return the server's last packet until a time, or the connection's first; None where it is not known."""
        connection = self._agenda.get(flow)
        if connection is None:
            return None
        earlier = [one.frame for one in connection.recent if one.first_ns <= time_ns]
        return earlier[-1] if earlier else connection.frame

    def knows_client(self, client: bytes) -> bool:
        """Return whether a client has talked to port 135 lately."""
        return client in self._clients

    def take(self, flow: Flow, header: Header, found: list[Finding], *, from_server: bool) -> None:
        """Take a packet to or from port 135."""
        connection = self._agenda.get(flow)
        opens = not from_server and header.flags & (SYN | ACK) == SYN
        if connection is not None and opens and connection.restarted_by(header):
            self._conclude(connection, header.time_ns, found, final=True)
            connection = None
        syn = connection.replaced_by(header) if connection is not None and from_server else None
        if connection is not None and syn is not None:
            self._conclude(connection, header.time_ns, found, final=True)
            connection = None
        if connection is None:
            first = syn or header
            connection = Connection(flow, first.time_ns, first.frame, first.interface)
            self._add(connection, header.time_ns, found)
            if opens:
                self._scans.try_address(flow.client, flow.server, header.time_ns)
            if syn is not None:
                connection.feed(syn, from_server=False)
        else:
            self._agenda.touch(flow)
        connection.feed(header, from_server=from_server)
        self._note(connection)
        self._agenda.schedule(connection, mapper_due_ns(connection, self._limits))

    def forget(self, flow: Flow) -> None:
        """Let go of a connection, without a word."""
        self._agenda.remove(flow)

    def clear(self) -> None:
        """Let go of all connections."""
        self.evicted += sum(not (one.concluded or one.closed) for one in self._agenda)
        self._agenda.clear()

    def take_icmp(self, flow: Flow, error: IcmpQuote) -> None:
        """Take an ICMP error about a connection."""
        connection = self._agenda.get(flow)
        if connection is not None:
            connection.take_icmp(error)
            self._agenda.schedule(connection, mapper_due_ns(connection, self._limits))

    def watch(self, answer: Answer, flow: Flow, dropped: OtherSide | None, found: list[Finding]) -> None:
        """Watch the delivery of an answer, and give it what its packets say.

        `dropped`: another point of capture proves that it did not come through.
        """
        connection = self._agenda.get(flow)
        if connection is None:
            return
        connection.told_ns = answer.finding.time_ns
        answer.fragments = connection.fragments
        rejected = connection.call_rejected if answer.finding.verdict is Verdict.REJECTED else 0
        level, contexts = (connection.bind.level, connection.bind.contexts) if connection.bind else (0, 0)
        answer.facts = Facts(level=level, bind_contexts=contexts, call_rejected=rejected)
        sent = connection.answer_at(answer.finding.time_ns)
        if sent is not None:
            answer.frame = sent.frame
        if dropped is not None:
            self.drop(answer, flow, dropped, found)
        elif sent is not None:
            sent.tag = answer
            connection.expect(sent)
            self._agenda.schedule(connection, mapper_due_ns(connection, self._limits))

    def drop(self, answer: Answer, flow: Flow, dropped: OtherSide, found: list[Finding]) -> None:
        """Tell that an answer did not come through."""
        connection = self._agenda.get(flow)
        if connection is None:
            return
        connection.concluded = True
        connection.sent = [one for one in connection.sent if one.tag is not answer]
        facts = Facts(outcome=Outcome.UNDELIVERED, delivery=dropped.delivery, other_side=dropped)
        time_ns = answer.finding.time_ns
        answer.tell(self._maker.later(FindingKind.DELIVERY, answer, facts, connection, time_ns), found)

    def advance(self, now_ns: int, found: list[Finding]) -> None:
        """Judge the connections whose time has come."""
        if not self._agenda.is_due(now_ns):
            return
        for connection in self._agenda.due(now_ns):
            due_ns = mapper_due_ns(connection, self._limits)
            if due_ns is not None and due_ns > now_ns:
                self._agenda.schedule(connection, due_ns)
            else:
                self._conclude(connection, now_ns, found, final=False)

    def flush(self, now_ns: int, found: list[Finding]) -> None:
        """Judge all connections: nothing more comes."""
        for connection in self._agenda:
            self._conclude(connection, now_ns, found, final=True)

    def views(self, now_ns: int) -> list[Finding]:
        """Return findings about what the capture does not show: one direction only, packets that are cut."""
        views = [
            self._view(server, connection, now_ns)
            for server, connection in self._limited.items()
            if any(server.one_way) and not server.one_way_told and not server.both
        ]
        return views + [
            self._maker.view(
                connection, Facts(capture=CaptureLimits(snap_length=server.cut_at, unread=server.cut)), now_ns
            )
            for server, connection in self._limited.items()
            if server.cut
        ]

    def _add(self, connection: Connection, now_ns: int, found: list[Finding]) -> None:
        client = connection.flow.client
        self._clients.pop(client, None)
        self._clients[client] = None
        if len(self._clients) > self._limits.clients:
            del self._clients[next(iter(self._clients))]
        oldest = self._agenda.add(connection)
        if oldest is not None:
            self.evicted += not (oldest.concluded or oldest.closed)
            self._conclude(oldest, now_ns, found, final=True)

    def _server(self, connection: Connection) -> Server:
        return self._servers.of(server_address(connection.flow.server, self.policy.nat64_prefixes))

    def _note(self, connection: Connection) -> None:
        """Keep what the connection says of its server, where that has changed."""
        if not connection.server.seen or not connection.answered:
            return
        last = connection.recent[-1] if connection.recent else None
        if last is not None and not connection.server.is_acknowledged(last.end):
            last = None
        facts = connection.client.seen, connection.bind, connection.reply, last
        if facts == connection.noted:
            return
        connection.noted = facts
        server = self._server(connection)
        server.single_syns = 0
        if connection.syn_ack_hop_limit is not None:
            server.note_hop_limit(connection.syn_ack_hop_limit)
        if connection.client.seen and not connection.counted:
            connection.counted = True
            server.both += 1
            self._scans.answered(connection.flow.client, connection.flow.server)
        if connection.bind is not None and connection.reply is not None and connection.reply.accepted:
            server.note_bind(connection.bind.contexts)
        if last is not None:
            server.note_size(last.largest)

    def _conclude(self, connection: Connection, now_ns: int, found: list[Finding], *, final: bool) -> None:
        """Tell what is known of a connection, each thing once."""
        server = self._server(connection)
        known = self._ask_kernel(connection)
        if not connection.answered and not connection.one_sided:
            self._conclude_attempt(connection, server, now_ns, found, final=final)
        elif connection.one_sided:
            self._count_one_way(connection, server, now_ns, found)
        elif connection.half_open:
            if not connection.concluded and known:
                attempt = attempt_of(connection, self.policy, server.hop_limits, connection.reply)
                self._tell(connection, "connect", Facts(outcome=Outcome.UNDELIVERED, attempt=attempt), found)
        else:
            lost = self._conclude_deliveries(connection, server, now_ns, found, final=final, known=known)
            if not lost and not connection.concluded and (final or connection.closed):
                self._conclude_talk(connection, server, now_ns, found, final=final)

    def _ask_kernel(self, connection: Connection) -> bool:
        """Take what the kernel has noted of a client's acknowledgments; return whether it has forgotten none."""
        if self._live is None:
            return True
        number = self._live.acknowledged(connection.flow)
        if number is not None:
            connection.confirm(number)
            # A forged one, far ahead, hides the client's.
            return connection.server.is_acknowledged(number)
        return self._live.keeps_all

    def _conclude_attempt(
        self, connection: Connection, server: Server, now_ns: int, found: list[Finding], *, final: bool
    ) -> None:
        if connection.concluded or not connection.syns:
            return
        attempt = attempt_of(connection, self.policy, server.hop_limits, connection.reply)
        outcome = attempt_outcome(attempt, None)
        if outcome is Outcome.TIMED_OUT:
            # Who acknowledges a SYN-ACK had one.
            given_up = connection.reset is not None or connection.confirmed
            if server.one_way[0] and not server.both:
                return
            early = attempt.syns < 2 and now_ns - connection.syn_last_ns < self._limits.quiet_ns
            if given_up or (final and early):
                return
            if attempt.syns < 2 and server.is_single_syn():
                # The client did not try again: it took another way, as from IPv6 to IPv4.
                connection.concluded = True
                return
        connection.concluded = True
        facts = Facts(outcome=outcome, attempt=attempt)
        tried = self._scans.tried(connection.flow.client) if attempt.syns < PATIENT else 0
        if tried:
            if not self._scans.is_news(connection.flow.client):
                return
            facts = Facts(scanned=tried)
        found.append(self._maker.connection(connection, facts, "connect", connection.syn_last_ns))

    def _count_one_way(self, connection: Connection, server: Server, now_ns: int, found: list[Finding]) -> None:
        if connection.concluded:
            return
        connection.concluded = True
        server.one_way[connection.server.seen] += 1
        self._limited.setdefault(server, connection)
        if len(self._limited) > self._limits.servers:
            del self._limited[next(iter(self._limited))]
        if sum(server.one_way) >= self._limits.one_way and not server.both and not server.one_way_told:
            found.append(self._view(server, connection, now_ns))

    def _view(self, server: Server, connection: Connection, now_ns: int) -> Finding:
        server.one_way_told = True
        self.one_way += 1
        capture = CaptureLimits(
            one_way=max(server.one_way),
            one_way_from_client=server.one_way[0] >= server.one_way[1],
            live=self._live is not None,
        )
        return self._maker.view(connection, Facts(capture=capture), now_ns)

    def _conclude_deliveries(
        self, connection: Connection, server: Server, now_ns: int, found: list[Finding], *, final: bool, known: bool
    ) -> bool:
        """Tell which answers were lost; return whether any was. `known`: all acknowledgments are, up to now."""
        lost = False
        for sent in list(connection.sent):
            delivery = delivery_of(connection, sent, server.hop_limits)
            # A client that has closed its direction still acknowledges what comes.
            waited_ns = (connection.last_ns if connection.reset is not None else now_ns) - sent.first_ns
            outcome = delivery_outcome(delivery, ended=connection.closed, waited_ns=waited_ns)
            if outcome is None and not (final or connection.closed):
                continue
            connection.sent.remove(sent)
            if outcome is not None and not known and connection.confirmed_ns <= sent.first_ns:
                self.undecided += 1
            elif outcome is not None and isinstance(sent.tag, Answer):
                lost = connection.concluded = True
                dropped = self._maker.dropped(sent.tag.finding, connection.flow)
                facts = Facts(outcome=outcome, delivery=delivery, other_side=dropped)
                finding = self._maker.later(FindingKind.DELIVERY, sent.tag, facts, connection, connection.last_ns)
                sent.tag.tell(finding, found)
        return lost

    def _conclude_talk(
        self, connection: Connection, server: Server, now_ns: int, found: list[Finding], *, final: bool
    ) -> None:
        """Tell of what was asked in vain, where the decoder has not: it reads one interface, of whole packets."""
        asked, reply = connection.asked, connection.reply
        if connection.cut:
            self._count_cut(connection, server)
            return
        if asked is None and connection.told_ns is None and reply is not None and reply.rejection is not None:
            attempt = attempt_of(connection, self.policy, server.hop_limits, connection.reply)
            service = name_of_syntax(connection.bind.abstract) if connection.bind is not None else None
            facts = Facts(outcome=Outcome.DENIED, attempt=attempt, service=service)
            self._tell(connection, "bind", facts, found)
            return
        if asked is None and connection.ended_at_once:
            attempt = attempt_of(connection, self.policy, server.hop_limits, connection.reply)
            self._tell(connection, "connect", Facts(outcome=Outcome.BROKEN, attempt=attempt), found)
            return
        question = question_of(connection, now_ns, server.hop_limits, in_full=self._live is None)
        told = asked is not None and connection.told_ns is not None and connection.told_ns >= asked.first_ns
        if question is None or told:
            return
        if asked is not None and not final and not question.hole and is_of_mapper(connection):
            return
        if asked is None or question.hole:
            self._tell_question(connection, Facts(outcome=Outcome.UNDELIVERED, question=question), found)
        elif not connection.closed:
            waited_ns = now_ns - asked.first_ns
            if waited_ns >= _OPEN_NS:
                capture = CaptureLimits(ended_after_ns=waited_ns)
                self._tell_question(connection, Facts(question=question, capture=capture), found)
        elif question.reset is not None or question.server_ended or question.sent > 2 or question.waited_ns >= _OPEN_NS:
            self._tell_question(connection, Facts(outcome=Outcome.BROKEN, question=question), found)

    def _count_cut(self, connection: Connection, server: Server) -> None:
        """Count answers that the capture has cut."""
        connection.concluded = True
        server.cut_at = max(server.cut_at, connection.cut_at)
        server.cut += connection.cut
        self.cut += connection.cut
        self.cut_at = max(self.cut_at, connection.cut_at)
        self._limited.setdefault(server, connection)

    def _tell_question(self, connection: Connection, facts: Facts, found: list[Finding]) -> None:
        server = self._server(connection)
        known = replace(
            facts,
            attempt=attempt_of(connection, self.policy, server.hop_limits, connection.reply),
            level=connection.bind.level if connection.bind is not None else 0,
        )
        self._tell(connection, operation_of(connection), known, found)

    def _tell(self, connection: Connection, operation: str, facts: Facts, found: list[Finding]) -> None:
        connection.concluded = True
        found.append(self._maker.connection(connection, facts, operation, connection.last_ns))
