cimport cython

from inspector.decode cimport hints, layout
from inspector.decode.reader cimport Reader


cdef class Activations(Reader):
    @cython.final
    cdef void put_word(self, unsigned long long word) noexcept nogil
    @cython.final
    cdef bint put_dcom_question(self, long long question, long long abstract, long long opnum, bint wide) noexcept nogil
    @cython.final
    cdef bint put_dcom_answer(
        self, long long start, long long end, long long abstract, long long opnum, bint wide
    ) noexcept nogil
    @cython.final
    cdef bint is_read(self, long long abstract, long long opnum) noexcept nogil
    @cython.final
    cdef unsigned long long count_at(self, const unsigned char *data, long long at, bint wide) noexcept nogil
    @cython.final
    cdef bint put_this(self, const unsigned char *data, long long start, long long until, long long end) noexcept nogil
    @cython.final
    cdef bint put_activation(
        self, const unsigned char *data, long long start, long long end, long long opnum, bint wide
    ) noexcept nogil
    @cython.final
    cdef bint put_activated(self, long long start, long long end, bint wide) noexcept nogil
    @cython.final
    cdef long long put_properties(
        self, const unsigned char *data, long long at, long long end, bint wide
    ) noexcept nogil
    @cython.final
    cdef bint put_results(self, const unsigned char *data, long long start, long long stop) noexcept nogil
    @cython.final
    cdef bint put_references(self, const unsigned char *data, long long start, long long stop) noexcept nogil
    @cython.final
    cdef bint put_reference(
        self, const unsigned char *data, long long at, long long reference, long long size
    ) noexcept nogil
