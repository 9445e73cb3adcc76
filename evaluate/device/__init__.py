"""Answers that another device made with any program, read from a file and judged like those of a candidate."""
