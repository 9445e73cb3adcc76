"""A guess for people: the table of contracts, what cannot be told apart, the contract's file, and the command that uses it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vegrt.export.guess.choices import describe
from vegrt.export.guess.result import Guess, GuessedContract
from vegrt.photo.contract import Contract
from vegrt.results.common import Interval
from vegrt.terminal.tables import make_table

if TYPE_CHECKING:
    from rich.table import Table

_SHOWN = 10  # contracts in the table
_NAMED = 6  # contracts in a sentence
_HEADINGS = ("contract", "photos", "accuracy %", "drop, points", "loss, nats", "loss above the best", "")


def guess_table(guess: Guess) -> Table:
    """Return the first contracts of the ranking as a table."""
    rows = [list(_cells(row, place)) for place, row in enumerate(guess.ranking[:_SHOWN])]
    return make_table("", _HEADINGS, rows, text=("contract", ""))


def guess_lines(guess: Guess) -> list[str]:
    """Return what the table does not say: what cannot be told apart from the best, and classes that look swapped."""
    lines = [f"best: {guess.best.name} ({guess.tried} contracts, {guess.computed} answers)"]
    if guess.best.same_pixels:
        lines.append(f"the same pixels on these photos: {_named([describe(each) for each in guess.best.same_pixels])}")
    if guess.ties:
        lines.append(f"cannot be told apart from: {_named([row.name for row in guess.ties])}")
    if guess.moves:
        swapped = [f"{truth} is predicted as {answer}" for truth, answer in guess.moves.items()]
        lines.append(f"classes look permuted: {_named(swapped)}; correct the list of --classes")
    return lines


def contract_toml(contract: Contract) -> str:
    """Return a contract as the file of `vegrt export --contract`, without keys that have their default."""
    is_of_bytes = max(contract.std) < 0.1  # of pixels in 0..255: a std of 1 there is 0.0039 here
    lines = []
    for field in fields(contract):
        value = getattr(contract, field.name)
        if field.name in ("mean", "std"):
            value = tuple(round(255 * number, 6) for number in value) if is_of_bytes else value
        elif field.name not in ("size", "resize") and value == field.default:
            continue
        lines.append(f"{field.name} = {_toml_value(value)}\n")
    return "".join(lines) + ("pixel_range = 255\n" if is_of_bytes else "")


def export_command(file: Path, data: Path, *, classes: Path | None, contract: Path | None, output: str) -> str:
    """Return the command that exports the classifier with the contract. None: a file that is still to be written."""
    words = ["vegrt", "export", f"models/{file.stem}", "--from-onnx", str(file)]
    words += ["--classes", str(classes or "classes.txt"), "--contract", str(contract or "contract.toml")]
    words += ["--data", str(data)] + (["--output", output] if output else [])
    return shlex.join(words)


def _cells(row: GuessedContract, place: int) -> Iterator[str]:
    yield row.name
    yield str(row.photos)
    yield _span(row.top1, 100, 1)
    yield _span(row.drop, 100, 1, signed=True) if place else ""
    yield _span(row.loss, 1, 3)
    yield _span(row.loss_excess, 1, 3, signed=True) if place else ""
    yield "worse" if row.worse else "tie" if place else "best"


def _span(interval: Interval, factor: int, digits: int, *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    value, low, high = (
        f"{factor * number:{sign}.{digits}f}" for number in (interval.value, interval.low, interval.high)
    )
    return f"{value} ({low} to {high})"


def _named(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return " | ".join(names[:_NAMED]) + (f" | and {more} more" if more > 0 else "")


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    return f"[{', '.join(map(repr, value))}]" if isinstance(value, tuple) else repr(value)
