"""The rings of a loaded program: per-CPU rings, the BPF ring buffer, and their records merged by time."""
