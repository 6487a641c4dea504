"""From a record to what outcomes are decided by: a TCP header, or an ICMP error."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from inspector.record import Attribute
from inspector.wire.followups import unpack_error
from inspector.wire.headers import Header, IcmpQuote

if TYPE_CHECKING:
    from inspector.model import Segment

_UDP: Final = int(Attribute.UDP)
_ICMP: Final = int(Attribute.ICMP)


def packet_of(segment: Segment, frame: int = 0) -> Header | IcmpQuote | None:
    """Return the packet in a record, `frame` being its number in a file; None for a datagram.

    Its `captured` counts the payload only.
    """
    attributes = segment.attributes
    if attributes & _UDP:
        return None
    if attributes & _ICMP:
        return _quote_of(segment, frame)
    return Header(
        segment.time_ns,
        frame,
        segment.source_address,
        segment.destination_address,
        segment.source_port,
        segment.destination_port,
        segment.sequence,
        segment.acknowledgment,
        segment.tcp_flags,
        segment.hop_limit,
        segment.payload_length,
        len(segment.payload),
        segment.payload,
        segment.interface_index,
    )


def _quote_of(segment: Segment, frame: int) -> IcmpQuote | None:
    """Return an ICMP error; None where the record does not hold it."""
    try:
        error = unpack_error(segment.payload)
    except struct.error:
        return None
    return IcmpQuote(
        segment.time_ns,
        frame,
        error.reporter,
        error.type,
        error.code,
        segment.source_address,
        segment.destination_address,
        segment.source_port,
        segment.destination_port,
        segment.sequence,
    )
