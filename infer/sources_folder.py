"""The images of a folder, searched recursively, in sorted order, one folder's names in memory at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from vegrt.errors import DataError
from vegrt.files import as_utf8, printable
from vegrt.infer.pipeline import Item
from vegrt.preprocess import SUFFIXES

# What is looked for. More than in a data set: whoever names a folder of photos wants an answer, or a reason, for all of them.
IMAGES = SUFFIXES | {".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif"}


def open_folder(folder: Path) -> Iterator[Item]:
    """Return the images below a folder, sorted by path; links to folders are not followed. Raises DataError if none is there.

    A folder in it that cannot be read is one item, its error.
    """
    items = walk(folder)
    first = next(items, None)
    if first is None:
        raise DataError(f"{printable(folder)}: no images in it; expected {', '.join(sorted(IMAGES))} files")
    return chain((first,), items)


def is_image(name: str) -> bool:
    """Return whether a file name is an image's."""
    return os.path.splitext(name)[1].lower() in IMAGES  # noqa: PTH122 (called for every member and file: five times faster)


def walk(folder: Path) -> Iterator[Item]:
    """Yield the images below a folder as `open_folder` does, and nothing when there are none."""
    open_folders = [iter([(os.fspath(folder), True)])]
    while open_folders:
        path, is_folder = next(open_folders[-1], ("", False))
        if not path:
            open_folders.pop()
        elif not is_folder:
            yield Item(as_utf8(Path(path)), Path(path))
        else:
            try:
                open_folders.append(iter(_entries(path)))
            except OSError as error:
                name = as_utf8(Path(path))
                yield Item(name, DataError(f"{name}: folder cannot be read ({error.strerror})"))


def _entries(folder: str) -> list[tuple[str, bool]]:
    """Return the paths of images and folders directly in a folder, sorted, and which are folders."""
    with os.scandir(folder) as entries:
        found = []
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                found.append((entry.path, True))
            elif is_image(entry.name) and not (entry.is_symlink() and os.path.isdir(entry.path)):  # noqa: PTH112
                found.append((entry.path, False))
    return sorted(found)
