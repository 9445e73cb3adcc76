"""Turn logits into predictions: the class, its probability, and the next best classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.infer.runtimes.logits import softmax, top_classes
from vegrt.infer.trust.judge import Judged, Judgement


@dataclass(frozen=True, slots=True)
class Score:
    """One class and its probability, 0 to 1. index: its place in Model.classes."""

    label: str
    probability: float
    index: int


@dataclass(frozen=True, slots=True)
class Prediction:
    """The model's prediction for one photo.

    label, probability (0 to 1), index: of the most probable class. top: the most probable classes, best first. judgement: whether
    to accept it; None unless the model was loaded with reject, and then the probabilities are calibrated.
    """

    label: str
    probability: float
    index: int
    top: tuple[Score, ...]
    judgement: Judgement | None = None

    def __str__(self) -> str:
        """Return `label 97.3 %`."""
        return f"{self.label} {100 * self.probability:.1f} %"

    def to_dict(self) -> dict[str, Any]:
        """Return label, probability, index and top (a list of such dicts) as JSON values; decision, set and foreign_score too."""
        values = asdict(self) | {"top": [asdict(score) for score in self.top]}
        del values["judgement"]
        return values | judgement_values(self.judgement)


def judgement_values(judgement: Judgement | None) -> dict[str, Any]:
    """Return decision, set (a list, or None) and foreign_score as JSON values; nothing without a judgement."""
    if judgement is None:
        return {}
    members = None if judgement.set is None else list(judgement.set)
    return {"decision": judgement.decision, "set": members, "foreign_score": judgement.foreign_score}


def predictions(
    logits: NDArray[np.float32], classes: Sequence[str], top_k: int, judged: Judged | None = None
) -> list[Prediction]:
    """Return one Prediction per row of (N, K) logits. Among equal logits the lower index comes first. judged: of the rows."""
    probabilities = judged.probabilities if judged else softmax(logits)
    judgements = judged.judgements if judged else [None] * len(logits)
    best_classes = top_classes(logits, top_k)
    answers = []
    for row, indices, judgement in zip(probabilities, best_classes.tolist(), judgements, strict=True):
        top = tuple(Score(classes[index], float(row[index]), index) for index in indices)
        answers.append(Prediction(top[0].label, top[0].probability, top[0].index, top, judgement))
    return answers
