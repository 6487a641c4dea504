cimport cython

from inspector.decode cimport layout
from inspector.decode.calls cimport Calls


cdef class Streams(Calls):
    @cython.final
    cdef int consume(self, long long at, long long end) noexcept nogil
    @cython.final
    cdef int complete(self, long long at, long long end) noexcept nogil
    @cython.final
    cdef bint after_gap(self, long long at, long long end) noexcept nogil
