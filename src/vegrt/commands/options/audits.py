"""--audit: the photos that `vegrt data audit` flagged, for evaluation and calibration."""

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
AuditPath = Annotated[
    str | Path | None,
    typer.Option(
        help="audit.json written by `vegrt data audit DATA` "
        f"(default: the first one for these photos in BUNDLE, in DATA, or {AUDIT})."
    ),
]


def by_audit(audit: str | Path | None, bundle: Path, data: Path, load: Callable[[Path], set[str]]) -> set[str] | None:
    """Return the photos that `load` reads from the named audit, or from the first audit that was made for these photos.

    load: raises DataError for an audit of other photos. Logs which audit was used. Returns None without an audit.
    """
    if audit is not None:
        return load(Path(audit))
    for file in places(data, bundle):
        try:
            photos = load(file)
        except DataError as error:
            log.info("%s; continuing without this audit", error)
            continue
        log.info("audit: %s, made for these photos", file)
        return photos
    return None


def places(data: Path | None, *bundles: Path) -> list[Path]:
    """Return the existing audit files in the bundles, next to the photos and here, in this order. data: folder or CSV file."""
    folders = [*bundles, *([] if data is None else [data.parent if data.suffix.lower() == ".csv" else data])]
    return [file for file in (*(folder / AUDIT.name for folder in folders), AUDIT) if file.is_file()]
