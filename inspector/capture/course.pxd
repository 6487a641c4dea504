cimport cython

from inspector.capture cimport layout
from inspector.capture.sights cimport Sights


cdef bint is_after(long long one, long long other) noexcept nogil

cdef class Course(Sights):
    cdef const unsigned char[::1] ports

    @cython.final
    cdef int is_unacknowledged(self, long long base) except -1 nogil
    @cython.final
    cdef int begin(self, long long base) except -1 nogil
    @cython.final
    cdef int follow(self, long long entry, long long from_server) except -1 nogil
    @cython.final
    cdef int may_wait(self, long long base, long long state, long long waited, bint mapper) except -1 nogil
    @cython.final
    cdef int take_reset(self, long long base, long long state, long long from_server, bint mapper) except -1 nogil
    @cython.final
    cdef int take_syn(self, long long entry, long long state, long long from_server, bint mapper) except -1 nogil
    @cython.final
    cdef int is_copy(self, long long time_ns) except -1 nogil
    @cython.final
    cdef int acknowledge(self, long long base, long long from_server) except -1 nogil
    @cython.final
    cdef int take_payload(self, long long base, long long from_server, bint mapper) except -1 nogil
    @cython.final
    cdef int take_again(self, long long base, long long from_server, bint mapper) except -1 nogil
