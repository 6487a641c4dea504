# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""Which finding an answer ends in: by its bind and request, or by its structure as far as those were not seen.

The rules are those of `inspector.wire.answers`. A response that may be of several operations and transfer syntaxes is
tried in each, in the same order. Whether a reading counts is the scalar decoder's to say, once for each content: where
it does not count, its key is kept as refused, and the next one is tried.
"""

from __future__ import annotations

import cython
import numpy as np

from inspector.decode import hints, layout
from inspector.decode.reader import Reader


class Answers(Reader):
    """Ends calls; each handler returns DONE, or why it left everything as it was.

    `repeated` says that the key without a template was met before. `skipped` counts what was not read since a quota of
    the scalar decoder was used up, `unidentified` answers that may be of another interface.
    """

    def __init__(self, connections: int) -> None:
        Reader.__init__(self, connections)
        self.anomalous = self.repeated = False
        self.unidentified = self.skipped = self.matched = self.known = self.transfer = 0
        # For each quota the time until which it takes nothing: of nobody, then of the clients of each bucket.
        self.refusals = np.zeros(layout.QUOTAS * layout.REFUSALS, np.int64).data

    def refuse(self, kind: int, slot: int, until: int, until_of_client: int) -> None:
        """Note until when a quota takes nothing of nobody, and of the client of an entry (0: of none)."""
        self.refusals[kind * layout.REFUSALS] = until
        if slot:
            self.refusals[kind * layout.REFUSALS + self.client_bucket(slot)] = until_of_client

    def client_bucket(self, slot: int) -> int:
        """Return the bucket of an entry's client; the owner of an IPv6 /64 has all of its addresses."""
        base = slot * layout.SLOT_WORDS + layout.SLOT_CLIENT
        by = self.multiplier
        value = hints.mix(self.secret, self.slots[base], by)
        if self.slots[base] == 0:
            value = hints.mix(value, self.slots[base + 1], by)
        return cython.cast(cython.longlong, 1 + (value >> 32) % (layout.REFUSALS - 1))

    def is_refused(self, kind: int, slot: int) -> bool:
        """Return whether a quota takes nothing now, of nobody, or of the client of an entry (0: of none)."""
        until = self.refusals[kind * layout.REFUSALS]
        # What is further away was noted before the clock was set back.
        if self.time < until <= self.time + layout.SECOND:
            return True
        if not slot:
            return False
        until = self.refusals[kind * layout.REFUSALS + self.client_bucket(slot)]
        return self.time < until <= self.time + layout.SECOND

    def start_key(self, kind: int, opnum: int, transfer: int, flags: int) -> None:
        """Begin a key: what every finding depends on. Word 4 is for status and number of towers."""
        base = self.slot * layout.SLOT_WORDS
        self.key[0] = kind | opnum << 8 | transfer << 24 | flags << 32
        if cython.compiled:
            self.key[1] = self.slots[base + layout.SLOT_SERVER]
            self.key[2] = self.slots[base + layout.SLOT_SERVER + 1]
        else:
            self.key[1] = self.slots[base + layout.SLOT_SERVER] & ((1 << 64) - 1)
            self.key[2] = self.slots[base + layout.SLOT_SERVER + 1] & ((1 << 64) - 1)
        self.key[3] = self.slots[base + layout.SLOT_PORTS] >> 16 | cython.cast(cython.ulonglong, self.interface) << 32
        self.key[4] = 0
        self.key_length = 5

    def found_template(self, asked: int) -> int:
        """Write the finding of the key's template; `asked` is the time of the question, or -1."""
        if self.found >= layout.FINDINGS:
            return layout.FULL
        template = self.find_template()
        if template < 0:
            if self.once:
                self.once = False
                return layout.DONE
            # Somebody may send answers of which none is like another: not more than the quota is looked at.
            self.repeated = self.is_repeated()
            if self.is_refused(layout.QUOTA_AGAIN if self.repeated else layout.QUOTA_FIRST, self.slot):
                self.skipped += 1
                return layout.DONE
            return layout.NEW_TEMPLATE
        if self.counted[template] == layout.REFUSED:
            return layout.NOT_READ
        row = self.found * layout.FOUND_WORDS
        base = self.slot * layout.SLOT_WORDS
        self.findings[row + layout.FOUND_TEMPLATE] = template
        self.findings[row + layout.FOUND_CLIENT] = self.slots[base + layout.SLOT_CLIENT]
        self.findings[row + layout.FOUND_CLIENT + 1] = self.slots[base + layout.SLOT_CLIENT + 1]
        self.findings[row + layout.FOUND_PORT] = self.slots[base + layout.SLOT_PORTS] & 0xFFFF
        self.findings[row + layout.FOUND_CALL] = self.call_id
        self.findings[row + layout.FOUND_TIME] = self.time
        self.findings[row + layout.FOUND_ASKED] = asked
        self.found += 1
        if self.counted[template] >= 0:
            self.counted[template] += 1
            self.anomalous = True
        return layout.DONE

    def put_asked(self, question: int) -> bool:
        """Put what a call asked for into the key."""
        base = question * layout.QUESTION_WORDS
        octet = 8 * (base + layout.QUESTION_BYTES) + self.questions[base + layout.QUESTION_ASKED_AT]
        length = self.questions[base + layout.QUESTION_ASKED_LENGTH]
        if cython.compiled:
            return self.put_bytes(cython.address(self.question_bytes[0]), octet, length)
        return self.put_bytes(self.question_bytes, octet, length)

    def answered(self, question: int) -> int:
        """Find the template for the key of an answer, and forget its call."""
        if question and not self.put_asked(question):
            return layout.HAND_OVER
        code = self.found_template(
            self.questions[question * layout.QUESTION_WORDS + layout.QUESTION_TIME] if question else -1
        )
        if code == layout.DONE and question:
            self.drop_question(self.slot, question)
        return code

    def match_call(self, context_id: int) -> int:
        """Note the call that a PDU ends (`matched`, 0: of none), and what is known of its context.

        Return MATCHED, or DONE where the context is another interface's; HAND_OVER where it is not the call's, or more
        is known of it than when the call came.
        """
        word = self.context_of(context_id)
        abstract = word >> 16 & 15 if word >= 0 else layout.ABSTRACT_UNKNOWN
        self.transfer = word >> 20 & 15 if word >= 0 else layout.TRANSFER_NONE
        self.known = layout.EPM_KNOWN if abstract == layout.ABSTRACT_EPM else 0
        self.matched = self.find_question(self.slot, layout.CALL, self.call_id)
        if abstract == layout.ABSTRACT_OTHER:
            if self.matched:
                self.drop_question(self.slot, self.matched)
            return layout.DONE
        base = self.matched * layout.QUESTION_WORDS
        of_context = layout.EPM_KNOWN | 3 << layout.AGREED
        if self.matched and (
            self.questions[base + layout.QUESTION_CONTEXT] != context_id
            or (self.questions[base + layout.QUESTION_READING] & of_context)
            != (self.known | self.transfer << layout.AGREED)
        ):
            return layout.HAND_OVER
        return layout.MATCHED

    def flags_of(self, question: int, known: int, transfer: int) -> int:
        """Return the flags of the key of an answer to a call, or to none that was seen."""
        if not question:
            return known | transfer << layout.AGREED
        base = question * layout.QUESTION_WORDS
        sealed = layout.SEALED_CALL if self.questions[base + layout.QUESTION_SEALED] else 0
        return self.questions[base + layout.QUESTION_READING] | sealed

    def leave_unidentified(self, question: int) -> int:
        """Count an answer of which nothing says that it is the endpoint mapper's."""
        self.unidentified += 1
        if question:
            self.drop_question(self.slot, question)
        return layout.DONE

    def on_response(self) -> int:
        """End a call with its response (C706 section 12.6.4.10)."""
        at = self.pdu_at + layout.HEADER
        stub = at + 8
        end = self.body_end
        if stub > end:
            return self.lose_body()
        if (self.data[self.pdu_at + 3] & 3) != 3:
            return self.lose_fragment()
        if end - stub > self.stub_limit:
            return layout.HAND_OVER
        code = self.match_call(hints.short_at(self.data, at + 4))
        if code != layout.MATCHED:
            return code
        question, known, transfer = self.matched, self.known, self.transfer
        if self.sealed and not known:
            return self.leave_unidentified(question)
        opnum = self.questions[question * layout.QUESTION_WORDS + layout.QUESTION_OPNUM] if question else 0
        flags = self.flags_of(question, known, transfer)
        if self.sealed:
            self.start_key(layout.KIND_SEALED, opnum, transfer, flags)
            return self.answered(question)
        if not (known and question and transfer):
            return self.infer(question, transfer, flags)
        if opnum == layout.EPT_MAP or opnum == layout.EPT_LOOKUP:
            self.start_key(layout.KIND_RESPONSE, opnum, transfer, flags)
            found = self.put_array(stub, end, transfer == layout.TRANSFER_NDR64, opnum == layout.EPT_LOOKUP)
            if found != layout.ARRAY:
                return layout.HAND_OVER
        elif end - stub >= 4:
            self.start_key(layout.KIND_STATUS, opnum, transfer, flags)
            self.key[4] = hints.long_at(self.data, end - 4)
        else:
            return layout.HAND_OVER
        return self.answered(question)

    def infer(self, question: int, transfer: int, flags: int) -> int:
        """End a response whose bind or request was not seen, by the first reading that counts."""
        asked = self.questions[question * layout.QUESTION_WORDS + layout.QUESTION_OPNUM] if question else 0
        for number in range(2):
            opnum = layout.EPT_LOOKUP if number else layout.EPT_MAP
            if question and opnum != asked:
                continue
            for syntax in range(layout.TRANSFER_NDR20, layout.TRANSFER_NDR64 + 1):
                if transfer and syntax != transfer:
                    continue
                code = self.try_reading(question, opnum, syntax, flags)
                if code != layout.NOT_READ:
                    return code
        if not flags & layout.EPM_KNOWN:
            return self.leave_unidentified(question)
        at = self.pdu_at + layout.HEADER + 8
        self.start_key(layout.KIND_UNREADABLE, asked, transfer, flags)
        if not question and self.body_end - at == layout.HANDLE_AND_STATUS:
            self.key[4] = layout.SPAN | hints.long_at(self.data, at + 20)
        return self.answered(question)

    def try_reading(self, question: int, opnum: int, transfer: int, flags: int) -> int:
        """End a response if it reads as that of an operation, in a transfer syntax; NOT_READ where it does not."""
        self.start_key(layout.KIND_INFERRED, opnum, transfer, flags)
        at = self.pdu_at + layout.HEADER + 8
        found = self.put_array(at, self.body_end, transfer == layout.TRANSFER_NDR64, opnum == layout.EPT_LOOKUP)
        if found != layout.ARRAY:
            return layout.HAND_OVER if found == layout.UNSURE else layout.NOT_READ
        return self.answered(question)

    def on_fault(self) -> int:
        """End a call that failed (C706 section 12.6.4.7)."""
        at = self.pdu_at + layout.HEADER
        if at + 12 > self.body_end:
            return self.lose_body()
        code = self.match_call(hints.short_at(self.data, at + 4))
        if code != layout.MATCHED:
            return code
        question, known, transfer = self.matched, self.known, self.transfer
        if not known and not question:
            return self.leave_unidentified(0)
        opnum = self.questions[question * layout.QUESTION_WORDS + layout.QUESTION_OPNUM] if question else 0
        self.start_key(layout.KIND_FAULT, opnum, transfer, self.flags_of(question, known, transfer))
        self.key[4] = hints.long_at(self.data, at + 8)
        code = self.answered(question)
        return self.leave_unidentified(question) if code == layout.NOT_READ else code
