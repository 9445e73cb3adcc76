"""The images of a folder, searched recursively, in sorted order, one folder's names in memory at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from vegrt.dataset.walk import LeftOut, walk
from vegrt.errors import DataError
from vegrt.files.text import printable
from vegrt.infer.decode.item import Item
from vegrt.photo.formats import SUFFIXES

log = logging.getLogger(__name__)


def open_folder(folder: Path) -> Iterator[Item]:
    """Return the images below a folder, as `vegrt.dataset.walk` finds them. Raises DataError if none is there.

    A folder in it that cannot be read is one item, its error. What was passed over is counted and logged at the end.
    """
    left_out = LeftOut()
    items = images(folder, left_out)
    first = next(items, None)
    if first is None:
        seen = f" (left out: {left_out})" if str(left_out) else ""
        raise DataError(f"{printable(folder)}: no images in it{seen}; expected {', '.join(sorted(SUFFIXES))} files")
    return chain((first,), items, _said(folder, left_out))


def images(folder: Path, left_out: LeftOut) -> Iterator[Item]:
    """Yield the images below a folder as `open_folder` does, and nothing when there are none.

    Whoever names a folder wants an answer, or a reason, for all that is named like a photo in it: links that lead nowhere too.
    """
    for found in walk(folder, left_out):
        name = found.name
        closed = found.kind == "closed"
        yield Item(name, DataError(f"{name}: folder cannot be read ({found.reason})") if closed else Path(found.path))


def _said(folder: Path, left_out: LeftOut) -> Iterator[Item]:
    """Say what was left out, once the items before this have been taken; yield nothing."""
    if str(left_out):
        log.info("%s: left out: %s", printable(folder), left_out)
    yield from ()
