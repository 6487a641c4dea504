"""One TCP connection, to port 135 or to an endpoint: what both ends did, as far as an outcome depends on it.

A reset counts until its sender goes on talking: real stacks ignore those outside of the window (RFC 5961).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from inspector.outcomes.pdus import (
    QUESTIONS,
    Bind,
    Reply,
    messages,
    read_reply,
)
from inspector.outcomes.seen import DATA_AGAIN_NS, SYN_AGAIN_NS, Asked, GivenUp, IcmpSeen, ResetSeen, Sent, is_copy
from inspector.outcomes.stream import Stream, after
from inspector.protocols import ACK, FIN, RST, SYN
from inspector.wire.pdu import PduType

if TYPE_CHECKING:
    from inspector.wire.headers import Header, IcmpQuote

_MODULUS: Final = 1 << 32
_RECENT: Final = 8
_SENT: Final = 8
_COPIES: Final = 4
_AT_ONCE_NS: Final = 1_000_000_000
_COPY_NS: Final = 1_000_000
"""A packet that comes again so soon is a copy: mirror ports and captures on all interfaces see it twice."""
_RESPONSES: Final = frozenset({PduType.RESPONSE, PduType.FAULT})


class Flow(NamedTuple):
    """A connection seen from the client; addresses are 16 bytes."""

    client: bytes
    client_port: int
    server: bytes
    server_port: int


class Connection:
    """Facts of one connection; `feed` takes its packets in the order of the capture. `interface` is that of the first.

    `confirmed`: the client acknowledged something after its SYN, for the last time at `confirmed_ns`. Of `cut` packets
    of the server the capture kept at most `cut_at` bytes. `call_rejected` is the length of a bind_nak that answers a
    request, `unseen` that the client has an answer which did not come here. `given_up` are questions that were told to
    be unanswered. `concluded`, `counted`, `noted`, `scheduled_ns` and `told_ns` (the time of the last finding about
    this connection) belong to the owner.
    """

    __slots__ = (
        "_lately", "asked", "bind", "call_rejected", "client", "client_hop_limit", "concluded", "confirmed",
        "confirmed_ns", "counted", "cut", "cut_at", "fin_hop_limit", "fin_number", "first_ns", "flow", "fragments",
        "frame", "given_up", "icmp", "interface", "last_ns", "noted", "other_syn", "recent", "reply", "reply_ns",
        "reset", "scheduled_ns", "sent", "server", "server_confirmed", "server_hop_limit", "server_next",
        "syn_ack_hop_limit", "syn_ack_last_ns", "syn_ack_ns", "syn_acks", "syn_gap_ns", "syn_last_ns", "syn_sequence",
        "syns", "told_ns", "unseen",
    )  # fmt: skip

    def __init__(self, flow: Flow, time_ns: int, frame: int, interface: int = 0) -> None:
        self.flow = flow
        self.frame = frame
        self.interface = interface
        self.first_ns = self.last_ns = time_ns
        self.client, self.server = Stream(), Stream()
        self.syns = self.syn_acks = 0
        self.syn_sequence: int | None = None
        self.other_syn: Header | None = None
        self.syn_last_ns = self.syn_gap_ns = 0
        self.syn_ack_ns: int | None = None
        self.syn_ack_last_ns = 0
        self.syn_ack_hop_limit: int | None = None
        self.confirmed = False
        self.confirmed_ns = 0
        self.reset: ResetSeen | None = None
        self.icmp: IcmpSeen | None = None
        self.asked: Asked | None = None
        self.bind: Bind | None = None
        self.reply: Reply | None = None
        self.reply_ns: int | None = None
        self.fragments = 1
        self.cut = self.cut_at = 0
        self.recent: list[Sent] = []
        self.sent: list[Sent] = []
        self.concluded = self.counted = False
        self.noted: tuple[object, ...] = ()
        self.told_ns: int | None = None
        self.given_up: list[GivenUp] = []
        self.scheduled_ns: int | None = None
        self.server_confirmed = False
        self.server_hop_limit: int | None = None
        self.fin_hop_limit: int | None = None
        self.fin_number: int | None = None
        self.client_hop_limit: int | None = None
        self.server_next: int | None = None
        self.call_rejected = 0
        self.unseen = False
        self._lately: list[tuple[int, tuple[int, ...]]] = []

    @property
    def answered(self) -> bool:
        """Whether the server accepted the connection: a SYN-ACK, or anything else but a reset.

        Of a server whose SYN-ACK the capture lacks the client's acknowledgment says so.
        """
        return self.syn_ack_ns is not None or self.server.highest is not None or (self.confirmed and self.server.seen)

    @property
    def connect_ns(self) -> int | None:
        """Time from the client's first SYN to the SYN-ACK; None where one of them was not seen."""
        if self.syn_ack_ns is None or not self.syns:
            return None
        return max(0, self.syn_ack_ns - self.first_ns)

    @property
    def closed(self) -> bool:
        """Whether one end has closed or reset the connection."""
        return self.reset is not None or self.client.fin_ns is not None or self.server.fin_ns is not None

    @property
    def ended_at_once(self) -> bool:
        """Whether the server ended the connection within a second, before either end had said anything."""
        if self.syn_ack_ns is None or self.client.payload or self.server.payload or not self.confirmed:
            return False
        ended_ns = self.server.fin_ns
        if ended_ns is not None and self.fin_number != (self.syn_sequence or 0) + 1:
            # The server has a FIN of the client that was not seen yet.
            return False
        if ended_ns is None and self.reset is not None and self.reset.from_server:
            ended_ns = self.reset.time_ns
        if ended_ns is None or (self.client.fin_ns is not None and self.client.fin_ns < ended_ns):
            return False
        return ended_ns - self.syn_ack_ns < _AT_ONCE_NS

    @property
    def missing(self) -> int:
        """How many bytes the server has sent, by its later sequence numbers, that did not come here."""
        if self.server_next is None or self.server.highest is None or not after(self.server_next, self.server.highest):
            return 0
        return (self.server_next - self.server.highest) % _MODULUS

    @property
    def one_sided(self) -> bool:
        """Whether only one end was seen, of a connection that both ends talked on."""
        if self.client.seen and self.server.seen:
            return False
        seen = self.client if self.client.seen else self.server
        return seen.payload and (self.confirmed if self.client.seen else self.server_confirmed)

    @property
    def half_open(self) -> bool:
        """Whether the server sent its SYN-ACK again, and the client never confirmed it or went away."""
        return self.syn_acks > 1 and not self.confirmed and self.client.seen and not self.closed

    def restarted_by(self, header: Header) -> bool:
        """Return whether a client's SYN opens another connection between the same ports."""
        return self.closed and self.answered and self.syn_sequence != header.sequence

    def replaced_by(self, header: Header) -> Header | None:
        """Return the SYN of another connection between the same ports, where the server's SYN-ACK confirms it.

        A SYN alone does not end a connection (RFC 5961 section 4).
        """
        syn = self.other_syn
        confirms = syn is not None and header.flags & (SYN | ACK) == SYN | ACK
        return syn if syn is not None and confirms and header.acknowledgment == (syn.sequence + 1) % _MODULUS else None

    def feed(self, header: Header, *, from_server: bool) -> None:
        """Take one packet, but no copy of one."""
        flags = header.flags
        if (header.payload_length or flags & (SYN | FIN | RST)) and self._is_copy(header):
            return
        ours, theirs = (self.server, self.client) if from_server else (self.client, self.server)
        ours.seen = True
        if flags & RST:
            self._take_reset(header, theirs, from_server=from_server)
        elif flags & SYN:
            self._take_syn(header, ours, from_server=from_server)
        else:
            self._take_data(header, ours, theirs, from_server=from_server)
        self.last_ns = max(self.last_ns, header.time_ns)

    def _is_copy(self, header: Header) -> bool:
        """Return whether the same packet was seen just before."""
        key = (header.source_port, header.sequence, header.acknowledgment, header.flags, header.payload_length)
        lately, time_ns = self._lately, header.time_ns
        for seen_ns, seen in lately:
            if seen == key and is_copy(time_ns, seen_ns, _COPY_NS):
                return True
        if len(lately) >= _COPIES:
            del lately[: len(lately) - _COPIES + 1]
        lately.append((time_ns, key))
        return False

    def take_icmp(self, error: IcmpQuote) -> None:
        """Take an ICMP error that quotes a packet of the client."""
        if self.icmp is None:
            self.icmp = IcmpSeen(error)
        else:
            self.icmp.count += 1
        self.last_ns = max(self.last_ns, error.time_ns)

    def answer_at(self, time_ns: int) -> Sent | None:
        """Return the server's segment of that time, the last one where there are several."""
        return next((one for one in reversed(self.recent) if one.last_ns == time_ns), None)

    def expect(self, sent: Sent) -> None:
        """Watch whether the client acknowledges an answer; of too many the oldest is let go."""
        if self.server.is_acknowledged(sent.end):
            return
        if len(self.sent) >= _SENT:
            del self.sent[0]
        self.sent.append(sent)

    def confirm(self, number: int) -> None:
        """Take an acknowledgment of the client that came in no packet here."""
        self.confirmed = True
        self.server.acknowledge(number)
        self._drop_acknowledged()

    def _take_reset(self, header: Header, theirs: Stream, *, from_server: bool) -> None:
        if header.flags & ACK and not from_server:
            theirs.acknowledge(header.acknowledgment)
            self.confirmed_ns = header.time_ns
        if self.reset is not None:
            copy = is_copy(header.time_ns, self.reset.time_ns, DATA_AGAIN_NS)
            self.reset.count += self.reset.from_server is from_server and not copy
            self.reset.time_ns = header.time_ns
            return
        before = self.last_ns if self.asked is None or not from_server else self.asked.last_ns
        after_ns = header.time_ns - (self.syn_last_ns if from_server and not self.answered else before)
        self.reset = ResetSeen(header, from_server=from_server, after_ns=after_ns if after_ns >= 0 else None)
        self._drop_acknowledged()

    def _take_syn(self, header: Header, ours: Stream, *, from_server: bool) -> None:
        if from_server:
            if self.syn_ack_ns is None:
                self.syn_ack_ns = header.time_ns
                self.syn_ack_hop_limit = header.hop_limit
                ours.begin((header.sequence + 1) % _MODULUS)
                if self.reset is not None and self.reset.from_server:
                    # The server refused the SYN before this one.
                    self.reset = None
            elif is_copy(header.time_ns, self.syn_ack_last_ns, SYN_AGAIN_NS):
                return
            self.syn_ack_last_ns = header.time_ns
            self.syn_acks += 1
            return
        if header.flags & ACK:
            return
        if self.answered and header.sequence != self.syn_sequence:
            self.other_syn = header
            return
        if self.syns and header.sequence == self.syn_sequence:
            if is_copy(header.time_ns, self.syn_last_ns, SYN_AGAIN_NS):
                return
        elif self.syns:
            # Between the same ports a client that was refused may begin again.
            self.syn_sequence = None
        if self.syns:
            self.syn_gap_ns = header.time_ns - self.syn_last_ns
        self.syns += 1
        self.syn_last_ns = header.time_ns
        if self.syn_sequence is None:
            self.syn_sequence = header.sequence
            self.client_hop_limit = header.hop_limit
            ours.begin((header.sequence + 1) % _MODULUS)

    def _take_data(self, header: Header, ours: Stream, theirs: Stream, *, from_server: bool) -> None:
        if self.reset is not None and self.reset.from_server is from_server and self.answered:
            self._go_on(header, ours)
        if header.flags & ACK:
            if not from_server and header.acknowledgment != theirs.highest and theirs.lacks(header.acknowledgment):
                # The client has an answer that the capture does not have.
                self.asked = self.bind = None
                self.unseen = True
            theirs.acknowledge(header.acknowledgment)
            if from_server:
                self.server_confirmed = True
                if ours.fin_ns is None and (not header.flags & FIN or header.payload_length):
                    self.server_hop_limit = header.hop_limit
            else:
                self.confirmed = True
                self.confirmed_ns = header.time_ns
        if from_server and not header.payload_length:
            self.server_next = header.sequence
        if header.payload_length:
            new = ours.take(header.sequence, header.payload_length)
            if from_server and len(header.payload) < header.payload_length:
                self.cut += 1
                self.cut_at = max(self.cut_at, header.captured)
            if from_server:
                self._take_answer(header, new=new)
            else:
                self._take_question(header, new=new)
        if header.flags & FIN and ours.fin_ns is None:
            ours.fin_ns = header.time_ns
            if from_server:
                self.fin_hop_limit = header.hop_limit
                self.fin_number = header.acknowledgment
        if not from_server:
            self._drop_acknowledged()

    def _go_on(self, header: Header, ours: Stream) -> None:
        """Take back a reset whose sender goes on talking; what comes at once and is not new is a copy."""
        assert self.reset is not None  # noqa: S101 - the caller's condition
        end = (header.sequence + header.payload_length) % _MODULUS
        new = ours.highest is not None and after(end, ours.highest)
        if new or not is_copy(header.time_ns, self.reset.time_ns, DATA_AGAIN_NS):
            self.reset = None

    def _drop_acknowledged(self) -> None:
        if self.sent:
            self.sent = [one for one in self.sent if not self.server.is_acknowledged(one.end)]

    def _take_question(self, header: Header, *, new: bool) -> None:
        asked = self.asked
        if not new:
            if asked is not None and header.sequence == asked.start:
                asked.repeat(header.time_ns)
            return
        if asked is not None and header.sequence == asked.end:
            asked.end = (header.sequence + header.payload_length) % _MODULUS
            asked.largest = max(asked.largest, header.payload_length)
        for message in messages(header.payload):
            if message.type in QUESTIONS and (asked is None or message.type is not PduType.REQUEST):
                self.asked = asked = Asked(header, message)
                self.unseen = False
                if asked.bind is not None:
                    self.bind = asked.bind

    def _take_answer(self, header: Header, *, new: bool) -> None:
        end = (header.sequence + header.payload_length) % _MODULUS
        if not new:
            for sent in self.sent:
                if after(sent.end, header.sequence) and header.time_ns - sent.last_ns >= DATA_AGAIN_NS:
                    sent.sent += 1
                    sent.gap_ns = header.time_ns - sent.last_ns
                    sent.last_ns = header.time_ns
            return
        found = messages(header.payload)
        first = self.asked is not None
        proposed = self.asked.bind.abstract if self.asked is not None and self.asked.bind is not None else None
        if self.asked is not None and self.asked.bind is None and found and found[0].type is PduType.BIND_NAK:
            self.call_rejected = header.payload_length
        if first:
            self.fragments, self.asked = 0, None
        self.fragments += sum(message.type in _RESPONSES for message in found)
        for message in found:
            if message.type is PduType.RESPONSE and self.reply is not None and self.reply.accepted:
                continue
            reply = read_reply(message)
            accepted = self.reply is not None and self.reply.accepted
            # Of a later bind that was not seen nobody knows which interface it was about.
            if reply is not None and not (accepted and (reply.accepted or (reply.rejection is not None and not first))):
                self.reply, self.reply_ns = reply._replace(abstract=proposed), header.time_ns
        largest = header.payload_length
        if not first and self.recent:
            largest = max(largest, self.recent[-1].largest)
        del self.recent[: max(0, len(self.recent) - _RECENT + 1)]
        self.recent.append(Sent(header.time_ns, header.frame, end, header.payload_length, largest))
