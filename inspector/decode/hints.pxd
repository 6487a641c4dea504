from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBuffer_Release, PyObject_GetBuffer


cdef extern from *:
    """
    #include <string.h>
    static inline void epm_fetch(const void *address) { __builtin_prefetch(address, 1, 3); }
    static inline void epm_fetch_row(const void *address) {
        __builtin_prefetch(address, 0, 3);
        __builtin_prefetch((const char *)address + 64, 0, 3);
        __builtin_prefetch((const char *)address + 128, 0, 3);
    }
    static inline void epm_copy(void *to, const void *from, long long count) { memcpy(to, from, (size_t)count); }
    static inline int epm_same(const void *one, const void *other, long long count) {
        return memcmp(one, other, (size_t)count) == 0;
    }
    static inline unsigned int epm_short_at(const unsigned char *data, long long at) {
        unsigned short value;
        memcpy(&value, data + at, sizeof value);
        return value;
    }
    static inline unsigned int epm_long_at(const unsigned char *data, long long at) {
        unsigned int value;
        memcpy(&value, data + at, sizeof value);
        return value;
    }
    static inline unsigned long long epm_hyper_at(const unsigned char *data, long long at) {
        unsigned long long value;
        memcpy(&value, data + at, sizeof value);
        return value;
    }
    static inline unsigned long long epm_mix(unsigned long long value, unsigned long long word, unsigned long long by) {
        value = (value ^ word) * by;
        return value ^ value >> 29;
    }
    static inline unsigned int epm_tag_of(
        unsigned long long secret, unsigned long long by, unsigned long long high, unsigned long long low,
        unsigned long long server_high, unsigned long long server_low, unsigned long long ports
    ) {
        unsigned long long value = epm_mix(epm_mix(epm_mix(secret, low, by), server_low, by), ports, by);
        if (high | server_high)
            value = epm_mix(epm_mix(value, high, by), server_high, by);
        return (unsigned int)(epm_mix(value, 0, by) >> 32);
    }
    """
    void fetch "epm_fetch"(const void *address) noexcept nogil
    void fetch_row "epm_fetch_row"(const void *address) noexcept nogil
    void copy "epm_copy"(void *to, const void *source, long long count) noexcept nogil
    bint same "epm_same"(const void *one, const void *other, long long count) noexcept nogil
    unsigned int short_at "epm_short_at"(const unsigned char *data, long long at) noexcept nogil
    unsigned int long_at "epm_long_at"(const unsigned char *data, long long at) noexcept nogil
    unsigned long long hyper_at "epm_hyper_at"(const unsigned char *data, long long at) noexcept nogil
    unsigned long long mix "epm_mix"(unsigned long long value, unsigned long long word, unsigned long long multiplier) noexcept nogil
    unsigned int tag_of "epm_tag_of"(
        unsigned long long secret, unsigned long long multiplier, unsigned long long high, unsigned long long low,
        unsigned long long server_high, unsigned long long server_low, unsigned long long ports
    ) noexcept nogil


cdef inline int view_of(object batch, Py_buffer *view) except -1:
    return PyObject_GetBuffer(batch, view, PyBUF_C_CONTIGUOUS)


cdef inline void close_view(Py_buffer *view) noexcept:
    PyBuffer_Release(view)
