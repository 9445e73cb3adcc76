"""Data folders: fetch, audit, split, load."""
