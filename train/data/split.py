"""A leak-free split as a CSV manifest: photos of one scene stay together, classes keep their shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vegrt.dataset.listing import COLUMNS, SplitName, relative_path
from vegrt.dataset.photos import SPLITS, base_folder, read_splits
from vegrt.errors import DataError
from vegrt.files.atomic import write_text
from vegrt.files.csv_cells import csv_text, path_cell
from vegrt.files.text import as_utf8, printable
from vegrt.train.data.audit_file import Audit

Fractions = tuple[float, float, float]  # of train, validation, test
DEFAULT_FRACTIONS: Fractions = (0.7, 0.15, 0.15)


@dataclass(frozen=True, slots=True)
class NewSplit:
    """A split that was written.

    counts: photos by split and class. tested: photos of the old test split. moved: those of them that the new one trains or
    validates on, by split.
    """

    counts: dict[SplitName, dict[str, int]]
    tested: int
    moved: dict[SplitName, int]

    def warning(self) -> str:
        """Return a one-line warning about moved test photos; an empty text when none moved."""
        if not (total := sum(self.moved.values())):
            return ""
        where = ", ".join(f"{count:,} to {name}" for name, count in self.moved.items() if count)
        return (
            f"{total:,} of the {self.tested:,} test photos of the given split moved ({where}): "
            "accuracy on the new test split is not comparable with what was published on the old one"
        )


def write_split(
    data: Path, audit: Audit, out_csv: Path, *, fractions: Fractions = DEFAULT_FRACTIONS, seed: int = 0
) -> NewSplit:
    """Write path,class,split of every readable photo as `vegrt.dataset.listing` describes; return the new split.

    Raises DataError when `audit` is not of this data, or where a class has too few scenes for three splits.
    """
    splits, base = read_splits(data), base_folder(data)
    for split in splits.values():
        audit.check(split)
    classes = {
        photo.path.relative_to(base).as_posix(): split.classes[photo.label]
        for split in splits.values()
        for photo in split.photos
    }
    if unnameable := [name for name in classes if as_utf8(name) != name]:
        raise DataError(
            f"{data}: {len(unnameable)} file name(s) that are not UTF-8, such as {printable(unnameable[0])}"
        )
    named = [*audit.unreadable, *(name for cluster in audit.clusters for name in cluster)]
    if strange := [name for name in named if name not in classes]:
        raise DataError(
            f"{data}: the audit names {printable(Path(strange[0]))}, which does not exist; run: vegrt data audit DATA"
        )
    for name in audit.unreadable:
        del classes[name]
    assigned = assign_splits(classes, audit.clusters, fractions=fractions, seed=seed)
    rows = [(path_cell(relative_path(base / name, out_csv)), classes[name], assigned[name]) for name in sorted(classes)]
    write_text(out_csv, csv_text([COLUMNS, *rows]))
    found = Counter((assigned[name], label) for name, label in classes.items())
    counts = {split: {label: found[split, label] for label in splits["train"].classes} for split in SPLITS}
    tested = [photo.path.relative_to(base).as_posix() for photo in splits["test"].photos]
    now = Counter(assigned[name] for name in tested if name in assigned)
    return NewSplit(counts, now.total(), {"train": now["train"], "validation": now["validation"]})


def assign_splits(
    classes: Mapping[str, str],
    clusters: Sequence[Sequence[str]],
    *,
    fractions: Fractions = DEFAULT_FRACTIONS,
    seed: int = 0,
) -> dict[str, SplitName]:
    """Return the split of each photo in `classes` (photo -> class). Photos of one cluster get the same.

    Large clusters choose first, each at random among the splits with room for all of it, in proportion to the room; so
    each split gets its share of large scenes, and the single photos that come last fill it up to the target. What fits
    nowhere goes to the split that is least full.
    Raises DataError when a class is left without photos in some split.
    """
    _check_fractions(fractions)
    targets = _targets(classes, fractions)
    room = dict(targets)
    random = np.random.default_rng(seed)
    assigned: dict[str, SplitName] = {}
    for cluster in _shuffled(classes, clusters, random):
        need = Counter(classes[name] for name in cluster)
        fits = [all(room[split, label] >= count for label, count in need.items()) for split in SPLITS]
        left = [min(room[split, label] for label in need) for split in SPLITS]
        share = [min(room[split, label] / targets[split, label] for label in need) for split in SPLITS]
        weights = np.where(fits, left, 0)
        choice = random.choice(3, p=weights / weights.sum()) if any(fits) else int(np.argmax(share))
        assigned |= dict.fromkeys(cluster, SPLITS[choice])
        for label, count in need.items():
            room[SPLITS[choice], label] -= count
    _check(classes, assigned)
    return assigned


def read_fractions(text: str) -> Fractions:
    """Return three shares written as `0.7,0.15,0.15`. Raises DataError for anything else."""
    try:
        train, validation, test = (float(part) for part in text.split(","))
    except ValueError as error:
        raise DataError(f"fractions {text!r}: expected three numbers, such as 0.7,0.15,0.15") from error
    _check_fractions((train, validation, test))
    return train, validation, test


def _check_fractions(fractions: Fractions) -> None:
    if not (min(fractions) > 0 and abs(sum(fractions) - 1) < 1e-6):
        raise DataError(f"fractions {fractions}: expected three positive numbers whose sum is 1")


def _targets(classes: Mapping[str, str], fractions: Fractions) -> dict[tuple[SplitName, str], int]:
    """Return how many photos of each class a split should get, at least one."""
    targets: dict[tuple[SplitName, str], int] = {}
    for label, count in Counter(classes.values()).items():
        small = [max(1, round(count * fraction)) for fraction in fractions[1:]]
        targets |= {(split, label): n for split, n in zip(SPLITS, (max(1, count - sum(small)), *small), strict=True)}
    return targets


def _shuffled(
    classes: Mapping[str, str], clusters: Sequence[Sequence[str]], random: np.random.Generator
) -> list[list[str]]:
    """Return all clusters, photos outside any as clusters of one: largest first, those of a size in random order."""
    inside = {name for cluster in clusters for name in cluster}
    every = [sorted(cluster) for cluster in clusters] + [[name] for name in sorted(classes) if name not in inside]
    order = random.permutation(len(every))
    return sorted((every[index] for index in order), key=len, reverse=True)


def _check(classes: Mapping[str, str], assigned: Mapping[str, SplitName]) -> None:
    found = {(assigned[name], label) for name, label in classes.items()}
    for label in sorted(set(classes.values())):
        if missing := [split for split in SPLITS if (split, label) not in found]:
            raise DataError(f"class {label}: too few scenes to split, none is left for {', '.join(missing)}")
