"""What an IPv6 address stands for: RFC 6052's own examples, and the other translations."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import pytest

from inspector.judge.addresses import address_of, extract_nat64, is_unroutable, undeclared_nat64, unmap
from inspector.model import known_address


@pytest.mark.parametrize(
    ("prefix", "address"),
    [
        ("2001:db8::/32", "2001:db8:c000:221::"),
        ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
        ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
        ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
        ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100:0"),
        ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
    ],
)
def test_nat64_prefixes_of_all_lengths(prefix: str, address: str) -> None:
    """The table of RFC 6052 section 2.4: 192.0.2.33 in every form."""
    network = IPv6Network(prefix)
    assert undeclared_nat64(IPv6Address(address), IPv4Address("192.0.2.33")) == network
    assert undeclared_nat64(IPv6Address(address), IPv4Address("192.0.2.34")) is None
    assert extract_nat64(IPv6Address(address), network.prefixlen) == IPv4Address("192.0.2.33")
    assert unmap(IPv6Address(address), (network,)) == IPv4Address("192.0.2.33")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("64:ff9b::192.0.2.33", "192.0.2.33"),
        ("::ffff:10.11.2.2", "10.11.2.2"),
        ("2002:0a01:86e8::1", "10.1.134.232"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "192.0.2.45"),
        ("2001:db8::1", "2001:db8::1"),
        ("10.11.2.2", "10.11.2.2"),
    ],
)
def test_other_translations(address: str, expected: str) -> None:
    """Well-known prefix, IPv4-mapped, 6to4, Teredo (RFC 4380 section 4's example); others stay as they are."""
    assert unmap(ip_address(address)) == ip_address(expected)


def test_the_original_gateway() -> None:
    """Its NAT64 prefix lies in its 6to4 network: configured prefixes come first."""
    asked = IPv6Address("2002:a01:86e8:8001::a0b:202")
    assert unmap(asked, (IPv6Network("2002:a01:86e8:8001::/96"),)) == IPv4Address("10.11.2.2")
    assert unmap(asked) == IPv4Address("10.1.134.232")


def test_the_longest_configured_prefix_wins() -> None:
    """Prefixes may lie in one another."""
    prefixes = (IPv6Network("2001:db8::/32"), IPv6Network("2001:db8:0:0:0:0::/96"))
    assert unmap(IPv6Address("2001:db8::192.0.2.33"), prefixes) == IPv4Address("192.0.2.33")


def test_address_of_the_record() -> None:
    """Sixteen bytes are IPv4 exactly when they are IPv4-mapped."""
    assert address_of(bytes(10) + b"\xff\xff\x0a\x0b\x02\x02") == IPv4Address("10.11.2.2")
    assert address_of(IPv6Address("2001:db8::1").packed) == IPv6Address("2001:db8::1")


@pytest.mark.parametrize(
    ("address", "unroutable"),
    [
        ("127.0.0.1", True),
        ("169.254.3.4", True),
        ("224.0.0.1", True),
        ("255.255.255.255", True),
        ("10.0.0.1", False),
        ("8.8.8.8", False),
    ],
)
def test_unroutable(address: str, *, unroutable: bool) -> None:
    """Loopback, link-local, multicast and broadcast lead no other host anywhere; private addresses do."""
    assert is_unroutable(IPv4Address(address)) is unroutable


def test_no_prefix_where_bits_follow_or_no_address_is() -> None:
    """Behind an IPv4 address RFC 6052 has zeros; 0.0.0.0 is in many addresses."""
    assert undeclared_nat64(IPv6Address("2001:db8:c000:221::1"), IPv4Address("192.0.2.33")) is None
    assert undeclared_nat64(IPv6Address("2001:db8::"), IPv4Address("0.0.0.0")) is None  # noqa: S104
    assert undeclared_nat64(IPv4Address("10.11.2.2"), IPv4Address("10.11.2.2")) is None


@pytest.mark.parametrize(
    ("raw", "unmapped", "known"),
    [
        ("2002:a01:86e8:8001::a0b:202", "10.1.134.232", "2002:a01:86e8:8001::a0b:202"),
        ("2002:a01:86e8:8001::a0b:202", "10.11.2.2", "10.11.2.2"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "192.0.2.45", "2001:0:4136:e378:8000:63bf:3fff:fdd2"),
        ("64:ff9b::192.0.2.33", "192.0.2.33", "192.0.2.33"),
        ("2001:db8::1", "2001:db8::1", "2001:db8::1"),
        ("10.11.2.2", "10.11.2.2", "10.11.2.2"),
    ],
)
def test_what_is_guessed_is_not_known(raw: str, unmapped: str, known: str) -> None:
    """6to4 and Teredo are read from an address; a declared prefix and a well-known one are certain."""
    assert known_address(ip_address(raw), ip_address(unmapped)) == ip_address(known)
