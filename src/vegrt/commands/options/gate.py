"""Options of commands that judge, and their exit codes: 0 PASS, 3 FAIL, 4 INCONCLUSIVE."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

_EXIT_CODES = {"FAIL": 3, "INCONCLUSIVE": 4}
_AUTO = "auto"


class Inconclusive(str, Enum):
    """What --inconclusive takes."""

    passed = "pass"
    failed = "fail"


InconclusiveOption = Annotated[
    Inconclusive | None,
    typer.Option("--inconclusive", help="Exit as PASS (0) or FAIL (3) when it is undecided; default: exit 4."),
]
MarginOption = Annotated[
    str,
    typer.Option(
        "--margin",
        metavar="POINTS|auto",
        help="Largest drop that passes, in points; auto: the least that so many photos can decide.",
    ),
]


def exit_code(verdict: str | None, inconclusive: Inconclusive | None) -> int:
    """Return the exit code of a verdict; of none at all, 0. The verdict itself stays as it is in every output."""
    if verdict == "INCONCLUSIVE" and inconclusive is not None:
        return 0 if inconclusive is Inconclusive.passed else _EXIT_CODES["FAIL"]
    return _EXIT_CODES.get(verdict or "", 0)


def margin_of(text: str) -> float | None:
    """Return the margin in points, None for `auto`."""
    if text == _AUTO:
        return None
    try:
        margin = float(text)
    except ValueError:
        margin = -1.0
    if not 0 <= margin <= 100:
        raise typer.BadParameter(f"{text!r}: expected points from 0 to 100, or auto", param_hint="--margin")
    return margin
