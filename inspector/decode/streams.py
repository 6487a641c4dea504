# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""From the bytes of a stream, in order, to PDUs: several in a segment, and one in several (`inspector.wire.pdu`)."""

from __future__ import annotations

import cython
import numpy as np

from inspector.decode import hints, layout
from inspector.decode.calls import Calls
from inspector.wire.checksum import KEYS, checksum


class Streams(Calls):
    """Cuts new bytes into PDUs, and keeps the start of one which is not whole in a reassembly buffer.

    `joined_length` is the length of the PDU which the record being read has completed, 0 for none, and `joined_used`
    how many of its bytes are the record's.
    """

    def __init__(self, connections: int) -> None:
        Calls.__init__(self, connections)
        self.not_rpc = self.joined_length = self.joined_used = 0
        # A PDU that began in an earlier segment, and what follows it.
        self.joined = np.zeros(layout.PARTIAL_BYTES + layout.PAYLOAD_BYTES, np.uint8).data
        self.checksum_keys = KEYS.data

    def joined_bytes(self) -> bytes:
        """Return the PDU which the record has completed."""
        return bytes(self.joined[: self.joined_length])

    def checksum_of(self, data: memoryview, at: int, count: int) -> int:
        """Return the checksum of bytes as `inspector.wire.checksum` has it."""
        if not cython.compiled:
            return checksum(bytes(data[at : at + count]))
        total = cython.cast(cython.ulonglong, 0)
        words = count >> 3
        for number in range(words):
            word = hints.hyper_at(data, at + 8 * number)
            low = cython.cast(cython.ulonglong, cython.cast(cython.uint, word))
            total += (self.checksum_keys[2 * number] + low) * (self.checksum_keys[2 * number + 1] + (word >> 32))
        if count & 7:
            last = cython.cast(cython.ulonglong, 0)
            for offset in range(count & 7):
                last |= cython.cast(cython.ulonglong, data[at + 8 * words + offset]) << (8 * offset)
            low = cython.cast(cython.ulonglong, cython.cast(cython.uint, last))
            total += (self.checksum_keys[2 * words] + low) * (self.checksum_keys[2 * words + 1] + (last >> 32))
        return total >> 32

    def note_delivered(self, at: int, whole: int) -> None:
        """Remember what a record has delivered: `whole` bytes from `at` on end with a PDU."""
        base = self.slot * layout.SLOT_WORDS + self.from_server
        if self.slots[self.slot * layout.SLOT_WORDS + layout.SLOT_FLAGS] & layout.ASTRAY << self.from_server:
            self.slots[base + layout.SLOT_DELIVERED] = 0
        elif whole > 0:
            length = cython.cast(cython.longlong, whole)
            if not self.joined_length:
                delivered = cython.cast(cython.longlong, self.checksum_of(self.data, at, whole))
            else:
                more = whole - self.joined_used
                length = self.joined_length + more
                if cython.compiled:
                    hints.copy(
                        cython.address(self.joined[self.joined_length]),
                        cython.address(self.data[at + self.joined_used]),
                        more,
                    )
                    delivered = self.checksum_of(cython.address(self.joined[0]), 0, length)
                else:
                    start = at + self.joined_used
                    self.joined[self.joined_length : length] = self.data[start : start + more]
                    delivered = self.checksum_of(self.joined, 0, length)
            self.slots[base + layout.SLOT_DELIVERED] = length << 32 | delivered

    def is_repetition(self, at: int, count: int) -> bool:
        """Return whether bytes which end where the stream does are the whole PDUs that were delivered last."""
        half = self.slot * layout.SLOT_HALVES + layout.HALF_PARTIAL_LENGTH + self.from_server
        delivered = self.slots[self.slot * layout.SLOT_WORDS + layout.SLOT_DELIVERED + self.from_server]
        if self.halves[half] or delivered >> 32 != count:
            return False
        return cython.cast(cython.longlong, self.checksum_of(self.data, at, count)) == (delivered & layout.LOW)

    def after_gap(self, at: int, end: int) -> bool:
        """Return whether a PDU starts behind lost bytes, and none was cut by them."""
        side = self.slot * layout.SLOT_HALVES + self.from_server
        return self.halves[side + layout.HALF_PARTIAL_LENGTH] == 0 and self.frag_length(at, end) > 0

    def lose(self) -> None:
        """Note that no PDU is where one should start: what follows in this segment is not read."""
        base = self.slot * layout.SLOT_WORDS
        if self.slots[base + layout.SLOT_FLAGS] & layout.READ << self.from_server:
            self.malformed += 1
        else:
            self.not_rpc += 1
        self.slots[base + layout.SLOT_FLAGS] |= (layout.LOST | layout.ASTRAY) << self.from_server

    def consume(self, at: int, end: int) -> int:
        """Take the PDUs in new bytes of a stream, in order; the position follows."""
        base = self.slot * layout.SLOT_WORDS
        ours = base + layout.SLOT_POSITION + self.from_server
        side = self.slot * layout.SLOT_HALVES + self.from_server
        if self.slots[base + layout.SLOT_FLAGS] & layout.ASTRAY << self.from_server:
            # The next segment that starts like a PDU is taken for one.
            length = self.frag_length(at, end)
            if length == layout.NOT_PLAIN:
                return layout.HAND_OVER
            if end - at < layout.HEADER or length == layout.NO_PDU:
                self.slots[ours] += end - at
                return layout.DONE
            self.slots[base + layout.SLOT_FLAGS] &= ~(layout.ASTRAY << self.from_server)
        if self.halves[side + layout.HALF_PARTIAL_LENGTH]:
            taken = self.complete(at, end)
            if taken < 0:
                return -taken
            self.slots[ours] += taken
            at += taken
        while at < end:
            length = self.frag_length(at, end)
            if length == layout.NO_PDU:
                self.lose()
                self.slots[ours] += end - at
                return layout.DONE
            if length < 0:
                return layout.HAND_OVER
            if length == 0 or length > end - at:
                if not self.hold(self.slot, self.from_server, self.data, at, end - at):
                    return layout.HAND_OVER
                self.slots[ours] += end - at
                return layout.DONE
            self.pdu_at = at
            self.pdu_length = length
            code = self.take_pdu()
            if code != layout.DONE:
                return code
            self.slots[base + layout.SLOT_FLAGS] |= layout.READ << self.from_server
            self.slots[ours] += length
            at += length
        return layout.DONE

    def complete(self, at: int, end: int) -> int:
        """Add bytes to a PDU that began in an earlier segment, and take it where it is whole.

        Return how many bytes were used, or minus the reason why none were.
        """
        side = self.slot * layout.SLOT_HALVES + self.from_server
        held = self.halves[side + layout.HALF_PARTIAL_LENGTH]
        start = self.halves[side + layout.HALF_PARTIAL] * layout.PARTIAL_BYTES
        available = end - at
        used = cython.cast(cython.longlong, 0)
        code = layout.HAND_OVER
        data = self.data
        if held < layout.HEADER:
            used = min(layout.HEADER - held, available)
            self.hold(self.slot, self.from_server, data, at, used)
            if held + used < layout.HEADER:
                return used
        if cython.compiled:
            self.data = cython.address(self.partial_bytes[0])
        else:
            self.data = self.partial_bytes
        length = self.frag_length(start, start + layout.HEADER)
        if length == layout.NO_PDU:
            self.data = data
            self.drop_partial(self.slot, self.from_server)
            self.lose()
            return available
        wanted = max(length - held, 0) if length > 0 else -1
        more = min(wanted, available) - used
        if wanted >= 0 and self.hold(self.slot, self.from_server, data, at + used, more):
            used += more
            if used < wanted:
                self.data = data
                return used
            self.pdu_at = start
            self.pdu_length = length
            code = self.take_pdu()
            if code == layout.DONE:
                self.joined_length = length
                self.joined_used = used
                if cython.compiled:
                    hints.copy(cython.address(self.joined[0]), cython.address(self.partial_bytes[start]), length)
                else:
                    self.joined[:length] = self.partial_bytes[start : start + length]
                self.drop_partial(self.slot, self.from_server)
                self.slots[self.slot * layout.SLOT_WORDS + layout.SLOT_FLAGS] |= layout.READ << self.from_server
                self.data = data
                return used
        if code != layout.NEW_TEMPLATE:
            self.data = data
        # Nothing of this record was taken.
        self.halves[side + layout.HALF_PARTIAL_LENGTH] = held
        self.buffered -= used
        return -code
