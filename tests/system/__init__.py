"""The inspector as a service of systemd."""
