"""The kernel path: compile, load, attach, read rings and counters. The only importer of bcc and pyroute2."""
