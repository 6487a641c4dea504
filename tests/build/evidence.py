"""Evidence about one client that asks one VIP, as rows of the table of causes take it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from inspector.consequence import FindingKind
from inspector.judge.evidence import Attempt, Delivery, Evidence, IcmpError, Reset

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
