cimport cython

from inspector.capture cimport layout
from inspector.capture.flows cimport Flows


cdef class Associations(Flows):
    cdef public object offered_ports, event_rows
    cdef unsigned char[::1] offered
    cdef unsigned long long[::1] servers
    cdef unsigned long long[:, ::1] events
    cdef public long long event_count
    cdef public bint survey
    # The segment that is read.
    cdef unsigned long long source_high, source_low, destination_high, destination_low
    cdef long long source_port, destination_port, tcp_flags, sequence, acknowledgment, hop_limit, time
    cdef long long payload_at, payload_length, captured

    @cython.final
    cdef long long pdu_at(self, long long at, long long left) except -1 nogil
    @cython.final
    cdef int read_question(self, long long base, bint mapper) except -1 nogil
    @cython.final
    cdef int read_answer(self, long long base, bint mapper, bint answers) except -1 nogil
    @cython.final
    cdef int is_bound(self, long long base) except -1 nogil
    @cython.final
    cdef int read_reply(
        self, long long base, long long at, long long length, long long left, bint mapper
    ) except -1 nogil
    @cython.final
    cdef int is_accepted(self, long long at, long long length) except -1 nogil
    @cython.final
    cdef int note_offers(self, long long base) except -1 nogil
    @cython.final
    cdef int compare_facts(self, long long from_server) except -1 nogil
    @cython.final
    cdef int emit(self, long long kind, long long base) except -1 nogil
