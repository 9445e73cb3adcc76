"""Activations to ranges: streaming observers, range methods, Q/DQ placement."""
