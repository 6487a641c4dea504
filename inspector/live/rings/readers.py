"""The readers of a loaded program's rings, as they suit the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inspector.live.bpf.loader import LANES_MAP
from inspector.live.rings.libbpf import LibbpfRing
from inspector.live.rings.percpu import Lane, open_lanes
from inspector.live.rings.ringbuf import Ring
from inspector.record import record_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inspector.live.bpf.loader import Program

    Reader = Lane | Ring | LibbpfRing


def open_compact(program: Program) -> Sequence[Lane] | Sequence[LibbpfRing]:
    """Return the readers of the compact ring's lanes, or of the BPF ring buffer which stands in for them.

    Raises ToolchainError where libbpf is needed and missing.
    """
    if program.lanes:
        return open_lanes(
            program.maps[LANES_MAP], program.maps["epm_compact"], program.lanes, program.compact_ring_bytes
        )
    return [LibbpfRing(program.maps["epm_compact"], program.compact_ring_bytes)]


def open_bulk(program: Program) -> Ring | LibbpfRing:
    """Return the reader of the bulk ring; raises as `open_compact`."""
    kind = Ring if program.lanes else LibbpfRing
    return kind(program.maps["epm_bulk"], program.bulk_ring_bytes)


def take(reader: Reader) -> tuple[list[bytes], bool]:
    """Take all complete records, as copies; say whether nothing was left at the moment when reading began."""
    entries = reader.look()
    records = [bytes(record_of(row)) for block in entries.blocks() for row in block]
    reader.give_back(entries.bytes_before(len(entries)))
    return records, entries.complete
