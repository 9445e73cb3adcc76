"""Makes a validation split for a data folder that has only train/ and test/, and writes it as a CSV file.

The test split stays as it was published. Photos of one scene stay in one split; train photos of a scene in test are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vegrt.dataset.listing import SplitName, listing_text, read_listing
from vegrt.dataset.photos import SPLITS, read_split
from vegrt.errors import DataError
from vegrt.files.atomic import write_text
from vegrt.train.data.audit import find_scenes
from vegrt.train.data.split import classes_by_name

SHARE = 0.15  # of each class of train


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A validation split that was written.

    counts: photos by split. left_out: train photos that nearly duplicate test photos, and unreadable photos.
    """

    counts: dict[SplitName, int]
    left_out: int

    def summary(self) -> str:
        """Return one line with the number of photos of each split."""
        counts = ", ".join(f"{split} {count:,}" for split, count in self.counts.items())
        left_out = f"{self.left_out:,} photos left out (unreadable, or near duplicates of test photos)"
        return f"{counts} photos; {left_out}" if self.left_out else f"{counts} photos"


def hold_out_validation(data: Path, out_csv: Path, *, share: float = SHARE, seed: int = 0) -> HeldOut:
    """Write path, class and split of the photos of DATA/train and DATA/test, in the format of `vegrt.dataset.listing`.

    About `share` of the photos of each class of train become the validation split. Left out are train photos that nearly
    duplicate test photos, and unreadable photos. Raises DataError when a class gets no photo of train or validation.
    """
    train = read_split(data, "train")
    test = read_split(data, "test", train.classes)
    scenes, unreadable = find_scenes(data, [train, test])
    classes = classes_by_name(data, train) | (tested := classes_by_name(data, test))
    assigned: dict[str, SplitName] = dict.fromkeys(tested, "test")
    trained = {name: label for name, label in classes_by_name(data, train).items() if name not in unreadable}
    leaked = {name for scene in scenes if not tested.keys().isdisjoint(scene) for name in scene}
    usable = {name: label for name, label in trained.items() if name not in leaked}
    assigned |= _assign(usable, scenes, share, seed)
    for name in unreadable:
        assigned.pop(name, None)
    write_text(
        out_csv, listing_text(out_csv, ((data / name, classes[name], assigned[name]) for name in sorted(assigned)))
    )
    counts = Counter(assigned.values())
    return HeldOut({split: counts[split] for split in SPLITS}, len(classes) - counts.total())


def read_held_out(file: Path, photos: int) -> HeldOut:
    """Return what a CSV file written before says. photos: those of the data set, listed or not. Raises DataError."""
    listing = read_listing(file)
    counts: dict[SplitName, int] = {split: sum(map(len, listing.photos.get(split, {}).values())) for split in SPLITS}
    return HeldOut(counts, photos - sum(counts.values()))


def _assign(
    classes: Mapping[str, str], scenes: Sequence[Sequence[str]], share: float, seed: int
) -> dict[str, SplitName]:
    """Return train or validation for each photo in `classes` (photo -> class): whole scenes, in random order, while they fit."""
    room = {label: max(1, round(count * share)) for label, count in Counter(classes.values()).items()}
    in_scenes = [[name for name in scene if name in classes] for scene in scenes]
    single = sorted(classes.keys() - {name for scene in in_scenes for name in scene})
    groups = [scene for scene in in_scenes if scene] + [[name] for name in single]
    assigned: dict[str, SplitName] = dict.fromkeys(classes, "train")
    for index in np.random.default_rng(seed).permutation(len(groups)):
        sizes = Counter(classes[name] for name in groups[index])
        if all(room[label] >= size for label, size in sizes.items()):
            assigned |= dict.fromkeys(groups[index], "validation")
            for label, size in sizes.items():
                room[label] -= size
    complete = {(classes[name], split) for name, split in assigned.items()}
    for label in room:
        if missing := [split for split in ("train", "validation") if (label, split) not in complete]:
            raise DataError(f"class {label}: too few scenes in train for two splits, none in {missing[0]}; add photos")
    return assigned
