"""Where findings, counts and packets go: one file for each kind of reader."""
