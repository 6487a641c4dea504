"""Verdicts: pure functions from what was asked and offered to what is said of it."""
