"""Adds newly labelled photos, such as those of `vegrt infer --keep-unsure`, to a data set: a CSV file that lists both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vegrt.dataset.classes import listed_classes
from vegrt.dataset.listing import SplitName, listing_text, read_listing, relative_path
from vegrt.dataset.photos import SPLITS, read_splits
from vegrt.errors import DataError
from vegrt.files.atomic import write_text
from vegrt.files.csv_cells import path_cell
from vegrt.files.text import as_utf8, printable


@dataclass(frozen=True, slots=True)
class Added:
    """photos: of the new data set, by split. added: of them, those that are new."""

    photos: dict[SplitName, int]
    added: int


def add_photos(data: Path, labelled: Path, out_csv: Path) -> Added:
    """Write path, class and split of all photos of `data` and of the CSV file `labelled`, in the format of both.

    Rows of `labelled` without a class are left out. Raises DataError for a class that `data` does not have, for a photo that it
    has already, and for names that are not UTF-8.
    """
    splits = read_splits(data)
    rows = {
        photo.path.absolute(): (split.classes[photo.label], name)
        for name, split in splits.items()
        for photo in split.photos
    }
    new = _labelled(labelled, splits["train"].classes)
    if repeated := [path for path in new if path in rows]:
        raise DataError(f"{labelled}: {printable(repeated[0])} is in {data} already; delete its line")
    rows |= new
    out = out_csv.absolute()
    if not_utf8 := [name for path in rows if as_utf8(name := path_cell(relative_path(path, out))) != name]:
        raise DataError(f"{data}: {printable(not_utf8[0])} is not UTF-8; rename it")
    write_text(out_csv, listing_text(out, ((path, label, split) for path, (label, split) in rows.items())))
    counts = {name: sum(split == name for _, split in rows.values()) for name in splits}
    return Added(counts, len(new))


def _labelled(file: Path, classes: tuple[str, ...]) -> dict[Path, tuple[str, SplitName]]:
    """Return the class and the split of each labelled photo. Raises DataError for a class that is not one of these."""
    listing = read_listing(file, skip_unlabelled=True)
    result: dict[Path, tuple[str, SplitName]] = {}
    for split in SPLITS:
        for label, paths in listing.photos.get(split, {}).items():
            if label not in classes:
                raise DataError(f"{file}: class {label!r}; expected one of {listed_classes(sorted(classes))}")
            result |= dict.fromkeys(paths, (label, split))
    return result
