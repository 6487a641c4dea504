"""Asking an endpoint mapper, and connecting to where it leads, as a client would."""
