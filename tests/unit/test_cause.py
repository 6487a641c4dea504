"""The table of causes: each row on the evidence that it is for, and on none."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from inspector.consequence import HARMFUL, Cause, FindingKind, Outcome, Target
from inspector.judge import cause_answer, cause_connection, cause_follow_up
from inspector.judge.cause import ROWS, diagnose, unknown
from inspector.judge.diagnosis import Row, listed, sender_of
from inspector.judge.evidence import (
    Attempt,
    CaptureLimits,
    Delivery,
    Evidence,
    IcmpError,
    OtherSide,
    Question,
    Reset,
    Siblings,
    hops_away,
)
from inspector.model import Verdict

CLIENT, VIP, DIP = IPv4Address("10.1.1.1"), IPv4Address("10.11.2.2"), IPv4Address("10.11.2.7")
OTHER_DIP, BACKUP = IPv4Address("10.11.2.8"), IPv4Address("192.168.250.20")
NATIVE, MAPPED = IPv6Address("2001:db8:4::10"), IPv6Address("fd00:64:ff9b::a0b:202")
SECOND = 1_000_000_000
ANSWER, DELIVERY, FOLLOW_UP, CONNECTION = FindingKind
SILENT = Attempt(VIP, 49155, syns=3, span_ns=9 * SECOND)
REFUSED = replace(SILENT, reset=Reset(True, ttl=126, usual_ttl=126, count=3))
PROHIBITED = replace(SILENT, icmp=IcmpError(IPv4Address("10.9.9.1"), 3, 13))
TO_DIP = replace(SILENT, address=DIP)
OPEN = replace(SILENT, answered=True, syns=1)
SENT_AGAIN = Delivery(sent=6, span_ns=9 * SECOND, largest_segment=152, acknowledged=False)


def evidence(kind: FindingKind = ANSWER, **facts: Any) -> Evidence:
    """Return evidence about a client that asks a VIP for MAPI."""
    asked = facts.pop("asked", VIP)
    base = Evidence(kind, CLIENT, asked, asked, operation="ept_map", service="MAPI", version="0.81")
    return replace(base, **facts)


class Case(NamedTuple):
    """A row, evidence for it, the cause, and words that the diagnosis has."""

    row: Row
    evidence: Evidence
    cause: Cause
    words: tuple[str, ...]


CASES = [
    Case(
        cause_connection.snap_length,
        evidence(verdict=Verdict.MALFORMED, capture=CaptureLimits(snap_length=96, unread=2)),
        Cause.SNAP_LENGTH,
        ("keeps 96 bytes", "-s 0", "2 answers could not be read"),
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
        Cause.UNKNOWN,
        ("3 SYNs to 10.11.2.7:49155 in 9.0 s, no answer", "does not conform"),
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
        cause_answer.access_denied,
        evidence(verdict=Verdict.FAULT, status=5),
        Cause.ACCESS_POLICY,
        ("RestrictRemoteClients", "EnableAuthEpResolution", "status 5"),
    ),
    Case(
        cause_answer.wrong_version,
        evidence(
            verdict=Verdict.NOT_REGISTERED, version="1.0", siblings=Siblings(answers=2, named=1, versions=("0.81",))
        ),
        Cause.WRONG_VERSION,
        ("MAPI 1.0 is not registered", "registered there: version 0.81", "1753"),
    ),
    Case(
        cause_answer.pool_member_differs,
        evidence(verdict=Verdict.NOT_REGISTERED, siblings=Siblings(answers=6, named=3, versions=("0.81",))),
        Cause.POOL_MEMBER_DIFFERS,
        ("3 of 6 answers of 10.11.2.2 about MAPI 0.81 name an endpoint, 3 do not", "out of the pool"),
    ),
    Case(
        cause_answer.service_not_registered,
        evidence(verdict=Verdict.NOT_REGISTERED, status=0x16C9A0D6),
        Cause.SERVICE_NOT_REGISTERED,
        ("no MAPI 0.81 is registered at 10.11.2.2 (status 0x16c9a0d6)", "1753", "No firewall"),
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
    Case(
        unknown,
        evidence(FOLLOW_UP, outcome=Outcome.BROKEN, target=Target.ASKED, attempt=OPEN),
        Cause.UNKNOWN,
        ("1 SYN to 10.11.2.2:49155",),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.row.__name__)
def test_a_row_holds_on_its_evidence(case: Case) -> None:
    """The row alone, and the table: no row before it takes its evidence."""
    found = case.row(case.evidence)
    assert found is not None
    assert found.cause is case.cause
    text = "; ".join((*found.evidence_seen, found.remedy))
    assert [words for words in case.words if words not in text] == []
    assert diagnose(case.evidence) == found


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.__name__)
def test_no_evidence_no_cause(row: Row) -> None:
    """A plain match and a client that got through have no cause, in any row and in the table."""
    for healthy in (
        evidence(verdict=Verdict.MATCH, offered=(VIP,), latency_ns=1_000_000),
        evidence(FOLLOW_UP, outcome=Outcome.REACHED, target=Target.ASKED, offered=(VIP,), attempt=OPEN),
        evidence(FOLLOW_UP, outcome=Outcome.REACHED, target=Target.OFFERED, offered=(DIP,), attempt=OPEN),
        evidence(verdict=Verdict.MISMATCH, offered=(DIP,)),
    ):
        assert row(healthy) is None
        assert diagnose(healthy) is None


def test_every_row_has_a_case() -> None:
    """A row without a case would be untested."""
    assert {case.row for case in CASES} == set(ROWS)


OTHER_CASES = [
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
]


@pytest.mark.parametrize(("given", "cause", "words"), OTHER_CASES)
def test_a_row_tells_neighbours_apart(given: Evidence, cause: Cause, words: str) -> None:
    """Evidence of which one fact differs from that of another case."""
    found = diagnose(given)
    assert found is not None
    assert found.cause is cause
    assert words in "; ".join((*found.evidence_seen, found.remedy))


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_is_reached_and_documented(cause: Cause) -> None:
    """Some evidence leads to each cause of the closed set, and docs/causes.md has a section for it."""
    reached = [diagnose(case.evidence) for case in CASES] + [diagnose(case.values[0]) for case in OTHER_CASES]  # type: ignore[arg-type]
    assert cause in {found.cause for found in reached if found is not None}
    text = (Path(__file__).parents[2] / "docs" / "causes.md").read_text()
    section = text.partition(f"\n## `{cause}`\n")[2].partition("\n## ")[0]
    for part in ("**Means**", "**Evidence**", "**What to do**"):
        assert part in section


def test_the_documentation_has_no_other_cause() -> None:
    """A cause that went takes its section along."""
    text = (Path(__file__).parents[2] / "docs" / "causes.md").read_text()
    assert {line[4:-1] for line in text.splitlines() if line.startswith("## `")} == set(Cause)


@pytest.mark.parametrize("outcome", sorted(HARMFUL))
def test_a_harmful_outcome_never_stays_without_a_cause(outcome: Outcome) -> None:
    """At least what was seen is told, as `unknown`."""
    found = diagnose(evidence(FOLLOW_UP, outcome=outcome, target=Target.OTHER, attempt=OPEN, delivery=SENT_AGAIN))
    assert found is not None
    assert found.evidence_seen


def test_hops_of_usual_initial_hop_limits() -> None:
    """Windows begins with 128, Linux with 64, devices with 255."""
    assert [hops_away(limit) for limit in (64, 63, 128, 126, 254, 255)] == [0, 1, 0, 2, 1, 0]


def test_words_of_a_sender_and_of_many_addresses() -> None:
    """A reset from farther away, one of unknown TTL, and a list that is cut."""
    assert "2 hops farther" in sender_of(Reset(True, 60, 62), "10.11.2.2")
    assert sender_of(Reset(True), "10.11.2.2") == "reset from 10.11.2.2"
    assert sender_of(Reset(True, 60), "10.11.2.2") == "reset from 10.11.2.2, TTL 60"
    many = tuple(IPv4Address(number) for number in range(1, 7))
    assert listed(many) == "0.0.0.1, 0.0.0.2, 0.0.0.3, 0.0.0.4 and 2 more"
    assert listed(()) == "no address"
