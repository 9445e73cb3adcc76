"""Verdicts in the formats of continuous integration."""
