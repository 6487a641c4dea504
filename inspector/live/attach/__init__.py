"""The program on interfaces: which hooks, who holds them, attaching, watching."""
