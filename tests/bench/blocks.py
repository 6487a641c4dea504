"""Blocks of records as the ring gives them, made from a few templates: no kernel is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from inspector.record import COMPACT_DTYPE, HEADER_DTYPE, Attribute, pack_record
from tests.build.connection import raw_address

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from inspector.model import Segment

    Block = npt.NDArray[np.uint64]

_ENTRY_HEADER: Final = 8
_ENTRY: Final = np.dtype([("entry_header", "u8"), ("record", COMPACT_DTYPE)])
_FIRST_CLIENT: Final = np.frombuffer(raw_address("10.64.0.0")[12:], ">u4")[0]
_PORTS: Final = 1 << 15
_FIRST_PORT: Final = 1024
_STEP_NS: Final = 1000


def repeat(segments: Sequence[Segment], clients: npt.NDArray[np.int64], start_ns: int) -> npt.NDArray[np.void]:
    """Return records, one for each client, with the segments in turn: a structured array.

    Each client number is an address and port of its own; time goes on by a microsecond with each record. Fields
    are those of `inspector.record.COMPACT_DTYPE` behind the ring's own word; `rows_of` makes a block of it.
    """
    templates = np.zeros(len(segments), _ENTRY)
    for number, segment in enumerate(segments):
        packed = np.frombuffer(pack_record(segment), np.uint8)
        templates.view(np.uint8).reshape(len(segments), -1)[number, _ENTRY_HEADER : _ENTRY_HEADER + len(packed)] = (
            packed
        )
    templates["entry_header"] = HEADER_DTYPE.itemsize + COMPACT_DTYPE["payload"].itemsize
    entries = templates[np.arange(len(clients)) % len(segments)]
    header = entries["record"]["header"]
    header["time_ns"] = start_ns + np.arange(len(clients)) * _STEP_NS
    from_server = (header["attributes"] & int(Attribute.FROM_SERVER)) != 0
    addresses = (_FIRST_CLIENT + clients // _PORTS).astype(">u4").view(np.uint8).reshape(-1, 4)
    ports = _FIRST_PORT + clients % _PORTS
    for is_client, address, port in (
        (~from_server, "source_address", "source_port"),
        (from_server, "destination_address", "destination_port"),
    ):
        header[address][is_client, 12:] = addresses[is_client]
        header[port][is_client] = ports[is_client]
    return entries


def rows_of(entries: npt.NDArray[np.void]) -> Block:
    """Return the same bytes as a block, uint64[n, 32]."""
    return entries.view(np.uint64).reshape(len(entries), -1)
