"""The mistakes of a run's best epoch on the validation split, as the run history stores them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from vegrt.errors import FormatError
from vegrt.schema import between


@dataclass(frozen=True, slots=True)
class Mistake:
    """A validation photo and its answer. label, answer: class names. loss: cross-entropy, in nats."""

    photo: str
    label: str
    answer: str
    loss: Annotated[float, between(-1, math.inf)]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answers of the best epoch; empty before the first epoch. Schema of the column `explanation` in the history.

    confusion: number of photos by class (rows) and answer (columns). hardest: photos with the highest loss, worst first, correct
    ones included. mistakes: wrongly answered photos, worst first; None in runs of older versions.
    """

    classes: tuple[str, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    hardest: tuple[Mistake, ...] = ()
    mistakes: tuple[Mistake, ...] | None = None

    def __post_init__(self) -> None:
        size = len(self.classes)
        if self.confusion and {len(self.confusion), *map(len, self.confusion)} != {size}:
            raise FormatError(f"does not have {size} rows and columns, one for each class", "confusion")
        if any(photos < 0 for row in self.confusion for photos in row):
            raise FormatError("has a negative number of photos", "confusion")


@dataclass(frozen=True, slots=True)
class Confusion:
    """A class that was mistaken for another one. photos: number of its photos. share: of all photos of the class, in [0, 1].

    examples: those of them that the history stores, the highest loss first.
    """

    label: str
    answer: str
    photos: int
    share: float
    examples: tuple[Mistake, ...]


def confusions(explanation: Explanation, limit: int) -> list[Confusion]:
    """Return the `limit` most frequent confusions, the most frequent first."""
    classes = explanation.classes
    stored = explanation.hardest if explanation.mistakes is None else explanation.mistakes
    pairs = [
        Confusion(
            classes[label],
            classes[answer],
            count,
            count / sum(row),
            tuple(photo for photo in stored if (photo.label, photo.answer) == (classes[label], classes[answer])),
        )
        for label, row in enumerate(explanation.confusion)
        for answer, count in enumerate(row)
        if count and label != answer
    ]
    return sorted(pairs, key=lambda confusion: (-confusion.photos, confusion.label, confusion.answer))[:limit]
