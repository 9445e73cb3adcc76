"""What a report is about: a bundle and its current result files."""
