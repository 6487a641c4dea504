"""A long run of a real inspector: nothing grows, nothing is unaccounted for."""
