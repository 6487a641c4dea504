cimport cython

from inspector.decode cimport hints, layout
from inspector.decode.buckets cimport Buckets


@cython.final
cdef class Followed(Buckets):
    cdef public long long[::1] entries
    cdef unsigned int[::1] halves
    cdef unsigned long long[::1] clients
    cdef long long[::1] client_times, chosen, keys
    cdef const long long[::1] addresses
    cdef const int[::1] widths
    cdef object opened
    cdef const long long *rows
    cdef const unsigned int *row_halves
    cdef unsigned long long secret, multiplier
    cdef unsigned char[::1] marks
    cdef unsigned char generation
    cdef long long marks_mask, marks_until, mask, burst, cost, cost_of_client, cost_of_record, count
    cdef public long long refused
    cdef public bint is_open, with_copies

    cpdef bytes record_of(self, long long number)
    cdef int mark(
        self, const unsigned long long[:, :] clients, const long long[:] ports,
        const unsigned long long[:, :] servers, unsigned char[::1] found
    ) except -1
    cdef int find_marks(
        self, const unsigned long long[:, :] clients, const long long[:] ports, unsigned char[::1] found
    ) except -1
    cdef int set_mark(self, unsigned int side) noexcept nogil
    cdef long long mark_of(self, unsigned long long high, unsigned long long low, unsigned long long port) noexcept nogil
    cdef int loop(self, long long count) except -1 nogil
    cdef int load(self, long long number) except -1 nogil
    cdef int prepare(self, long long number) except -1 nogil
    cdef int choose(self, long long key) noexcept nogil
    cdef bint is_undecided(self, long long at, unsigned int flags, unsigned int side) noexcept nogil
    cdef long long decide(
        self, long long at, long long key, unsigned int flags, unsigned int side, unsigned int attributes
    ) noexcept nogil
    cdef bint is_new(self, long long at, unsigned int flags, unsigned int side) noexcept nogil
    cdef long long key_of(
        self, unsigned long long high, unsigned long long low, unsigned long long port,
        unsigned long long server_high, unsigned long long server_low
    ) noexcept nogil
    cdef unsigned long long hash_of_client(self, unsigned int side) noexcept nogil
    cdef long long find(self, long long key) noexcept nogil
    cdef long long place_of(self, long long key) noexcept nogil
    cdef bint knows(self, unsigned long long hashed) noexcept nogil
    cdef int note_client(self, unsigned long long hashed) noexcept nogil
