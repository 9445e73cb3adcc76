"""Cells of a CSV file that no spreadsheet takes for a formula: whoever opens a table must not run what a file name says."""

from __future__ import annotations

_FORMULA = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # OWASP's list of first characters, the full-width ones too


def path_cell(path: str) -> str:
    """Return a relative path with ./ before it where it would be a formula: still the same file."""
    return f"./{path}" if path[:1] in _FORMULA else path


def text_cell(text: str) -> str:
    """Return a class name or a message with an apostrophe before it where it would be a formula."""
    return f"'{text}" if text[:1] in _FORMULA else text
