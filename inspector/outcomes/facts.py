"""From a connection to the plain facts that outcomes and causes are decided by."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from inspector.judge.addresses import address_of, server_address
from inspector.judge.evidence import Attempt, CaptureLimits, Delivery, IcmpError, OtherSide, Question, Reset
from inspector.wire.contexts import EPM_UUID
from inspector.wire.epm import OPERATIONS
from inspector.wire.uuids import name_of

if TYPE_CHECKING:
    from inspector.consequence import Endpoint, Outcome, Target
    from inspector.judge.policy import Policy
    from inspector.model import OfferedEndpoint
    from inspector.outcomes.connection import Connection
    from inspector.outcomes.pdus import Reply
    from inspector.outcomes.seen import Sent
    from inspector.wire.body import Syntax

_FRAGMENT_FLAGS: Final = 3
# Longer segments may be several ones that the sender's adapter divides: a part of them can be acknowledged.
_WHOLE: Final = 1000
# Within this time an acknowledgment may be on its way.
_SOON_NS: Final = 1_000_000_000
_LOST_AFTER: Final = 3


class CutAnswers(NamedTuple):
    """How many answers of a capture could not be read, and how many bytes of each packet it keeps; 0 of none."""

    answers: int = 0
    kept: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known beside an answer: any of these may be missing.

    `service` is what a bind named, by name or UUID. `scanned` is how many addresses a scanner tried in vain,
    `call_rejected` how long a bind_nak is that answers a request, `bind_contexts` how many contexts the bind had.
    """

    outcome: Outcome | None = None
    target: Target | None = None
    mapping: OfferedEndpoint | None = None
    endpoint: Endpoint | None = None
    attempt: Attempt | None = None
    question: Question | None = None
    delivery: Delivery | None = None
    capture: CaptureLimits = field(default_factory=CaptureLimits)
    level: int = 0
    service: str | None = None
    scanned: int = 0
    call_rejected: int = 0
    bind_contexts: int = 0
    other_side: OtherSide | None = None


def name_of_syntax(syntax: Syntax | None) -> str | None:
    """Return the well-known name of an interface, or its UUID."""
    return None if syntax is None else name_of(syntax.uuid) or str(syntax.uuid)


def reset_of(connection: Connection, mapper_hop_limits: tuple[int, ...]) -> Reset | None:
    """Return the reset of a connection; one that refuses a SYN is compared with the SYN-ACK of port 135."""
    seen = connection.reset
    if seen is None:
        return None
    usual = connection.client_hop_limit
    if seen.from_server:
        usual = connection.syn_ack_hop_limit
        if seen.hop_limit is not None and seen.hop_limit == connection.server_hop_limit:
            # A SYN proxy answers the SYN itself: what comes from farther away is the server's.
            usual = seen.hop_limit
        elif usual is None and mapper_hop_limits:
            usual = seen.hop_limit if seen.hop_limit in mapper_hop_limits else mapper_hop_limits[-1]
    return Reset(seen.from_server, seen.hop_limit, usual, seen.after_ns, seen.count)


def closed_of(connection: Connection) -> Reset | None:
    """Return the FIN of the server; a device may send one in its name."""
    usual = connection.syn_ack_hop_limit
    if connection.fin_hop_limit == connection.server_hop_limit:
        usual = connection.fin_hop_limit
    return Reset(from_server=True, ttl=connection.fin_hop_limit, usual_ttl=usual, closing=True)


def icmp_of(connection: Connection) -> IcmpError | None:
    """Return the first ICMP error about a connection, and how many came."""
    seen = connection.icmp
    if seen is None:
        return None
    return IcmpError(address_of(seen.first.reporter), seen.first.type, seen.first.code, seen.count)


def attempt_of(
    connection: Connection, policy: Policy, mapper_hop_limits: tuple[int, ...], reply: Reply | None
) -> Attempt:
    """Return how a client tried to connect, and what came of it; `reply` is what the server said."""
    bind = connection.bind
    return Attempt(
        address=server_address(connection.flow.server, policy.nat64_prefixes),
        port=connection.flow.server_port,
        syns=connection.syns,
        span_ns=max(0, connection.syn_last_ns - connection.first_ns) if connection.syns > 1 else 0,
        answered=connection.answered,
        syn_ack_ttl=connection.syn_ack_hop_limit,
        bind_contexts=bind.contexts if bind else 0,
        rejection=reply.rejection if reply else None,
        fault=reply.fault if reply else None,
        reset=reset_of(connection, mapper_hop_limits),
        icmp=icmp_of(connection),
        syn_acks=connection.syn_acks,
    )


def question_of(
    connection: Connection, now_ns: int, mapper_hop_limits: tuple[int, ...], *, in_full: bool = True
) -> Question | None:
    """Return what waits for an answer; None where nothing does, and nothing of the answer is missing.

    Not `in_full` where bare acknowledgments are not seen: what is sent three times was not acknowledged.
    """
    asked = connection.asked
    hole = client_has_hole(connection)
    if asked is None:
        return Question(hole=True, acknowledged=True) if hole else None
    reset = reset_of(connection, mapper_hop_limits)
    fins = [fin_ns for fin_ns in (connection.client.fin_ns, connection.server.fin_ns) if fin_ns is not None]
    ended_ns = connection.reset.time_ns if connection.reset is not None else min(fins, default=None)
    server_ended = connection.server.fin_ns is not None and connection.server.fin_ns == min(fins)
    waited_ns = max(0, (ended_ns if ended_ns is not None else now_ns) - asked.first_ns)
    acknowledged: bool | None = connection.client.is_acknowledged(asked.end)
    early = asked.sent == 1 and waited_ns < _SOON_NS if in_full else asked.sent < _LOST_AFTER
    if not acknowledged and (not connection.server.seen or early):
        acknowledged = None
    return Question(
        sent=asked.sent,
        span_ns=asked.last_ns - asked.first_ns,
        waited_ns=waited_ns,
        acknowledged=acknowledged,
        contexts=asked.bind.contexts if asked.bind else 0,
        interface=name_of_syntax(asked.bind.abstract) if asked.bind else None,
        flags_zero=not asked.flags & _FRAGMENT_FLAGS,
        reset=_of_other_end(reset),
        client_ended=not server_ended
        and (connection.client.fin_ns is not None or (reset is not None and not reset.from_server)),
        server_ended=server_ended,
        missing=connection.missing if in_full else 0,
        largest_segment=asked.largest,
        closed=closed_of(connection) if server_ended else None,
        message=asked.name,
        hole=hole,
    )


def _of_other_end(reset: Reset | None) -> Reset | None:
    """Return a reset that is not the client's own."""
    return reset if reset is not None and (reset.from_server or reset.by_device) else None


def begun_of(connection: Connection, now_ns: int, mapper_hop_limits: tuple[int, ...]) -> Question | None:
    """Return the question whose answer began and did not end; None where nothing of an answer came."""
    if not connection.recent:
        return None
    last, reset = connection.recent[-1], reset_of(connection, mapper_hop_limits)
    ended_ns = connection.reset.time_ns if connection.reset is not None else connection.client.fin_ns
    return Question(
        waited_ns=max(0, (now_ns if ended_ns is None else ended_ns) - last.first_ns),
        acknowledged=True,
        largest_segment=last.largest,
        begun=last.length,
        reset=_of_other_end(reset),
        client_ended=connection.client.fin_ns is not None or (reset is not None and not reset.from_server),
    )


def is_impatient(question: Question) -> bool:
    """Return whether the client went before an answer could be called missing: it, or the capture, lost interest."""
    gone = question.client_ended and question.reset is None and question.sent == 1
    return gone and question.waited_ns < _SOON_NS and not question.missing and not question.hole


def delivery_of(connection: Connection, sent: Sent, mapper_hop_limits: tuple[int, ...]) -> Delivery:
    """Return what became of an answer on its way."""
    return Delivery(
        sent=sent.sent,
        span_ns=sent.last_ns - sent.first_ns,
        largest_segment=sent.largest,
        acknowledged=connection.server.is_acknowledged(sent.end),
        client_hole=client_has_hole(connection),
        acknowledged_part=connection.server.acknowledged_of(sent.end, sent.length) if sent.length < _WHOLE else 0,
        reset=reset_of(connection, mapper_hop_limits),
    )


def client_has_hole(connection: Connection) -> bool:
    """Return whether the client acknowledges what is before a missing part of the server's stream, and no more.

    Bytes that the client has and that are missing here are a gap of the capture. What it acknowledged before the later
    part came says nothing.
    """
    return connection.server.has_hole and connection.server.stalled > 0


def is_of_mapper(connection: Connection) -> bool:
    """Return whether what waits is for the endpoint mapper itself: the decoder tells of it in time.

    A bind of several segments is not read here.
    """
    asked, bind = connection.asked, connection.bind
    if asked is not None and asked.name != "request" and asked.bind is None:
        return True
    return bind is not None and bind.abstract is not None and bind.abstract.uuid == EPM_UUID


def operation_of(connection: Connection) -> str:
    """Return what the client asked: an operation of the endpoint mapper by its name."""
    asked = connection.asked
    if asked is None:
        return "request"
    if asked.opnum is not None and is_of_mapper(connection):
        return OPERATIONS.get(asked.opnum, asked.name)
    return asked.name
