"""Cases of rows about answers and their delivery, for `tests.build.causes`."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

from inspector.consequence import Cause, Outcome
from inspector.judge import cause_answer
from inspector.judge.diagnosis import Row
from inspector.judge.evidence import Delivery, Evidence, Question, Reset, Siblings
from inspector.model import Verdict
from tests.build.evidence import (
    BACKUP,
    DELIVERY,
    DIP,
    MAPPED,
    NATIVE,
    OTHER_DIP,
    SECOND,
    SENT_AGAIN,
    VIP,
    evidence,
)


class Case(NamedTuple):
    """A row, evidence for it, the cause, and words that the diagnosis has."""

    row: Row
    evidence: Evidence
    cause: Cause
    words: tuple[str, ...]


ANSWER_CASES: Final = [
    Case(
        cause_answer.path_mtu,
        evidence(
            DELIVERY,
            outcome=Outcome.UNDELIVERED,
            offered=(VIP,),
            delivery=replace(SENT_AGAIN, largest_segment=1384, reset=Reset(True, 126, 126)),
        ),
        Cause.PATH_MTU,
        ("never acknowledged this answer: sent 6 times in 9.0 s", "1384 bytes"),
    ),
    Case(
        cause_answer.strict_filter_beyond,
        evidence(DELIVERY, outcome=Outcome.UNDELIVERED, offered=(DIP,), delivery=SENT_AGAIN),
        Cause.STRICT_RPC_FILTER,
        ("never acknowledged this answer: sent 6 times in 9.0 s", "10.11.2.7, 10.11.2.2 was asked", "Stormshield"),
    ),
    Case(
        cause_answer.refused_beyond,
        evidence(
            DELIVERY,
            outcome=Outcome.UNDELIVERED,
            offered=(DIP,),
            delivery=Delivery(largest_segment=152, acknowledged=False, reset=Reset(False, 64, 63, 500_000)),
        ),
        Cause.STRICT_RPC_FILTER,
        ("reset in the name of 10.1.1.1 with TTL 64, its SYN had 63", "10.11.2.2 was asked", "Stormshield"),
    ),
    Case(
        cause_answer.call_rejected,
        evidence(verdict=Verdict.REJECTED, call_rejected=24),
        Cause.STRICT_RPC_FILTER,
        ("a bind_nak of 24 bytes answers the request", "has replaced its answer", "strict RPC"),
    ),
    Case(
        cause_answer.lost_before,
        evidence(
            verdict=Verdict.UNANSWERED,
            outcome=Outcome.UNDELIVERED,
            question=Question(sent=2, waited_ns=13 * SECOND, acknowledged=True, client_ended=True, missing=152),
        ),
        Cause.STRICT_RPC_FILTER,
        ("the server has sent 152 bytes that did not come here", "strict RPC"),
    ),
    Case(
        cause_answer.access_denied,
        evidence(verdict=Verdict.FAULT, status=5),
        Cause.ACCESS_POLICY,
        ("RestrictRemoteClients", "EnableAuthEpResolution", "status 5"),
    ),
    Case(
        cause_answer.wrong_version,
        evidence(
            verdict=Verdict.NOT_REGISTERED,
            version="1.0",
            siblings=Siblings(answers=2, named=1, versions=(("0.81", 3_600_000_000_000),)),
        ),
        Cause.WRONG_VERSION,
        ("MAPI 1.0 is not registered", "registered there: version 0.81 (seen at 01:00:00)", "1753"),
    ),
    Case(
        cause_answer.pool_member_differs,
        evidence(
            verdict=Verdict.NOT_REGISTERED,
            siblings=Siblings(answers=6, named=3, versions=(("0.81", 3_600_000_000_000),)),
        ),
        Cause.POOL_MEMBER_DIFFERS,
        (
            "3 of 6 answers of 10.11.2.2 about MAPI 0.81 in the last minute name an endpoint, 3 do not",
            "out of the pool",
        ),
    ),
    Case(
        cause_answer.service_not_registered,
        evidence(verdict=Verdict.NOT_REGISTERED, status=0x16C9A0D6),
        Cause.SERVICE_NOT_REGISTERED,
        ("no MAPI 0.81 is registered at 10.11.2.2 (error 1753, status 0x16c9a0d6)", "1753", "No firewall"),
    ),
    Case(
        cause_answer.slow_server,
        evidence(verdict=Verdict.MATCH, latency_ns=8 * SECOND),
        Cause.SLOW_SERVER,
        ("10.11.2.2 answered after 8.0 s",),
    ),
    Case(
        cause_answer.nat64_prefix_undeclared,
        evidence(asked=MAPPED, verdict=Verdict.MISMATCH, offered=(VIP,)),
        Cause.NAT64_PREFIX_UNDECLARED,
        ('nat64_prefixes = ["fd00:64:ff9b::/96"]',),
    ),
    Case(
        cause_answer.other_address_family,
        evidence(asked=NATIVE, verdict=Verdict.MISMATCH, offered=(DIP,)),
        Cause.OTHER_ADDRESS_FAMILY,
        ('address = ["2001:db8:4::10", "10.11.2.7"]', "no tower can carry"),
    ),
    Case(
        cause_answer.multihomed_server,
        evidence(verdict=Verdict.MISMATCH, offered=(BACKUP, VIP)),
        Cause.MULTIHOMED_SERVER,
        ("192.168.250.20 and 10.11.2.2 are both offered",),
    ),
    Case(
        cause_answer.destination_nat,
        evidence(asked=DIP, verdict=Verdict.MATCH, offered=(DIP,), requested_address=VIP),
        Cause.DESTINATION_NAT,
        ("names 10.11.2.2, its packets go to 10.11.2.7",),
    ),
    Case(
        cause_answer.load_balancer,
        evidence(verdict=Verdict.MISMATCH, offered=(DIP,), siblings=Siblings(addresses=(DIP, OTHER_DIP))),
        Cause.LOAD_BALANCER,
        ("answers of 10.11.2.2 name 2 servers: 10.11.2.7 and 10.11.2.8",),
    ),
]
