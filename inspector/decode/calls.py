# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""What a PDU does to its connection's contexts and pending questions, and which finding it ends in.

The rules are those of `inspector.wire.association` (C706 sections 9.3 and 12.6, MS-RPCE section 3.3), for PDUs that are
beyond doubt: whole calls of contexts whose bind was seen. Everything is checked before anything is changed, so that a
PDU which is not plain can be handed over with the connection as it was before it.
"""

from __future__ import annotations

import cython

from inspector.decode import hints, layout
from inspector.decode.answers import Answers


class Calls(Answers):
    """Takes PDUs; each handler returns DONE, or why it left everything as it was."""

    def __init__(self, connections: int) -> None:
        Answers.__init__(self, connections)
        self.captured = self.elsewhere_buffered = self.buffered_limit = 0

    def take_pdu(self) -> int:
        """Take the PDU at `pdu_at`, of which all bytes are there."""
        if not self.strip_verifier():
            return layout.HAND_OVER
        kind = self.data[self.pdu_at + 2]
        self.call_id = hints.long_at(self.data, self.pdu_at + 12)
        if self.from_server:
            if kind == layout.RESPONSE:
                return self.on_response()
            if kind == layout.BIND_ACK or kind == layout.ALTER_CONTEXT_RESPONSE:
                return self.on_bind_ack()
            if kind == layout.FAULT:
                return self.on_fault()
            if kind == layout.BIND_NAK:
                return self.on_bind_nak()
        elif kind == layout.REQUEST:
            return self.on_request()
        elif kind == layout.BIND or kind == layout.ALTER_CONTEXT:
            return self.on_bind()
        # AUTH3, cancel, shutdown, orphaned (there are no fragments to forget), and what no peer sends: without effect.
        return layout.DONE

    def count_questions(self, kind: int) -> int:
        """Return how many questions of a kind the connection has."""
        count = 0
        question = self.halves[self.slot * layout.SLOT_HALVES + layout.HALF_QUESTIONS]
        while question:
            if self.questions[question * layout.QUESTION_WORDS + layout.QUESTION_KIND] == kind:
                count += 1
            question = self.questions[question * layout.QUESTION_WORDS + layout.QUESTION_NEXT]
        return count

    def schedule(self, question: int) -> None:
        """Note when a new question has to be looked at again."""
        base = question * layout.QUESTION_WORDS
        self.questions[base + layout.QUESTION_TIME] = self.time
        self.questions[base + layout.QUESTION_CALL] = self.call_id
        # Sooner than the next sweep only if the record is much older than the ones before it.
        given_up = self.time + self.patience
        self.first_asked = min(self.first_asked, self.time)
        self.sweep = min(self.sweep, given_up)
        self.due = min(self.due, given_up)

    def on_bind(self) -> int:
        """Keep the proposed contexts (C706 sections 12.6.4.3 and 12.6.4.1)."""
        end = self.body_end
        at = self.pdu_at + layout.HEADER + 12
        if self.count_questions(layout.PROPOSAL) >= self.call_limit:
            return layout.HAND_OVER
        if at > end:
            return self.lose_body()
        count = self.data[at - 4]
        if count > layout.ELEMENTS or not self.has_room(layout.ELEMENT_BYTES * count):
            return layout.HAND_OVER
        start = at
        for _ in range(count):
            if at + 24 > end:
                return self.lose_body()
            at += 24 + 20 * self.data[at + 2]
            if at > end:
                return self.lose_body()
        if self.find_question(self.slot, layout.PROPOSAL, self.call_id):
            return layout.HAND_OVER
        question = self.new_question(self.slot)
        if not question:
            return layout.HAND_OVER
        base = question * layout.QUESTION_WORDS
        self.questions[base + layout.QUESTION_KIND] = layout.PROPOSAL
        self.questions[base + layout.QUESTION_CONTEXT] = count
        half = 2 * (base + layout.QUESTION_BYTES)
        at = start
        for number in range(count):
            abstract = layout.ABSTRACT_EPM if self.is_epm_uuid(at + 4) else layout.ABSTRACT_OTHER
            self.question_halves[half + number] = hints.short_at(self.data, at) | abstract << 16
            at += 24 + 20 * self.data[at + 2]
        self.buffered += layout.ELEMENT_BYTES * count
        self.schedule(question)
        return layout.DONE

    def has_room(self, count: int) -> bool:
        """Return whether so many bytes, and all of the record being read, may be held in addition."""
        return self.buffered + self.elsewhere_buffered + self.captured + count <= self.buffered_limit

    def wants_epm(self, question: int) -> bool:
        """Return whether any proposed context is the endpoint mapper's."""
        half = 2 * (question * layout.QUESTION_WORDS + layout.QUESTION_BYTES)
        for number in range(self.questions[question * layout.QUESTION_WORDS + layout.QUESTION_CONTEXT]):
            if self.question_halves[half + number] >> 16 == layout.ABSTRACT_EPM:
                return True
        return False

    def accepted(self, half: int, results: int, count: int, context_id: int) -> int:
        """Return the word which the last accepted element with a context identifier becomes; 0 for none."""
        word = cython.cast(cython.uint, 0)
        for number in range(count):
            at = results + 24 * number
            element = self.question_halves[half + number]
            if hints.short_at(self.data, at) == 0 and (element & 0xFFFF) == context_id:
                word = element | cython.cast(cython.uint, self.transfer_at(at + 4)) << 20
        return word

    def add_context(self, word: int) -> None:
        """Set a context of the connection, a new one if need be; there must be room."""
        half = self.slot * layout.SLOT_HALVES + layout.HALF_CONTEXTS
        count = self.halves[half]
        for number in range(count):
            if (self.halves[half + 1 + number] & 0xFFFF) == (word & 0xFFFF):
                self.halves[half + 1 + number] = word
                return
        self.halves[half + 1 + count] = word
        self.halves[half] = count + 1

    def on_bind_ack(self) -> int:
        """Add the accepted contexts (C706 section 12.6.4.4); the answer may reject all of the endpoint mapper's."""
        start = self.pdu_at + layout.HEADER
        end = self.body_end
        if start + 10 > end:
            return self.lose_body()
        # The secondary address, then padding to a multiple of four.
        results = start + ((10 + hints.short_at(self.data, start + 8) + 3) & -4) + 4
        if results > end:
            return self.lose_body()
        count = self.data[results - 4]
        question = self.find_question(self.slot, layout.PROPOSAL, self.call_id)
        if results + 24 * count > end:
            return self.lose_body()
        if not question:
            return self.number_contexts(results, count)
        base = question * layout.QUESTION_WORDS
        half = 2 * (base + layout.QUESTION_BYTES)
        elements = self.questions[base + layout.QUESTION_CONTEXT]
        known = self.halves[self.slot * layout.SLOT_HALVES + layout.HALF_CONTEXTS]
        if count > elements or known + count > layout.CONTEXTS or known + count > self.context_limit:
            return layout.HAND_OVER
        offers_epm = False
        for number in range(elements):
            context_id = self.question_halves[half + number] & 0xFFFF
            word = cython.cast(cython.longlong, self.accepted(half, results, count, context_id))
            if word == 0:
                word = self.context_of(context_id)
            if word >= 0 and (word >> 16 & 15) == layout.ABSTRACT_EPM:
                offers_epm = True
        if self.wants_epm(question) and not offers_epm:
            self.start_key(layout.KIND_REJECTED, 0, 0, 0)
            for number in range(count):
                if hints.short_at(self.data, results + 24 * number) and (
                    self.question_halves[half + number] >> 16 == layout.ABSTRACT_EPM
                ):
                    self.key[self.key_length] = hints.short_at(self.data, results + 24 * number + 2)
                    self.key_length += 1
            code = self.found_template(self.questions[base + layout.QUESTION_TIME])
            if code != layout.DONE:
                return code
        for number in range(count):
            if hints.short_at(self.data, results + 24 * number) == 0:
                transfer = cython.cast(cython.uint, self.transfer_at(results + 24 * number + 4))
                self.add_context(self.question_halves[half + number] | transfer << 20)
        self.drop_question(self.slot, question)
        return layout.DONE

    def number_contexts(self, results: int, count: int) -> int:
        """Add accepted contexts whose bind was not seen: they are taken to be numbered from 0."""
        known = self.halves[self.slot * layout.SLOT_HALVES + layout.HALF_CONTEXTS]
        if known + count > layout.CONTEXTS or known + count > self.context_limit:
            return layout.HAND_OVER
        for number in range(count):
            if hints.short_at(self.data, results + 24 * number) == 0:
                transfer = cython.cast(cython.uint, self.transfer_at(results + 24 * number + 4))
                self.add_context(cython.cast(cython.uint, number) | transfer << 20)
        return layout.DONE

    def on_bind_nak(self) -> int:
        """End a proposal that was refused (C706 section 12.6.4.5)."""
        at = self.pdu_at + layout.HEADER
        end = self.body_end
        if at + 2 > end or (at + 2 < end and at + 3 + 2 * self.data[at + 2] > end):
            return self.lose_body()
        question = self.find_question(self.slot, layout.PROPOSAL, self.call_id)
        if not question or self.wants_epm(question):
            self.start_key(layout.KIND_NAK, 0, 0, layout.CALL_SEEN if question else 0)
            self.key[4] = hints.short_at(self.data, at)
            asked = self.questions[question * layout.QUESTION_WORDS + layout.QUESTION_TIME] if question else -1
            code = self.found_template(asked)
            if code != layout.DONE:
                return code
        if question:
            self.drop_question(self.slot, question)
        return layout.DONE

    def on_request(self) -> int:
        """Keep a call of the endpoint mapper until its answer (C706 section 12.6.4.9)."""
        at = self.pdu_at + layout.HEADER
        flags = self.data[self.pdu_at + 3]
        stub = at + (24 if flags & 0x80 else 8)
        if stub > self.body_end:
            return self.lose_body()
        # NT 4.0 and Windows 9x send a request of one PDU with flags 0 (KB 291000).
        if (flags & 3) != 3 and (flags & 3) != 0:
            return self.lose_fragment()
        length = self.body_end - stub
        context_id = hints.short_at(self.data, at + 4)
        word = self.context_of(context_id)
        abstract = word >> 16 & 15 if word >= 0 else layout.ABSTRACT_UNKNOWN
        transfer = word >> 20 & 15 if word >= 0 else layout.TRANSFER_NONE
        if length > self.stub_limit:
            return layout.HAND_OVER
        if abstract == layout.ABSTRACT_OTHER:
            return layout.DONE
        opnum = hints.short_at(self.data, at + 6)
        if (
            length > layout.STUB_BYTES
            or length > self.request_limit
            or self.find_question(self.slot, layout.CALL, self.call_id)
            or self.count_questions(layout.CALL) >= self.call_limit
        ):
            return layout.HAND_OVER
        # Of a sealed stub nothing can be read.
        read = -1 if self.sealed else opnum
        if not self.read_request(stub, self.body_end, read, transfer, abstract == layout.ABSTRACT_EPM):
            return layout.HAND_OVER
        question = self.new_question(self.slot)
        if not question:
            return layout.HAND_OVER
        base = question * layout.QUESTION_WORDS
        self.questions[base + layout.QUESTION_KIND] = layout.CALL
        self.questions[base + layout.QUESTION_CONTEXT] = context_id
        self.questions[base + layout.QUESTION_OPNUM] = opnum
        self.questions[base + layout.QUESTION_SEALED] = self.sealed
        self.questions[base + layout.QUESTION_LENGTH] = length
        self.questions[base + layout.QUESTION_ASKED_AT] = self.asked_at
        self.questions[base + layout.QUESTION_ASKED_LENGTH] = self.asked_length
        self.questions[base + layout.QUESTION_READING] = self.reading
        octet = 8 * (base + layout.QUESTION_BYTES)
        if cython.compiled:
            hints.copy(cython.address(self.question_bytes[octet]), cython.address(self.data[stub]), length)
        else:
            self.question_bytes[octet : octet + length] = self.data[stub : stub + length]
        self.buffered += length
        self.schedule(question)
        return layout.DONE
