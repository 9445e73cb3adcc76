"""Finds the photos below a folder, by the same rules for data sets and for the sources of `vegrt infer`.

A photo is a file, or a link to one, whose name ends in one of formats.SUFFIXES. Hidden entries never count: names that begin
with a dot, and metadata files of operating systems. Links to folders are followed; each folder is read at most once, and the
parents of the first folder never are.
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

# photo; a broken link; a pipe, socket or device; a folder that cannot be read
Kind = Literal["photo", "dangling", "special", "closed"]
_SYSTEM = frozenset({"__macosx", "@eadir", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information"})
_WORDS: dict[Kind, tuple[str, str]] = {
    "photo": ("photo outside a class folder", "photos outside a class folder"),
    "dangling": ("broken link", "broken links"),
    "special": ("pipe or device", "pipes or devices"),
    "closed": ("folder that cannot be read", "folders that cannot be read"),
}
_SUFFIXES_SHOWN = 4


@dataclass(frozen=True, slots=True)
class WalkEntry:
    """An entry below a folder. reason: the operating system's message for a folder that cannot be read."""

    path: str
    kind: Kind = "photo"
    reason: str = ""

    @property
    def name(self) -> str:
        """Return the path as text that UTF-8 can hold."""
        return as_utf8(Path(self.path))


@dataclass(slots=True)
class SkippedFiles:
    """Counts of the entries that a search skipped. others: files without a photo's suffix, by suffix. again: repeated folders."""

    hidden: int = 0
    again: int = 0
    others: Counter[str] = field(default_factory=Counter)
    kinds: Counter[Kind] = field(default_factory=Counter)

    def __str__(self) -> str:
        """Return the counts as text, such as `3 hidden, 2 not a photo (.txt, .xmp), 1 broken link`; empty if all are 0."""
        parts = [f"{self.hidden:,} hidden"] if self.hidden else []
        if total := self.others.total():
            suffixes = [suffix or "no suffix" for suffix, _ in self.others.most_common(_SUFFIXES_SHOWN)]
            more = ", ..." if len(self.others) > len(suffixes) else ""
            parts.append(f"{total:,} not a photo ({', '.join(suffixes)}{more})")
        parts += [f"{count:,} {_WORDS[kind][count > 1]}" for kind, count in self.kinds.items()]
        if self.again:
            parts.append(f"{self.again:,} {'folders' if self.again > 1 else 'folder'} already read")
        return ", ".join(parts)


def is_hidden(name: str) -> bool:
    """Return whether a file or folder with this name is skipped."""
    return name[:1] == "." or name.lower() in _SYSTEM


def is_photo_name(name: str) -> bool:
    """Return whether a name or path has the suffix of a photo."""
    return suffix_of(name) in SUFFIXES


def is_photo_path(path: str) -> bool:
    """Return whether a path, with slashes and relative to the searched folder, is a photo with no hidden part."""
    return is_photo_name(path) and not any(is_hidden(part) for part in path.split("/") if part.strip("."))


def suffix_of(name: str) -> str:
    """Return the suffix of a name in lower case."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 (called for every file and archive member; five times faster)


def walk(folder: Path, skipped: SkippedFiles) -> Iterator[WalkEntry]:
    """Yield all entries below a folder that are named like a photo, sorted by path, and folders that cannot be read.

    Only the names of the folders on the current path are in memory. skipped: counts the entries that are not yielded.
    """
    visited = _above(folder)
    open_folders: list[Iterator[tuple[str, Kind | None]]] = [iter([(os.fspath(folder), None)])]
    while open_folders:
        path, kind = next(open_folders[-1], ("", None))
        if not path:
            open_folders.pop()
        elif kind is not None:
            yield WalkEntry(path, kind)
        else:
            try:
                if _is_first(path, visited):
                    open_folders.append(iter(_entries(path, skipped)))
                else:
                    skipped.again += 1
            except OSError as error:
                yield WalkEntry(path, "closed", error.strerror or str(error))


def _above(folder: Path) -> set[tuple[int, int]]:
    """Return device and inode of all parents of a folder: following a link to one of them would never end."""
    parents = set()
    for parent in Path(os.path.realpath(folder)).parents:
        try:
            status = parent.stat()
        except OSError:
            continue
        parents.add((status.st_dev, status.st_ino))
    return parents


def _is_first(folder: str, visited: set[tuple[int, int]]) -> bool:
    status = os.stat(folder)  # noqa: PTH116 (paths are strings here, for speed)
    key = status.st_dev, status.st_ino
    if key in visited:
        return False
    visited.add(key)
    return True


def _entries(folder: str, skipped: SkippedFiles) -> list[tuple[str, Kind | None]]:
    """Return the paths of entries named like a photo in a folder, each with its kind, and of subfolders, with None; sorted."""
    paths: list[tuple[str, Kind | None]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                skipped.hidden += 1
            elif _is_folder(entry):
                paths.append((entry.path, None))
            elif is_photo_name(entry.name):
                paths.append((entry.path, _kind(entry)))
            elif entry.is_symlink() and not os.path.exists(entry.path):  # noqa: PTH110
                skipped.kinds["dangling"] += 1
            else:
                skipped.others[suffix_of(entry.name)] += 1
    return sorted(paths, key=itemgetter(0))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into a folder without permission
        return False


def _kind(entry: os.DirEntry[str]) -> Kind:
    try:
        if entry.is_file():  # asks the system about links only
            return "photo"
    except OSError:  # as in _is_folder
        return "dangling"
    return "special" if os.path.exists(entry.path) else "dangling"  # noqa: PTH110
