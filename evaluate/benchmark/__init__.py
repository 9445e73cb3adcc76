"""Benchmarks: the speed of each candidate, measured in interleaved rounds, and comparisons of results."""
