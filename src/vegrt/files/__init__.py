"""Atomic writes, temporary files, locks, hashes and printable text."""
