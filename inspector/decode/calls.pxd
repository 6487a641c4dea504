cimport cython

from inspector.decode cimport hints, layout
from inspector.decode.answers cimport Answers


cdef class Calls(Answers):
    cdef public long long captured, elsewhere_buffered, buffered_limit

    @cython.final
    cdef int take_pdu(self) noexcept nogil
    @cython.final
    cdef int on_bind(self) noexcept nogil
    @cython.final
    cdef int on_bind_ack(self) noexcept nogil
    @cython.final
    cdef int number_contexts(self, long long results, long long count) noexcept nogil
    @cython.final
    cdef int on_bind_nak(self) noexcept nogil
    @cython.final
    cdef int on_request(self) noexcept nogil
    @cython.final
    cdef void schedule(self, long long question) noexcept nogil
    @cython.final
    cdef long long count_questions(self, long long kind) noexcept nogil
    @cython.final
    cdef bint has_room(self, long long count) noexcept nogil
    @cython.final
    cdef bint wants_epm(self, long long question) noexcept nogil
    @cython.final
    cdef unsigned int accepted(self, long long half, long long results, long long count, long long context_id) noexcept nogil
    @cython.final
    cdef void add_context(self, unsigned int word) noexcept nogil
