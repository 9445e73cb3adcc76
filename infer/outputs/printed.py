"""Print rows on stdout: lines for people, or one JSON object for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from vegrt.errors import VegrtError
from vegrt.files.text import json_text
from vegrt.infer.outputs.rows import AnswerRow, RowFormat, as_line, as_record

Write = Callable[[str], None]
Sink = Callable[[Sequence[AnswerRow]], None]


@contextmanager
def no_sink() -> Iterator[Sink]:
    """Yield a sink that prints nothing."""
    yield lambda rows: None


@contextmanager
def line_sink(write: Write, row_format: RowFormat) -> Iterator[Sink]:
    """Yield a sink that prints one line per row."""
    yield lambda rows: write("".join(as_line(row, row_format) + "\n" for row in rows))


@contextmanager
def json_sink(write: Write, row_format: RowFormat, head: Mapping[str, Any]) -> Iterator[Sink]:
    """Yield a sink that prints one JSON object: the members of `head`, then all rows as `predictions`.

    The object is closed after an error or Ctrl-C too, so that it can always be parsed.
    """
    write(json_text(head)[:-1] + ', "predictions": [')
    separator = ""

    def add(rows: Sequence[AnswerRow]) -> None:
        nonlocal separator
        write(separator + ", ".join(json_text(as_record(row, row_format)) for row in rows))
        separator = ", "

    try:
        yield add
    except (VegrtError, KeyboardInterrupt):
        write("]}\n")
        raise
    write("]}\n")
