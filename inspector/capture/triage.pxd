cimport cython

from inspector.capture cimport layout
from inspector.capture.course cimport Course

cdef class Triage(Course):
    cdef public object early_clients
    cdef unsigned long long[::1] early
    cdef public long long latest, known_frames
    cdef public bint everything, watched_only

    @cython.final
    cdef long long enter(
        self, unsigned long long high, unsigned long long low, unsigned long long server_high,
        unsigned long long server_low, unsigned long long ports
    ) except -1 nogil
    @cython.final
    cdef int condemn(self, long long entry) except -1 nogil
    @cython.final
    cdef int may_be_offered(self, long long client, long long port) except -1 nogil
    @cython.final
    cdef int judge_end(self, long long entry) except -1 nogil
    @cython.final
    cdef int classify(self) except -1 nogil
    @cython.final
    cdef long long find(self, long long from_server) except -1 nogil
    @cython.final
    cdef long long open(self, long long from_server) except -1 nogil
    @cython.final
    cdef int of_mapper(self, long long from_server) except -1 nogil
    @cython.final
    cdef int survey_mapper(self, long long from_server) except -1 nogil
    @cython.final
    cdef int of_endpoint(self) except -1 nogil
    @cython.final
    cdef int of_new_endpoint(self) except -1 nogil
