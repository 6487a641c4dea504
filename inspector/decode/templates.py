# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""Templates of findings, found by the content which they depend on.

A key is a sequence of 64-bit words: everything in a response (and in its request) that the finding depends on, and
nothing that differs between equal answers, as handles, referents and call identifiers. Keys are kept and compared in
full, so that no collision of hashes can give a wrong finding. The table is bounded: where it is full, all is forgotten.
"""

from __future__ import annotations

import cython
import numpy as np

from inspector.decode import hints, layout
from inspector.decode.table import Table


class Templates(Table):
    """Template numbers by key; `key` is the one that is being put together, `key_length` its length in words."""

    def __init__(self, connections: int) -> None:
        Table.__init__(self, connections)
        self.key = np.zeros(layout.KEY_WORDS, np.uint64).data
        self.key_length = 0
        self.keys = np.zeros(layout.ALL_KEY_WORDS, np.uint64).data
        # Template number + 1, and the hash's upper half above it; 0 for none.
        self.places = np.zeros(layout.TEMPLATE_PLACES, np.int64).data
        # Where a template's key starts; the next one's start is its end.
        self.key_starts = np.zeros(layout.TEMPLATES + 1, np.int64).data
        # How often templates with anomalies were met, NOT_COUNTED or REFUSED.
        self.counted = np.zeros(layout.TEMPLATES, np.int64).data
        self.seen = np.zeros(layout.SEEN, np.uint64).data
        # Whether the finding of the PDU being read was made without a template.
        self.once = False
        self.forget()

    def forget(self) -> None:
        """Forget all templates."""
        self.keys_used = self.templates = 0
        np.asarray(self.places)[...] = 0
        self.key_starts[0] = 0

    @property
    def full(self) -> bool:
        """Whether there may be no room for one more template."""
        return bool(self.templates >= layout.TEMPLATES or self.keys_used + layout.KEY_WORDS > layout.ALL_KEY_WORDS)

    def is_repeated(self) -> bool:
        """Return whether the key was met before: a forged answer comes once, and is not worth a template.

        Of keys with a like hash the last four are known: of two in one place, each would make the other forgotten.
        """
        hashed = self.hash_key()
        at = (hashed & (layout.SEEN // layout.SEEN_WAYS - 1)) * layout.SEEN_WAYS
        for way in range(layout.SEEN_WAYS):
            if self.seen[at + way] == hashed:
                return True
        for way in range(layout.SEEN_WAYS - 1, 0, -1):
            self.seen[at + way] = self.seen[at + way - 1]
        self.seen[at] = hashed
        return False

    def add(self, counted: int) -> int | None:
        """Keep the key under the next number, and return it; None where too many have a like hash.

        `counted` is 0 for a template with anomalies, NOT_COUNTED for one without, or REFUSED.
        """
        mask = layout.TEMPLATE_PLACES - 1
        hashed = self.hash_key()
        at = hashed & mask
        for _ in range(layout.TEMPLATE_PROBES):
            if self.places[at] == 0:
                break
            at = (at + 1) & mask
        else:
            return None
        number = self.templates
        for word in range(self.key_length):
            self.keys[self.keys_used + word] = self.key[word]
        self.keys_used += self.key_length
        self.templates = number + 1
        self.key_starts[number + 1] = self.keys_used
        self.counted[number] = counted
        self.places[at] = (hashed >> 33) << 32 | (number + 1)
        return int(number)

    def hash_key(self) -> int:
        """Return the hash of the key: four chains of multiplications, which the processor follows side by side."""
        multiplier = self.multiplier
        first = self.secret
        second = first ^ self.key_length
        third = first
        fourth = first
        length = self.key_length
        at = 0
        while at + 4 <= length:
            first = (first ^ self.key[at]) * multiplier
            second = (second ^ self.key[at + 1]) * multiplier
            third = (third ^ self.key[at + 2]) * multiplier
            fourth = (fourth ^ self.key[at + 3]) * multiplier
            if not cython.compiled:
                full = (1 << 64) - 1
                first, second, third, fourth = first & full, second & full, third & full, fourth & full
            first ^= first >> 32
            second ^= second >> 32
            third ^= third >> 32
            fourth ^= fourth >> 32
            at += 4
        while at < length:
            first = hints.mix(first, self.key[at], multiplier)
            at += 1
        return hints.mix(hints.mix(hints.mix(first, second, multiplier), third, multiplier), fourth, multiplier)

    def find_template(self) -> int:
        """Return the number of the template with this key, or -1."""
        mask = layout.TEMPLATE_PLACES - 1
        hashed = self.hash_key()
        at = cython.cast(cython.longlong, hashed & mask)
        tag = cython.cast(cython.longlong, hashed >> 33)
        for _ in range(layout.TEMPLATE_PROBES):
            place = self.places[at]
            if place == 0:
                return -1
            if place >> 32 == tag:
                number = (place & 0x7FFFFFFF) - 1
                start = self.key_starts[number]
                if self.key_starts[number + 1] - start == self.key_length:
                    if cython.compiled:
                        equal = hints.same(
                            cython.address(self.keys[start]), cython.address(self.key[0]), 8 * self.key_length
                        )
                    else:
                        equal = self.keys[start : start + self.key_length] == self.key[: self.key_length]
                    if equal:
                        return number
            at = (at + 1) & mask
        return -1

    def put_bytes(self, data: memoryview, at: int, count: int) -> bool:
        """Append a length and so many bytes to the key; False where they do not fit."""
        words = count >> 3
        if self.key_length + words + 2 > layout.KEY_WORDS:
            return False
        to = self.key_length
        self.key[to] = count
        to += 1
        if cython.compiled:
            hints.copy(cython.address(self.key[to]), cython.address(data[at]), 8 * words)
        else:
            for word in range(words):
                self.key[to + word] = hints.hyper_at(data, at + 8 * word)
        to += words
        rest = count & 7
        if rest:
            last = cython.cast(cython.ulonglong, 0)
            for offset in range(rest):
                last |= cython.cast(cython.ulonglong, data[at + 8 * words + offset]) << (8 * offset)
            self.key[to] = last
            to += 1
        self.key_length = to
        return True
