"""Capture files: packets read from them as records, and packets written to them."""
