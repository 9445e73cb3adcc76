"""Standard streams, progress bars and signals."""
