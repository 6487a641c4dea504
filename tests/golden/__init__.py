"""Golden traces: conversations the project makes itself, and what the inspector says of them (README.md here)."""
