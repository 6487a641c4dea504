cdef extern from *:
    """
    #include <string.h>
    static inline void epm_fetch(const void *address) { __builtin_prefetch(address, 1, 3); }
    static inline unsigned long long epm_load(const void *address) {
        unsigned long long value;
        memcpy(&value, address, sizeof value);
        return value;
    }
    static inline unsigned int epm_load_long(const void *address) {
        unsigned int value;
        memcpy(&value, address, sizeof value);
        return value;
    }
    static inline void epm_copy(void *to, const void *from, long long count) { memcpy(to, from, (size_t)count); }
    """
    void fetch "epm_fetch"(const void *address) noexcept nogil
    unsigned long long load "epm_load"(const void *address) noexcept nogil
    void copy "epm_copy"(void *to, const void *source, long long count) noexcept nogil
    unsigned int load_long "epm_load_long"(const void *address) noexcept nogil
