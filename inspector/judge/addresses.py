"""The IPv4 address inside an IPv6 address: what a client behind a translator or tunnel really asked for.

Sources: RFC 6052 section 2.2 (NAT64, all six prefix lengths), RFC 4291 section
2.5.5.2 (IPv4-mapped), RFC 3056 section 2 (6to4), RFC 4380 section 4 (Teredo).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Final

from inspector.model import IPAddress, known_address
from inspector.protocols import IPV4_MAPPED

WELL_KNOWN_NAT64: Final = IPv6Network("64:ff9b::/96")
NAT64_PREFIX_LENGTHS: Final = (32, 40, 48, 56, 64, 96)

# The first bits of 127.0.0.0/8, 169.254.0.0/16 and 224.0.0.0/4: ipaddress takes 25 times as long.
_LOOPBACK: Final = 127
_LINK_LOCAL: Final = 169 << 8 | 254
_MULTICAST: Final = 14
_BROADCAST: Final = 0xFFFFFFFF
# Bits 64 to 71 are reserved ("u") in every form, so the address is split around byte 8.
_RESERVED_BYTE: Final = 8


@lru_cache(maxsize=8192)
def address_of(raw: bytes) -> IPAddress:
    """Return the address of 16 bytes as the record carries them: IPv4 as ::ffff:a.b.c.d."""
    return IPv4Address(raw[12:]) if raw.startswith(IPV4_MAPPED) else IPv6Address(raw)


def extract_nat64(address: IPv6Address, prefix_length: int) -> IPv4Address:
    """Return the IPv4 address embedded after a NAT64 prefix of that length (RFC 6052 section 2.2)."""
    packed = address.packed
    if prefix_length == 96:
        return IPv4Address(packed[12:])
    start = prefix_length // 8
    without_reserved = packed[start:_RESERVED_BYTE] + packed[_RESERVED_BYTE + 1 :]
    return IPv4Address(without_reserved[:4])


def undeclared_nat64(address: IPAddress, inner: IPAddress) -> IPv6Network | None:
    """Return the NAT64 prefix, the longest, with which an IPv6 address stands for an IPv4 address; None for none.

    Bits behind the IPv4 address are zero (RFC 6052 section 2.2), which makes a coincidence unlikely.
    """
    if not isinstance(address, IPv6Address) or not isinstance(inner, IPv4Address) or int(inner) >> 24 == 0:
        return None
    for length in reversed(NAT64_PREFIX_LENGTHS):
        behind = 0 if length == 96 else _RESERVED_BYTE + 1 + (length // 8 - 4)
        empty = not any(address.packed[behind:]) and address.packed[_RESERVED_BYTE] == 0 if behind else True
        if empty and extract_nat64(address, length) == inner:
            return IPv6Network((address, length), strict=False)
    return None


@lru_cache(maxsize=8192)
def unmap(address: IPAddress, nat64_prefixes: Sequence[IPv6Network] = ()) -> IPAddress:
    """Return the IPv4 address which an IPv6 address stands for, or the address itself.

    Configured NAT64 prefixes come first, the longest that holds: a gateway may use a
    prefix inside its own 6to4 network. `nat64_prefixes` must be hashable (a tuple).
    """
    if isinstance(address, IPv4Address):
        return address
    for prefix in sorted((*nat64_prefixes, WELL_KNOWN_NAT64), key=lambda one: -one.prefixlen):
        if address in prefix:
            return extract_nat64(address, prefix.prefixlen)
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    return address.teredo[1] if address.teredo is not None else address


def server_address(raw: bytes, nat64_prefixes: Sequence[IPv6Network] = ()) -> IPAddress:
    """Return the address that a server is known by, of its 16 bytes: unmapped where that is certain."""
    address = address_of(raw)
    if isinstance(address, IPv4Address):
        return address
    return known_address(address, unmap(address, nat64_prefixes))


def is_unroutable(address: IPv4Address) -> bool:
    """Return whether no other host can connect there: loopback, link-local, multicast, broadcast."""
    number = int(address)
    if number >> 24 == _LOOPBACK or number >> 16 == _LINK_LOCAL:
        return True
    return number >> 28 == _MULTICAST or number == _BROADCAST
