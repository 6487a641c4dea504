# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""Reading PDU headers and the stubs of ept_map and ept_lookup: what is beyond doubt of them.

Sources: C706 chapter 12 and appendix O, MS-RPCE sections 2.2.1.2, 2.2.2.11 and 2.2.5, as in `inspector.wire.pdu`,
`inspector.wire.body` and `inspector.wire.epm`. Offsets count from `data`; every read is preceded by a comparison with
the end of the structure that it belongs to. A reader returns False where the scalar decoder has to decide.
"""

from __future__ import annotations

import cython
import numpy as np

from inspector.decode import hints, layout
from inspector.decode.templates import Templates


class Reader(Templates):
    """The PDU being read, and readers of its parts. `asked_at` and the like are what `read_request` found."""

    def __init__(self, connections: int) -> None:
        Templates.__init__(self, connections)
        self.findings = np.zeros(layout.FINDINGS * layout.FOUND_WORDS, np.int64).data
        self.slot = self.time = self.interface = self.call_id = self.from_server = self.found = 0
        self.pdu_at = self.pdu_length = self.body_end = self.asked_at = self.asked_length = self.asked_flags = (
            self.reading
        ) = 0
        self.call_limit = self.context_limit = self.stub_limit = self.request_limit = 0
        self.trailer_at = 0
        self.sealed = False
        self.malformed = self.fragment_order = 0

    def lose_body(self) -> int:
        """Pass over a PDU with a malformed body: if it is the server's, it may have been an answer."""
        self.malformed += 1
        return self.lose_pdu()

    def lose_fragment(self) -> int:
        """Pass over a fragment whose call has none before it; the first of several is for the scalar decoder."""
        if self.data[self.pdu_at + 3] & 1:
            return layout.HAND_OVER
        self.fragment_order += 1
        return self.lose_pdu()

    def lose_pdu(self) -> int:
        """Note that something of a server could not be read."""
        if self.from_server:
            self.slots[self.slot * layout.SLOT_WORDS + layout.SLOT_FLAGS] |= layout.LOST << 1
        return layout.DONE

    def pdu_bytes(self) -> bytes:
        """Return the bytes of the PDU being read."""
        return bytes(self.data[self.pdu_at : self.pdu_at + self.pdu_length])

    def frag_length(self, at: int, end: int) -> int:
        """Return the length of the PDU at `at`; 0 where more bytes are needed to tell, NOT_PLAIN or NO_PDU."""
        if end - at < layout.HEADER:
            return layout.NOT_PLAIN if self.data[at] == layout.GREETING else 0
        kind = self.data[at + 2]
        integers = self.data[at + 4]
        if (
            self.data[at] != 5
            or self.data[at + 1] > 1
            or kind > layout.RTS
            or not (1 << kind) & 0x1FF80D
            or integers & 0xEE
            or self.data[at + 5] > 3
        ):
            return layout.NOT_PLAIN if self.data[at] == layout.GREETING else layout.NO_PDU
        if integers != 0x10:
            return layout.NOT_PLAIN
        length = cython.cast(cython.longlong, hints.short_at(self.data, at + 8))
        if length < layout.HEADER:
            return layout.NO_PDU
        return length

    def strip_verifier(self) -> bool:
        """Set `body_end`, `sealed` and `trailer_at` (0: none) of the PDU being read; False if its verifier is odd."""
        at = self.pdu_at
        self.sealed = False
        self.trailer_at = 0
        self.body_end = at + self.pdu_length
        verifier = hints.short_at(self.data, at + 10)
        if verifier == 0:
            return True
        trailer = self.pdu_length - verifier - 8
        if trailer < layout.HEADER:
            return False
        padding = self.data[at + trailer + 2]
        if self.data[at + 2] != layout.AUTH3 and trailer - padding < layout.HEADER:
            return False
        self.trailer_at = at + trailer
        self.sealed = self.data[at + trailer + 1] == layout.PRIVACY
        self.body_end = at + max(trailer - padding, layout.HEADER)
        return True

    def is_uuid(self, at: int, first: int, second: int, third: int, fourth: int) -> bool:
        """Return whether the 16 bytes are a UUID, given as four little-endian integers."""
        return (
            hints.long_at(self.data, at) == first
            and hints.long_at(self.data, at + 4) == second
            and hints.long_at(self.data, at + 8) == third
            and hints.long_at(self.data, at + 12) == fourth
        )

    def abstract_at(self, at: int) -> int:
        """Return which abstract syntax this UUID is."""
        if self.is_uuid(at, layout.EPM_UUID_0, layout.EPM_UUID_1, layout.EPM_UUID_2, layout.EPM_UUID_3):
            return layout.ABSTRACT_EPM
        if self.is_uuid(
            at, layout.EXPORTER_UUID_0, layout.EXPORTER_UUID_1, layout.EXPORTER_UUID_2, layout.EXPORTER_UUID_3
        ):
            return layout.ABSTRACT_EXPORTER
        if self.is_uuid(
            at, layout.ACTIVATOR_UUID_0, layout.ACTIVATOR_UUID_1, layout.ACTIVATOR_UUID_2, layout.ACTIVATOR_UUID_3
        ):
            return layout.ABSTRACT_ACTIVATOR
        if self.is_uuid(
            at, layout.ACTIVATION_UUID_0, layout.ACTIVATION_UUID_1, layout.ACTIVATION_UUID_2, layout.ACTIVATION_UUID_3
        ):
            return layout.ABSTRACT_ACTIVATION
        return layout.ABSTRACT_OTHER

    def security(self) -> int:
        """Return authentication level and service of the PDU being read as in a context; -1 where they do not fit."""
        if self.trailer_at == 0:
            return 0
        level = self.data[self.trailer_at + 1]
        service = self.data[self.trailer_at]
        if level > layout.LEVELS or service > layout.SERVICES:
            return -1
        return level << 24 | service << 27

    def transfer_at(self, at: int) -> int:
        """Return which transfer syntax (UUID and version, 20 bytes) this is."""
        if (
            hints.long_at(self.data, at) == layout.NDR20_UUID_0
            and hints.long_at(self.data, at + 4) == layout.NDR20_UUID_1
            and hints.long_at(self.data, at + 8) == layout.NDR20_UUID_2
            and hints.long_at(self.data, at + 12) == layout.NDR20_UUID_3
            and hints.short_at(self.data, at + 16) == 2
        ):
            return layout.TRANSFER_NDR20
        if (
            hints.long_at(self.data, at) == layout.NDR64_UUID_0
            and hints.long_at(self.data, at + 4) == layout.NDR64_UUID_1
            and hints.long_at(self.data, at + 8) == layout.NDR64_UUID_2
            and hints.long_at(self.data, at + 12) == layout.NDR64_UUID_3
            and hints.short_at(self.data, at + 16) == 1
        ):
            return layout.TRANSFER_NDR64
        return layout.TRANSFER_NONE

    def context_of(self, context_id: int) -> int:
        """Return the context word of the connection's context with this identifier, or -1."""
        half = self.slot * layout.SLOT_HALVES + layout.HALF_CONTEXTS
        for number in range(self.halves[half]):
            word = self.halves[half + 1 + number]
            if (word & 0xFFFF) == context_id:
                return word
        return -1

    def only_padding(self, at: int, end: int) -> bool:
        """Return whether nothing but zeroes up to a multiple of eight is left."""
        if end - at > 7:
            return False
        return self.is_null(at, end - at)

    def is_null(self, at: int, count: int) -> bool:
        """Return whether so many bytes are all zero."""
        any_bits = cython.cast(cython.ulonglong, 0)
        end = at + count
        while at + 8 <= end:
            any_bits |= hints.hyper_at(self.data, at)
            at += 8
        while at < end:
            any_bits |= self.data[at]
            at += 1
        return any_bits == 0

    def read_request(self, at: int, end: int, opnum: int, transfer: int, is_known: bool) -> bool:
        """Note what a request's stub asks for, if it reads at all; False where only the scalar decoder can tell.

        `is_known` says that its context is the endpoint mapper's; else the stub may be of any transfer syntax.
        """
        self.asked_at = self.asked_length = 0
        self.reading = transfer << layout.AGREED | layout.CALL_SEEN | (layout.EPM_KNOWN if is_known else 0)
        if opnum != layout.EPT_MAP and opnum != layout.EPT_LOOKUP:
            return True
        if is_known and transfer:
            self.read_as(at, end, opnum, transfer)
            return True
        is_narrow = self.read_as(at, end, opnum, layout.TRANSFER_NDR20)
        is_wide = self.read_as(at, end, opnum, layout.TRANSFER_NDR64)
        if is_narrow and not is_wide:
            self.read_as(at, end, opnum, layout.TRANSFER_NDR20)
        return not (is_narrow and is_wide)

    def read_as(self, at: int, end: int, opnum: int, transfer: int) -> bool:
        """Note what a stub asks for in a transfer syntax; where it does not read so, note nothing and return False."""
        self.asked_at = self.asked_length = self.asked_flags = 0
        if opnum == layout.EPT_MAP:
            is_read = self.read_map_request(at, end, transfer == layout.TRANSFER_NDR64)
        else:
            is_read = self.read_lookup_request(at, end, transfer == layout.TRANSFER_NDR64)
        if is_read:
            self.reading |= self.asked_flags | transfer << layout.READS_AS
        else:
            self.asked_at = self.asked_length = 0
        return is_read

    def referent_at(self, at: int, wide: bool) -> int:
        """Return a referent."""
        return hints.hyper_at(self.data, at) if wide else hints.long_at(self.data, at)

    def read_map_request(self, start: int, end: int, wide: bool) -> bool:
        """Read [in] parameters of ept_map: object, tower, handle, max_towers."""
        unit = 8 if wide else 4
        at = start
        if at + unit > end:
            return False
        is_object = 1 if self.referent_at(at, wide) else 0
        at += unit + (16 if is_object else 0)
        if at + unit > end:
            return False
        is_tower = 1 if self.referent_at(at, wide) else 0
        at += unit
        if is_tower:
            if at + unit + 4 > end:
                return False
            length = hints.long_at(self.data, at + unit)
            if length == 0 or self.referent_at(at, wide) != length:
                return False
            at += unit + 4
            if length > end - at:
                return False
            self.asked_at = at - start
            self.asked_length = length
            at += length
        at = start + ((at - start + 3) & -4)
        if at + 24 > end:
            return False
        if not self.is_null(at, 20):
            self.asked_flags = layout.CONTINUED
        return self.only_padding(at + 24, end)

    def read_lookup_request(self, start: int, end: int, wide: bool) -> bool:
        """Read [in] parameters of ept_lookup: inquiry type, object, interface, version option, handle, max_ents."""
        unit = 8 if wide else 4
        at = start + unit
        if at + unit > end:
            return False
        is_object = 1 if self.referent_at(at, wide) else 0
        at += unit + (16 if is_object else 0)
        if at + unit > end:
            return False
        is_interface = 1 if self.referent_at(at, wide) else 0
        at += unit
        if is_interface:
            if at + 20 > end:
                return False
            self.asked_at = at - start
            self.asked_length = 20
            at += 20
        if at + 28 > end:
            return False
        if not self.is_null(at + 4, 20):
            self.asked_flags = layout.CONTINUED
        if hints.long_at(self.data, start) <= 3 and hints.long_at(self.data, at + 24) > 0:
            self.asked_flags |= layout.EPM_LIKE
        return self.only_padding(at + 28, end)

    def put_array(self, start: int, end: int, wide: bool, is_lookup: bool) -> int:
        """Put status, towers and annotations of a response's stub into the key; the status goes to word 4.

        Return ARRAY, NO_ARRAY for a stub that no strict reader accepts, or UNSURE.
        """
        unit = 8 if wide else 4
        at = start + 24 + 3 * unit
        if at > end:
            return layout.NO_ARRAY
        count = hints.long_at(self.data, start + 20)
        most = self.referent_at(start + 24, wide)
        if (
            self.referent_at(start + 24 + 2 * unit, wide) != count
            or self.referent_at(start + 24 + unit, wide) != 0
            or count > layout.TOWERS
        ):
            return layout.NO_ARRAY
        if most < count:
            return layout.UNSURE if most < 0 else layout.NO_ARRAY
        at = self.put_entries(start, at, end, wide, count) if is_lookup else self.pass_referents(at, end, wide, count)
        if at < 0:
            return -at - 1
        for _ in range(count):
            at = start + ((at - start + unit - 1) & -unit)
            if at + unit + 4 > end:
                return layout.NO_ARRAY
            length = hints.long_at(self.data, at + unit)
            if self.referent_at(at, wide) != length or length > end - at - unit - 4:
                return layout.NO_ARRAY
            at += unit + 4
            if not self.put_bytes(self.data, at, length):
                return layout.UNSURE
            at += length
        at = start + ((at - start + 3) & -4)
        if at + 4 > end or not self.only_padding(at + 4, end):
            return layout.NO_ARRAY
        self.key[4] = hints.long_at(self.data, at) | cython.cast(cython.ulonglong, count) << 32
        return layout.ARRAY

    def pass_referents(self, at: int, end: int, wide: bool, count: int) -> int:
        """Return where the towers of a map response start, or -1 - NO_ARRAY or -1 - UNSURE."""
        unit = 8 if wide else 4
        if count * unit > end - at:
            return -1 - layout.NO_ARRAY
        last = cython.cast(cython.longlong, 0)
        for number in range(count):
            referent = self.referent_at(at + number * unit, wide)
            if referent == 0:
                return -1 - layout.NO_ARRAY
            if referent <= last:
                for earlier in range(number):
                    if self.referent_at(at + earlier * unit, wide) == referent:
                        return -1 - layout.UNSURE
            last = max(last, referent)
        return at + count * unit

    def put_entries(self, start: int, at: int, end: int, wide: bool, count: int) -> int:
        """Put the annotations of a lookup response's entries into the key.

        Return where the towers start, or -1 - NO_ARRAY or -1 - UNSURE.
        """
        unit = 8 if wide else 4
        last = cython.cast(cython.longlong, 0)
        for _ in range(count):
            at = start + ((at - start + unit - 1) & -unit)
            if at + 16 + 3 * unit > end:
                return -1 - layout.NO_ARRAY
            referent = self.referent_at(at + 16, wide)
            if referent <= last:
                return -1 - (layout.UNSURE if referent else layout.NO_ARRAY)
            last = referent
            length = self.referent_at(at + 16 + 2 * unit, wide)
            at += 16 + 3 * unit
            if length < 0 or length > end - at:
                return -1 - layout.NO_ARRAY
            if not self.put_bytes(self.data, at, length):
                return -1 - layout.UNSURE
            at = start + ((at - start + length + 3) & -4)
        return at
