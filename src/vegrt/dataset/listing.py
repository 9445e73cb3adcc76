"""A data set as a CSV file with the columns path, class and split, instead of a folder tree: nothing is copied.

Paths are taken from the file's own folder on. `vegrt data split` writes such files.
"""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vegrt.dataset.classes import check_folder_names
from vegrt.errors import DataError

MAX_PATH = 4095  # bytes that Linux takes
COLUMNS = ("path", "class", "split")
SplitName = Literal["train", "validation", "test"]
SPLIT_NAMES: dict[str, SplitName] = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}


@dataclass(frozen=True, slots=True)
class Listing:
    """The photos of a CSV file. root: the deepest folder that holds all of them. photos: split -> class -> paths."""

    root: Path
    photos: dict[str, dict[str, list[Path]]]


def is_listing(data: Path) -> bool:
    """Return whether `data` is meant as such a file and not as a folder."""
    return data.suffix.lower() == ".csv"


def read_listing(file: Path) -> Listing:
    """Return what the file lists. Raises DataError with the line number for a row that makes no sense."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({error}); expected a CSV with {', '.join(COLUMNS)}") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        return _listing(file, reader)
    except csv.Error as error:
        raise DataError(f"{file}: line {reader.line_num}: {error}; expected a CSV with {', '.join(COLUMNS)}") from error


def _listing(file: Path, reader: csv.DictReader[str]) -> Listing:
    names = reader.fieldnames or ()
    if twice := [name for name in COLUMNS if list(names).count(name) > 1]:
        raise DataError(f"{file}: the column {twice[0]} twice; expected {', '.join(COLUMNS)}")
    if missing := [name for name in COLUMNS if name not in names]:
        raise DataError(f"{file}: no column {', '.join(missing)}; expected {', '.join(COLUMNS)}")
    photos: dict[str, dict[str, list[Path]]] = {}
    seen: dict[Path, int] = {}
    for row in reader:
        path, label, split = (row[name] or "" for name in COLUMNS)
        line = reader.line_num
        if not path or not label or split not in SPLIT_NAMES:
            wanted = f"a path, a class and one of {', '.join(SPLIT_NAMES)}"
            raise DataError(f"{file}: line {line}: {path!r:.80}, {label!r:.80}, {split!r:.80}; expected {wanted}")
        if "\0" in path or len(path) > MAX_PATH:
            raise DataError(f"{file}: line {line}: {path!r:.80} is no path")
        check_folder_names([label], f"{file}: line {line}")
        full = Path(os.path.abspath(file.parent / path))  # noqa: PTH100 (resolve would follow links to other names)
        if full in seen:
            raise DataError(f"{file}: line {line}: {path} is listed in line {seen[full]} already; keep one of them")
        seen[full] = line
        photos.setdefault(SPLIT_NAMES[split], {}).setdefault(label, []).append(full)
    if not seen:
        raise DataError(f"{file}: lists no photos")
    return Listing(Path(os.path.commonpath([path.parent for path in seen])), photos)


def relative_path(path: Path, file: Path) -> str:
    """Return `path` as it belongs in the CSV `file`: from its folder on, with slashes."""
    return Path(os.path.relpath(path, file.parent)).as_posix()
