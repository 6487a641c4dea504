cimport cython

from inspector.decode cimport hints, layout
from inspector.decode.streams cimport Streams


cdef class Rows(Streams):
    cdef Py_buffer view
    cdef long long[::1] addresses, own_addresses
    cdef int[::1] widths, own_widths
    cdef public object opened
    cdef const long long *rows
    cdef const unsigned int *row_halves
    cdef long long capacity, opened_rows

    @cython.final
    cdef void select(self, long long number) noexcept nogil
    cpdef bytes record_of(self, long long number)
    cdef int open_batch(self, object batch) except -1
