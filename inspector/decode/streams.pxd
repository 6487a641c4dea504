cimport cython

from inspector.decode cimport hints, layout
from inspector.decode.calls cimport Calls


cdef class Streams(Calls):
    cdef public long long not_rpc, joined_length, joined_used
    cdef unsigned char[::1] joined
    cdef const unsigned long long[::1] checksum_keys

    @cython.final
    cdef void lose(self) noexcept nogil
    @cython.final
    cdef int consume(self, long long at, long long end) noexcept nogil
    @cython.final
    cdef int complete(self, long long at, long long end) noexcept nogil
    @cython.final
    cdef void note_delivered(self, long long at, long long whole) noexcept nogil
    @cython.final
    cdef unsigned long long checksum_of(self, const unsigned char *data, long long at, long long count) noexcept nogil
    @cython.final
    cdef bint is_repetition(self, long long at, long long count) noexcept nogil
    @cython.final
    cdef bint after_gap(self, long long at, long long end) noexcept nogil
