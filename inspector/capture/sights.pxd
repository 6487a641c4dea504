cimport cython

from inspector.capture cimport layout
from inspector.capture.associations cimport Associations
from inspector.decode cimport hints


cdef class Sights(Associations):
    cdef public object sight_rows
    cdef public long long sight_count
    cdef unsigned long long[:, ::1] sights

    @cython.final
    cdef int sight(self, long long base, long long from_server) except -1 nogil
    @cython.final
    cdef long long sight_of(self, long long base, long long from_server) except? -1 nogil
    @cython.final
    cdef int begins_at(self, long long row, long long start) except -1 nogil
    @cython.final
    cdef int sight_question(self, long long row) except -1 nogil
    @cython.final
    cdef int is_bind(self) except -1 nogil
    @cython.final
    cdef unsigned long long digest(self) except? 0 nogil
