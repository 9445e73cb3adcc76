"""Chooses the score that tells foreign photos, on photos that were held out of what it needs, and its threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vegrt.evaluate.trust.answers import FOLDS
from vegrt.evaluate.trust.distribution import fit_embeddings
from vegrt.infer.runtimes.runner import Answers
from vegrt.infer.trust.embeddings import Embeddings
from vegrt.infer.trust.record import WITH_EMBEDDINGS, ForeignRule, ScoreMethod, TriedScore
from vegrt.infer.trust.scores import foreign_scores

KEPT = 0.95  # share of the photos of the classes that are not called foreign
_METHODS: tuple[ScoreMethod, ...] = ("max-probability", "max-logit", "energy", *WITH_EMBEDDINGS)
_FEWEST_PHOTOS = 20  # for a distribution of embeddings


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Distributions of the reference's embeddings, each without the photos of one fold. folds: (N,) of photos and near misses."""

    folds: NDArray[np.intp]
    embeddings: tuple[Embeddings, ...]

    def scores(self, method: ScoreMethod, answers: Answers) -> NDArray[np.float64]:
        """Return the (N,) scores of photos, each by the distribution without it."""
        if method not in WITH_EMBEDDINGS:
            return foreign_scores(method, answers, None)
        result = np.empty(len(self.folds))
        for fold, embeddings in enumerate(self.embeddings):
            rows = self.folds == fold
            if rows.any():
                result[rows] = foreign_scores(method, _rows(answers, rows), embeddings)
        return result


def held_out_distributions(
    embeddings: NDArray[np.float32], labels: NDArray[np.int_], folds: NDArray[np.intp], classes: int
) -> HeldOut:
    """Return the distributions without each fold of (N, D) embeddings; none where there are too few photos."""
    if len(labels) < _FEWEST_PHOTOS:
        return HeldOut(folds, ())
    parts = (folds != fold for fold in range(FOLDS))
    return HeldOut(folds, tuple(fit_embeddings(embeddings[rows], labels[rows], classes) for rows in parts))


def choose_score(photos: Answers, near: Answers, held_out: HeldOut) -> tuple[ForeignRule, NDArray[np.float64]]:
    """Return the rule of the score that separates photos from near misses best, and the photos' (N,) held-out scores.

    The threshold accepts KEPT of the photos.
    """
    has_embeddings = photos.embeddings is not None and bool(held_out.embeddings)
    methods = [method for method in _METHODS if has_embeddings or method not in WITH_EMBEDDINGS]
    own = {method: held_out.scores(method, photos) for method in methods}
    tried = []
    for method in methods:
        misses = held_out.scores(method, near)
        tried.append(TriedScore(method, auroc(own[method], misses), share_accepted(own[method], misses)))
    best = max(tried, key=lambda score: score.auroc).method
    threshold = accepting_threshold(own[best])
    kept = float((own[best] <= threshold).mean())
    return ForeignRule(best, threshold, kept, tuple(tried)), own[best]


def auroc(own: NDArray[np.float64], foreign: NDArray[np.float64]) -> float:
    """Return the probability that a foreign photo has a higher score than one of the classes; ties count half."""
    ordered = np.sort(own)
    places = np.searchsorted(ordered, foreign, "left") + np.searchsorted(ordered, foreign, "right")
    return float(places.mean() / (2 * len(own)))


def accepting_threshold(own: NDArray[np.float64]) -> float:
    """Return the smallest score at or below which KEPT of the photos of the classes are."""
    return float(np.sort(own)[int(np.ceil(KEPT * len(own) - 1e-9)) - 1])


def share_accepted(own: NDArray[np.float64], foreign: NDArray[np.float64]) -> float:
    """Return the share of foreign photos that a threshold which keeps KEPT of the classes' photos accepts."""
    return float((foreign <= accepting_threshold(own)).mean())


def _rows(answers: Answers, rows: NDArray[np.bool_]) -> Answers:
    embeddings = None if answers.embeddings is None else answers.embeddings[rows]
    return Answers(answers.logits[rows], embeddings)
