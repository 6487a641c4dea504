cimport cython

from inspector.decode cimport hints
from inspector.output cimport layout


@cython.final
cdef class LineWriter:
    cdef public long long at
    cdef unsigned char[::1] out
    cdef long long[:] numbers, ports, calls, times, asked, frames
    cdef unsigned long long[:, :] clients
    cdef long long[::1] templates
    cdef const unsigned char[::1] text
    cdef long long[:, ::1] pieces

    cdef Py_ssize_t loop(self, long long start) except -1 nogil
    cdef int put_piece(self, long long template, long long number) except -1 nogil
    cdef int repeat(self, long long start, long long length) except -1 nogil
    cdef int put_byte(self, long long value) except -1 nogil
    cdef int put_fixed(self, long long value, long long digits) except -1 nogil
    cdef int put_number(self, long long value) except -1 nogil
    cdef int put_second(self, long long seconds) except -1 nogil
    cdef int put_fraction(self, long long time_ns) except -1 nogil
    cdef int put_ipv6(self, unsigned long long high, unsigned long long low) except -1 nogil
    cdef int put_address(self, unsigned long long high, unsigned long long low) except -1 nogil
    cdef int put_milliseconds(self, long long time_ns) except -1 nogil


cdef long long hextet(unsigned long long high, unsigned long long low, long long number) noexcept nogil
