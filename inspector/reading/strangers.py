"""Other protocols that were sent to an endpoint mapper's port: named by their first bytes."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Final

from inspector.capture.blocks import read_batches
from inspector.errors import CaptureError
from inspector.protocols import EPM_HTTP_PORT
from inspector.record import KernelCounter, record_of, unpack_record

if TYPE_CHECKING:
    from collections.abc import Iterator
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
    with suppress(CaptureError):
        for record in islice(_records_of(path, config), _LOOKED_AT):
            segment = unpack_record(record)
            name = protocol_of(segment.payload)
            # RPC over HTTP begins with HTTP.
            if name is not None and not segment.from_server and segment.destination_port != EPM_HTTP_PORT:
                found[segment.source_address, segment.source_port, segment.destination_address] = name
    return Counter(found.values())


def _records_of(path: Path, config: Config) -> Iterator[bytes | memoryview]:
    """Yield records, each valid until the next one."""
    for batch in read_batches(path, ports=config.ports, counters=[0] * len(KernelCounter), tunnels=config.tunnels):
        if isinstance(batch, bytes):
            yield batch
        else:
            yield from map(record_of, batch)


def line_of(found: Counter[str]) -> str:
    """Return what was found, in words."""
    return ", ".join(f"{name} ({count} connection{'s' if count != 1 else ''})" for name, count in found.most_common())
