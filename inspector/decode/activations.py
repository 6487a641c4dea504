# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""What findings on calls of DCOM depend on: the parts of requests and answers which `inspector.wire.dcom` reads.

Keys take these bytes as they are, and leave out what differs between equal calls and is not read: causality
identifiers, objects and their interface pointers, activation properties of no interest. Where a part is left out
depends on bytes of the key alone. Of a stub that is not as expected all bytes are taken, so that no key is too short:
calls with a like key have a like finding.
"""

from __future__ import annotations

import cython

from inspector.decode import hints, layout
from inspector.decode.reader import Reader


class Activations(Reader):
    """Puts stubs of DCOM into the key; each returns False, or -1, where the key has no room or the stub is odd."""

    def put_word(self, word: int) -> None:
        """Append a word to the key, which has room for it after its start."""
        self.key[self.key_length] = word
        self.key_length += 1

    def put_dcom_question(self, question: int, abstract: int, opnum: int, wide: bool) -> bool:
        """Put what a pending call says: authentication, and of its stub what is read."""
        base = question * layout.QUESTION_WORDS
        length = self.questions[base + layout.QUESTION_LENGTH]
        security = self.questions[base + layout.QUESTION_SECURITY]
        self.put_word(security | length << 32)
        if security & layout.SEALED:
            return True
        number = self.questions[base + layout.QUESTION_BUFFER]
        at = number * layout.PARTIAL_BYTES if number else 8 * (base + layout.QUESTION_BYTES)
        if cython.compiled:
            data = cython.address(self.partial_bytes[0]) if number else cython.address(self.question_bytes[0])
        else:
            data = self.partial_bytes if number else self.question_bytes
        if abstract == layout.ABSTRACT_EXPORTER:
            if opnum != layout.RESOLVE_OXID and opnum != layout.RESOLVE_OXID_2:
                return True
            return self.put_bytes(data, at, length)
        if abstract == layout.ABSTRACT_ACTIVATION:
            return self.put_this(data, at, at + length, at + length)
        if opnum != layout.GET_CLASS_OBJECT and opnum != layout.CREATE_INSTANCE:
            return True
        return self.put_activation(data, at, at + length, opnum, wide)

    def put_dcom_answer(self, start: int, end: int, abstract: int, opnum: int, wide: bool) -> bool:
        """Put what is read of an answer's stub."""
        self.put_word(end - start)
        if abstract == layout.ABSTRACT_ACTIVATOR and (
            opnum == layout.GET_CLASS_OBJECT or opnum == layout.CREATE_INSTANCE
        ):
            return self.put_activated(start, end, wide)
        if self.is_read(abstract, opnum) or end - start < 4:
            return self.put_bytes(self.data, start, end - start)
        # The status.
        return self.put_bytes(self.data, end - 4, 4)

    def is_read(self, abstract: int, opnum: int) -> bool:
        """Return whether the whole answer of an operation is read; activation properties are not among these."""
        if abstract == layout.ABSTRACT_EXPORTER:
            return opnum == layout.RESOLVE_OXID or opnum == layout.RESOLVE_OXID_2 or opnum == layout.SERVER_ALIVE_2
        return abstract == layout.ABSTRACT_ACTIVATION and opnum == 0

    def count_at(self, data: memoryview, at: int, wide: bool) -> int:
        """Return a referent or count at an offset."""
        return hints.hyper_at(data, at) if wide else hints.long_at(data, at)

    def put_this(self, data: memoryview, start: int, until: int, end: int) -> bool:
        """Put a request up to an offset, but for the causality identifier (ORPCTHIS, MS-DCOM section 2.2.13.3)."""
        if end - start < layout.CAUSALITY_END:
            return self.put_bytes(data, start, end - start)
        if not self.put_bytes(data, start, layout.CAUSALITY_AT):
            return False
        return self.put_bytes(data, start + layout.CAUSALITY_END, until - start - layout.CAUSALITY_END)

    def put_activation(self, data: memoryview, start: int, end: int, opnum: int, wide: bool) -> bool:
        """Put the request of an activation: its properties behind ORPCTHIS, and a referent that is null."""
        unit = 8 if wide else 4
        extensions = start + (32 if wide else 28)
        pointer = extensions + unit + (unit if opnum == layout.CREATE_INSTANCE else 0)
        at = pointer + unit
        before = self.key_length
        if (
            at <= end
            and self.count_at(data, extensions, wide) == 0
            and (pointer == extensions + unit or self.count_at(data, extensions + unit, wide) == 0)
            and self.count_at(data, pointer, wide) != 0
            and self.put_this(data, start, at, end)
            and self.put_properties(data, at, end, wide) >= 0
        ):
            return True
        self.key_length = before
        return self.put_this(data, start, end, end)

    def put_activated(self, start: int, end: int, wide: bool) -> bool:
        """Put the answer of an activation: ORPCTHAT (MS-DCOM section 2.2.13.4), properties, and what follows."""
        unit = 8 if wide else 4
        at = start + 3 * unit
        before = self.key_length
        if (
            at <= end
            and self.count_at(self.data, start + unit, wide) == 0
            and self.count_at(self.data, start + 2 * unit, wide) != 0
            and self.put_bytes(self.data, start, at - start)
        ):
            stop = self.put_properties(self.data, at, end, wide)
            if stop >= 0:
                return self.put_bytes(self.data, stop, end - stop)
        self.key_length = before
        return self.put_bytes(self.data, start, end - start)

    def put_properties(self, data: memoryview, at: int, end: int, wide: bool) -> int:
        """Put an interface pointer to activation properties (MS-DCOM section 2.2.22): those of interest.

        Return where it ends, or -1 where it is not plain.
        """
        unit = 8 if wide else 4
        start = at + unit + 4
        # OBJREF_CUSTOM, then the header's serialization, the header up to its arrays, and their two counts.
        head = start + layout.CUSTOM_BYTES
        identifiers = head + layout.SERIALIZATION_BYTES + 52
        if identifiers + 4 > end:
            return -1
        size = cython.cast(cython.longlong, hints.long_at(data, at + unit))
        stop = start + size
        count = cython.cast(cython.longlong, hints.long_at(data, head + layout.SERIALIZATION_BYTES + 16))
        if stop > end or count > layout.MOST_PROPERTIES:
            return -1
        sizes = identifiers + 16 * count + 4
        properties = sizes + 4 * count
        if properties > stop or not self.put_bytes(data, at, properties - at):
            return -1
        at = head + hints.long_at(data, head + layout.SERIALIZATION_BYTES + 4)
        for number in range(count):
            size = cython.cast(cython.longlong, hints.long_at(data, sizes + 4 * number))
            if at > stop or size > stop - at:
                return -1
            # The rest of the identifiers does not matter here: rather too many properties are taken than too few.
            identifier = hints.long_at(data, identifiers + 16 * number)
            if (
                identifier == layout.INSTANTIATION_INFO
                or identifier == layout.SECURITY_INFO
                or identifier == layout.SCM_REPLY_INFO
            ):
                if not self.put_bytes(data, at, size):
                    return -1
            elif identifier == layout.PROPS_OUT_INFO and not self.put_results(data, at, at + size):
                return -1
            at += size
        return stop

    def put_results(self, data: memoryview, start: int, stop: int) -> bool:
        """Put PropsOutInfo (MS-DCOM section 2.2.22.2.9): interfaces, results and references; not which objects."""
        before = self.key_length
        if self.put_references(data, start, stop):
            return True
        self.key_length = before
        return self.put_bytes(data, start, stop - start)

    def put_references(self, data: memoryview, start: int, stop: int) -> bool:
        """Put PropsOutInfo without the objects that standard references name; False where it is not plain."""
        stub = start + layout.SERIALIZATION_BYTES
        at = stub + 16
        if at > stop or data[start + 1] != layout.LITTLE_ENDIAN:
            return False
        count = cython.cast(cython.longlong, hints.long_at(data, stub))
        if count > layout.MOST_INTERFACES:
            return False
        if hints.long_at(data, stub + 4):
            at += 4 + 16 * count
        if hints.long_at(data, stub + 8):
            at += 4 + 4 * count
        referents = at + 4
        at = referents + 4 * count
        if hints.long_at(data, stub + 12) == 0 or at > stop or not self.put_bytes(data, start, at - start):
            return False
        for number in range(count):
            if hints.long_at(data, referents + 4 * number) == 0:
                continue
            at = stub + ((at - stub + 3) & -4)
            if at + 8 > stop:
                return False
            size = cython.cast(cython.longlong, hints.long_at(data, at + 4))
            if size > stop - at - 8 or not self.put_reference(data, at, at + 8, size):
                return False
            at += 8 + size
        return True

    def put_reference(self, data: memoryview, at: int, reference: int, size: int) -> bool:
        """Put an object reference, counts before it; of a standard one without STDOBJREF (MS-DCOM section 2.2.18)."""
        body = reference + layout.STANDARD_AT + layout.STANDARD_BYTES
        if size < layout.STANDARD_AT + layout.STANDARD_BYTES or hints.long_at(data, reference + 4) != layout.STANDARD:
            return self.put_bytes(data, at, reference + size - at)
        if not self.put_bytes(data, at, reference + layout.STANDARD_AT - at):
            return False
        return self.put_bytes(data, body, reference + size - body)
