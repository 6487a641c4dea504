"""Other protocols that were sent to an endpoint mapper's port: named by their first bytes."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Final

from inspector.capture.pcap import read_records
from inspector.errors import CaptureError
from inspector.protocols import EPM_HTTP_PORT
from inspector.record import KernelCounter, unpack_record

if TYPE_CHECKING:
    from pathlib import Path

    from inspector.config import Config

_LOOKED_AT: Final = 100_000
"""Records of a file that are looked at."""

_STARTS: Final = (
    (b"SSH-", "SSH"),
    (b"\x16\x03", "TLS"),
    (b"\x03\x00\x00", "TPKT (Remote Desktop)"),
    (b"\x30\x84", "LDAP"),
)
_METHODS: Final = (b"GET ", b"POST ", b"HEAD ", b"PUT ", b"OPTIONS ", b"CONNECT ", b"PRI * HTTP")
_SMB: Final = (b"\xffSMB", b"\xfeSMB", b"\xfdSMB")


def protocol_of(payload: bytes) -> str | None:
    """Return what the first bytes of a connection are, None where they are RPC or nothing known."""
    if payload[4:8] in _SMB:
        return "SMB"
    if payload.startswith(_METHODS):
        return "HTTP"
    return next((name for start, name in _STARTS if payload.startswith(start)), None)


def find_strangers(path: Path, config: Config) -> Counter[str]:
    """Return connections to an endpoint mapper's port by what was sent in place of RPC."""
    found: dict[tuple[bytes, int, bytes], str] = {}
    counters = [0] * len(KernelCounter)
    with suppress(CaptureError):
        records = read_records(path, ports=config.ports, counters=counters, tunnels=config.tunnels)
        for record in islice(records, _LOOKED_AT):
            segment = unpack_record(record)
            name = protocol_of(segment.payload)
            # RPC over HTTP begins with HTTP.
            if name is not None and not segment.from_server and segment.destination_port != EPM_HTTP_PORT:
                found[segment.source_address, segment.source_port, segment.destination_address] = name
    return Counter(found.values())


def line_of(found: Counter[str]) -> str:
    """Return what was found, in words."""
    return ", ".join(f"{name} ({count} connection{'s' if count != 1 else ''})" for name, count in found.most_common())
