"""Labelled photos: DATA/{train,validation,test}/<Class>/*.jpg|png|webp|... (`val` works too), or a CSV file.

`vegrt.dataset.walk` defines what counts as a photo in a folder; in a CSV file every listed path does.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from vegrt.dataset.classes import check_folder_names, listed_classes
from vegrt.dataset.listing import SPLIT_NAMES, SplitName, is_listing, read_listing
from vegrt.dataset.walk import SkippedFiles, is_hidden, is_photo_name, suffix_of, walk
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
        counts = Counter(photo.label for photo in self.photos)
        return {name: counts[label] for label, name in enumerate(self.classes)}

    def relative(self, photo: Photo) -> str:
        """Return the photo's path relative to the root, such as `<Class>/<file>`, as text that UTF-8 can hold."""
        return as_utf8(photo.path.relative_to(self.root))

    def fingerprint(self) -> str:
        """Return a SHA-256 over names and contents of all photos, in hex; an unreadable photo counts by its name only."""
        digest = hashlib.sha256()
        for photo in self.photos:
            digest.update(self.relative(photo).encode() + b"\0" + _hash_or_nothing(photo.path).encode())
        return digest.hexdigest()


def read_split(data: Path, name: SplitName, classes: Sequence[str] | None = None) -> Split:
    """Return one split of a data folder, or of a CSV file as in `vegrt.dataset.listing`.

    classes: the required classes, in label order; by default all classes of the split, sorted. Skipped files are logged once.
    Raises a DataError that shows the expected tree for a missing or empty folder, fewer than two classes, an empty class, or
    classes that differ from the required ones.
    """
    skipped = SkippedFiles()
    root, paths = _listed(data, name) if is_listing(data) else _folders(_split_root(data, name), skipped)
    subject = f"{data}, {name}" if is_listing(data) else str(root)
    return _checked(
        Split(name, root, tuple(sorted(paths) if classes is None else classes), ()), paths, subject, skipped
    )


def read_labelled(data: Path, classes: Sequence[str] | None = None) -> Split:
    """Return the validation split of `data`, or all photos of a folder that has the class folders itself, as validation photos.

    classes: as in `read_split`, which raises the same errors.
    """
    if is_listing(data) or not data.is_dir() or any(has_split(data, name) for name in SPLITS):
        return read_split(data, "validation", classes)
    skipped = SkippedFiles()
    root, paths = _folders(data, skipped)
    return _checked(
        Split("validation", root, tuple(sorted(paths) if classes is None else classes), ()), paths, str(root), skipped
    )


def read_splits(data: Path, classes: Sequence[str] | None = None) -> dict[SplitName, Split]:
    """Return all three splits, which have the same classes. Raises DataError as `read_split` does."""
    train = read_split(data, "train", classes)
    return {name: train if name == "train" else read_split(data, name, train.classes) for name in SPLITS}


def _checked(split: Split, paths: dict[str, list[Path]], subject: str, skipped: SkippedFiles) -> Split:
    """Return the split with the photos of its classes. Raises DataError as `read_split` does."""
    root, expected = split.root, split.classes
    check_folder_names(sorted(paths), subject)
    if len(expected) < 2:
        raise DataError(f"{subject}: {len(paths)} class(es); expected at least 2, as in {TREE}")
    surplus = sorted(set(paths) - set(expected))
    if missing := sorted(set(expected) - set(paths)):
        unknown = f"; unknown class {listed_classes(surplus)}" if surplus else ""
        raise DataError(
            f"{subject}: class {listed_classes(missing)} is missing; every split must have the same classes{unknown}"
        )
    if surplus:
        raise DataError(f"{subject}: unknown class {listed_classes(surplus)}; expected only {listed_classes(expected)}")
    if empty := [label for label in expected if not paths[label]]:
        others = f" (skipped in this split: {skipped})" if str(skipped) else ""
        raise DataError(
            f"{root / empty[0]}: no photos{others}; expected at least one in every class: {', '.join(sorted(SUFFIXES))}"
        )
    if str(skipped):
        _log_once(f"{printable(root)}: skipped: {skipped}")
    photos = tuple(Photo(path, label) for label, key in enumerate(expected) for path in paths[key])
    return replace(split, photos=photos)


def has_split(data: Path, name: SplitName) -> bool:
    """Return whether `data` contains that split."""
    return name in read_listing(data).photos if is_listing(data) else any(map(Path.is_dir, _split_roots(data, name)))


def base_folder(data: Path) -> Path:
    """Return the folder that contains all photos of `data`."""
    return read_listing(data).root if is_listing(data) else data


def find_split(name: str) -> SplitName:
    """Return the split with this name; `val` means validation. Raises DataError for an unknown name."""
    if name not in SPLIT_NAMES:
        raise DataError(f"split {name!r}: unknown; expected one of {', '.join(SPLITS)}")
    return SPLIT_NAMES[name]


def content_hash(path: Path) -> str:
    """Return the SHA-256 of a photo's bytes, in hex. Raises DataError when it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); make it readable") from error


def _hash_or_nothing(path: Path) -> str:
    try:
        return content_hash(path)
    except DataError:
        return ""


def image_files(folder: Path, skipped: SkippedFiles | None = None) -> list[Path]:
    """Return the photos below a folder, sorted. skipped: counts all other files."""
    counted = SkippedFiles() if skipped is None else skipped
    photos: list[Path] = []
    for entry in walk(folder, counted):
        if entry.kind == "photo":
            photos.append(Path(entry.path))
        else:
            counted.kinds[entry.kind] += 1
    return sorted(photos)


def warn_unreadable(errors: Sequence[str], total: int) -> None:
    """Log every unreadable photo and how many of `total` were skipped; log nothing if all were readable."""
    for error in errors:
        log.warning("skipped %s", error)
    if errors:
        log.warning("skipped %d unreadable of %d photos", len(errors), total)


def _split_roots(data: Path, name: SplitName) -> list[Path]:
    """Return the possible folders of a split, the preferred one first."""
    return [data / folder for folder, split in SPLIT_NAMES.items() if split == name]


def _split_root(data: Path, name: SplitName) -> Path:
    if not data.is_dir():
        raise DataError(f"{data}: no such folder; expected {TREE}")
    for candidate in _split_roots(data, name):
        if candidate.is_dir():
            return candidate
    entries = ", ".join(sorted(entry.name for entry in data.iterdir())[:8]) or "nothing"
    raise DataError(f"{data}: no {name}/ folder (found: {entries}); expected {TREE}")


def _folders(root: Path, skipped: SkippedFiles) -> tuple[Path, dict[str, list[Path]]]:
    folders: list[Path] = []
    for entry in root.iterdir():
        if is_hidden(entry.name):
            skipped.hidden += 1
        elif entry.is_dir():
            folders.append(entry)
        elif is_photo_name(entry.name):
            skipped.kinds["photo"] += 1
        else:
            skipped.others[suffix_of(entry.name)] += 1
    return root, {folder.name: image_files(folder, skipped) for folder in folders}


@cache
def _log_once(line: str) -> None:
    """Log a line only the first time: a command may read the same split several times."""
    log.info("%s", line)


def _listed(file: Path, name: SplitName) -> tuple[Path, dict[str, list[Path]]]:
    listing = read_listing(file)
    by_class = {label: sorted(paths) for label, paths in listing.photos.get(name, {}).items()}
    if not by_class:
        raise DataError(f"{file}: lists no photos of split {name}; add some, or use a data set that has this split")
    if absent := [path for paths in by_class.values() for path in paths if not path.is_file()]:
        raise DataError(
            f"{file}: {len(absent)} listed photo(s) missing, such as {absent[0]}; paths are relative to {file.parent}"
        )
    return listing.root, by_class
