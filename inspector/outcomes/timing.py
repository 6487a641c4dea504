"""When a connection is looked at again: the moment from which its silence, or its end, means something."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inspector.judge.diagnosis import is_of_filter
from inspector.outcomes.facts import icmp_of

if TYPE_CHECKING:
    from inspector.outcomes.connection import Connection
    from inspector.outcomes.limits import OutcomeLimits


def may_pass(connection: Connection) -> bool:
    """Return whether a router knows no way at the moment: clients try again, and a host that wakes up answers."""
    icmp = icmp_of(connection)
    return icmp is not None and not is_of_filter(icmp)


def connect_due_ns(connection: Connection, limits: OutcomeLimits) -> int | None:
    """Return when an attempt that nobody accepted is over: no further SYN came when one was due."""
    if connection.reset is not None:
        return connection.reset.time_ns + limits.grace_ns
    if connection.icmp is not None:
        if may_pass(connection):
            return max(connection.last_ns + limits.grace_ns, connection.syn_last_ns + limits.retry_ns)
        return connection.last_ns + limits.grace_ns
    if not connection.syns:
        return None
    next_ns = connection.syn_last_ns + max(limits.retry_ns, 2 * connection.syn_gap_ns + limits.grace_ns)
    return min(next_ns, max(connection.first_ns + limits.follow_up_ns, connection.syn_last_ns + limits.retry_ns))


def mapper_due_ns(connection: Connection, limits: OutcomeLimits) -> int | None:
    """Return when a connection to port 135 is to be judged; None while nothing waits."""
    if not connection.answered:
        return connect_due_ns(connection, limits)
    if connection.closed:
        # A client that has closed its direction may still take the answer.
        waits = connection.asked is not None and connection.reset is None and connection.server.fin_ns is None
        return connection.last_ns + (limits.silence_ns if waits else limits.settle_ns)
    if connection.half_open:
        return connection.last_ns + limits.silence_ns
    lost = [one for one in connection.sent if one.sent > 2]
    if lost:
        return min(one.last_ns + max(limits.silence_ns, 2 * one.gap_ns) for one in lost)
    return None


def follow_up_due_ns(connection: Connection, limits: OutcomeLimits) -> int | None:
    """Return when a follow-up is to be judged; at once where the answer is there."""
    if not connection.answered:
        return connect_due_ns(connection, limits)
    asked, reply = connection.asked, connection.reply
    if reply is not None and asked is None:
        return connection.last_ns
    if connection.reset is not None:
        return connection.reset.time_ns + limits.grace_ns // 3
    if connection.closed:
        return connection.last_ns + limits.grace_ns // 3
    if asked is not None:
        return asked.last_ns + max(limits.silence_ns, 2 * asked.gap_ns)
    return connection.first_ns + limits.follow_up_ns
