cimport cython

from inspector.capture cimport layout
from inspector.capture.sights cimport Sights


cdef bint is_after(long long one, long long other) noexcept nogil

cdef class Triage(Sights):
    cdef const unsigned char[::1] ports
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
    cdef int is_unacknowledged(self, long long base) except -1 nogil
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
    @cython.final
    cdef int begin(self, long long base) except -1 nogil
    @cython.final
    cdef int follow(self, long long entry, long long from_server) except -1 nogil
    @cython.final
    cdef int may_wait(self, long long base, long long state, long long waited, bint mapper) except -1 nogil
    @cython.final
    cdef int take_reset(self, long long base, long long state, long long from_server, bint mapper) except -1 nogil
    @cython.final
    cdef int take_syn(self, long long entry, long long state, long long from_server, bint mapper) except -1 nogil
    @cython.final
    cdef int is_copy(self, long long time_ns) except -1 nogil
    @cython.final
    cdef int acknowledge(self, long long base, long long from_server) except -1 nogil
    @cython.final
    cdef int take_payload(self, long long base, long long from_server, bint mapper) except -1 nogil
    @cython.final
    cdef int take_again(self, long long base, long long from_server, bint mapper) except -1 nogil
