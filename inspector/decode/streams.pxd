cimport cython

from inspector.decode cimport layout
from inspector.decode.calls cimport Calls


cdef class Streams(Calls):
    cdef public long long malformed, not_rpc

    @cython.final
    cdef void lose(self) noexcept nogil
    @cython.final
    cdef int consume(self, long long at, long long end) noexcept nogil
    @cython.final
    cdef int complete(self, long long at, long long end) noexcept nogil
    @cython.final
    cdef bint after_gap(self, long long at, long long end) noexcept nogil
