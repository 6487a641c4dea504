cimport cython

from inspector.decode cimport hints, layout
from inspector.decode.reader cimport Reader


cdef class Answers(Reader):
    cdef public bint anomalous, repeated
    cdef public long long unidentified, skipped
    cdef long long[::1] refusals
    cdef long long matched, known, transfer

    @cython.final
    cdef long long client_bucket(self, long long slot) noexcept nogil
    @cython.final
    cdef bint is_refused(self, long long kind, long long slot) noexcept nogil
    @cython.final
    cdef int on_response(self) noexcept nogil
    @cython.final
    cdef int on_fault(self) noexcept nogil
    @cython.final
    cdef int infer(self, long long question, long long transfer, unsigned long long flags) noexcept nogil
    @cython.final
    cdef int try_reading(self, long long question, long long opnum, long long transfer, unsigned long long flags) noexcept nogil
    @cython.final
    cdef int match_call(self, long long context_id) noexcept nogil
    @cython.final
    cdef unsigned long long flags_of(self, long long question, long long known, long long transfer) noexcept nogil
    @cython.final
    cdef int leave_unidentified(self, long long question) noexcept nogil
    @cython.final
    cdef int answered(self, long long question) noexcept nogil
    @cython.final
    cdef bint put_asked(self, long long question) noexcept nogil
    @cython.final
    cdef void start_key(self, unsigned long long kind, unsigned long long opnum, unsigned long long transfer, unsigned long long flags) noexcept nogil
    @cython.final
    cdef int found_template(self, long long asked) noexcept nogil
