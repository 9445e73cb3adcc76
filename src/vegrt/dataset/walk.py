"""The photos below a folder: one definition, for data sets and for what `vegrt infer` is given.

A photo is a file, or a link to one, whose name ends in one of formats.SUFFIXES. What is hidden never counts: names that begin
with a dot, and what systems leave behind. Links to folders are followed; no folder is read twice, nor one above the first.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Literal

from vegrt.files.text import as_utf8
from vegrt.photo.formats import SUFFIXES

# photo; a link that leads nowhere; a pipe, socket or device; a folder that may not be read
Kind = Literal["photo", "dangling", "special", "closed"]
_SYSTEM = frozenset({"__macosx", "@eadir", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information"})
_WORDS: dict[Kind, tuple[str, str]] = {
    "photo": ("photo outside a class folder", "photos outside a class folder"),
    "dangling": ("link that leads nowhere", "links that lead nowhere"),
    "special": ("pipe or device", "pipes or devices"),
    "closed": ("folder that cannot be read", "folders that cannot be read"),
}
_SUFFIXES_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Found:
    """Something below a folder. name: its path as UTF-8 can hold it. reason: of a closed folder, the system's."""

    path: str
    kind: Kind = "photo"
    reason: str = ""

    @property
    def name(self) -> str:
        """Return the path as text that UTF-8 can hold."""
        return as_utf8(Path(self.path))


@dataclass(slots=True)
class LeftOut:
    """What a search passed over. others: files of no photo's suffix, by suffix. again: folders that were read already."""

    hidden: int = 0
    again: int = 0
    others: Counter[str] = field(default_factory=Counter)
    kinds: Counter[Kind] = field(default_factory=Counter)

    def __str__(self) -> str:
        """Return it in words: `3 hidden, 2 not a photo (.txt, .xmp), 1 link that leads nowhere`; empty for nothing."""
        parts = [f"{self.hidden:,} hidden"] if self.hidden else []
        if total := self.others.total():
            suffixes = [suffix or "no suffix" for suffix, _ in self.others.most_common(_SUFFIXES_SHOWN)]
            more = ", ..." if len(self.others) > len(suffixes) else ""
            parts.append(f"{total:,} not a photo ({', '.join(suffixes)}{more})")
        parts += [f"{count:,} {_WORDS[kind][count > 1]}" for kind, count in self.kinds.items()]
        if self.again:
            parts.append(f"{self.again:,} {'folders' if self.again > 1 else 'folder'} read already")
        return ", ".join(parts)


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of that name is passed over."""
    return name[:1] == "." or name.lower() in _SYSTEM


def is_photo_name(name: str) -> bool:
    """Return whether a name, or path, ends as a photo's."""
    return suffix_of(name) in SUFFIXES


def is_photo_path(path: str) -> bool:
    """Return whether a path with slashes, relative to where the search began, is a photo's: no part of it hidden."""
    return is_photo_name(path) and not any(is_hidden(part) for part in path.split("/") if part.strip("."))


def suffix_of(name: str) -> str:
    """Return the suffix of a name in small letters."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 (called for every member and file: five times faster)


def walk(folder: Path, left_out: LeftOut) -> Iterator[Found]:
    """Yield what is named like a photo below a folder, sorted by path, and folders that may not be read.

    One folder's names are in memory at a time. left_out: counts what is not yielded.
    """
    seen = _above(folder)
    open_folders: list[Iterator[tuple[str, Kind | None]]] = [iter([(os.fspath(folder), None)])]
    while open_folders:
        path, kind = next(open_folders[-1], ("", None))
        if not path:
            open_folders.pop()
        elif kind is not None:
            yield Found(path, kind)
        else:
            try:
                if _is_first(path, seen):
                    open_folders.append(iter(_entries(path, left_out)))
                else:
                    left_out.again += 1
            except OSError as error:
                yield Found(path, "closed", error.strerror or str(error))


def _above(folder: Path) -> set[tuple[int, int]]:
    """Return device and inode of all folders in which this one lies: a link back to one of them would never end."""
    found = set()
    for parent in Path(os.path.realpath(folder)).parents:
        try:
            status = parent.stat()
        except OSError:
            continue
        found.add((status.st_dev, status.st_ino))
    return found


def _is_first(folder: str, seen: set[tuple[int, int]]) -> bool:
    status = os.stat(folder)  # noqa: PTH116 (paths are strings here, for speed)
    key = status.st_dev, status.st_ino
    if key in seen:
        return False
    seen.add(key)
    return True


def _entries(folder: str, left_out: LeftOut) -> list[tuple[str, Kind | None]]:
    """Return the paths directly in a folder of what is named like a photo, and its kind, and of folders, and None; sorted."""
    found: list[tuple[str, Kind | None]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                left_out.hidden += 1
            elif _is_folder(entry):
                found.append((entry.path, None))
            elif is_photo_name(entry.name):
                found.append((entry.path, _kind(entry)))
            elif entry.is_symlink() and not os.path.exists(entry.path):  # noqa: PTH110
                left_out.kinds["dangling"] += 1
            else:
                left_out.others[suffix_of(entry.name)] += 1
    return sorted(found, key=itemgetter(0))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into what may not be entered
        return False


def _kind(entry: os.DirEntry[str]) -> Kind:
    try:
        if entry.is_file():  # asks the system about links only
            return "photo"
    except OSError:  # as in _is_folder
        return "dangling"
    return "special" if os.path.exists(entry.path) else "dangling"  # noqa: PTH110
