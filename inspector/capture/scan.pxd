cimport cython

from inspector.decode cimport hints
from inspector.capture cimport layout
from inspector.capture.triage cimport Triage


@cython.final
cdef class Scan(Triage):
    cdef public long long at, packets, to_server, from_server, time_ns, time_due
    cdef public bint classic, big_endian, follows
    cdef const unsigned char[::1] udp_ports
    cdef public long long interfaces, first_interface
    cdef long long size
    cdef long long[:, ::1] table

    cdef Py_ssize_t read_number(self, long long at) except -1 nogil
    cdef int loop(self) except -1 nogil
    cdef Py_ssize_t network_at(self, long long at, long long length, long long number) except -1 nogil
    cdef Py_ssize_t transport_at(self, long long at, long long frame_end, long long ethertype) except -1 nogil
    cdef int is_datagram_of_others(self, long long at, long long frame_end, long long end) except -1 nogil
    cdef int read_frame(self, long long at, long long length, long long number, long long time_ns) except -1 nogil
    cdef int read_error(self, long long at, long long frame_end, long long attributes) except -1 nogil
    cdef int select(self, long long network, long long transport, long long attributes, long long time_ns) except -1 nogil
    cdef int read_segment(
        self, long long frame, long long network, long long transport, long long frame_end, long long end,
        long long attributes, long long interface, long long time_ns
    ) except -1 nogil
