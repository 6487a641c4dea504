"""Everything that is compiled, called once each, so that numba knows for which types (`inspector.prepare`)."""

from __future__ import annotations

from typing import Final

import numpy as np

from inspector.capture import scan
from inspector.capture.scanner import WORDS
from inspector.columns.decoder import Columns
from inspector.columns.layout import COMPACT_WORDS, FOUND_WORDS
from inspector.judge.policy import Policy
from inspector.judge.verdict import judge
from inspector.live.rings.scan import count_like
from inspector.model import Segment
from inspector.output.lines import PIECES, write_lines
from inspector.record import pack_record
from inspector.wire.conversations import Conversations

_CLIENT: Final = bytes(15) + b"\x01"
_SERVER: Final = bytes(15) + b"\x02"
_SYN: Final = 2
_ACK: Final = 16
# An "orphaned" PDU: the shortest there is (C706 section 12.6.4.8).
_PDU: Final = bytes.fromhex("05001303100000001000000001000000")


def call_everything() -> None:
    """Call all exported functions, with little to do."""
    _follow_connection()
    count_like(np.zeros(1, np.uint64), 0, 0, 1, 1)
    _scan_nothing()
    no_bytes = np.zeros(0, np.uint8)
    write_lines(_words(0, FOUND_WORDS), np.zeros(1, np.int64), no_bytes, _words(0, PIECES + 1), 0, no_bytes)


def _words(rows: int, columns: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    return np.zeros((rows, columns), np.int64)


def _follow_connection() -> None:
    """Let a connection open, say something, say it in two pieces (for the scalar path), and be forgotten."""
    columns = Columns(Conversations(), lambda observed: judge(observed, Policy(), ""))
    for sequence, flags, payload in ((0, _SYN, b""), (1, _ACK, _PDU), (17, _ACK, _PDU[:8]), (25, _ACK, _PDU[8:])):
        list(columns.feed(_block(sequence, flags, payload)))
    list(columns.advance(10**13))


def _block(sequence: int, flags: int, payload: bytes) -> np.ndarray[tuple[int, int], np.dtype[np.uint64]]:
    segment = Segment(1, _CLIENT, _SERVER, sequence, 0, 1024, 135, len(payload), flags, 2, 1, payload)
    block = np.zeros((1, COMPACT_WORDS), np.uint64)
    record = np.frombuffer(pack_record(segment), np.uint8)
    block.view(np.uint8)[0, 8 : 8 + len(record)] = record
    return block


def _scan_nothing() -> None:
    no_bytes, registers = np.zeros(0, np.uint8), np.zeros(scan.REGISTERS, np.int64)
    scan.scan(no_bytes, _words(1, scan.INTERFACE_WORDS), 0, no_bytes, _words(1, WORDS), registers)
