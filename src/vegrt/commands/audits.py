"""--audit: the photos that `vegrt data audit` marked, for evaluation and calibration."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vegrt.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

AUDIT = Path("audit/audit.json")
AuditOption = Annotated[
    Path | None,
    typer.Option(help=f"audit.json of `vegrt data audit DATA`; default: {AUDIT}, if it is of this data."),
]


def by_audit(audit: Path | None, load: Callable[[Path], set[str]]) -> set[str] | None:
    """Return the photos that `load` takes from an audit: the one that was asked for, or the one that lies here, if it fits."""
    if audit is not None:
        return load(audit)
    if not AUDIT.is_file():
        return None
    try:
        return load(AUDIT)
    except DataError as error:
        log.info("%s; going on without it", error)
        return None
