"""Labelled photos: DATA/{train,validation,test}/<Class>/*.jpg|png|webp, `val` accepted for validation, or a CSV file."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vegrt.classes import check_folder_names
from vegrt.errors import DataError
from vegrt.files import as_utf8
from vegrt.listing import SPLIT_NAMES, is_listing, read_listing
from vegrt.listing import SplitName as SplitName
from vegrt.preprocess import SUFFIXES

log = logging.getLogger(__name__)

SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
TREE = "DATA/{train,validation,test}/<Class>/*.jpg|png|webp"


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
        """Return a SHA-256 over names and contents of all photos, in hex."""
        digest = hashlib.sha256()
        for photo in self.photos:
            digest.update(self.relative(photo).encode() + b"\0" + content_hash(photo.path).encode())
        return digest.hexdigest()


def read_split(data: Path, name: SplitName, classes: Sequence[str] | None = None) -> Split:
    """Return one split of a data folder, or of a CSV file as `vegrt.listing` describes it.

    classes: what must be there, in label order; by default what is there, sorted.
    Raises DataError, with the expected tree, for a missing or empty folder, fewer than two classes, an empty class, or
    classes that differ from those given.
    """
    root, found = _listed(data, name) if is_listing(data) else _folders(data, name)
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
        raise DataError(f"{root / empty[0]}: no *.jpg, *.png or *.webp in it; every class needs photos in every split")
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


def image_files(folder: Path) -> list[Path]:
    """Return everything below `folder` that is named like an image and is no folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and not path.is_dir())


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


def _folders(data: Path, name: SplitName) -> tuple[Path, dict[str, list[Path]]]:
    root = _split_root(data, name)
    folders = [entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    return root, {folder.name: image_files(folder) for folder in folders}


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
