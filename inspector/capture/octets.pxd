cimport cython

from inspector.decode cimport hints


cdef class Octets:
    cdef const unsigned char[::1] data

    @cython.final
    cdef Py_ssize_t read_8(self, long long at) except -1 nogil
    @cython.final
    cdef Py_ssize_t read_16_big(self, long long at) except -1 nogil
    @cython.final
    cdef Py_ssize_t read_16(self, long long at) except -1 nogil
    @cython.final
    cdef Py_ssize_t read_32(self, long long at) except -1 nogil
    @cython.final
    cdef Py_ssize_t read_32_big(self, long long at) except -1 nogil
    @cython.final
    cdef unsigned long long read_64(self, long long at) except? 0 nogil
