# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""The loop over records: which connection, is it in order, which PDUs does it complete.

It does what `inspector.wire.connection` does for a connection whose bytes come in order, and stops at the first record
that is more than that. PDUs of a record which were taken before that stay taken: `consumed` says how many of its bytes
they are, and the loop can be entered again, or the rest be handed over.
"""

from __future__ import annotations

import cython

from inspector.decode import hints, layout
from inspector.decode.rows import Rows


class Engine(Rows):
    """The decoder's state, and the loop."""

    def __init__(self, connections: int) -> None:
        Rows.__init__(self, connections)
        self.idle = self.consumed = self.gaps = self.number = 0
        self.oldest_elsewhere = (1 << 63) - 1
        self.losing = False
        if not cython.compiled:
            self.tags = [0] * layout.TAGS

    def run(self, start: int, resume: bool) -> tuple[int, int]:
        """Take the rows of the opened batches from number `start` on; return DONE or why it stopped, and at which row.

        `resume` says that the first bytes of the first row were taken. The interpreter's lock is kept: where records
        need the scalar decoder the loop is entered thousands of times a second, and each time it would wait for as long
        as another thread may run.
        """
        code = self.loop(start, self.opened_rows, resume)
        return code, self.number

    def reread(self, opnum: int, transfer: int, known: bool, stub: bytes) -> tuple[int, int, int] | None:
        """Return what a request's stub asks for as (offset, length, reading); None where that is not plain."""
        padded = stub + bytes(8)
        if cython.compiled:
            self.record = padded
            self.data = cython.address(self.record[0])
        else:
            self.data = memoryview(padded)
        plain = self.read_request(0, len(stub), opnum, transfer, known)
        return (self.asked_at, self.asked_length, self.reading) if plain else None

    def prepare(self, number: int) -> None:
        """Hash a record's connection, and ask for its place in the index: memory takes long to come."""
        if cython.compiled:
            rows = cython.cast(cython.p_longlong, self.addresses[number])
            halves = cython.cast(cython.p_uint, self.addresses[number])
        else:
            rows, halves, _, _ = self.opened[number]
        ports = halves[layout.ROW_PORTS]
        from_server = (halves[layout.ROW_FLAGS] >> 24) & layout.FROM_SERVER
        client = layout.ROW_SOURCE + 2 * from_server
        server = layout.ROW_DESTINATION - 2 * from_server
        if from_server:
            ports = ports >> 16 | (ports & 0xFFFF) << 16
        tag = self.tag_of(rows[client], rows[client + 1], rows[server], rows[server + 1], ports)
        self.tags[number & (layout.TAGS - 1)] = tag
        if cython.compiled:
            hints.fetch(cython.address(self.index[2 * (tag & self.mask)]))

    def entry_of(self, number: int, from_server: int) -> int:
        """Return a record's connection, a new one if there was none; 0: nothing to know it by; -1: no room."""
        ports = cython.cast(cython.longlong, self.row_halves[layout.ROW_PORTS])
        client = layout.ROW_SOURCE + 2 * from_server
        server = layout.ROW_DESTINATION - 2 * from_server
        if from_server:
            ports = ports >> 16 | (ports & 0xFFFF) << 16
        tag = self.tags[number & (layout.TAGS - 1)]
        high = self.rows[client]
        low = self.rows[client + 1]
        server_high = self.rows[server]
        server_low = self.rows[server + 1]
        slot = self.find(tag, high, low, server_high, server_low, ports)
        flags = self.row_halves[layout.ROW_FLAGS]
        if slot or not (flags & 0xFFFF or flags >> 16 & layout.SYN):
            return slot
        if self.count + self.elsewhere >= self.limit:
            oldest = self.oldest
            if (
                not oldest
                or self.oldest_elsewhere < self.slots[oldest * layout.SLOT_WORDS + layout.SLOT_ORDER]
                or self.halves[oldest * layout.SLOT_HALVES + layout.HALF_QUESTIONS]
            ):
                return -1
            if not self.slots[oldest * layout.SLOT_WORDS + layout.SLOT_FLAGS] & layout.CLOSED:
                self.evicted += 1
            self.give_back(oldest)
        return self.take(tag, high, low, server_high, server_low, ports, self.row_halves[layout.ROW_INTERFACE])

    def unwrap(self, position: int, sequence: int) -> int:
        """Return the position next to `position` which a 32-bit number means."""
        distance = (sequence - position) & layout.LOW
        return position + distance - (layout.SPAN if distance > layout.HALF else 0)

    def restart(self) -> bool:
        """Put a new connection in the place of a closed one, if the record opens one."""
        slot = self.slot
        flags = self.slots[slot * layout.SLOT_WORDS + layout.SLOT_FLAGS]
        tcp_flags = self.row_halves[layout.ROW_FLAGS] >> 16
        initial = self.halves[slot * layout.SLOT_HALVES + layout.HALF_INITIAL]
        if (tcp_flags & (layout.SYN | layout.ACK)) != layout.SYN or (
            flags & layout.HAS_INITIAL and initial == self.row_halves[layout.ROW_SEQUENCE]
        ):
            return False
        base = slot * layout.SLOT_WORDS
        tag = self.halves[slot * layout.SLOT_HALVES + layout.HALF_TAG]
        high = self.slots[base + layout.SLOT_CLIENT]
        low = self.slots[base + layout.SLOT_CLIENT + 1]
        server_high = self.slots[base + layout.SLOT_SERVER]
        server_low = self.slots[base + layout.SLOT_SERVER + 1]
        ports = self.slots[base + layout.SLOT_PORTS]
        self.give_back(slot)
        self.slot = self.take(tag, high, low, server_high, server_low, ports, self.interface)
        return True

    def is_doubtful(self, start: int, acknowledged: int) -> bool:
        """Return whether the two ends may not accept a segment, or not as it seems (`inspector.wire.acceptance`).

        `start` is the position of its first byte, `acknowledged` that of its acknowledgment, 0 for none.
        """
        base = self.slot * layout.SLOT_WORDS
        flags = self.slots[base + layout.SLOT_FLAGS]
        tcp_flags = self.row_halves[layout.ROW_FLAGS] >> 16 & 0xFF
        from_server = self.from_server
        position = self.slots[base + layout.SLOT_POSITION + from_server]
        other = self.slots[base + layout.SLOT_POSITION + 1 - from_server]
        visible = flags >> from_server & layout.VISIBLE
        if acknowledged and (acknowledged < other - layout.WINDOW or acknowledged > other + layout.WINDOW):
            return True
        if tcp_flags & layout.SYN:
            if self.captured or tcp_flags & (layout.RST | layout.FIN):
                return True
            if visible and (
                from_server
                or tcp_flags & layout.ACK
                or not flags & layout.HAS_INITIAL
                or start != self.slots[base + layout.SLOT_ORIGIN]
            ):
                return True
            # The first of a direction answers what was seen of the other.
            seen = flags >> (1 - from_server) & layout.VISIBLE
            return seen != 0 and (from_server == 0 or acknowledged != other)
        if tcp_flags & layout.RST:
            if self.captured or not visible:
                return self.captured != 0 or (acknowledged != 0 and acknowledged != other)
            finished = 1 if flags >> from_server & layout.FINISHED else 0
            return start != position and start != position + finished
        return (self.captured != 0 or tcp_flags & layout.FIN != 0) and tcp_flags & layout.ACK == 0

    def is_bounded(self) -> bool:
        """Return whether the record is of those that a quota bounds: what comes through a tunnel is not."""
        return self.row_halves[layout.ROW_FLAGS] >> 24 <= (layout.FROM_SERVER | layout.IPV6)

    def may_end(self) -> bool:
        """Return whether nothing waits, so that the connection may end at once."""
        half = self.slot * layout.SLOT_HALVES
        return not (
            self.halves[half + layout.HALF_QUESTIONS]
            or self.halves[half + layout.HALF_PARTIAL_LENGTH]
            or self.halves[half + layout.HALF_PARTIAL_LENGTH + 1]
        )

    def end(self) -> None:
        """End the connection; streams and contexts stay: who goes on talking shows that it did not."""
        base = self.slot * layout.SLOT_WORDS + layout.SLOT_FLAGS
        for side in range(2):
            # The reader of the PDUs goes.
            if self.slots[base] & layout.ASTRAY << side:
                self.slots[base] = (self.slots[base] & ~(layout.ASTRAY << side)) | layout.READ << side
        self.slots[base] |= layout.CLOSED

    def follow(self, resume: bool) -> int:
        """Take one record of a connection of this decoder."""
        captured = cython.cast(cython.longlong, self.row_halves[layout.ROW_FLAGS] & 0xFFFF)
        tcp_flags = self.row_halves[layout.ROW_FLAGS] >> 16 & 0xFF
        from_server = self.from_server
        sequence = cython.cast(cython.longlong, self.row_halves[layout.ROW_SEQUENCE])
        if (
            self.row_halves[layout.ROW_FLAGS] >> 24 > (layout.FROM_SERVER | layout.IPV6)
            or captured != self.row_halves[layout.ROW_LENGTH]
            or captured > self.capacity
        ):
            return layout.HAND_OVER
        base = self.slot * layout.SLOT_WORDS
        if self.slots[base + layout.SLOT_FLAGS] & layout.CLOSED:
            if from_server or not self.restart():
                if captured and not tcp_flags & layout.RST:
                    return layout.HAND_OVER
                self.touch(self.slot)
                return layout.DONE
            base = self.slot * layout.SLOT_WORDS
        flags = self.slots[base + layout.SLOT_FLAGS]
        ours = base + layout.SLOT_POSITION + from_server
        position = self.slots[ours]
        other = self.slots[base + layout.SLOT_POSITION + 1 - from_server]
        visible = flags >> from_server & layout.VISIBLE
        other_visible = flags >> (1 - from_server) & layout.VISIBLE
        start = self.unwrap(position, sequence) if visible != 0 else sequence + layout.SPAN
        if tcp_flags & layout.SYN:
            start += 1
        if resume:
            self.consumed = position - start
        self.captured = captured
        acknowledged = cython.cast(cython.longlong, 0)
        if tcp_flags & layout.ACK and other_visible:
            acknowledged = self.unwrap(other, self.row_halves[layout.ROW_ACKNOWLEDGMENT])
        if self.is_doubtful(start, acknowledged):
            return layout.HAND_OVER
        if not visible:
            position = start
        payload = cython.cast(cython.longlong, 8 * layout.ROW_PAYLOAD)
        finished = flags >> from_server & layout.FINISHED
        gap = cython.cast(cython.longlong, 0)
        if captured and not resume:
            if finished or not self.has_room(0):
                return layout.HAND_OVER
            if start + captured == position and tcp_flags == (layout.ACK | tcp_flags & layout.PSH):
                # Nothing is new: it must be what was delivered last, once more.
                if not self.is_repetition(payload, captured):
                    return layout.HAND_OVER
                if acknowledged > self.slots[base + layout.SLOT_ACKNOWLEDGED + 1 - from_server]:
                    self.slots[base + layout.SLOT_ACKNOWLEDGED + 1 - from_server] = acknowledged
                self.touch(self.slot)
                return layout.DONE
            other_finished = 1 if flags >> (1 - from_server) & layout.FINISHED else 0
            if start != position or (other_visible and acknowledged > other + other_finished):
                gap = 1 if start > position else 0
                # A FIN behind a gap ends nothing: the scalar decoder looks for both ends before it gives the gap up.
                if start < position or start > position + layout.WINDOW or not self.losing or tcp_flags & layout.FIN:
                    return layout.HAND_OVER
                if gap and not self.after_gap(payload, payload + captured):
                    return layout.HAND_OVER
                position = start
        if tcp_flags & layout.FIN and not captured and start != position and not tcp_flags & layout.RST:
            return layout.HAND_OVER
        if tcp_flags & layout.RST and not self.may_end():
            return layout.HAND_OVER
        # From here on what is noted stays.
        if tcp_flags & layout.SYN and not from_server:
            flags |= layout.HAS_INITIAL
            self.halves[self.slot * layout.SLOT_HALVES + layout.HALF_INITIAL] = sequence
        if gap:
            self.gaps += 1
            flags |= layout.LOST << from_server
        if gap or not visible:
            self.slots[base + layout.SLOT_ORIGIN + from_server] = position
            self.slots[base + layout.SLOT_DELIVERED + from_server] = 0
        flags |= layout.VISIBLE << from_server
        self.slots[base + layout.SLOT_FLAGS] = flags
        self.slots[ours] = position
        if acknowledged > self.slots[base + layout.SLOT_ACKNOWLEDGED + 1 - from_server]:
            self.slots[base + layout.SLOT_ACKNOWLEDGED + 1 - from_server] = acknowledged
        if captured:
            code = self.consume(payload + position - start, payload + captured)
            self.consumed = self.slots[ours] - start
            if code != layout.DONE:
                return code
            half = self.slot * layout.SLOT_HALVES + layout.HALF_PARTIAL_LENGTH + from_server
            self.note_delivered(payload, captured - self.halves[half])
            flags = self.slots[base + layout.SLOT_FLAGS]
        if tcp_flags & layout.FIN and not tcp_flags & layout.RST:
            flags |= layout.FINISHED << from_server
        if tcp_flags & layout.RST or (flags & (layout.FINISHED * 3)) == layout.FINISHED * 3:
            if not self.may_end():
                return layout.HAND_OVER
            self.slots[base + layout.SLOT_FLAGS] = flags
            self.end()
        else:
            self.slots[base + layout.SLOT_FLAGS] = flags
        self.touch(self.slot)
        return layout.DONE

    def loop(self, start: int, stop: int, resume: bool) -> int:
        """Take records from row `start` on."""
        for number in range(start, min(start + layout.AHEAD, stop)):
            self.prepare(number)
        for number in range(start, stop):
            if cython.compiled and number + layout.ROW_AHEAD < stop:
                hints.fetch_row(cython.cast(cython.p_uchar, self.addresses[number + layout.ROW_AHEAD]))
            if number + layout.AHEAD < stop:
                self.prepare(number + layout.AHEAD)
            if cython.compiled and number + layout.NEAR < stop:
                near = self.index[2 * (self.tags[(number + layout.NEAR) & (layout.TAGS - 1)] & self.mask)]
                hints.fetch(cython.address(self.slots[near * layout.SLOT_WORDS]))
                hints.fetch(cython.address(self.slots[near * layout.SLOT_WORDS + 8]))
                hints.fetch(cython.address(self.slots[near * layout.SLOT_WORDS + 16]))
            self.number = number
            self.consumed = 0
            if not resume:
                self.joined_length = self.joined_used = 0
            self.select(number)
            time = self.rows[layout.ROW_TIME]
            if time < 0 or time > layout.LATEST_TIME:
                time = layout.LATEST_TIME
            if time > self.now:
                if time >= self.due:
                    return layout.ADVANCE
                self.now = time
                oldest = self.oldest
                if (
                    oldest
                    and self.slots[oldest * layout.SLOT_WORDS + layout.SLOT_LAST] + self.idle <= time
                    and not self.expire_silent(self.idle)
                ):
                    return layout.EXPIRE
            attributes = self.row_halves[layout.ROW_FLAGS] >> 24
            if attributes & (layout.ENDPOINT | layout.ICMP):
                # Not of an endpoint mapper.
                self.order += 1
                continue
            self.time = time
            if attributes & layout.UDP:
                if (attributes ^ layout.UDP) > (layout.FROM_SERVER | layout.IPV6) or not self.is_refused(
                    layout.QUOTA_RECORDS, 0
                ):
                    return layout.ALONE
                self.skipped += 1
                self.order += 1
                continue
            self.from_server = attributes & layout.FROM_SERVER
            self.interface = self.row_halves[layout.ROW_INTERFACE]
            slot = self.entry_of(number, self.from_server)
            if slot < 0:
                return layout.MAKE_ROOM
            self.slot = slot
            if slot == 0 and attributes > (layout.FROM_SERVER | layout.IPV6):
                return layout.ALONE
            if slot:
                flags = self.slots[slot * layout.SLOT_WORDS + layout.SLOT_FLAGS]
                if flags & layout.SCALAR:
                    return layout.HAND_OVER
                if flags & layout.SKIPPED and (self.from_server or not self.restart()):
                    self.touch(slot)
                else:
                    code = self.follow(resume)
                    if (
                        code == layout.HAND_OVER
                        and self.is_bounded()
                        and self.is_refused(layout.QUOTA_RECORDS, self.slot)
                    ):
                        self.skipped += 1
                        self.ignore(self.slot)
                        self.touch(self.slot)
                    elif code != layout.DONE:
                        return code
            resume = False
            self.order += 1
        self.number = stop
        return layout.DONE
