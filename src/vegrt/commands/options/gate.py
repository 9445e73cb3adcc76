"""Options and exit codes of commands with a verdict: 0 PASS, 3 FAIL, 4 INCONCLUSIVE."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vegrt.errors import ArgumentError

if TYPE_CHECKING:
    from vegrt.results.common import Verdict

_EXIT_CODES = {"FAIL": 3, "INCONCLUSIVE": 4}
_AUTO: Literal["auto"] = "auto"


class Inconclusive(str, Enum):
    """Values of --inconclusive."""

    passed = "pass"
    failed = "fail"


def parse_margin(value: object) -> float | Literal["auto"]:
    """Return a margin in points, or `auto`. Raises ArgumentError for anything else."""
    if value == _AUTO:
        return _AUTO
    try:
        margin = float(str(value))
    except ValueError:
        margin = -1.0
    if not 0 <= margin <= 100:
        raise ArgumentError(f"--margin {value}: expected points from 0 to 100, or auto")
    return margin


InconclusiveOption = Annotated[
    Inconclusive | None,
    typer.Option(
        "--inconclusive", help="Exit as PASS (0) or FAIL (3) when the verdict is INCONCLUSIVE; default: exit 4."
    ),
]
MarginOption = Annotated[
    float | Literal["auto"],
    typer.Option(
        "--margin",
        metavar="POINTS|auto",
        parser=parse_margin,
        help="Largest accuracy drop that passes, in percentage points; auto: the smallest that this number of photos can decide.",
    ),
]


def counted(inconclusive: Inconclusive | None) -> Verdict:
    """Return the verdict as which INCONCLUSIVE counts."""
    if inconclusive is None:
        return "INCONCLUSIVE"
    return "PASS" if inconclusive is Inconclusive.passed else "FAIL"


def exit_code(verdict: Verdict | None, inconclusive: Inconclusive | None) -> int:
    """Return the exit code for a verdict; 0 without a verdict. inconclusive: how INCONCLUSIVE exits."""
    if verdict == "INCONCLUSIVE" and inconclusive is not None:
        return 0 if inconclusive is Inconclusive.passed else _EXIT_CODES["FAIL"]
    return _EXIT_CODES.get(verdict or "", 0)
