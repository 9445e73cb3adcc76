"""What a run's best epoch got wrong on the validation split, from the explanation in the history."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from vegrt.errors import FormatError
from vegrt.schema import between


@dataclass(frozen=True, slots=True)
class Mistake:
    """A validation photo. label, answer: class names. loss: cross-entropy, in nats."""

    photo: str
    label: str
    answer: str
    loss: Annotated[float, between(-1, math.inf)]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The schema of what the history keeps. confusion: images by class and answer. mistakes: older runs have none."""

    classes: tuple[str, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    hardest: tuple[Mistake, ...] = ()
    mistakes: tuple[Mistake, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.classes)
        if self.confusion and {len(self.confusion), *map(len, self.confusion)} != {count}:
            raise FormatError(f"is not of {count} rows and columns, one for each class", "confusion")
        if any(count < 0 for row in self.confusion for count in row):
            raise FormatError("has less than 0 images", "confusion")


@dataclass(frozen=True, slots=True)
class Confusion:
    """A class that was taken for another one. photos: how many. share: of the class's photos.

    examples: those of them that the history remembers, the highest loss first.
    """

    label: str
    answer: str
    photos: int
    share: float
    examples: tuple[Mistake, ...]


def hardest(explanation: Mapping[str, Any]) -> list[Mistake]:
    """Return the photos of the highest loss, worst first; rightly answered ones may be among them."""
    return [_miss(entry) for entry in explanation.get("hardest", ())]


def _miss(entry: Mapping[str, Any]) -> Mistake:
    return Mistake(entry["photo"], entry["label"], entry["answer"], entry["loss"])


def confusions(explanation: Mapping[str, Any], most: int) -> list[Confusion]:
    """Return the `most` frequent confusions, the most frequent first."""
    classes, counts = explanation.get("classes", ()), explanation.get("confusion", ())
    wrong = [_miss(entry) for entry in explanation.get("mistakes", explanation.get("hardest", ()))]
    found = [
        Confusion(
            classes[label],
            classes[answer],
            count,
            count / sum(row),
            tuple(miss for miss in wrong if (miss.label, miss.answer) == (classes[label], classes[answer])),
        )
        for label, row in enumerate(counts)
        for answer, count in enumerate(row)
        if count and label != answer
    ]
    return sorted(found, key=lambda confusion: (-confusion.photos, confusion.label, confusion.answer))[:most]
