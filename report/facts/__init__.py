"""The facts of a report: a bundle and its current result files."""
