"""What a run's best epoch got wrong on the validation split, from the explanation in the history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Miss:
    """A validation photo. label, answer: class names. loss: cross-entropy, in nats."""

    photo: str
    label: str
    answer: str
    loss: float


@dataclass(frozen=True, slots=True)
class Confusion:
    """A class that was taken for another one. photos: how many. share: of the class's photos.

    examples: those of them that the history remembers, the highest loss first.
    """

    label: str
    answer: str
    photos: int
    share: float
    examples: tuple[Miss, ...]


def hardest(explanation: Mapping[str, Any]) -> list[Miss]:
    """Return the photos of the highest loss, worst first; rightly answered ones may be among them."""
    return [Miss(**entry) for entry in explanation.get("hardest", ())]


def confusions(explanation: Mapping[str, Any], most: int) -> list[Confusion]:
    """Return the `most` frequent confusions, the most frequent first."""
    classes, counts = explanation.get("classes", ()), explanation.get("confusion", ())
    wrong = [Miss(**entry) for entry in explanation.get("mistakes", explanation.get("hardest", ()))]
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
