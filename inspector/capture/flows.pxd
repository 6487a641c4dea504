cimport cython

from inspector.capture cimport layout
from inspector.capture.rows cimport Rows
from inspector.decode cimport hints


cdef class Flows(Rows):
    cdef unsigned long long[::1] entries
    cdef unsigned int[::1] index
    cdef public object client_flags
    cdef unsigned char[::1] clients
    cdef unsigned long long[:, ::1] addresses
    cdef unsigned char[::1] found
    cdef unsigned int mask
    cdef public unsigned long long secret
    cdef long long most
    cdef public long long used, removed, hand

    @cython.final
    cdef int find_flags(self) except -1 nogil
    @cython.final
    cdef long long client_of(self, unsigned long long high, unsigned long long low) noexcept nogil
    @cython.final
    cdef unsigned int tag_of(
        self, unsigned long long one_high, unsigned long long one_low, unsigned long long other_high,
        unsigned long long other_low, unsigned long long ports
    ) noexcept nogil
    @cython.final
    cdef long long lookup(
        self, unsigned long long high, unsigned long long low, unsigned long long server_high,
        unsigned long long server_low, unsigned long long ports
    ) except -1 nogil
    @cython.final
    cdef long long take(
        self, unsigned long long high, unsigned long long low, unsigned long long server_high,
        unsigned long long server_low, unsigned long long ports
    ) except -1 nogil
    @cython.final
    cdef long long remove_oldest(self) except -1 nogil
    @cython.final
    cdef long long choose(self) except -1 nogil
