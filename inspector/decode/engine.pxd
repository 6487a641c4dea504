cimport cython

from inspector.decode cimport hints, layout
from inspector.decode.calls cimport Calls


@cython.final
cdef class Engine(Calls):
    cdef const unsigned long long[:, ::1] block
    cdef const unsigned char[::1] record
    cdef const long long *rows
    cdef const unsigned int *row_halves
    cdef long long words, capacity
    cdef public long long elsewhere_buffered, buffered_limit, idle, oldest_elsewhere, consumed, gaps
    cdef public bint losing
    cdef unsigned int[16] tags

    cdef int _open_block(self, object block) except -1
    cdef int loop(self, long long start, long long stop, bint resume) noexcept nogil
    cdef long long number
    cdef void prepare(self, long long number) noexcept nogil
    cdef long long entry_of(self, long long number, long long from_server) noexcept nogil
    cdef long long unwrap(self, long long position, long long sequence) noexcept nogil
    cdef int follow(self, long long number, bint resume) noexcept nogil
    cdef bint restart(self, long long half) noexcept nogil
    cdef int consume(self, long long at, long long end) noexcept nogil
    cdef int complete(self, long long at, long long end) noexcept nogil
    cdef bint after_gap(self, long long at, long long end) noexcept nogil
