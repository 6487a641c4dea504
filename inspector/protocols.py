"""Numbers and names of the internet's protocols that several modules need, each once.

Sources: RFC 9293 section 3.1 (TCP), IEEE 802.1Q and the IEEE's registry of ethertypes, RFC 4291 section 2.5.5.2
(IPv4-mapped addresses), MS-RPCE section 2.1.1.1 and MS-RPCH section 2.1.1 (ports), C706 appendix I (protocol
sequences). Compiled modules have them in layouts of their own, since those become constants of C; a test compares them.
"""

from __future__ import annotations

from typing import Final

FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
ACK: Final = 0x10

ETHERTYPE_IPV4: Final = 0x0800
ETHERTYPE_IPV6: Final = 0x86DD
ETHERTYPE_ETHERNET: Final = 0x6558
"""A whole Ethernet frame follows (transparent Ethernet bridging)."""
ETHERTYPES_VLAN: Final = frozenset({0x8100, 0x88A8, 0x9100})

IPV4_MAPPED: Final = bytes(10) + b"\xff\xff"
"""The first 12 bytes of an IPv4 address where 16 are wanted, as in records: ::ffff:a.b.c.d."""

EPM_PORT: Final = 135
EPM_HTTP_PORT: Final = 593
EPM_PORTS: Final = (EPM_PORT, EPM_HTTP_PORT)
"""Where endpoint mappers listen, over TCP and UDP, and over HTTP, unless the configuration says otherwise."""

TCP_SEQUENCES: Final = frozenset({"ncacn_ip_tcp", "ncacn_http"})
"""Protocol sequences whose endpoint is a TCP port."""
