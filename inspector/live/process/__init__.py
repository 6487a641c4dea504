"""What this process may do, as whom, and in which network namespace."""
