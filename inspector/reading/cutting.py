"""Captures that keep the beginning of each packet only: what to say of answers which could not be read."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from inspector.capture.pcap import read_packets
from inspector.errors import Anomaly, CaptureError

if TYPE_CHECKING:
    from pathlib import Path

    from inspector.reading.filereader import FileCounts

_LOOKED_AT: Final = 4096
"""Packets of a file that are looked at for its snap length."""


def cut_warning(path: Path, name: str, counts: FileCounts) -> str | None:
    """Return the warning about a file whose packets with RPC are cut, None where they are whole.

    `--follow-up` counts answers; without it packets of both directions are counted.
    """
    packets = counts.anomalies[Anomaly.SEGMENT_CUT]
    if not packets:
        return None
    kept = counts.cut.kept or (_kept(path) if path.is_file() else 0)
    what = f"{kept} bytes of each packet" if kept else "only the beginning of each packet"
    many = counts.cut.answers or packets
    noun = "answer" if counts.cut.answers else "packet"
    return (
        f"{name}: the capture keeps {what}: {many} {noun}{'s' if many != 1 else ''} could not be read; capture again "
        f"with whole packets (tcpdump -s 0)"
    )


def _kept(path: Path) -> int:
    """Return the most bytes that the file keeps of a packet which is longer; 0 where its beginning has none."""
    most = 0
    try:
        for packet in islice(read_packets(path), _LOOKED_AT):
            if len(packet.data) < packet.original_length:
                most = max(most, len(packet.data))
    except CaptureError:
        return most
    return most
