cimport cython

from inspector.decode cimport hints, layout


cdef class Table:
    cdef public object arrays
    cdef public long long[::1] slots
    cdef public unsigned int[::1] halves
    cdef public int[::1] links
    cdef public unsigned int[::1] index
    cdef public unsigned int mask
    cdef public unsigned long long secret
    cdef public unsigned long long multiplier
    cdef public long long[::1] questions
    cdef public unsigned int[::1] question_halves
    cdef public unsigned char[::1] question_bytes
    cdef public unsigned char[::1] partial_bytes
    cdef public int[::1] partials
    cdef public long long now, order, count, elsewhere, limit, evicted, buffered, first_asked, patience, due, sweep
    cdef public long long oldest, newest, free_slot, high_water
    cdef public long long free_question, question_high, question_count, question_limit
    cdef public long long free_partials

    @cython.final
    cdef unsigned int tag_of(
        self, long long high, long long low, long long server_high, long long server_low, long long ports
    ) noexcept nogil
    @cython.final
    cdef long long find(
        self, unsigned int tag, long long high, long long low, long long server_high, long long server_low, long long ports
    ) noexcept nogil
    @cython.final
    cdef long long take(
        self, unsigned int tag, long long high, long long low, long long server_high, long long server_low,
        long long ports, unsigned int interface
    ) noexcept nogil
    @cython.final
    cdef bint expire_silent(self, long long idle) noexcept nogil
    @cython.final
    cdef void give_back(self, long long slot) noexcept nogil
    @cython.final
    cdef void unindex(self, long long slot) noexcept nogil
    @cython.final
    cdef void link(self, long long slot) noexcept nogil
    @cython.final
    cdef void unlink(self, long long slot) noexcept nogil
    @cython.final
    cdef void touch(self, long long slot) noexcept nogil
    @cython.final
    cdef void ignore(self, long long slot) noexcept nogil
    @cython.final
    cdef void release(self, long long slot) noexcept nogil
    @cython.final
    cdef long long new_question(self, long long slot) noexcept nogil
    @cython.final
    cdef long long find_question(self, long long slot, long long kind, unsigned int call_id) noexcept nogil
    @cython.final
    cdef void drop_question(self, long long slot, long long question) noexcept nogil
    @cython.final
    cdef void drop_partial(self, long long slot, long long side) noexcept nogil
    @cython.final
    cdef bint hold(self, long long slot, long long side, const unsigned char *data, long long at, long long count) noexcept nogil
