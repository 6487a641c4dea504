cimport cython

from inspector.capture cimport layout
from inspector.capture.octets cimport Octets
from inspector.decode cimport hints


cdef class Rows(Octets):
    cdef public object followed_rows
    cdef public long long count, frame, due, followed_count, followed_limit
    cdef unsigned long long[:, ::1] rows, followed
    cdef unsigned char[:, ::1] octets, followed_octets

    @cython.final
    cdef unsigned long long joined(self, long long low, long long high) noexcept nogil
    @cython.final
    cdef int write_followed(self, long long length, long long captured, long long time_ns) except -1 nogil
    @cython.final
    cdef int write_row(
        self, long long network, long long transport, long long payload, long long payload_length, long long captured,
        long long attributes, long long interface, long long time_ns
    ) except -1 nogil
    @cython.final
    cdef int copy(self, long long number, long long at, long long count) except -1 nogil
