# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""The connection table, and the pools from which connections take pending questions and reassembly buffers.

All arrays are sized here, and all indexes come from them. Connections are found by an open-addressing index of (entry,
hash) pairs, keyed with a secret, so that nobody can choose connections which collide. The order of last touch is a
linked list of its own, which stays in the processor's caches.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import cython
import numpy as np

from inspector.decode import hints, layout

if TYPE_CHECKING:
    from collections.abc import Sequence

_LINE = 64


def _aligned(count: int, dtype: type, size: int) -> np.ndarray:
    """Return so many zeroes, the first at the start of a cache line; memory is taken when it is written."""
    octets = np.zeros(count * size + _LINE, np.uint8)
    start = -octets.ctypes.data % _LINE
    return octets[start : start + count * size].view(dtype)


class Table:
    """Connections up to `connections`; see `inspector.decode.layout` for their fields."""

    def __init__(self, connections: int) -> None:
        slots = connections + 2
        places = 1 << (2 * slots).bit_length()
        questions = max(slots, 64)
        words = _aligned(slots * layout.SLOT_WORDS, np.int64, 8)
        asked = _aligned(questions * layout.QUESTION_WORDS, np.int64, 8)
        self.arrays = {"slots": words.reshape(slots, -1), "questions": asked.reshape(questions, -1)}
        self.slots = words.data
        self.halves = words.view(np.uint32).data
        self.links = np.zeros(2 * slots, np.int32).data
        self.index = _aligned(2 * places, np.uint32, 4).data
        self.mask = places - 1
        self.secret = int.from_bytes(os.urandom(8), "little")
        self.multiplier = int.from_bytes(os.urandom(8), "little") | 1
        self.questions = asked.data
        self.question_halves = asked.view(np.uint32).data
        self.question_bytes = asked.view(np.uint8).data
        self.question_limit = questions
        self.partial_bytes = np.zeros(layout.PARTIALS * layout.PARTIAL_BYTES, np.uint8).data
        self.partials = np.arange(layout.PARTIALS, dtype=np.int32).data
        # Buffers are taken from the end of the list of free ones; number 0 stays there.
        self.free_partials = layout.PARTIALS
        self.now = self.order = self.count = self.elsewhere = self.evicted = self.buffered = 0
        self.limit = connections
        self.first_asked = (1 << 63) - 1
        self.oldest = self.newest = self.free_slot = self.high_water = 0
        self.free_question = self.question_high = self.question_count = 0
        self.patience = self.due = self.sweep = 0

    # For the decoder, in Python.

    def lookup(self, key: Sequence[int]) -> int:
        """Return the entry of (client high, low, server high, low, ports), or 0."""
        tag = self.tag_of(key[0], key[1], key[2], key[3], key[4])
        return self.find(tag, key[0], key[1], key[2], key[3], key[4])

    def insert(self, key: Sequence[int], interface: int) -> int:
        """Return a new entry of this decoder for such a key, the one that was touched last."""
        tag = self.tag_of(key[0], key[1], key[2], key[3], key[4])
        return self.take(tag, key[0], key[1], key[2], key[3], key[4], interface)

    def remove(self, slot: int) -> None:
        """Forget an entry, whoever owns it."""
        self.give_back(slot)

    def leave(self, slot: int) -> None:
        """Mark an entry as the scalar decoder's."""
        self.unlink(slot)
        self.release(slot)
        self.count -= 1
        self.slots[slot * layout.SLOT_WORDS + layout.SLOT_FLAGS] |= layout.SCALAR

    def come_back(self, slot: int, flags: int) -> None:
        """Take an entry back from the scalar decoder, with its flags; it is the one that was touched last."""
        base = slot * layout.SLOT_WORDS
        self.slots[base + layout.SLOT_FLAGS] = flags
        self.slots[base + layout.SLOT_ORDER] = self.order
        self.slots[base + layout.SLOT_LAST] = self.now
        self.link(slot)
        self.count += 1

    def take_over(self, now: int, fed: int, connections: int, due: int) -> None:
        """Take over what the scalar decoder has become: time, records, connections, and when it has to act."""
        self.now = max(self.now, now)
        self.order = max(self.order, fed)
        self.elsewhere = connections
        self.due = min(due, self.sweep)

    def skip(self, slot: int) -> None:
        """Read no more of a connection, whoever owns it, until a SYN opens another."""
        if self.slots[slot * layout.SLOT_WORDS + layout.SLOT_FLAGS] & layout.SCALAR:
            self.link(slot)
            self.count += 1
        self.ignore(slot)

    def skip_record(self, slot: int) -> None:
        """Count a record that is not read, of a connection that is skipped; 0: of none."""
        if slot:
            self.touch(slot)
        self.order += 1

    def expire(self, idle: int) -> bool:
        """Forget connections that were silent for `idle` nanoseconds; False where the next has a pending question."""
        return bool(self.expire_silent(idle))

    @property
    def questions_left(self) -> int:
        """How many questions can be added at least."""
        return int(self.question_limit - 1 - self.question_count)

    def ask(self, slot: int, call_id: int, time_ns: int, fields: dict[int, int], content: bytes) -> None:
        """Add a pending question to an entry; there must be room."""
        number = self.new_question(slot)
        question = self.arrays["questions"][number]
        for field, value in fields.items():
            question[field] = value
        question[layout.QUESTION_CALL] = call_id
        question[layout.QUESTION_TIME] = time_ns
        question[layout.QUESTION_BYTES :].view(np.uint8)[: len(content)] = np.frombuffer(content, np.uint8)
        if fields[layout.QUESTION_KIND] == layout.CALL:
            self.buffered += len(content)
        else:
            self.buffered += layout.ELEMENT_BYTES * fields[layout.QUESTION_CONTEXT]
        self.first_asked = min(self.first_asked, time_ns)
        self.sweep = min(self.sweep, time_ns + self.patience)

    def overdue(self, asked_until: int) -> list[tuple[int, int, int]]:
        """Return (time, order of last touch, entry) of the questions that were asked up to then."""
        if self.first_asked > asked_until:
            return []
        asked = self.arrays["questions"][1 : self.question_high + 1]
        pending = asked[asked[:, layout.QUESTION_KIND] != 0]
        late = pending[pending[:, layout.QUESTION_TIME] <= asked_until]
        later = pending[pending[:, layout.QUESTION_TIME] > asked_until][:, layout.QUESTION_TIME]
        self.first_asked = int(later.min()) if len(later) else (1 << 63) - 1
        orders = self.arrays["slots"][late[:, layout.QUESTION_SLOT], layout.SLOT_ORDER]
        times, entries = late[:, layout.QUESTION_TIME], late[:, layout.QUESTION_SLOT]
        return sorted(zip(times.tolist(), orders.tolist(), entries.tolist(), strict=True))

    # In C.

    def tag_of(self, high: int, low: int, server_high: int, server_low: int, ports: int) -> int:
        """Return the hash of a connection's key."""
        return hints.tag_of(self.secret, self.multiplier, high, low, server_high, server_low, ports)

    def find(self, tag: int, high: int, low: int, server_high: int, server_low: int, ports: int) -> int:
        """Return the entry of a connection, or 0."""
        at = tag & self.mask
        slot = self.index[2 * at]
        while slot:
            if self.index[2 * at + 1] == tag:
                base = slot * layout.SLOT_WORDS
                if (
                    self.slots[base + layout.SLOT_PORTS] == ports
                    and self.slots[base + layout.SLOT_CLIENT + 1] == low
                    and self.slots[base + layout.SLOT_SERVER + 1] == server_low
                    and self.slots[base + layout.SLOT_CLIENT] == high
                    and self.slots[base + layout.SLOT_SERVER] == server_high
                ):
                    return slot
            at = (at + 1) & self.mask
            slot = self.index[2 * at]
        return 0

    def take(self, tag: int, high: int, low: int, server_high: int, server_low: int, ports: int, interface: int) -> int:
        """Return a new entry for a connection, the newest; there must be room, which the caller sees to."""
        slot = self.free_slot
        if slot:
            self.free_slot = self.slots[slot * layout.SLOT_WORDS + layout.SLOT_CLIENT]
        else:
            self.high_water += 1
            slot = self.high_water
        base = slot * layout.SLOT_WORDS
        for word in range(layout.SLOT_WORDS):
            self.slots[base + word] = 0
        self.slots[base + layout.SLOT_CLIENT] = high
        self.slots[base + layout.SLOT_CLIENT + 1] = low
        self.slots[base + layout.SLOT_SERVER] = server_high
        self.slots[base + layout.SLOT_SERVER + 1] = server_low
        self.slots[base + layout.SLOT_PORTS] = ports
        self.slots[base + layout.SLOT_LAST] = self.now
        self.halves[slot * layout.SLOT_HALVES + layout.HALF_INTERFACE] = interface
        self.halves[slot * layout.SLOT_HALVES + layout.HALF_TAG] = tag
        at = tag & self.mask
        while self.index[2 * at]:
            at = (at + 1) & self.mask
        self.index[2 * at] = slot
        self.index[2 * at + 1] = tag
        self.link(slot)
        self.count += 1
        return slot

    def unindex(self, slot: int) -> None:
        """Take an entry out of the index, and close the hole with those that were pushed past it."""
        at = self.halves[slot * layout.SLOT_HALVES + layout.HALF_TAG] & self.mask
        while self.index[2 * at] != slot:
            at = (at + 1) & self.mask
        following = (at + 1) & self.mask
        while self.index[2 * following]:
            home = self.index[2 * following + 1] & self.mask
            if ((following - home) & self.mask) >= ((following - at) & self.mask):
                self.index[2 * at] = self.index[2 * following]
                self.index[2 * at + 1] = self.index[2 * following + 1]
                at = following
            following = (following + 1) & self.mask
        self.index[2 * at] = 0

    def give_back(self, slot: int) -> None:
        """Forget an entry."""
        base = slot * layout.SLOT_WORDS
        if not self.slots[base + layout.SLOT_FLAGS] & layout.SCALAR:
            self.unlink(slot)
            self.count -= 1
        self.release(slot)
        self.unindex(slot)
        self.slots[base + layout.SLOT_FLAGS] = layout.FREE | layout.CLOSED
        self.slots[base + layout.SLOT_CLIENT] = self.free_slot
        self.free_slot = slot

    def ignore(self, slot: int) -> None:
        """Read no more of a connection of this decoder."""
        flags = slot * layout.SLOT_WORDS + layout.SLOT_FLAGS
        self.release(slot)
        self.slots[flags] = (self.slots[flags] & layout.HAS_INITIAL) | layout.SKIPPED

    def release(self, slot: int) -> None:
        """Let go of an entry's questions and reassembly buffers."""
        half = slot * layout.SLOT_HALVES
        while self.halves[half + layout.HALF_QUESTIONS]:
            self.drop_question(slot, self.halves[half + layout.HALF_QUESTIONS])
        self.drop_partial(slot, 0)
        self.drop_partial(slot, 1)

    def link(self, slot: int) -> None:
        """Put an entry at the newest end of the order of last touch."""
        self.links[2 * slot] = self.newest
        self.links[2 * slot + 1] = 0
        if self.newest:
            self.links[2 * self.newest + 1] = slot
        else:
            self.oldest = slot
        self.newest = slot

    def unlink(self, slot: int) -> None:
        """Take an entry out of that order."""
        older = self.links[2 * slot]
        newer = self.links[2 * slot + 1]
        if older:
            self.links[2 * older + 1] = newer
        else:
            self.oldest = newer
        if newer:
            self.links[2 * newer] = older
        else:
            self.newest = older

    def expire_silent(self, idle: int) -> bool:
        """Forget silent connections from the oldest on; False where the next of them has a pending question."""
        slot = self.oldest
        while slot and self.slots[slot * layout.SLOT_WORDS + layout.SLOT_LAST] + idle <= self.now:
            if self.halves[slot * layout.SLOT_HALVES + layout.HALF_QUESTIONS]:
                return False
            self.give_back(slot)
            slot = self.oldest
        return True

    def touch(self, slot: int) -> None:
        """Note that a connection was touched by the record being read."""
        base = slot * layout.SLOT_WORDS
        self.slots[base + layout.SLOT_LAST] = self.now
        self.slots[base + layout.SLOT_ORDER] = self.order + 1
        if self.newest != slot:
            self.unlink(slot)
            self.link(slot)

    def new_question(self, slot: int) -> int:
        """Return a new question at the end of a connection's, or 0 where it may have no more."""
        half = slot * layout.SLOT_HALVES + layout.HALF_QUESTIONS
        count = 0
        last = 0
        question = self.halves[half]
        while question:
            last = question
            count += 1
            question = self.questions[last * layout.QUESTION_WORDS + layout.QUESTION_NEXT]
        if count >= layout.QUESTIONS:
            return 0
        question = self.free_question
        if question:
            self.free_question = self.questions[question * layout.QUESTION_WORDS + layout.QUESTION_NEXT]
        elif self.question_high + 1 < self.question_limit:
            self.question_high += 1
            question = self.question_high
        else:
            return 0
        self.question_count += 1
        base = question * layout.QUESTION_WORDS
        self.questions[base + layout.QUESTION_NEXT] = 0
        self.questions[base + layout.QUESTION_SLOT] = slot
        if last:
            self.questions[last * layout.QUESTION_WORDS + layout.QUESTION_NEXT] = question
        else:
            self.halves[half] = question
        return question

    def find_question(self, slot: int, kind: int, call_id: int) -> int:
        """Return a connection's question of that kind and call identifier, or 0."""
        question = self.halves[slot * layout.SLOT_HALVES + layout.HALF_QUESTIONS]
        while question:
            base = question * layout.QUESTION_WORDS
            if (
                self.questions[base + layout.QUESTION_CALL] == call_id
                and self.questions[base + layout.QUESTION_KIND] == kind
            ):
                return question
            question = self.questions[base + layout.QUESTION_NEXT]
        return 0

    def drop_question(self, slot: int, question: int) -> None:
        """Forget a question of a connection."""
        half = slot * layout.SLOT_HALVES + layout.HALF_QUESTIONS
        base = question * layout.QUESTION_WORDS
        if self.halves[half] == question:
            self.halves[half] = self.questions[base + layout.QUESTION_NEXT]
        else:
            before = self.halves[half]
            while self.questions[before * layout.QUESTION_WORDS + layout.QUESTION_NEXT] != question:
                before = self.questions[before * layout.QUESTION_WORDS + layout.QUESTION_NEXT]
            self.questions[before * layout.QUESTION_WORDS + layout.QUESTION_NEXT] = self.questions[
                base + layout.QUESTION_NEXT
            ]
        if self.questions[base + layout.QUESTION_KIND] == layout.CALL:
            self.buffered -= self.questions[base + layout.QUESTION_LENGTH]
        else:
            self.buffered -= layout.ELEMENT_BYTES * self.questions[base + layout.QUESTION_CONTEXT]
        self.questions[base + layout.QUESTION_KIND] = 0
        self.questions[base + layout.QUESTION_NEXT] = self.free_question
        self.free_question = question
        self.question_count -= 1

    def drop_partial(self, slot: int, side: int) -> None:
        """Give back the reassembly buffer of a connection's side, if it has one."""
        half = slot * layout.SLOT_HALVES + side
        number = self.halves[half + layout.HALF_PARTIAL]
        if number:
            self.buffered -= self.halves[half + layout.HALF_PARTIAL_LENGTH]
            self.halves[half + layout.HALF_PARTIAL] = 0
            self.halves[half + layout.HALF_PARTIAL_LENGTH] = 0
            self.partials[self.free_partials] = number
            self.free_partials += 1

    def hold(self, slot: int, side: int, data: memoryview, at: int, count: int) -> bool:
        """Append bytes to the reassembly buffer of a connection's side; False where there is no room."""
        half = slot * layout.SLOT_HALVES + side
        length = self.halves[half + layout.HALF_PARTIAL_LENGTH]
        if length + count > layout.PARTIAL_BYTES:
            return False
        number = self.halves[half + layout.HALF_PARTIAL]
        if not number:
            if self.free_partials <= 1:
                return False
            self.free_partials -= 1
            number = self.partials[self.free_partials]
            self.halves[half + layout.HALF_PARTIAL] = number
        start = number * layout.PARTIAL_BYTES + length
        if cython.compiled:
            hints.copy(cython.address(self.partial_bytes[start]), cython.address(data[at]), count)
        else:
            self.partial_bytes[start : start + count] = data[at : at + count]
        self.halves[half + layout.HALF_PARTIAL_LENGTH] = length + count
        self.buffered += count
        return True
