"""A new file in a folder of the user's, under its own name, never over another one, and the same again when a run is repeated."""

from __future__ import annotations

import filecmp
import os
import secrets
from collections.abc import Callable, Iterator
from hashlib import blake2b
from itertools import count
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from vegrt.errors import VegrtError
from vegrt.infer.decode.item import Item

_LONGEST_NAME = 255  # bytes, on nearly every file system
_LONGEST_SUFFIX = 16  # what is longer is no suffix but a name with a dot in it


def file_name(item: Item) -> str:
    """Return an item's own name, without folders, archive or host."""
    if isinstance(item.content, Path):
        return item.content.name
    name = unquote(urlsplit(item.name).path) if "://" in item.name else item.name
    return PurePosixPath(name).name or "image"


def check_folder(folder: Path) -> None:
    """Make a folder. Raises VegrtError unless files can be made in it."""
    probe = folder / f".{secrets.token_hex(8)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise VegrtError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from error


def write_unique(folder: Path, name: str, source: str, write: Callable[[Path], object]) -> Path:
    """Have `write` make a file, give it a name in `folder`, and return that.

    name: what it shall be called. Where another file has that name, or it is too long for a file, a hash of `source` is added
    before the suffix; where the same content lies there already, nothing changes. Raises OSError, and whatever `write` does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{secrets.token_hex(8)}"
    try:
        write(temporary)
        for target in _names(folder, name, source):
            try:
                os.link(temporary, target)  # unlike a rename it never replaces what is there
                return target
            except OSError:  # something is there, or it is a file system without hard links
                if not os.path.lexists(target):
                    temporary.rename(target)
                    return target
                if _same(temporary, target):
                    return target
    finally:
        temporary.unlink(missing_ok=True)
    raise AssertionError("there is always another name")


def _names(folder: Path, name: str, source: str) -> Iterator[Path]:
    path = PurePosixPath(name)
    stem, suffix = (path.stem, path.suffix) if len(path.suffix) <= _LONGEST_SUFFIX else (name, "")
    digest = blake2b(source.encode(errors="surrogateescape"), digest_size=4).hexdigest()
    if len(os.fsencode(name)) <= _LONGEST_NAME:
        yield folder / name
    for number in count(1):
        added = f"-{digest}{f'-{number}' if number > 1 else ''}{suffix}"
        yield folder / f"{_cut(stem, _LONGEST_NAME - len(os.fsencode(added)))}{added}"


def _cut(stem: str, longest: int) -> str:
    """Return the beginning of a name that takes at most so many bytes."""
    while len(os.fsencode(stem)) > longest and stem:
        stem = stem[:-1]
    return stem


def _same(one: Path, other: Path) -> bool:
    return other.is_file() and (one.samefile(other) or filecmp.cmp(one, other, shallow=False))
