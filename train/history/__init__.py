"""The history of training runs: records, their storage in SQLite, and what they mean."""
