"""The addresses of an IP header, as records have them."""

from __future__ import annotations

from typing import Final

from inspector.protocols import IPV4_MAPPED
from inspector.record import Attribute

_IS_IPV6: Final = int(Attribute.IPV6)


def read_addresses(frame: bytes | memoryview, at: int, attributes: int) -> tuple[bytes, bytes]:
    """Return source and destination of the IP header at `at`, 16 bytes each, IPv4 as ::ffff:a.b.c.d."""
    if attributes & _IS_IPV6:
        return bytes(frame[at + 8 : at + 24]), bytes(frame[at + 24 : at + 40])
    return IPV4_MAPPED + bytes(frame[at + 12 : at + 16]), IPV4_MAPPED + bytes(frame[at + 16 : at + 20])
