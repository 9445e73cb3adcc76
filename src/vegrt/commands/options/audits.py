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
    typer.Option(
        help=f"audit.json of `vegrt data audit DATA`; default: that of these photos in BUNDLE, in DATA, or {AUDIT}."
    ),
]


def by_audit(audit: Path | None, bundle: Path, data: Path, load: Callable[[Path], set[str]]) -> set[str] | None:
    """Return the photos that `load` takes from an audit: from the one that was asked for, or from one that is of these photos.

    load: raises DataError for an audit of other photos. Says which audit was used.
    """
    if audit is not None:
        return load(audit)
    for file in places(data, bundle):
        try:
            found = load(file)
        except DataError as error:
            log.info("%s; going on without it", error)
            continue
        log.info("audit: %s, of these photos", file)
        return found
    return None


def places(data: Path | None, *bundles: Path) -> list[Path]:
    """Return the audits that lie in bundles, beside the photos and here, in this order. data: a folder or a CSV file."""
    folders = [*bundles, *([] if data is None else [data.parent if data.suffix.lower() == ".csv" else data])]
    return [file for file in (*(folder / AUDIT.name for folder in folders), AUDIT) if file.is_file()]
