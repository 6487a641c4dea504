"""Where packets come from when no interface is watched: capture files."""
