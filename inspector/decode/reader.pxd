cimport cython

from inspector.decode cimport hints, layout
from inspector.decode.templates cimport Templates


cdef class Reader(Templates):
    cdef public long long slot, time
    cdef public unsigned int interface, call_id
    cdef public long long from_server
    cdef public long long pdu_at, pdu_length, body_end
    cdef public long long trailer_at
    cdef public bint sealed
    cdef public long long malformed, fragment_order
    cdef public long long asked_at, asked_length, asked_flags, reading
    cdef public long long call_limit, context_limit, stub_limit, request_limit
    cdef public long long[::1] findings
    cdef public long long found

    @cython.final
    cdef int lose_body(self) noexcept nogil
    @cython.final
    cdef int lose_fragment(self) noexcept nogil
    @cython.final
    cdef int lose_pdu(self) noexcept nogil
    @cython.final
    cdef long long frag_length(self, long long at, long long end) noexcept nogil
    @cython.final
    cdef bint strip_verifier(self) noexcept nogil
    @cython.final
    @cython.final
    cdef bint is_uuid(
        self, long long at, unsigned int first, unsigned int second, unsigned int third, unsigned int fourth
    ) noexcept nogil
    @cython.final
    cdef long long abstract_at(self, long long at) noexcept nogil
    @cython.final
    cdef long long security(self) noexcept nogil
    @cython.final
    cdef long long transfer_at(self, long long at) noexcept nogil
    @cython.final
    cdef long long context_of(self, long long context_id) noexcept nogil
    @cython.final
    cdef bint only_padding(self, long long at, long long end) noexcept nogil
    @cython.final
    cdef bint is_null(self, long long at, long long count) noexcept nogil
    @cython.final
    cdef bint read_request(self, long long at, long long end, long long opnum, long long transfer, bint is_known) noexcept nogil
    @cython.final
    cdef bint read_as(self, long long at, long long end, long long opnum, long long transfer) noexcept nogil
    @cython.final
    cdef bint read_map_request(self, long long start, long long end, bint wide) noexcept nogil
    @cython.final
    cdef bint read_lookup_request(self, long long start, long long end, bint wide) noexcept nogil
    @cython.final
    cdef int put_array(self, long long start, long long end, bint wide, bint is_lookup) noexcept nogil
    @cython.final
    cdef long long pass_referents(self, long long at, long long end, bint wide, long long count) noexcept nogil
    @cython.final
    cdef long long put_entries(self, long long start, long long at, long long end, bint wide, long long count) noexcept nogil
    @cython.final
    cdef long long referent_at(self, long long at, bint wide) noexcept nogil
