"""bpf(2): the program compiled and loaded, its maps and counters."""
