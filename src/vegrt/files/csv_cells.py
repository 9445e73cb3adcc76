"""CSV cells that a spreadsheet does not read as formulas, because file names and class names are untrusted."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from typing import Any

_FORMULA = frozenset(
    "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
)  # OWASP's list of first characters, with the full-width forms


def path_cell(path: str) -> str:
    """Return a relative path, prefixed with ./ if it would be a formula; it still names the same file."""
    return f"./{path}" if path[:1] in _FORMULA else path


def text_cell(text: str) -> str:
    """Return a class name or a message, prefixed with an apostrophe if it would be a formula; `text_of_cell` removes it."""
    return f"'{text}" if text.lstrip("'")[:1] in _FORMULA else text


def text_of_cell(cell: str) -> str:
    """Return the text that `text_cell` wrote as this cell."""
    return cell[1:] if cell[:1] == "'" and cell.lstrip("'")[:1] in _FORMULA else cell


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as CSV lines that end with \\n; cells with a comma, a quote or any line ending are quoted."""
    lines = _Lines()
    # the writer quotes cells with any character of its lineterminator: with \r\n, also a single \r, which would end a row
    csv.writer(lines, lineterminator="\r\n").writerows(rows)
    return "".join(lines)


class _Lines(list[str]):
    """Collects the rows that csv.writer writes."""

    def write(self, row: str) -> None:
        self.append(row.removesuffix("\r\n") + "\n")
