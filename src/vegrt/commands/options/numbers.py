"""Numbers as texts, as options take them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from vegrt.errors import ArgumentError

N = TypeVar("N", int, float)


def parse_numbers(text: str, kind: Callable[[str], N], *, option: str, example: str) -> tuple[N, ...]:
    """Return the numbers in a text such as 1,4,16. kind: int or float. Raises ArgumentError for anything else."""
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        raise ArgumentError(f"{option} {text!r}: expected numbers with commas, such as {example}") from None


def text_of(value: Any) -> str:
    """Return the text of a command line for a number, numbers with commas between them, or a text."""
    if isinstance(value, list | tuple):
        return ",".join(map(text_of, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
