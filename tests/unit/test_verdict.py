"""Verdicts: asked against offered, and the words for them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest

from inspector.judge.policy import Policy
from inspector.judge.verdict import WORST_FIRST, judge_address
from inspector.model import Finding, Verdict
from tests.build import pdu
from tests.build.connection import Wire
from tests.build.epm import SAMR, floor, map_request, map_response, pipe_tower, tcp_tower, tower, uuid_floor
from tests.build.observe import findings_of

VIP = IPv4Address("10.11.2.2")
POLICY = Policy({VIP: (IPv4Network("10.11.2.7/32"), IPv4Network("10.11.3.0/24"))})


@pytest.mark.parametrize(
    ("offered", "verdict"),
    [
        ("10.11.2.2", Verdict.MATCH),
        ("10.11.2.7", Verdict.POOLED),
        ("10.11.3.200", Verdict.POOLED),
        ("10.11.2.8", Verdict.MISMATCH),
        ("0.0.0.0", Verdict.UNSPECIFIED),  # noqa: S104  # an offered address, nothing is bound
        ("127.0.0.1", Verdict.UNROUTABLE),
        (None, Verdict.NO_ADDRESS),
    ],
)
def test_judge_address(offered: str | None, verdict: Verdict) -> None:
    """One address against what was asked and declared."""
    assert judge_address(VIP, IPv4Address(offered) if offered else None, POLICY) is verdict


def test_loopback_that_was_asked_is_a_match() -> None:
    """Equality comes first: on one machine, loopback is where it was asked."""
    assert judge_address(ip_address("127.0.0.1"), IPv4Address("127.0.0.1"), Policy()) is Verdict.MATCH


def test_a_pool_belongs_to_its_vip() -> None:
    """The same offer for another VIP is a mismatch."""
    assert judge_address(ip_address("10.11.2.3"), IPv4Address("10.11.2.7"), POLICY) is Verdict.MISMATCH


def answer(*towers: bytes, server: str = "10.11.2.2", policy: Policy | None = None) -> Finding:
    """Return the finding of a map response with these towers."""
    wire = Wire(client="fd00::1" if ":" in server else "10.1.1.1", server=server).open()
    wire.client(pdu.bind()).server(pdu.bind_ack()).client(pdu.request(map_request(tcp_tower(SAMR)), call_id=2))
    wire.server(pdu.response(map_response(towers), call_id=2))
    (finding,) = findings_of(wire.segments, policy=policy)
    return finding


@pytest.mark.parametrize(
    ("status", "verdict", "words"),
    [
        (0x6D9, Verdict.NOT_REGISTERED, "no such interface is registered"),
        (0x6D8, Verdict.FAULT, "cannot perform the operation (1752)"),
        (0x6BB, Verdict.FAULT, "too busy (1723)"),
        (0x16C9A0CD, Verdict.FAULT, "cannot perform the operation (1752)"),
    ],
)
def test_statuses_as_windows_numbers_them(status: int, verdict: Verdict, words: str) -> None:
    """Some servers answer with Windows' own numbers in place of those of DCE: they mean the same."""
    wire = Wire().open().client(pdu.bind()).server(pdu.bind_ack()).client(pdu.request(map_request(tcp_tower(SAMR))))
    (finding,) = findings_of(wire.server(pdu.response(map_response([], status=status))).segments)
    assert finding.verdict is verdict
    assert words in finding.why


def translated(named: str, *, server: str = "10.11.2.7", policy: Policy | None = None) -> Finding:
    """Return the finding of an answer that names the server's own address, to a request that names another one."""
    wire = Wire(client="fd00::1" if ":" in server else "10.1.1.1", server=server).open()
    wire.client(pdu.bind()).server(pdu.bind_ack())
    wire.client(pdu.request(map_request(tcp_tower(SAMR, 135, named)), call_id=2))
    wire.server(pdu.response(map_response([tcp_tower(SAMR, 49152, "10.11.2.7")]), call_id=2))
    (finding,) = findings_of(wire.segments, policy=policy)
    return finding


def test_no_match_behind_a_translation() -> None:
    """The servers' side of a gateway that balances: the client asked another address than its packets say by now."""
    finding = translated("10.11.2.2")
    assert finding.verdict is Verdict.MISMATCH
    assert finding.why.startswith("10.11.2.2 was asked, the tower says 10.11.2.7")
    assert "the request names 10.11.2.2, its packets go to 10.11.2.7" in finding.why
    assert translated("10.11.2.2", policy=POLICY).verdict is Verdict.POOLED


@pytest.mark.parametrize("named", ["10.11.2.7", "0.0.0.0"])  # noqa: S104 - in a tower
def test_a_request_that_names_what_is_asked_or_nothing_proves_no_translation(named: str) -> None:
    """Windows and impacket write the address, rpcclient writes 0.0.0.0."""
    assert translated(named).verdict is Verdict.MATCH


def test_behind_nat64_the_unmapped_address_is_compared() -> None:
    """A client over IPv6 writes 0.0.0.0, since floor 5 has room for IPv4 alone; a translator's may write more."""
    assert translated("10.11.2.2", server="64:ff9b::a0b:207").verdict is Verdict.MISMATCH
    assert translated("0.0.0.0", server="64:ff9b::a0b:207").verdict is Verdict.MATCH  # noqa: S104


def test_the_worst_mapping_speaks_for_the_response() -> None:
    """A response with a good and a bad tower is bad; with a pipe beside a match it is a match."""
    assert answer(tcp_tower(SAMR, 1, str(VIP)), tcp_tower(SAMR, 2, "10.11.2.7")).verdict is Verdict.MISMATCH
    assert answer(tcp_tower(SAMR, 1, str(VIP)), pipe_tower(SAMR, "p", "h")).verdict is Verdict.MATCH
    assert answer(pipe_tower(SAMR, "p", "h")).verdict is Verdict.NO_ADDRESS
    assert answer(tcp_tower(SAMR, 1, str(VIP)), b"\x05\0\xff").verdict is Verdict.MALFORMED


def test_every_verdict_of_a_mapping_has_its_rank() -> None:
    """No verdict that a mapping can have is missing from the order."""
    assert len(set(WORST_FIRST)) == len(WORST_FIRST)
    mapping_verdicts = {judge_address(VIP, IPv4Address(one), POLICY) for one in ("10.11.2.2", "10.11.2.7", "1.2.3.4")}
    assert mapping_verdicts | {Verdict.MALFORMED, Verdict.NO_ADDRESS} <= set(WORST_FIRST)


def test_nat64_is_unmapped_and_both_addresses_are_shown() -> None:
    """The outer side of the original case: the address before unmapping stands beside the one that was meant."""
    policy = Policy(nat64_prefixes=(IPv6Network("2002:a01:86e8:8001::/96"),))
    finding = answer(tcp_tower(SAMR, 1, "10.11.2.2"), server="2002:a01:86e8:8001::a0b:202", policy=policy)
    assert finding.verdict is Verdict.MATCH
    assert finding.as_dict()["asked"] == "10.11.2.2"
    assert finding.as_dict()["asked_raw"] == "2002:a01:86e8:8001::a0b:202"


def test_a_guess_is_not_in_the_words() -> None:
    """Without the prefix the bits look like 6to4: words and the table name the address that was seen."""
    finding = answer(tcp_tower(SAMR, 1, "10.11.2.2"), server="2002:a01:86e8:8001::a0b:202")
    assert finding.as_dict()["asked"] == "10.1.134.232"
    assert str(finding.server) == "2002:a01:86e8:8001::a0b:202"
    assert finding.why.startswith("2002:a01:86e8:8001::a0b:202 was asked, the tower says 10.11.2.2")


def test_plain_ipv6_cannot_match_and_says_why() -> None:
    """A tower has no form for IPv6: an IPv4 offer to a client that asked over IPv6 is named as such."""
    finding = answer(tcp_tower(SAMR, 1, "10.11.2.2"), server="2001:db8::5")
    assert finding.verdict is Verdict.OTHER_FAMILY
    assert "no tower can carry an IPv6 address: the tower says 10.11.2.2" in finding.why
    # The address in a NAT64's is an IPv4 address: its servers could name it.
    inside = answer(tcp_tower(SAMR, 1, "10.11.2.7"), server="2001:db8:64::10.11.2.7")
    assert inside.verdict is Verdict.MISMATCH
    pooled = Policy({IPv6Address("2001:db8::5"): (IPv4Network("10.11.2.2/32"),)})
    assert answer(tcp_tower(SAMR, 1, "10.11.2.2"), server="2001:db8::5", policy=pooled).verdict is Verdict.POOLED


CONNECTION_ORIENTED, CONNECTIONLESS, LOCAL = (floor(protocol, right=b"\0\0") for protocol in (0x0B, 0x0A, 0x0C))
IPV4 = floor(0x09, right=VIP.packed)
PIPE, HOST = floor(0x0F, right=b"\\PIPE\\x\0"), floor(0x11, right=b"DC1\0")


@pytest.mark.parametrize(
    ("floors", "protocol", "endpoint", "port"),
    [
        ([CONNECTION_ORIENTED, floor(0x07, right=b"\0\x87"), IPV4], "ncacn_ip_tcp", None, 135),
        ([CONNECTIONLESS, floor(0x08, right=b"\0\x87"), IPV4], "ncadg_ip_udp", None, 135),
        ([CONNECTION_ORIENTED, PIPE, HOST], "ncacn_np", "\\PIPE\\x", None),
        ([LOCAL, floor(0x10, right=b"LRPC-1\0")], "ncalrpc", "LRPC-1", None),
        ([CONNECTION_ORIENTED, floor(0x1F, right=b"\x02\x51"), IPV4], "ncacn_http", None, 593),
        ([CONNECTION_ORIENTED, floor(0x16, right=b"xyz")], "unknown", None, None),
    ],
)
def test_protocol_sequences(floors: list[bytes], protocol: str, endpoint: str | None, port: int | None) -> None:
    """Floors are dispatched on their identifiers; the order of the lower ones does not matter."""
    for order in (floors, floors[::-1]):
        finding = answer(tower(uuid_floor(SAMR), uuid_floor((SAMR[0], 2, 0)), *order))
        (mapping,) = finding.mappings
        assert (mapping.protocol, mapping.endpoint, mapping.port) == (protocol, endpoint, port)
