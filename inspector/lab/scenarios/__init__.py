"""Scenarios of the laboratory: what goes wrong in real networks, rebuilt with real parts, and what is to be found."""
