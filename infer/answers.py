"""Turn logits into predictions: the class, its probability, and the next best classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.infer.runtimes.logits import softmax, top_classes


@dataclass(frozen=True, slots=True)
class Score:
    """One class and its probability, 0 to 1. index: its place in Model.classes."""

    label: str
    probability: float
    index: int


@dataclass(frozen=True, slots=True)
class Prediction:
    """The model's prediction for one photo.

    label, probability (0 to 1), index: of the most probable class. top: the most probable classes, best first.
    """

    label: str
    probability: float
    index: int
    top: tuple[Score, ...]

    def __str__(self) -> str:
        """Return `label 97.3 %`."""
        return f"{self.label} {100 * self.probability:.1f} %"

    def to_dict(self) -> dict[str, Any]:
        """Return label, probability, index and top (a list of such dicts) as JSON values."""
        return asdict(self) | {"top": [asdict(score) for score in self.top]}


def predictions(logits: NDArray[np.float32], classes: Sequence[str], top_k: int) -> list[Prediction]:
    """Return one Prediction per row of (N, K) logits. Among equal logits the lower index comes first."""
    probabilities = softmax(logits)
    best_classes = top_classes(logits, top_k)
    answers = []
    for row, indices in zip(probabilities, best_classes.tolist(), strict=True):
        top = tuple(Score(classes[index], float(row[index]), index) for index in indices)
        answers.append(Prediction(top[0].label, top[0].probability, top[0].index, top))
    return answers
