from inspector.decode cimport hints, layout


cdef Py_ssize_t count(
    const unsigned long long[::1] words, unsigned long long header, long long at, long long width, long long most
) except -1 nogil
