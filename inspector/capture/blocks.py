"""Capture files as blocks of records: most packets are read in compiled code, the others one by one.

Both ways give the same records in the same order, and count the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inspector.capture.pcap import SegmentReader, open_packets
from inspector.capture.scanner import Scanner
from inspector.capture.stored import EndOfFileError
from inspector.decode import is_compiled
from inspector.errors import CaptureError
from inspector.record import pack_record

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from inspector.capture.packet import Packet
    from inspector.capture.seen import Seen
    from inspector.capture.stored import Progress
    from inspector.record import KernelCounter

    Block = npt.NDArray[np.uint64]


class NumberedRecord(bytes):
    """A record with the number of its packet in the file, from 1."""

    frame = 0


def read_batches(
    path: Path,
    *,
    ports: Collection[int],
    counters: dict[KernelCounter, int] | list[int],
    progress: Progress | None = None,
    tunnels: bool = False,
    blocks: int = 1,
    seen: Seen | None = None,
) -> Iterator[Block | NumberedRecord]:
    """Yield the records of a capture file, in order: blocks of many, and single ones.

    A block is uint64[n, words], a row for each record: the number of its packet, the record as `read_records`
    has it, and what is left of the row undefined. It is valid until so many things more have been asked for as there
    are `blocks`. Other arguments, counters and errors are those of `read_records`; errors come after all records
    before them.
    """
    segments = SegmentReader(ports, counters, tunnels=tunnels, seen=seen)
    with open_packets(path, progress) as (pieces, reader):
        scanner = Scanner(segments, blocks) if is_compiled() else None
        packet: Packet | None
        number = 0
        while True:
            if scanner is not None:
                while scanner.scan(pieces, reader):
                    yield scanner.take()
                # A pipe may have nothing more for long.
                if pieces.total is None and len(scanner):
                    yield scanner.take()
            try:
                packet = reader.next_packet()
            except (CaptureError, EndOfFileError):
                if scanner is not None and len(scanner):
                    yield scanner.take()
                raise
            if packet is None:
                break
            number = scanner.count_packet() if scanner is not None else number + 1
            segment = segments.segment(segments.unwrap(packet))
            if segment is None or (scanner is not None and scanner.add(segment)):
                continue
            if scanner is not None and len(scanner):
                yield scanner.take()
            record = NumberedRecord(pack_record(segment))
            record.frame = number
            yield record
        if scanner is not None and len(scanner):
            yield scanner.take()
    segments.finish(path)
