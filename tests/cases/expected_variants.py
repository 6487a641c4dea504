"""What the inspector should say of variants of the cases, and of healthy networks that look unusual."""

from __future__ import annotations

from typing import Final

from inspector.consequence import Cause, FindingKind, Outcome, Target
from inspector.model import Verdict
from tests.cases.expected import Expected, answered, broken, failed, left_open, lost, no_connection, one_way, reached

_ASKED: Final = Target.ASKED
_PREFIX: Final = 'nat64_prefixes = ["2002:a14:168:8001::/96"]'


def _broken(cause: Cause, *words: str) -> tuple[Expected, ...]:
    """Return that an endpoint that was told rightly broke off."""
    return answered(Verdict.MATCH, times=1), failed(Outcome.BROKEN, _ASKED, cause, *words, times=1)


EXPECTED_OF_VARIANTS: Final[dict[str, tuple[Expected, ...]]] = {
    "01-undeclared": (
        answered(Verdict.MISMATCH, Cause.NAT64_PREFIX_UNDECLARED, _PREFIX, times=1),
        lost(Cause.STRICT_RPC_FILTER, "bind_nak of 24 bytes", "refused this answer", "undeclared", times=1),
    ),
    "08a-undeclared": (
        answered(Verdict.MISMATCH, Cause.NAT64_PREFIX_UNDECLARED, _PREFIX, times=2),
        lost(Cause.STRICT_RPC_FILTER, "bind_nak of 24 bytes", "refused this answer", "undeclared", times=2),
    ),
    "07a-clients": (
        Expected(
            FindingKind.ANSWER,
            Verdict.UNANSWERED,
            Outcome.UNDELIVERED,
            cause=Cause.STRICT_RPC_FILTER,
            words=("the server has sent 152 bytes that did not come here",),
            times=1,
        ),
    ),
    "07a-servers": (
        answered(Verdict.MISMATCH, times=2),
        lost(Cause.STRICT_RPC_FILTER, "sent 6 times in 9.3 s", times=2),
    ),
    "08a-clients": (
        answered(Verdict.REJECTED, Cause.STRICT_RPC_FILTER, "a bind_nak of 24 bytes answers the request", times=2),
        Expected(FindingKind.ANSWER, Verdict.UNANSWERED, Outcome.UNDELIVERED, cause=Cause.STRICT_RPC_FILTER, times=2),
    ),
    "08a-servers": (
        answered(Verdict.MISMATCH, times=2),
        lost(Cause.STRICT_RPC_FILTER, "acknowledges 25 bytes of its last segment", times=2),
    ),
    "06-pooled": (
        answered(Verdict.POOLED, Cause.LOAD_BALANCER),
        failed(Outcome.TIMED_OUT, Target.OFFERED, Cause.LOAD_BALANCER, "does not conform", "a declared pool"),
    ),
    "06-prohibited": (
        answered(Verdict.MISMATCH),
        failed(Outcome.UNREACHABLE, Target.OFFERED, Cause.LOAD_BALANCER, "type 3 code 13", "does not conform"),
    ),
    "06-refused": (
        answered(Verdict.MISMATCH),
        failed(Outcome.REFUSED, Target.OFFERED, Cause.LOAD_BALANCER, "reset from 10.30.2.7, TTL 126", times=1),
        reached(1),
    ),
    "04-ipv6": (
        answered(Verdict.OTHER_FAMILY, Cause.OTHER_ADDRESS_FAMILY, "presumably the same server"),
        failed(Outcome.TIMED_OUT, _ASKED, Cause.PORTS_FILTERED, "[2001:db8:30::10]:49155", "3 SYNs"),
    ),
    "17-ipv6": (
        answered(Verdict.OTHER_FAMILY, Cause.OTHER_ADDRESS_FAMILY),
        failed(Outcome.REFUSED, _ASKED, Cause.STALE_REGISTRATION, "[2001:db8:30::10]:49155", "refused 3 times"),
    ),
    "04-icmpv6": (
        answered(Verdict.UNSPECIFIED),
        failed(
            Outcome.UNREACHABLE, _ASKED, Cause.PORTS_FILTERED, "2001:db8:20::1 sent ICMPv6 type 1 code 1", "2 SYNs in"
        ),
    ),
    "04-static-port": (
        answered(Verdict.MATCH, times=3),
        failed(Outcome.TIMED_OUT, _ASKED, Cause.PORTS_FILTERED, "3 SYNs in 6.0 s", "allow TCP 41376", times=3),
    ),
    "04-sealed": (
        answered(Verdict.SEALED),
        failed(Outcome.TIMED_OUT, _ASKED, Cause.PORTS_FILTERED, "the answer is encrypted", "is presumed"),
    ),
    "04-no-network": (
        answered(Verdict.UNROUTABLE),
        failed(Outcome.TIMED_OUT, _ASKED, Cause.PORTS_FILTERED, "3 SYNs in 9.0 s"),
    ),
    "03-other-member": (
        reached(1),
        failed(Outcome.REFUSED, _ASKED, Cause.NO_AFFINITY, "10.30.2.2:50002", "port 50002 is closed", times=1),
    ),
    "03-members-apart": (
        failed(Outcome.REFUSED, _ASKED, Cause.PORTS_NOT_PUBLISHED, "TTL 125, as its SYN-ACK", times=1),
    ),
    "12-authenticated": (answered(Verdict.FAULT, Cause.ACCESS_POLICY, "was authenticated (level 5)", times=1),),
    "21-by-fin": (broken(Cause.MAPPER_MUTE, "no answer in 4.0 s", "then the client ended the connection", times=1),),
    "21-server-closes": (broken(Cause.MAPPER_MUTE, "10.30.4.10 closed the connection", times=1),),
    "21-closed-by-device": (
        broken(Cause.RESET_BY_DEVICE, "end of the connection in the name of 10.30.2.2 with TTL 127", times=1),
    ),
    "27-one-member": (
        answered(Verdict.MATCH, times=2),
        no_connection(Outcome.TIMED_OUT, Cause.MAPPER_DOWN, "3 SYNs", "other connections to it are answered", times=2),
    ),
    "27-host-unreachable": (
        no_connection(Outcome.UNREACHABLE, Cause.MAPPER_DOWN, "type 3 code 1: host unreachable", times=1),
    ),
    "28-by-device": (
        answered(Verdict.MATCH),
        no_connection(Outcome.REFUSED, Cause.PORTS_FILTERED, "TTL 65, its SYN-ACK had 126", "a device in front"),
    ),
    "28-many-servers": (no_connection(Outcome.REFUSED, Cause.MAPPER_REFUSES, "3 SYNs in 1.0 s", times=9),),
    "29-endpoint": _broken(
        Cause.UNKNOWN, "its bind of NETLOGON was sent 6 times in 9.3 s, not even acknowledged", "SYN proxy"
    ),
    "29-endpoint-closes": _broken(Cause.UNKNOWN, "the server closed the connection without an answer"),
    "29-endpoint-silent-later": (
        reached(1),
        failed(Outcome.BROKEN, _ASKED, Cause.UNKNOWN, "its call was sent 6 times", "10.20.1.15 ended", times=1),
    ),
    "19-endpoint": _broken(Cause.RESET_BY_DEVICE, "TTL 64, its SYN-ACK had 126"),
    "43-endpoint": (
        answered(Verdict.MATCH),
        failed(Outcome.DENIED, _ASKED, Cause.UNKNOWN, "local limit exceeded", "out of resources"),
    ),
    "38-fin": (
        answered(Verdict.POOLED, Cause.LOAD_BALANCER),
        lost(Cause.STRICT_RPC_FILTER, "sent 6 times in 9.3 s", verdict=Verdict.POOLED, times=1),
    ),
    "half-open": (no_connection(Outcome.UNDELIVERED, Cause.UNKNOWN, "its SYN-ACK, sent 4 times", times=1),),
    "restarted": (
        failed(Outcome.REFUSED, _ASKED, Cause.STALE_REGISTRATION, "names port 49671 for SPOOLSS", times=1),
        reached(1),
    ),
    "16b-listing": (left_open("ept_lookup: not answered when the capture ended", times=1),),
    "35-three-networks": (
        answered(Verdict.MISMATCH, Cause.MULTIHOMED_SERVER, "are all offered"),
        failed(Outcome.TIMED_OUT, Target.OFFERED, Cause.MULTIHOMED_SERVER, "does not conform", times=2),
        failed(Outcome.TIMED_OUT, _ASKED, Cause.PORTS_FILTERED, "10.30.4.10:49670", times=1),
    ),
    "24-bind-of-kerberos": _broken(Cause.PATH_MTU, "a segment of 1460 bytes of the bind was sent 6 times"),
    "22-bind-ack-of-kerberos": _broken(Cause.PATH_MTU, "a part of its answer is missing"),
    "half-open-endpoint": (
        answered(Verdict.MATCH),
        failed(Outcome.UNDELIVERED, _ASKED, Cause.UNKNOWN, "its SYN-ACK, sent 4 times, is never acknowledged"),
    ),
    "one-way-server": (
        answered(Verdict.MISMATCH, times=3),
        one_way("3 connections", "seen from the server alone"),
    ),
    "04-twice": (failed(Outcome.TIMED_OUT, _ASKED, Cause.PORTS_FILTERED, "3 SYNs in 9.0 s", times=1),),
    "17-twice": (failed(Outcome.REFUSED, _ASKED, Cause.STALE_REGISTRATION, "refused 3 times", "3 SYNs to", times=1),),
    "29-twice": (broken(Cause.MAPPER_MUTE, "sent 7 times in 18.9 s, not even acknowledged", times=1),),
    "38-twice": (lost(Cause.STRICT_RPC_FILTER, "sent 6 times in 9.3 s", times=1),),
    "19-behind-syn-proxy": _broken(Cause.UNKNOWN, "reset from 10.30.4.10 with TTL 126"),
    "18-reset": (
        answered(Verdict.MATCH),
        broken(Cause.STRICT_RPC_FILTER, "with 3 contexts once", "then reset", "Server2003NegotiateDisable", times=1),
    ),
    "18-rejected": (
        answered(Verdict.MATCH),
        answered(Verdict.REJECTED, Cause.STRICT_RPC_FILTER, "with 3 contexts was rejected by a bind_nak", times=1),
    ),
    "55-silent": (
        no_connection(
            Outcome.BROKEN, Cause.STRICT_RPC_FILTER, "was sent 6 times and never acknowledged", "strict RPC", times=1
        ),
    ),
    "55-fin": (
        no_connection(
            Outcome.BROKEN, Cause.STRICT_RPC_FILTER, "answered by the end of the connection", "strict RPC", times=1
        ),
    ),
    "21-late-answer": (
        broken(Cause.MAPPER_MUTE, "no answer in 4.0 s, then the client ended the connection", times=1),
        answered(Verdict.MATCH, times=1),
    ),
    "25-half-closed": (answered(Verdict.MATCH, Cause.SLOW_SERVER, "answered after 8.0 s", times=1),),
    "07a-other-numbers": (lost(Cause.STRICT_RPC_FILTER, "dropped here", times=1),),
}
