cimport cython

from inspector.decode cimport hints, layout
from inspector.decode.rows cimport Rows


@cython.final
cdef class Engine(Rows):
    cdef const unsigned char[::1] record
    cdef public long long idle, oldest_elsewhere, consumed, gaps
    cdef public bint losing
    cdef unsigned int[16] tags

    cdef int loop(self, long long start, long long stop, bint resume) noexcept nogil
    cdef long long number
    cdef void prepare(self, long long number) noexcept nogil
    cdef long long entry_of(self, long long number, long long from_server) noexcept nogil
    cdef long long unwrap(self, long long position, long long sequence) noexcept nogil
    cdef int follow(self, bint resume) noexcept nogil
    cdef bint is_doubtful(self, long long start, long long acknowledged) noexcept nogil
    cdef bint is_bounded(self) noexcept nogil
    cdef bint may_end(self) noexcept nogil
    cdef void end(self) noexcept nogil
    cdef bint restart(self) noexcept nogil
