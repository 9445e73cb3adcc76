"""Labelled photos: DATA/{train,validation,test}/<Class>/*.jpg|png|webp|..., `val` accepted for validation, or a CSV file.

What counts as a photo in a folder, `vegrt.dataset.walk` says; in a CSV file every path that is listed does.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vegrt.dataset.classes import check_folder_names
from vegrt.dataset.listing import SPLIT_NAMES, SplitName, is_listing, read_listing
from vegrt.dataset.walk import LeftOut, is_hidden, is_photo_name, suffix_of, walk
from vegrt.errors import DataError
from vegrt.files.text import as_utf8, printable
from vegrt.photo.formats import SUFFIXES

log = logging.getLogger(__name__)

SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
TREE = "DATA/{train,validation,test}/<Class>/*.jpg|png|webp|..."


@dataclass(frozen=True, slots=True)
class Photo:
    """One labelled image file. label: index into the classes."""

    path: Path
    label: int


@dataclass(frozen=True, slots=True)
class Split:
    """The photos of one split in a fixed order: by class name, then by file name."""

    name: SplitName
    root: Path
    classes: tuple[str, ...]
    photos: tuple[Photo, ...]

    def __len__(self) -> int:
        return len(self.photos)

    def counts(self) -> dict[str, int]:
        """Return the number of photos of each class."""
        found = Counter(photo.label for photo in self.photos)
        return {name: found[label] for label, name in enumerate(self.classes)}

    def relative(self, photo: Photo) -> str:
        """Return the photo's path below the root, as `<Class>/<file>` in a folder tree, in UTF-8."""
        return as_utf8(photo.path.relative_to(self.root))

    def fingerprint(self) -> str:
        """Return a SHA-256 over names and contents of all photos, in hex; of one that cannot be read the name alone."""
        digest = hashlib.sha256()
        for photo in self.photos:
            digest.update(self.relative(photo).encode() + b"\0" + _hash_or_nothing(photo.path).encode())
        return digest.hexdigest()


def read_split(data: Path, name: SplitName, classes: Sequence[str] | None = None) -> Split:
    """Return one split of a data folder, or of a CSV file as `vegrt.dataset.listing` describes it.

    classes: what must be there, in label order; by default what is there, sorted. What was left out of a folder is logged, once.
    Raises DataError, with the expected tree, for a missing or empty folder, fewer than two classes, an empty class, or
    classes that differ from those given.
    """
    left_out = LeftOut()
    root, found = _listed(data, name) if is_listing(data) else _folders(data, name, left_out)
    expected = list(classes) if classes is not None else sorted(found)
    subject = f"{data}, {name}" if is_listing(data) else str(root)
    check_folder_names(sorted(found), subject)
    if len(expected) < 2:
        raise DataError(f"{subject}: {len(found)} class(es) found, at least 2 expected; the tree is {TREE}")
    if missing := sorted(set(expected) - set(found)):
        raise DataError(f"{subject}: class {', '.join(missing)} missing; the same classes belong in every split")
    if surplus := sorted(set(found) - set(expected)):
        raise DataError(f"{subject}: unknown class {', '.join(surplus)}; expected only {', '.join(expected)}")
    if empty := [label for label in expected if not found[label]]:
        seen = f" (left out of the split: {left_out})" if str(left_out) else ""
        raise DataError(
            f"{root / empty[0]}: no photos in it{seen}; every class needs some: {', '.join(sorted(SUFFIXES))}"
        )
    if str(left_out):
        _say(f"{printable(root)}: left out: {left_out}")
    photos = tuple(Photo(path, label) for label, key in enumerate(expected) for path in found[key])
    return Split(name, root, tuple(expected), photos)


def read_splits(data: Path, classes: Sequence[str] | None = None) -> dict[SplitName, Split]:
    """Return all three splits, which hold the same classes. Raises DataError as `read_split` does."""
    train = read_split(data, "train", classes)
    return {name: train if name == "train" else read_split(data, name, train.classes) for name in SPLITS}


def has_split(data: Path, name: SplitName) -> bool:
    """Return whether `data` says anything about that split."""
    return name in read_listing(data).photos if is_listing(data) else any(map(Path.is_dir, _split_roots(data, name)))


def base_folder(data: Path) -> Path:
    """Return the folder below which all photos of `data` lie."""
    return read_listing(data).root if is_listing(data) else data


def find_split(name: str) -> SplitName:
    """Return the split of that name; `val` is validation. Raises DataError that lists the known ones."""
    if name not in SPLIT_NAMES:
        raise DataError(f"split {name!r}: unknown; expected one of {', '.join(SPLITS)}")
    return SPLIT_NAMES[name]


def content_hash(path: Path) -> str:
    """Return the SHA-256 of a photo's bytes, in hex. Raises DataError when it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _hash_or_nothing(path: Path) -> str:
    try:
        return content_hash(path)
    except DataError:
        return ""


def image_files(folder: Path, left_out: LeftOut | None = None) -> list[Path]:
    """Return the photos below a folder, sorted. left_out: counts what is none."""
    missed = LeftOut() if left_out is None else left_out
    photos: list[Path] = []
    for found in walk(folder, missed):
        if found.kind == "photo":
            photos.append(Path(found.path))
        else:
            missed.kinds[found.kind] += 1
    return sorted(photos)


def warn_unreadable(errors: Sequence[str], total: int) -> None:
    """Log every unreadable photo and how many of `total` were skipped; say nothing when there is none."""
    for error in errors:
        log.warning("skipped %s", error)
    if errors:
        log.warning("skipped %d unreadable of %d photos", len(errors), total)


def _split_roots(data: Path, name: SplitName) -> list[Path]:
    """Return where a split may lie, the first choice first."""
    return [data / folder for folder, meant in SPLIT_NAMES.items() if meant == name]


def _split_root(data: Path, name: SplitName) -> Path:
    if not data.is_dir():
        raise DataError(f"{data}: no such folder; expected {TREE}")
    for candidate in _split_roots(data, name):
        if candidate.is_dir():
            return candidate
    found = ", ".join(sorted(entry.name for entry in data.iterdir())[:8]) or "nothing"
    raise DataError(f"{data}: no {name}/ folder (found: {found}); expected {TREE}")


def _folders(data: Path, name: SplitName, left_out: LeftOut) -> tuple[Path, dict[str, list[Path]]]:
    root = _split_root(data, name)
    folders: list[Path] = []
    for entry in root.iterdir():
        if is_hidden(entry.name):
            left_out.hidden += 1
        elif entry.is_dir():
            folders.append(entry)
        elif is_photo_name(entry.name):
            left_out.kinds["photo"] += 1
        else:
            left_out.others[suffix_of(entry.name)] += 1
    return root, {folder.name: image_files(folder, left_out) for folder in folders}


@cache
def _say(line: str) -> None:
    """Log a line once: a command reads the same split several times."""
    log.info("%s", line)


def _listed(file: Path, name: SplitName) -> tuple[Path, dict[str, list[Path]]]:
    listing = read_listing(file)
    found = {label: sorted(paths) for label, paths in listing.photos.get(name, {}).items()}
    if not found:
        raise DataError(f"{file}: lists no photos of split {name}")
    if absent := [path for paths in found.values() for path in paths if not path.is_file()]:
        raise DataError(
            f"{file}: {len(absent)} listed photo(s) missing, such as {absent[0]}; paths start at {file.parent}"
        )
    return listing.root, found
