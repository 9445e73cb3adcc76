"""Files that appear whole or not at all, temporary files, locks, CSV cells."""
