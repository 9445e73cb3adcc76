"""The images of a folder, searched recursively, in sorted order, one folder's names in memory at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from vegrt.dataset.walk import LeftOut, walk
from vegrt.errors import DataError
from vegrt.files.text import as_utf8, printable
from vegrt.infer.decode.item import Item
from vegrt.photo.formats import SUFFIXES

log = logging.getLogger(__name__)


def open_folder(folder: Path) -> Iterator[Item]:
    """Return the images below a folder, as `vegrt.dataset.walk` finds them. Raises DataError if there are none.

    A subfolder that cannot be read is one item, its error. Skipped files are counted and logged at the end.
    """
    left_out = LeftOut()
    items = folder_items(folder, left_out)
    first = next(items, None)
    if first is None:
        skipped = f" (left out: {left_out})" if str(left_out) else ""
        raise DataError(f"{printable(folder)}: no images in it{skipped}; expected {', '.join(sorted(SUFFIXES))} files")
    return chain((first,), items, _log_left_out(folder, left_out))


def folder_items(folder: Path, left_out: LeftOut) -> Iterator[Item]:
    """Yield the images below a folder as `open_folder` does, and nothing when there are none.

    Every file that is named like a photo becomes an item, a broken link too, so that it gets a row with an answer or an error.
    """
    for entry in walk(folder, left_out):
        path = Path(entry.path)
        name = as_utf8(path)
        closed = entry.kind == "closed"
        yield Item(name, DataError(f"{name}: folder cannot be read ({entry.reason})") if closed else path)


def _log_left_out(folder: Path, left_out: LeftOut) -> Iterator[Item]:
    """Log which files were left out once the items before this have been taken; yield nothing."""
    if str(left_out):
        log.info("%s: left out: %s", printable(folder), left_out)
    yield from ()
