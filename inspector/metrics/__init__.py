"""Counts for Prometheus: families, labels, and what changes them."""
