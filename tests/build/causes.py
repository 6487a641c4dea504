"""A case for each row of the table of causes: evidence on which it holds, and no row before it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Final

from inspector.consequence import Cause, Outcome, Target
from inspector.judge import cause_answer, cause_connection, cause_follow_up
from inspector.judge.cause import unknown
from inspector.judge.evidence import CaptureLimits, IcmpError, OtherSide, Question, Reset, Siblings
from inspector.model import Verdict
from tests.build.causes_of_answers import ANSWER_CASES, Case
from tests.build.evidence import (
    BACKUP,
    CONNECTION,
    DELIVERY,
    DIP,
    FOLLOW_UP,
    OPEN,
    OTHER_DIP,
    PROHIBITED,
    REFUSED,
    SECOND,
    SILENT,
    TO_DIP,
    VIP,
    evidence,
)

CASES: Final = [
    Case(
        cause_connection.snap_length,
        evidence(verdict=Verdict.MALFORMED, capture=CaptureLimits(snap_length=96, unread=2)),
        Cause.SNAP_LENGTH,
        ("keeps 96 bytes", "-s 0", "2 answers could not be read"),
    ),
    Case(
        cause_connection.mapper_closes,
        evidence(CONNECTION, verdict=Verdict.UNANSWERED, outcome=Outcome.BROKEN, attempt=replace(OPEN, port=135)),
        Cause.MAPPER_MUTE,
        ("accepted the connection and ended it before the client had said anything", "health checks"),
    ),
    Case(
        cause_follow_up.member_down,
        evidence(
            FOLLOW_UP,
            outcome=Outcome.TIMED_OUT,
            target=Target.ASKED,
            offered=(DIP,),
            attempt=SILENT,
            siblings=Siblings(addresses=(DIP, OTHER_DIP), port_reached=True),
        ),
        Cause.POOL_MEMBER_DIFFERS,
        ("got through: one server behind it is unlike the others", "out of the pool", "1722"),
    ),
    Case(
        cause_connection.mapper_denied,
        evidence(
            CONNECTION,
            service="MGMT",
            outcome=Outcome.DENIED,
            attempt=replace(OPEN, port=135, rejection="invalid checksum"),
        ),
        Cause.ACCESS_POLICY,
        ("the bind of MGMT: invalid checksum", "endpoint protection"),
    ),
    Case(
        cause_connection.one_way_view,
        evidence(CONNECTION, capture=CaptureLimits(one_way=8)),
        Cause.ONE_WAY_VIEW,
        ("8 connections of 10.11.2.2 were seen from the client alone", "answers take another way"),
    ),
    Case(
        cause_connection.capture_ends,
        evidence(
            CONNECTION,
            operation="bind",
            question=Question(sent=5, span_ns=4 * SECOND, acknowledged=False),
            capture=CaptureLimits(ended_after_ns=4_500_000_000),
        ),
        Cause.CAPTURE_ENDS,
        ("bind: not answered when the capture ended 4.5 s later", "sent 5 times"),
    ),
    Case(
        cause_connection.scanner,
        evidence(CONNECTION, scanned=23),
        Cause.UNKNOWN,
        ("10.1.1.1 tried 23 addresses within 60 s, and none accepts", "inventory"),
    ),
    Case(
        cause_connection.path_mtu_reported,
        evidence(
            FOLLOW_UP,
            outcome=Outcome.BROKEN,
            attempt=replace(OPEN, icmp=IcmpError(IPv4Address("10.9.9.1"), 3, 4)),
        ),
        Cause.PATH_MTU,
        ("10.9.9.1 sent ICMP type 3 code 4: fragmentation needed",),
    ),
    Case(
        cause_connection.mapper_rejected,
        evidence(
            CONNECTION, outcome=Outcome.REFUSED, attempt=replace(REFUSED, port=135, reset=Reset(True, 64, 126, 0, 3))
        ),
        Cause.PORTS_FILTERED,
        ("TTL 64, its SYN-ACK had 126", "3 times reset", "a device in front of 10.11.2.2 rejects it"),
    ),
    Case(
        cause_connection.mapper_refuses,
        evidence(CONNECTION, outcome=Outcome.REFUSED, attempt=replace(REFUSED, port=135)),
        Cause.MAPPER_REFUSES,
        ("10.11.2.2:135 refuses connections", "RpcEptMapper", "1722", "0x800706BA"),
    ),
    Case(
        cause_connection.mapper_prohibited,
        evidence(CONNECTION, outcome=Outcome.UNREACHABLE, attempt=replace(PROHIBITED, port=135)),
        Cause.PORTS_FILTERED,
        ("allow TCP 135", "10.9.9.1 sent ICMP type 3 code 13: communication administratively prohibited"),
    ),
    Case(
        cause_connection.mapper_down,
        evidence(CONNECTION, outcome=Outcome.TIMED_OUT, attempt=replace(SILENT, port=135)),
        Cause.MAPPER_DOWN,
        ("10.11.2.2:135 does not answer: 10.1.1.1 sent 3 SYNs to 10.11.2.2:135 in 9.0 s", "1722"),
    ),
    Case(
        cause_answer.dropped_here,
        evidence(
            DELIVERY,
            outcome=Outcome.UNDELIVERED,
            offered=(DIP,),
            other_side=OtherSide("eth1", "eth0", VIP, True, "bind_nak of 24 bytes", 22_000_000),
        ),
        Cause.STRICT_RPC_FILTER,
        ("came in at eth0 and did not reach 10.1.1.1 at eth1: dropped here", "bind_nak of 24 bytes 22 ms later"),
    ),
    Case(
        cause_connection.filter_of_activation,
        evidence(
            verdict=Verdict.UNANSWERED,
            operation="bind",
            question=Question(
                contexts=2, interface="ISystemActivator", acknowledged=True, reset=Reset(True, 127, 126, SECOND)
            ),
            siblings=Siblings(mapper_answered=True),
        ),
        Cause.STRICT_RPC_FILTER,
        ("bind of ISystemActivator with 2 contexts was answered by a reset", "the endpoint mapper", "strict RPC"),
    ),
    Case(
        cause_connection.filter_of_contexts,
        evidence(
            verdict=Verdict.UNANSWERED,
            operation="bind",
            question=Question(sent=6, span_ns=9 * SECOND, waited_ns=19 * SECOND, acknowledged=False, contexts=3),
            siblings=Siblings(bind_answered_contexts=1),
        ),
        Cause.STRICT_RPC_FILTER,
        ("bind with 3 contexts 6 times in 9.0 s", "never answered", "Server2003NegotiateDisable"),
    ),
    Case(
        cause_connection.reset_by_device,
        evidence(
            verdict=Verdict.UNANSWERED,
            operation="bind",
            question=Question(contexts=3, acknowledged=True, reset=Reset(True, 254, 126, 1_200_000)),
        ),
        Cause.RESET_BY_DEVICE,
        ("TTL 254", "SYN-ACK had 126", "1 hop nearer", "1.2 ms after the packet that it answers", "1726"),
    ),
    Case(
        cause_connection.path_mtu_of_question,
        evidence(
            verdict=Verdict.UNANSWERED,
            operation="ept_lookup",
            question=Question(waited_ns=30 * SECOND, acknowledged=True),
            siblings=Siblings(small_answers=True),
        ),
        Cause.PATH_MTU,
        ("acknowledged the ept_lookup request, 0 bytes of the answer came in 30.0 s", "path MTU"),
    ),
    Case(
        cause_connection.mapper_mute,
        evidence(
            verdict=Verdict.UNANSWERED,
            operation="bind",
            question=Question(sent=7, span_ns=18_900_000_000, waited_ns=18_900_000_000, acknowledged=False),
        ),
        Cause.MAPPER_MUTE,
        ("sent its bind 7 times in 18.9 s", "not even acknowledged"),
    ),
    Case(
        cause_connection.mapper_resets,
        evidence(
            verdict=Verdict.UNANSWERED,
            operation="bind",
            question=Question(waited_ns=9_000, acknowledged=False, reset=Reset(True, 64, 64)),
        ),
        Cause.MAPPER_MUTE,
        ("sent its bind once, answered by a reset", "TTL 64, as its SYN-ACK"),
    ),
    Case(
        cause_follow_up.wrong_server,
        evidence(
            FOLLOW_UP,
            outcome=Outcome.WRONG_SERVER,
            target=Target.ASKED,
            offered=(DIP,),
            attempt=replace(OPEN, rejection="abstract syntax not supported"),
        ),
        Cause.NO_AFFINITY,
        ("10.11.2.2:49155, which the mapper named for MAPI 0.81, rejects it: abstract syntax", "affinity", "1717"),
    ),
    Case(
        cause_follow_up.denied,
        evidence(FOLLOW_UP, outcome=Outcome.DENIED, target=Target.ASKED, attempt=replace(OPEN, fault=5)),
        Cause.ACCESS_POLICY,
        ("denied 10.1.1.1: fault 0x5", "0x80070005"),
    ),
    Case(
        cause_follow_up.offered_by_multihomed,
        evidence(
            FOLLOW_UP,
            outcome=Outcome.TIMED_OUT,
            target=Target.OFFERED,
            offered=(BACKUP, VIP),
            attempt=replace(SILENT, address=BACKUP),
        ),
        Cause.MULTIHOMED_SERVER,
        ("192.168.250.20 and 10.11.2.2 are both offered", "selective binding"),
    ),
    Case(
        cause_follow_up.offered_by_balancer,
        evidence(
            FOLLOW_UP,
            outcome=Outcome.TIMED_OUT,
            target=Target.OFFERED,
            offered=(DIP,),
            pooled=True,
            attempt=TO_DIP,
        ),
        Cause.LOAD_BALANCER,
        ("does not conform", "route or allow the servers' addresses", "a declared pool of 10.11.2.2 holds 10.11.2.7"),
    ),
    Case(
        cause_follow_up.offered_by_nat,
        evidence(
            FOLLOW_UP,
            outcome=Outcome.TIMED_OUT,
            target=Target.OFFERED,
            offered=(DIP,),
            requested_address=IPv4Address("203.0.113.33"),
            attempt=TO_DIP,
        ),
        Cause.DESTINATION_NAT,
        ("names 203.0.113.33",),
    ),
    Case(
        cause_follow_up.offered_otherwise,
        evidence(FOLLOW_UP, outcome=Outcome.TIMED_OUT, target=Target.OFFERED, offered=(DIP,), attempt=TO_DIP),
        Cause.LOAD_BALANCER,
        ("3 SYNs to 10.11.2.7:49155 in 9.0 s, no answer", "does not conform", "transparent", "in front of it"),
    ),
    Case(
        cause_follow_up.stale_registration,
        evidence(
            FOLLOW_UP,
            outcome=Outcome.REFUSED,
            target=Target.ASKED,
            offered=(VIP,),
            attempt=REFUSED,
            siblings=Siblings(refusals=2),
        ),
        Cause.STALE_REGISTRATION,
        ("names port 49155 for MAPI 0.81 and nothing listens", "refused 3 times", "TTL 126", "2 connections"),
    ),
    Case(
        cause_follow_up.other_member,
        evidence(
            FOLLOW_UP,
            outcome=Outcome.REFUSED,
            target=Target.ASKED,
            offered=(DIP,),
            attempt=REFUSED,
            siblings=Siblings(addresses=(DIP, OTHER_DIP), other_ports_reached=True),
        ),
        Cause.NO_AFFINITY,
        ("other ports of 10.11.2.2 are reached", "port 49155 is closed", "affinity"),
    ),
    Case(
        cause_follow_up.session_helper,
        evidence(
            FOLLOW_UP, outcome=Outcome.TIMED_OUT, target=Target.ASKED, offered=(VIP,), attempt=SILENT, fragments=2
        ),
        Cause.PORTS_FILTERED,
        ("2 RPC fragments", "FortiOS", "3 SYNs"),
    ),
    Case(
        cause_follow_up.not_published,
        evidence(FOLLOW_UP, outcome=Outcome.REFUSED, target=Target.ASKED, offered=(DIP,), attempt=REFUSED),
        Cause.PORTS_NOT_PUBLISHED,
        ("port 49155 is not published", "publish the servers' dynamic ports"),
    ),
    Case(
        cause_follow_up.filtered,
        evidence(FOLLOW_UP, outcome=Outcome.UNREACHABLE, target=Target.ASKED, offered=(VIP,), attempt=PROHIBITED),
        Cause.PORTS_FILTERED,
        ("at 10.9.9.1: allow TCP 49152-65535", "type 3 code 13", "KB 224196"),
    ),
    *ANSWER_CASES,
    Case(
        unknown,
        evidence(FOLLOW_UP, outcome=Outcome.BROKEN, target=Target.ASKED, attempt=OPEN),
        Cause.UNKNOWN,
        ("10.11.2.2:49155 accepted the connection",),
    ),
]
