"""A service of systemd on a Raspberry Pi."""
