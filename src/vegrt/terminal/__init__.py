"""Standard streams, tables, progress bars and signals."""
