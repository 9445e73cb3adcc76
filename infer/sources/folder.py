"""The images of a folder, searched recursively, in sorted order, one folder's names in memory at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from vegrt.dataset.walk import SkippedFiles, walk
from vegrt.errors import DataError
from vegrt.files.text import as_utf8, printable
from vegrt.infer.decode.item import Item
from vegrt.photo.formats import SUFFIXES

log = logging.getLogger(__name__)


def open_folder(folder: Path) -> Iterator[Item]:
    """Return the images below a folder, by the rules of `vegrt.dataset.walk`. Raises DataError if there are none.

    A subfolder that cannot be read is one item, its error. Skipped files are counted and logged at the end.
    """
    skipped = SkippedFiles()
    items = folder_items(folder, skipped)
    first = next(items, None)
    if first is None:
        others = f" (skipped: {skipped})" if str(skipped) else ""
        raise DataError(f"{printable(folder)}: no images{others}; expected {', '.join(sorted(SUFFIXES))} files")
    return chain((first,), items, _log_skipped(folder, skipped))


def folder_items(folder: Path, skipped: SkippedFiles) -> Iterator[Item]:
    """Yield the images below a folder as `open_folder` does, and nothing when there are none.

    Every file that is named like a photo becomes an item, a broken link too, so that it gets a row with an answer or an error.
    """
    for entry in walk(folder, skipped):
        path = Path(entry.path)
        name = as_utf8(path)
        closed = entry.kind == "closed"
        yield Item(name, DataError(f"{name}: folder cannot be read ({entry.reason})") if closed else path)


def _log_skipped(folder: Path, skipped: SkippedFiles) -> Iterator[Item]:
    """Log the skipped files once the preceding items have been taken; yield nothing."""
    if str(skipped):
        log.info("%s: skipped: %s", printable(folder), skipped)
    yield from ()
