"""A running inspection: what it says of itself, reloads, ends with, and where its findings go."""
