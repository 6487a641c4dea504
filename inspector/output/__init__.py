"""Findings for people and programs: standard output, files, the journal."""
