"""Makes a split without leaks and writes it as a CSV file: a scene stays in one split, each class keeps its shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vegrt.dataset.listing import SplitName, listing_text
from vegrt.dataset.photos import SPLITS, Split, base_folder, read_labelled, read_splits, warn_unreadable
from vegrt.errors import DataError
from vegrt.files.atomic import write_text
from vegrt.files.text import as_utf8, printable
from vegrt.train.data.audit import find_scenes
from vegrt.train.data.audit_file import Audit

Fractions = tuple[float, float, float]  # train, validation, test
DEFAULT_FRACTIONS: Fractions = (0.7, 0.15, 0.15)


@dataclass(frozen=True, slots=True)
class NewSplit:
    """A split that was written.

    counts: photos by split and class. tested: readable photos of the old test split. moved: photos of the old test split that
    are now in train or validation, by split.
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
            f"{total:,} of the {self.tested:,} test photos of the old split moved ({where}): "
            "accuracies on the new test split cannot be compared with those on the old one"
        )


def write_split(
    data: Path, audit: Audit, out_csv: Path, *, fractions: Fractions = DEFAULT_FRACTIONS, seed: int = 0
) -> NewSplit:
    """Write path, class and split of every readable photo, in the format of `vegrt.dataset.listing`; return the new split.

    Raises DataError when `audit` belongs to other data, or when a class has too few scenes for three splits.
    """
    splits, base = read_splits(data), base_folder(data)
    for split in splits.values():
        audit.check(split)
    classes = _classes_of(base, list(splits.values()), data)
    audited = [*audit.unreadable, *(name for cluster in audit.clusters for name in cluster)]
    if missing := [name for name in audited if name not in classes]:
        raise DataError(
            f"{data}: the audit lists {printable(Path(missing[0]))}, which does not exist; run: vegrt data audit DATA"
        )
    readable = {name: label for name, label in classes.items() if name not in audit.unreadable}
    assigned = assign_splits(readable, audit.clusters, fractions=fractions, seed=seed)
    _write_listing(out_csv, base, readable, assigned)
    tested = [photo.path.relative_to(base).as_posix() for photo in splits["test"].photos]
    new_splits = Counter(assigned[name] for name in tested if name in assigned)
    moved: dict[SplitName, int] = {"train": new_splits["train"], "validation": new_splits["validation"]}
    return NewSplit(_counts(readable, assigned), new_splits.total(), moved)


def write_first_split(
    data: Path, out_csv: Path, *, fractions: Fractions = DEFAULT_FRACTIONS, seed: int = 0
) -> NewSplit:
    """Write the same for a folder that has class folders alone, thus no split yet. Raises DataError as `write_split` does."""
    photos = read_labelled(data)
    classes = _classes_of(data, [photos], data)
    scenes, unreadable = find_scenes(data, [photos])
    warn_unreadable([f"{data / name}: {reason}" for name, reason in unreadable.items()], len(photos))
    readable = {name: label for name, label in classes.items() if name not in unreadable}
    assigned = assign_splits(readable, scenes, fractions=fractions, seed=seed)
    _write_listing(out_csv, data, readable, assigned)
    return NewSplit(_counts(readable, assigned), 0, {})


def classes_by_name(base: Path, split: Split) -> dict[str, str]:
    """Return the class of each photo of a split, by its path below `base`."""
    return {photo.path.relative_to(base).as_posix(): split.classes[photo.label] for photo in split.photos}


def _classes_of(base: Path, splits: Sequence[Split], data: Path) -> dict[str, str]:
    """Return the class of each photo, by its path below `base`. Raises DataError for a name that is not UTF-8."""
    classes = {name: label for split in splits for name, label in classes_by_name(base, split).items()}
    if not_utf8 := [name for name in classes if as_utf8(name) != name]:
        raise DataError(
            f"{data}: {len(not_utf8)} file name(s) are not UTF-8, such as {printable(not_utf8[0])}; rename them"
        )
    return classes


def _write_listing(out_csv: Path, base: Path, classes: Mapping[str, str], assigned: Mapping[str, SplitName]) -> None:
    write_text(
        out_csv, listing_text(out_csv, ((base / name, classes[name], assigned[name]) for name in sorted(classes)))
    )


def _counts(classes: Mapping[str, str], assigned: Mapping[str, SplitName]) -> dict[SplitName, dict[str, int]]:
    photos, labels = Counter((assigned[name], label) for name, label in classes.items()), sorted(set(classes.values()))
    return {split: {label: photos[split, label] for label in labels} for split in SPLITS}


def assign_splits(
    classes: Mapping[str, str],
    clusters: Sequence[Sequence[str]],
    *,
    fractions: Fractions = DEFAULT_FRACTIONS,
    seed: int = 0,
) -> dict[str, SplitName]:
    """Return the split of each photo in `classes` (photo -> class). All photos of a cluster get the same split.

    Clusters are assigned from the largest to the smallest. Each gets a random one of the splits that have room for all of
    it, with a probability in proportion to the room. So each split gets its share of large scenes, and single photos, which
    come last, fill it up to its target. A cluster that fits into no split goes to the least full one.
    Raises DataError when a split gets no photos of a class.
    """
    _check_fractions(fractions)
    targets = _targets(classes, fractions)
    room = dict(targets)
    random = np.random.default_rng(seed)
    assigned: dict[str, SplitName] = {}
    for cluster in _shuffled(classes, clusters, random):
        sizes = Counter(classes[name] for name in cluster)
        fits = [all(room[split, label] >= size for label, size in sizes.items()) for split in SPLITS]
        free = [min(room[split, label] for label in sizes) for split in SPLITS]
        free_shares = [min(room[split, label] / targets[split, label] for label in sizes) for split in SPLITS]
        weights = np.where(fits, free, 0)
        choice = random.choice(3, p=weights / weights.sum()) if any(fits) else int(np.argmax(free_shares))
        assigned |= dict.fromkeys(cluster, SPLITS[choice])
        for label, size in sizes.items():
            room[SPLITS[choice], label] -= size
    _check_complete(classes, assigned)
    return assigned


def read_fractions(text: str) -> Fractions:
    """Return the three shares in a text such as `0.7,0.15,0.15`. Raises DataError for anything else."""
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
    """Return the number of photos that each split should get of each class: at least one."""
    targets: dict[tuple[SplitName, str], int] = {}
    for label, count in Counter(classes.values()).items():
        small = [max(1, round(count * fraction)) for fraction in fractions[1:]]
        targets |= {(split, label): n for split, n in zip(SPLITS, (max(1, count - sum(small)), *small), strict=True)}
    return targets


def _shuffled(
    classes: Mapping[str, str], clusters: Sequence[Sequence[str]], random: np.random.Generator
) -> list[list[str]]:
    """Return the clusters, largest first, equal sizes in random order. A photo outside all clusters is a cluster of one."""
    clustered = {name for cluster in clusters for name in cluster}
    groups = [sorted(cluster) for cluster in clusters] + [[name] for name in sorted(classes) if name not in clustered]
    order = random.permutation(len(groups))
    return sorted((groups[index] for index in order), key=len, reverse=True)


def _check_complete(classes: Mapping[str, str], assigned: Mapping[str, SplitName]) -> None:
    assigned_classes = {(assigned[name], label) for name, label in classes.items()}
    for label in sorted(set(classes.values())):
        if missing := [split for split in SPLITS if (split, label) not in assigned_classes]:
            raise DataError(
                f"class {label}: too few scenes for three splits, none in {', '.join(missing)}; add photos of other scenes"
            )
