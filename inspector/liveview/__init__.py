"""The full-screen view of a running inspector, asked over its own interface."""
