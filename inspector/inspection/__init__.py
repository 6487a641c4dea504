"""A running inspection: its main loop, signals, reloading, what it says of itself, where its findings go."""
