"""TCP headers and ICMP errors of any frame: what outcomes are decided by, beside the records of port 135.

Sources: RFC 9293 section 3.1, RFC 792, RFC 4443. An ICMP error quotes the IP header of the packet it is about and at
least 8 bytes behind it: the ports, and of TCP the sequence number.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from inspector.protocols import ETHERTYPE_IPV4, ETHERTYPE_IPV6
from inspector.record import Attribute
from inspector.wire.addresses import read_addresses
from inspector.wire.frame import NO_LENGTH, leave_tunnels, read_link, read_network, read_tcp, read_transport

if TYPE_CHECKING:
    from collections.abc import Collection

_TCP: Final = 6
_ICMP: Final = 1
_ICMPV6: Final = 58
_IPV6: Final = int(Attribute.IPV6)
_QUOTED: Final = struct.Struct(">HHI")
_QUOTE_OFFSET: Final = 8
# ICMP: destination unreachable, time exceeded, parameter problem; ICMPv6: all of its errors are below 128.
_ICMP_ERRORS: Final = frozenset({3, 11, 12})
_ICMPV6_FIRST_MESSAGE: Final = 128


class Header(NamedTuple):
    """A TCP packet: addresses of 16 bytes as in a record, and its payload as far as it was captured.

    `frame` is its number in the file, from 1, or 0; `hop_limit` is the TTL of IPv4; `captured` is how many bytes of the
    frame were captured; `interface` is the index of the one that it was seen on, 0 in a file.
    """

    time_ns: int
    frame: int
    source: bytes
    destination: bytes
    source_port: int
    destination_port: int
    sequence: int
    acknowledgment: int
    flags: int
    hop_limit: int
    payload_length: int
    captured: int
    payload: bytes | memoryview
    interface: int = 0


class IcmpQuote(NamedTuple):
    """An ICMP or ICMPv6 error about a TCP packet; source, destination and ports are those of the quoted packet."""

    time_ns: int
    frame: int
    reporter: bytes
    type: int
    code: int
    source: bytes
    destination: bytes
    source_port: int
    destination_port: int
    sequence: int


def read_header(
    frame: bytes | memoryview,
    *,
    link_type: int,
    time_ns: int,
    number: int,
    wire_length: int,
    tunnelled: Collection[int] | None = None,
) -> Header | IcmpQuote | None:
    """Return the TCP header or ICMP error in a frame, None for any other.

    Tunnels are entered where `tunnelled` has the ports of endpoint mappers, whose own datagrams are none.
    """
    link = read_link(frame, link_type)
    if not isinstance(link, tuple):
        return None
    ethertype, at = link
    network = read_network(frame, ethertype, at)
    if not isinstance(network, tuple):
        return None
    limit = NO_LENGTH
    if tunnelled is not None and network[0] != _TCP:
        transport = read_transport(frame, network, tunnelled, tunnels=True)
        carried = leave_tunnels(frame, at, network, transport, tunnelled)
        if not isinstance(carried, tuple):
            return None
        at, network, _, _, limit = carried
    protocol, transport_at, end, attributes = network
    if protocol == _TCP:
        limit = min(limit, max(wire_length, len(frame)))
        return _read_tcp_header(frame, at, network, time_ns, number, limit)
    if protocol == (_ICMPV6 if attributes & _IPV6 else _ICMP):
        return _read_quote(frame, at, transport_at, min(end, len(frame)), attributes, time_ns, number)
    return None


def _read_tcp_header(
    frame: bytes | memoryview, at: int, network: tuple[int, int, int, int], time_ns: int, number: int, limit: int
) -> Header | None:
    _, transport_at, end, attributes = network
    transport = read_tcp(frame, transport_at, end)
    if not isinstance(transport, tuple):
        return None
    source_port, destination_port, sequence, acknowledgment, flags, payload_at, end = transport
    if end >= NO_LENGTH:
        end = limit
    source, destination = read_addresses(frame, at, attributes)
    return Header(
        time_ns,
        number,
        source,
        destination,
        source_port,
        destination_port,
        sequence,
        acknowledgment,
        flags,
        frame[at + 7] if attributes & _IPV6 else frame[at + 8],
        end - payload_at,
        len(frame),
        frame[payload_at : min(end, len(frame))],
    )


def _read_quote(
    frame: bytes | memoryview, at: int, icmp_at: int, end: int, attributes: int, time_ns: int, number: int
) -> IcmpQuote | None:
    """Read an ICMP error, whose quote may end 8 bytes behind the inner IP header."""
    quoted_at = icmp_at + _QUOTE_OFFSET
    if end < quoted_at:
        return None
    kind, code = frame[icmp_at], frame[icmp_at + 1]
    six = bool(attributes & _IPV6)
    if kind >= _ICMPV6_FIRST_MESSAGE if six else kind not in _ICMP_ERRORS:
        return None
    quoted = frame[quoted_at:end]
    inner = read_network(quoted, ETHERTYPE_IPV6 if six else ETHERTYPE_IPV4, 0)
    if not isinstance(inner, tuple) or inner[0] != _TCP or len(quoted) < inner[1] + _QUOTED.size:
        return None
    source_port, destination_port, sequence = _QUOTED.unpack_from(quoted, inner[1])
    source, destination = read_addresses(quoted, 0, inner[3])
    reporter = read_addresses(frame, at, attributes)[0]
    return IcmpQuote(
        time_ns, number, reporter, kind, code, source, destination, source_port, destination_port, sequence
    )
