"""A data set as a CSV file with the columns path, class and split, which replaces a folder tree without copying photos.

Paths are relative to the folder of the file. `vegrt data split` writes such files.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vegrt.dataset.classes import check_folder_names
from vegrt.errors import DataError
from vegrt.files.csv_cells import csv_text, path_cell, text_cell, text_of_cell

MAX_PATH = 4095  # bytes, the limit of Linux
COLUMNS = ("path", "class", "split")
SplitName = Literal["train", "validation", "test"]
SPLIT_NAMES: dict[str, SplitName] = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}


@dataclass(frozen=True, slots=True)
class Listing:
    """The photos of a CSV file. root: the deepest folder that contains all of them. photos: split -> class -> paths."""

    root: Path
    photos: dict[str, dict[str, list[Path]]]


def is_listing(data: Path) -> bool:
    """Return whether `data` is the path of a CSV file rather than of a folder."""
    return data.suffix.lower() == ".csv"


def read_listing(file: Path, *, skip_unlabelled: bool = False) -> Listing:
    """Return the content of a CSV file. skip_unlabelled: leave out rows without a class, instead of refusing them.

    Raises DataError with the line number of an invalid row, and where no row is left.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({error}); expected a CSV with {', '.join(COLUMNS)}") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        return _listing(file, reader, skip_unlabelled)
    except csv.Error as error:
        raise DataError(f"{file}: line {reader.line_num}: {error}; expected a CSV with {', '.join(COLUMNS)}") from error


def _listing(file: Path, reader: csv.DictReader[str], skip_unlabelled: bool) -> Listing:
    names = reader.fieldnames or ()
    if duplicates := [name for name in COLUMNS if list(names).count(name) > 1]:
        raise DataError(f"{file}: duplicate column {duplicates[0]}; expected {', '.join(COLUMNS)}")
    if missing := [name for name in COLUMNS if name not in names]:
        raise DataError(f"{file}: no column {', '.join(missing)}; expected {', '.join(COLUMNS)}")
    photos: dict[str, dict[str, list[Path]]] = {}
    lines: dict[Path, int] = {}
    for row in reader:
        path, label, split = (row[name] or "" for name in COLUMNS)
        label, line = text_of_cell(label), reader.line_num
        if skip_unlabelled and path and not label:
            continue
        if not path or not label or split not in SPLIT_NAMES:
            expected = f"a path, a class and one of {', '.join(SPLIT_NAMES)}"
            raise DataError(f"{file}: line {line}: {path!r:.80}, {label!r:.80}, {split!r:.80}; expected {expected}")
        if "\0" in path or len(path) > MAX_PATH:
            raise DataError(
                f"{file}: line {line}: {path!r:.80} is not a valid path; expected at most {MAX_PATH} characters, no NUL"
            )
        check_folder_names([label], f"{file}: line {line}")
        full = Path(os.path.abspath(file.parent / path))  # noqa: PTH100 (resolve would follow links)
        if full in lines:
            raise DataError(
                f"{file}: line {line}: {path} is already listed in line {lines[full]}; delete one of the two lines"
            )
        lines[full] = line
        photos.setdefault(SPLIT_NAMES[split], {}).setdefault(label, []).append(full)
    if not lines:
        cure = "fill in the column class" if skip_unlabelled else f"expected one per line, with {', '.join(COLUMNS)}"
        raise DataError(f"{file}: lists no {'labelled ' if skip_unlabelled else ''}photos; {cure}")
    return Listing(Path(os.path.commonpath([path.parent for path in lines])), photos)


def listing_text(file: Path, photos: Iterable[tuple[Path, str, SplitName]]) -> str:
    """Return the content of the CSV `file` that lists these photos: path, class and split of each."""
    rows = ((path_cell(relative_path(path, file)), text_cell(label), split) for path, label, split in photos)
    return csv_text([COLUMNS, *rows])


def relative_path(path: Path, file: Path) -> str:
    """Return `path` as the CSV `file` stores it: relative to the folder of the file, with slashes."""
    return Path(os.path.relpath(path, file.parent)).as_posix()
