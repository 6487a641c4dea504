cimport cython

from inspector.decode cimport layout


cdef class Buckets:
    cdef long long[::1] buckets
    cdef long long time

    @cython.final
    cdef bint has_room(self, long long bucket, long long burst) noexcept nogil
    @cython.final
    cdef bint take(self, long long bucket, long long cost, long long burst) noexcept nogil
