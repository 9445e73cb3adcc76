"""The public data sets that `vegrt data fetch` offers: where they are, under which licence, and what a complete one contains.

Sources of the numbers, read in November 2026. beans: its card and https://www.tensorflow.org/datasets/catalog/beans. eurosat and
pets: their cards at the pinned revisions, https://huggingface.co/datasets/timm/eurosat-rgb and .../timm/oxford-iiit-pet.
vegetables: the data set's description. Sets without a stated licence, such as Flowers-102 and Food-101, are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vegrt.dataset.listing import SplitName
from vegrt.dataset.photos import SPLITS, read_split
from vegrt.errors import DataError, VegrtError

Counts = dict[SplitName, dict[str, int]]  # photos by split and class


@dataclass(frozen=True, slots=True)
class ExpectedCounts:
    """The content of a complete data set.

    classes: their number. photos: of each split that is published. balanced: every class has the same share of them.
    """

    classes: int
    photos: Mapping[SplitName, int]
    balanced: bool = False

    @property
    def splits(self) -> tuple[SplitName, ...]:
        """Return the published splits, in the usual order."""
        return tuple(split for split in SPLITS if split in self.photos)


@dataclass(frozen=True, slots=True)
class PublicSet:
    """A public data set.

    name: for `--name`. subject: what the photos show. revision: the pinned version or commit. size: of the download; empty if
    unknown. label_column, classes: of its Parquet files, the names in label order; empty for sets of folders with photos.
    """

    name: str
    subject: str
    site: Literal["Kaggle", "Hugging Face"]
    repository: str
    revision: str
    licence: str
    size: str
    expected: ExpectedCounts
    label_column: str = ""
    classes: tuple[str, ...] = ()

    @property
    def page(self) -> str:
        """Return the address of its page."""
        host = "www.kaggle.com" if self.site == "Kaggle" else "huggingface.co"
        return f"https://{host}/datasets/{self.repository}"


VEGETABLES = PublicSet(
    name="vegetables",
    subject="vegetables, 224x224",
    site="Kaggle",
    repository="misrakahmed/vegetable-image-dataset",
    revision="1",
    licence="licence: see its page",
    size="",
    expected=ExpectedCounts(15, {"train": 15000, "validation": 3000, "test": 3000}, balanced=True),
)
BEANS = PublicSet(
    name="beans",
    subject="diseases of bean leaves, 500x500",
    site="Hugging Face",
    repository="AI-Lab-Makerere/beans",
    revision="27aa014ce09b193e1a6f58112d4a66e0eddb69c5",
    licence="MIT",
    size="180 MB",
    expected=ExpectedCounts(3, {"train": 1034, "validation": 133, "test": 128}),
    label_column="labels",
    classes=("angular_leaf_spot", "bean_rust", "healthy"),
)
EUROSAT = PublicSet(
    name="eurosat",
    subject="land use from satellites, 64x64",
    site="Hugging Face",
    repository="timm/eurosat-rgb",
    revision="45672726cb506066e5b3f51425158040acc1a985",
    licence="MIT",
    size="92 MB",
    expected=ExpectedCounts(10, {"train": 16200, "validation": 5400, "test": 5400}),
    label_column="label",
    classes=(
        "AnnualCrop",
        "Forest",
        "HerbaceousVegetation",
        "Highway",
        "Industrial",
        "Pasture",
        "PermanentCrop",
        "Residential",
        "River",
        "SeaLake",
    ),
)
PETS = PublicSet(
    name="pets",
    subject="breeds of cats and dogs",
    site="Hugging Face",
    repository="timm/oxford-iiit-pet",
    revision="10b688881011725fa2fa3d856a47536c9a7e6968",
    licence="CC BY-SA 4.0",
    size="791 MB",
    expected=ExpectedCounts(37, {"train": 3680, "test": 3669}),
    label_column="label",
    classes=(
        "abyssinian",
        "american_bulldog",
        "american_pit_bull_terrier",
        "basset_hound",
        "beagle",
        "bengal",
        "birman",
        "bombay",
        "boxer",
        "british_shorthair",
        "chihuahua",
        "egyptian_mau",
        "english_cocker_spaniel",
        "english_setter",
        "german_shorthaired",
        "great_pyrenees",
        "havanese",
        "japanese_chin",
        "keeshond",
        "leonberger",
        "maine_coon",
        "miniature_pinscher",
        "newfoundland",
        "persian",
        "pomeranian",
        "pug",
        "ragdoll",
        "russian_blue",
        "saint_bernard",
        "samoyed",
        "scottish_terrier",
        "shiba_inu",
        "siamese",
        "sphynx",
        "staffordshire_bull_terrier",
        "wheaten_terrier",
        "yorkshire_terrier",
    ),
)
PUBLIC_SETS = {dataset.name: dataset for dataset in (VEGETABLES, BEANS, EUROSAT, PETS)}


def find_set(name: str) -> PublicSet:
    """Return the public data set with this name. Raises VegrtError for an unknown one."""
    if name not in PUBLIC_SETS:
        raise VegrtError(f"data set {name!r:.80}: unknown; expected one of {', '.join(PUBLIC_SETS)}")
    return PUBLIC_SETS[name]


def verify_counts(data: Path, expected: ExpectedCounts) -> Counts:
    """Return the counts of a data folder, of its published splits. Raises DataError when they differ from the expected ones."""
    first = read_split(data, expected.splits[0])
    others = {name: read_split(data, name, first.classes) for name in expected.splits[1:]}
    counts: Counts = {name: split.counts() for name, split in {first.name: first, **others}.items()}
    if len(first.classes) != expected.classes:
        raise DataError(f"{data}: {len(first.classes)} classes, expected {expected.classes}; {remedy(data)}")
    for name, classes in counts.items():
        _verify_split(data / name, classes, expected.photos[name], data, balanced=expected.balanced)
    return counts


def _verify_split(folder: Path, classes: Mapping[str, int], photos: int, data: Path, *, balanced: bool) -> None:
    if balanced:
        for label, count in classes.items():
            if count != (share := photos // len(classes)):
                raise DataError(f"{folder / label}: {count:,} photos, expected {share:,}; {remedy(data)}")
    if (total := Counter(classes).total()) != photos:
        raise DataError(f"{folder}: {total:,} photos, expected {photos:,}; {remedy(data)}")


def remedy(data: Path) -> str:
    """Return the cure for a data folder that is not complete, as the end of a message."""
    return f"if the download is incomplete, delete {data} and fetch again; otherwise fetch into another folder"
