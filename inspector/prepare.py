"""`python -m inspector.prepare`: compile what is compiled and keep the code, so that nobody waits for it later.

Code is made for the types a function is called with: so a few records go every way there is, from memory that can
be written to and from memory that cannot, as a ring's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from inspector import codecache
from inspector.columns.decoder import Columns
from inspector.columns.layout import COMPACT_WORDS
from inspector.judge.policy import Policy
from inspector.judge.verdict import judge
from inspector.live.scan import count_like
from inspector.model import Segment
from inspector.record import pack_record
from inspector.wire.conversations import Conversations

if TYPE_CHECKING:
    pass

_CLIENT: Final = bytes(15) + b"\x01"
_SERVER: Final = bytes(15) + b"\x02"
_SYN: Final = 2
_ACK: Final = 16
# An "orphaned" PDU: the shortest there is (C706 section 12.6.4.8).
_PDU: Final = bytes.fromhex("05001303100000001000000001000000")


def _block(
    sequence: int, flags: int, payload: bytes, *, writable: bool
) -> np.ndarray[tuple[int, int], np.dtype[np.uint64]]:
    segment = Segment(1, _CLIENT, _SERVER, sequence, 0, 1024, 135, len(payload), flags, 2, 1, payload)
    block = np.zeros((1, COMPACT_WORDS), np.uint64)
    record = np.frombuffer(pack_record(segment), np.uint8)
    block.view(np.uint8)[0, 8 : 8 + len(record)] = record
    block.flags.writeable = writable
    return block


def main() -> None:
    """Compile everything, and say that it is done."""
    for writable in (False, True):
        columns = Columns(Conversations(), lambda observed: judge(observed, Policy(), ""))
        # A connection opens, says something, says something out of order, and is forgotten.
        for sequence, flags, payload in ((0, _SYN, b""), (1, _ACK, _PDU), (99, _ACK, _PDU)):
            list(columns.feed(_block(sequence, flags, payload, writable=writable)))
        list(columns.advance(10**13))
        count_like(_block(0, 0, b"", writable=writable).reshape(-1), 0, 0, COMPACT_WORDS, 1)
    codecache.note_complete()


if __name__ == "__main__":
    main()
