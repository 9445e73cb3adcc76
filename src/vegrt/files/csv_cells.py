"""CSV files whose cells no spreadsheet takes for formulas: whoever opens a table must not run what a file name says."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from typing import Any

_FORMULA = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # OWASP's list of first characters, the full-width ones too


def path_cell(path: str) -> str:
    """Return a relative path with ./ before it where it would be a formula: still the same file."""
    return f"./{path}" if path[:1] in _FORMULA else path


def text_cell(text: str) -> str:
    """Return a class name or a message with an apostrophe before it where it would be a formula."""
    return f"'{text}" if text[:1] in _FORMULA else text


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as CSV lines that end with \\n, every cell quoted that holds a comma, a quote or a line end of any kind."""
    lines = _Lines()
    csv.writer(lines, lineterminator="\r\n").writerows(
        rows
    )  # it quotes what is in this; a lone \r too, which ends a row
    return "".join(lines)


class _Lines(list[str]):
    """What csv.writer writes, a row at a time."""

    def write(self, row: str) -> None:
        self.append(row.removesuffix("\r\n") + "\n")
