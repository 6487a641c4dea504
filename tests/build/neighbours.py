"""Evidence of which one fact differs from that of another cause."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Final

import pytest

from inspector.consequence import Cause, Outcome, Target
from inspector.judge.evidence import CaptureLimits, Delivery, IcmpError, OtherSide, Question, Reset, Siblings
from inspector.model import Verdict
from tests.build.evidence import (
    CONNECTION,
    DELIVERY,
    DIP,
    FOLLOW_UP,
    MAPPED,
    NATIVE,
    OPEN,
    OTHER_DIP,
    REFUSED,
    SECOND,
    SENT_AGAIN,
    SILENT,
    TO_DIP,
    VIP,
    evidence,
)

OTHER_CASES: Final = [
    pytest.param(
        evidence(
            FOLLOW_UP,
            outcome=Outcome.DENIED,
            operation="RemoteCreateInstance",
            authentication_level=4,
            attempt=replace(OPEN, fault=5),
        ),
        Cause.DCOM_HARDENING,
        "level 4, hardened servers require 5",
        id="activation below packet integrity",
    ),
    pytest.param(
        evidence(verdict=Verdict.FAULT, status=5, operation="RemoteCreateInstance", authentication_level=2),
        Cause.DCOM_HARDENING,
        "KB5004442",
        id="activation is answered with a fault",
    ),
    pytest.param(
        evidence(
            FOLLOW_UP,
            outcome=Outcome.WRONG_SERVER,
            target=Target.ASKED,
            offered=(VIP,),
            attempt=replace(OPEN, rejection="abstract syntax not supported"),
        ),
        Cause.STALE_REGISTRATION,
        "another service",
        id="one server, whose port is another service's",
    ),
    pytest.param(
        evidence(
            FOLLOW_UP,
            outcome=Outcome.REFUSED,
            target=Target.ASKED,
            offered=(VIP,),
            attempt=replace(REFUSED, reset=Reset(True, 64, 63)),
        ),
        Cause.PORTS_FILTERED,
        "1 hop nearer",
        id="refused by a device before the server",
    ),
    pytest.param(
        evidence(
            FOLLOW_UP,
            outcome=Outcome.REFUSED,
            target=Target.ASKED,
            offered=(DIP,),
            attempt=replace(REFUSED, reset=Reset(True, 64, 63)),
        ),
        Cause.PORTS_NOT_PUBLISHED,
        "1 hop nearer",
        id="refused by the load balancer",
    ),
    pytest.param(
        evidence(FOLLOW_UP, outcome=Outcome.TIMED_OUT, target=Target.ASKED, offered=(VIP,), attempt=SILENT),
        Cause.PORTS_FILTERED,
        "10.1.1.1 sent 3 SYNs to 10.11.2.2:49155 in 9.0 s, no answer",
        id="silent port of the server itself",
    ),
    pytest.param(
        evidence(
            DELIVERY,
            outcome=Outcome.UNDELIVERED,
            offered=(DIP,),
            delivery=replace(SENT_AGAIN, reset=Reset(True, 254, 126)),
        ),
        Cause.RESET_BY_DEVICE,
        "TTL 254",
        id="an answer whose connection a device resets",
    ),
    pytest.param(
        evidence(DELIVERY, outcome=Outcome.UNDELIVERED, offered=(VIP,), delivery=SENT_AGAIN),
        Cause.UNKNOWN,
        "sent 6 times",
        id="a small answer without another address is lost",
    ),
    pytest.param(
        evidence(
            verdict=Verdict.UNANSWERED,
            question=Question(waited_ns=4 * SECOND, acknowledged=True, reset=Reset(False, 127, 127), client_ended=True),
        ),
        Cause.MAPPER_MUTE,
        "acknowledged, no answer in 4.0 s, then the client ended the connection",
        id="the client gives up",
    ),
    pytest.param(
        evidence(
            verdict=Verdict.UNANSWERED, question=Question(waited_ns=30 * SECOND, acknowledged=True, flags_zero=True)
        ),
        Cause.MAPPER_MUTE,
        "KB 291000",
        id="a request of Windows NT 4.0",
    ),
    pytest.param(
        evidence(verdict=Verdict.UNANSWERED, operation="ept_lookup", question=Question(acknowledged=True, hole=True)),
        Cause.PATH_MTU,
        "a later part of the answer came",
        id="a hole that the client has as well",
    ),
    pytest.param(
        evidence(CONNECTION, capture=CaptureLimits(one_way=8, one_way_from_client=False)),
        Cause.ONE_WAY_VIEW,
        "requests take another way",
        id="only answers are seen",
    ),
    pytest.param(
        evidence(verdict=Verdict.POOLED, offered=(DIP,), learned=(DIP, OTHER_DIP)),
        Cause.LOAD_BALANCER,
        "(learned)",
        id="a pool learned from two sides",
    ),
    pytest.param(
        evidence(
            CONNECTION,
            outcome=Outcome.UNREACHABLE,
            attempt=replace(SILENT, port=135, icmp=IcmpError(IPv4Address("10.9.9.1"), 3, 1)),
        ),
        Cause.MAPPER_DOWN,
        "10.9.9.1 sent ICMP type 3 code 1: host unreachable",
        id="a router has no way to the mapper's host",
    ),
    pytest.param(
        evidence(
            CONNECTION,
            outcome=Outcome.REFUSED,
            attempt=replace(SILENT, port=135, reset=Reset(True, 64, 126)),
            siblings=Siblings(addresses=(DIP,)),
        ),
        Cause.MAPPER_REFUSES,
        "health check",
        id="a load balancer without members resets itself",
    ),
    pytest.param(
        evidence(
            FOLLOW_UP,
            asked=NATIVE,
            outcome=Outcome.REFUSED,
            target=Target.ASKED,
            offered=(DIP,),
            attempt=replace(REFUSED, address=NATIVE),
        ),
        Cause.STALE_REGISTRATION,
        "nothing listens there",
        id="an address of the other family is no translation",
    ),
    pytest.param(
        evidence(
            FOLLOW_UP, asked=NATIVE, outcome=Outcome.TIMED_OUT, target=Target.OFFERED, offered=(DIP,), attempt=TO_DIP
        ),
        Cause.OTHER_ADDRESS_FAMILY,
        "a way to the server's IPv4 address",
        id="asked over IPv6, followed over IPv4",
    ),
    pytest.param(
        evidence(
            FOLLOW_UP,
            outcome=Outcome.TIMED_OUT,
            target=Target.ASKED,
            offered=(IPv4Address("169.254.1.2"),),
            attempt=SILENT,
        ),
        Cause.PORTS_FILTERED,
        "10.1.1.1 sent 3 SYNs",
        id="an address of no network is no translation",
    ),
    pytest.param(
        evidence(
            FOLLOW_UP,
            verdict=Verdict.SEALED,
            outcome=Outcome.REFUSED,
            target=Target.ASKED,
            attempt=REFUSED,
        ),
        Cause.STALE_REGISTRATION,
        "the answer is encrypted",
        id="a port that an encrypted answer presumably named",
    ),
    pytest.param(
        evidence(
            FOLLOW_UP,
            outcome=Outcome.TIMED_OUT,
            target=Target.ASKED,
            offered=(VIP,),
            attempt=replace(SILENT, port=41376),
        ),
        Cause.PORTS_FILTERED,
        "allow TCP 41376 from these clients",
        id="a static port",
    ),
    pytest.param(
        evidence(
            FOLLOW_UP,
            outcome=Outcome.DENIED,
            target=Target.ASKED,
            attempt=replace(OPEN, rejection="local limit exceeded"),
        ),
        Cause.UNKNOWN,
        "out of resources",
        id="an endpoint that has no room",
    ),
    pytest.param(
        evidence(verdict=Verdict.FAULT, status=5, authentication_level=5),
        Cause.ACCESS_POLICY,
        "10.1.1.1 was authenticated (level 5)",
        id="denied in spite of authentication",
    ),
    pytest.param(
        evidence(verdict=Verdict.UNANSWERED, question=Question(waited_ns=SECOND, acknowledged=True, server_ended=True)),
        Cause.MAPPER_MUTE,
        "10.11.2.2 closed the connection, or a filter did so in its name",
        id="the server closes without an answer",
    ),
    pytest.param(
        evidence(
            DELIVERY,
            outcome=Outcome.UNDELIVERED,
            offered=(DIP,),
            asked_over_nat64=MAPPED,
            other_side=OtherSide("eth1", "eth0", VIP, True, "bind_nak of 24 bytes", 22_000_000),
        ),
        Cause.STRICT_RPC_FILTER,
        "fd00:64:ff9b::/96, undeclared",
        id="dropped behind an undeclared NAT64",
    ),
    pytest.param(
        evidence(verdict=Verdict.MISMATCH, offered=(DIP,), asked_over_nat64=MAPPED),
        Cause.NAT64_PREFIX_UNDECLARED,
        'nat64_prefixes = ["fd00:64:ff9b::/96"]',
        id="two sides tell the prefix of a NAT64",
    ),
    pytest.param(
        evidence(
            DELIVERY,
            outcome=Outcome.UNDELIVERED,
            offered=(DIP,),
            delivery=Delivery(largest_segment=152, acknowledged=False, acknowledged_part=25),
        ),
        Cause.STRICT_RPC_FILTER,
        "acknowledges 25 bytes of its last segment",
        id="a replaced answer",
    ),
    pytest.param(
        evidence(
            verdict=Verdict.UNANSWERED,
            outcome=Outcome.UNDELIVERED,
            question=Question(waited_ns=13 * SECOND, acknowledged=True, missing=2800),
        ),
        Cause.PATH_MTU,
        "2800 bytes that did not come here",
        id="a large answer that is lost before here",
    ),
    pytest.param(
        evidence(
            verdict=Verdict.UNANSWERED,
            question=Question(sent=6, span_ns=9 * SECOND, acknowledged=False, largest_segment=1460, message="bind"),
        ),
        Cause.PATH_MTU,
        "a segment of 1460 bytes of the bind was sent 6 times and never acknowledged",
        id="a large question is lost",
    ),
    pytest.param(
        evidence(verdict=Verdict.UNANSWERED, outcome=Outcome.BROKEN),
        Cause.UNKNOWN,
        "no answer was seen",
        id="a question of which nothing else is known",
    ),
    pytest.param(
        evidence(CONNECTION, outcome=Outcome.UNDELIVERED, attempt=replace(OPEN, port=135, syn_acks=4)),
        Cause.UNKNOWN,
        "sent its SYN-ACK 4 times, never acknowledged",
        id="half open",
    ),
]
