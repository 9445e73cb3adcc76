"""Decides for each answer of a candidate whether to accept it: calibrated probability, set of classes, and decision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vegrt.infer.runtimes.logits import softmax
from vegrt.infer.runtimes.runner import Answers
from vegrt.infer.trust.embeddings import Embeddings
from vegrt.infer.trust.record import WITH_EMBEDDINGS, CandidateTrust, SetRule
from vegrt.infer.trust.scores import foreign_scores
from vegrt.schema import Share

Decision = Literal["accept", "unsure", "foreign"]
# Of the sets that `infer` gives, the first for which there were enough photos. A smaller one would leave the sets of a good
# classifier empty wherever it is unsure: one that is right in 98 % of photos needs no more than its best answer for 95 %.
SHOWN_COVERAGES: tuple[Share, ...] = (0.99, 0.95, 0.90)
DECIMALS = 6


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is known of one answer.

    decision: foreign: the photo looks like no class. unsure: the answer may be wrong more often than was allowed.
    set: classes that hold the true one in 99 % of photos of the classes (95 or 90 % where there were too few photos), the most
    probable first; it may be empty. None: there were too few photos for any. foreign_score: above 0 for foreign.
    """

    decision: Decision
    set: tuple[str, ...] | None
    foreign_score: float


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """The answers to N photos. probabilities: (N, K), calibrated. foreign_scores: (N,), above 0 for foreign."""

    probabilities: NDArray[np.float64]
    foreign_scores: NDArray[np.float64]
    judgements: tuple[Judgement, ...]


def set_members(probabilities: NDArray[np.float64], rule: SetRule, *, by_class: bool = False) -> NDArray[np.bool_]:
    """Return which of the K classes are in the sets of N photos, by their calibrated (N, K) probabilities.

    by_class: by the thresholds of single classes, which all must exist.
    """
    thresholds = np.array(rule.by_class if by_class else [rule.threshold] * probabilities.shape[1], np.float64)
    if rule.method == "lac":
        return np.asarray(1 - probabilities <= thresholds)
    order = np.argsort(-probabilities, axis=1, kind="stable")
    sorted_probabilities = np.take_along_axis(probabilities, order, axis=1)
    before = sorted_probabilities.cumsum(axis=1) - sorted_probabilities
    members = np.empty(probabilities.shape, np.bool_)
    np.put_along_axis(members, order, before < thresholds[order], axis=1)
    return members


class Judge:
    """Decides on the answers of one candidate. on_judged: called with all that it decided, where it is set."""

    def __init__(self, trust: CandidateTrust, classes: tuple[str, ...], embeddings: Embeddings | None) -> None:
        self.trust, self._classes = trust, classes
        self._embeddings = embeddings if self.needs_embeddings else None
        rules = (trust.set_rule("lac", coverage) for coverage in SHOWN_COVERAGES)
        self.on_judged: Callable[[Judged], None] | None = None
        self._rule = next((rule for rule in rules if rule is not None), None)

    @property
    def needs_embeddings(self) -> bool:
        """Return whether the runner must give embeddings."""
        return self.trust.foreign.method in WITH_EMBEDDINGS

    @property
    def parts(self) -> tuple[int, ...]:
        """Return the numbers of each inner layer that it needs: of the embedding, and of the intermediate layer."""
        return self._embeddings.parts if self._embeddings else ()

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the calibrated (N, K) probabilities of (N, K) logits."""
        return softmax((logits / np.float64(self.trust.temperature)).astype(np.float32))

    def judge(self, answers: Answers) -> Judged:
        """Return what is known of the answers to N photos."""
        probabilities = self.probabilities(answers.logits)
        foreign = self.trust.foreign
        scores = foreign_scores(foreign.method, answers, self._embeddings) - foreign.threshold
        decisions = self.decisions(probabilities.max(axis=1), scores)
        sets = self._sets(probabilities)
        rows = zip(decisions, sets, np.round(scores, DECIMALS).tolist(), strict=True)
        judged = Judged(probabilities, scores, tuple(Judgement(*row) for row in rows))
        if self.on_judged is not None:
            self.on_judged(judged)
        return judged

    def decisions(self, confidence: NDArray[np.float64], scores: NDArray[np.float64]) -> list[Decision]:
        """Return the decision on each of N answers by its calibrated probability and its foreign score."""
        threshold = self.trust.abstention.threshold
        accepted = np.zeros(len(confidence), np.bool_) if threshold is None else confidence >= threshold
        is_foreign = ~(scores <= 0)  # NaN too
        return [
            "foreign" if foreign else "accept" if sure else "unsure"
            for foreign, sure in zip(is_foreign, accepted, strict=True)
        ]

    def _sets(self, probabilities: NDArray[np.float64]) -> list[tuple[str, ...] | None]:
        if self._rule is None:
            return [None] * len(probabilities)
        members = set_members(probabilities, self._rule)
        order = np.argsort(-probabilities, axis=1, kind="stable")
        counts = members.sum(axis=1).tolist()  # members of LAC sets are the most probable classes
        return [
            tuple(self._classes[label] for label in row[:count])
            for row, count in zip(order.tolist(), counts, strict=True)
        ]
