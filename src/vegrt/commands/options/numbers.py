"""Numbers with commas, as options take them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import typer

N = TypeVar("N", int, float)


def parse_numbers(text: str, kind: Callable[[str], N], *, option: str, example: str) -> tuple[N, ...]:
    """Return the numbers in a text such as 1,4,16. kind: int or float. Exits with wrong usage for anything else."""
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"{text!r}; expected numbers with commas, such as {example}", param_hint=option
        ) from None
