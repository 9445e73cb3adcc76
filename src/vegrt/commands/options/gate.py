"""Options and exit codes of commands with a verdict: 0 PASS, 3 FAIL, 4 INCONCLUSIVE."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vegrt.results.common import Verdict

_EXIT_CODES = {"FAIL": 3, "INCONCLUSIVE": 4}
_AUTO = "auto"


class Inconclusive(str, Enum):
    """Values of --inconclusive."""

    passed = "pass"
    failed = "fail"


InconclusiveOption = Annotated[
    Inconclusive | None,
    typer.Option(
        "--inconclusive", help="Exit as PASS (0) or FAIL (3) when the verdict is INCONCLUSIVE; default: exit 4."
    ),
]
MarginOption = Annotated[
    str,
    typer.Option(
        "--margin",
        metavar="POINTS|auto",
        help="Largest accuracy drop that passes, in percentage points; auto: the smallest that this number of photos can decide.",
    ),
]


def exit_code(verdict: Verdict | None, inconclusive: Inconclusive | None) -> int:
    """Return the exit code for a verdict; 0 without a verdict. inconclusive: how INCONCLUSIVE exits."""
    if verdict == "INCONCLUSIVE" and inconclusive is not None:
        return 0 if inconclusive is Inconclusive.passed else _EXIT_CODES["FAIL"]
    return _EXIT_CODES.get(verdict or "", 0)


def parse_margin(text: str) -> float | None:
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
