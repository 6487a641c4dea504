cimport cython

from inspector.decode cimport hints, layout
from inspector.decode.table cimport Table


cdef class Templates(Table):
    cdef public unsigned long long[::1] key
    cdef public long long key_length
    cdef public unsigned long long[::1] keys
    cdef public long long keys_used
    cdef public long long[::1] places
    cdef public long long[::1] key_starts
    cdef public long long[::1] counted
    cdef public long long templates
    cdef public bint once
    cdef public unsigned long long[::1] seen
    cdef const unsigned char *data

    @cython.final
    cdef bint is_repeated(self) noexcept nogil
    @cython.final
    cdef unsigned long long hash_key(self) noexcept nogil
    @cython.final
    cdef long long find_template(self) noexcept nogil
    @cython.final
    cdef bint put_bytes(self, const unsigned char *data, long long at, long long count) noexcept nogil
