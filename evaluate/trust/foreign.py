"""Chooses the score that tells foreign photos, on photos that were held out of what it needs, and its threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vegrt.evaluate.trust.answers import FOLDS
from vegrt.evaluate.trust.distribution import fit_embeddings, leading_axes, widened
from vegrt.infer.runtimes.runner import Answers
from vegrt.infer.trust.embeddings import Embeddings, normalized
from vegrt.infer.trust.record import WITH_EMBEDDINGS, ForeignRule, ScoreMethod, TriedScore
from vegrt.infer.trust.scores import foreign_scores

KEPT = 0.95  # share of the photos of the classes that are not called foreign
_METHODS: tuple[ScoreMethod, ...] = ("max-probability", "max-logit", "energy", *WITH_EMBEDDINGS)
_FEWEST_PHOTOS = 20  # for a distribution of embeddings


@dataclass(frozen=True, slots=True, eq=False)
class LabelledFeatures:
    """Features (N, D) of photos with (N,) labels. parts: the numbers of each layer, D in all."""

    features: NDArray[np.float32]
    labels: NDArray[np.int_]
    parts: tuple[int, ...]

    @classmethod
    def of(cls, answers: Answers, labels: NDArray[np.int_], layers: int) -> LabelledFeatures:
        """Return those of the embeddings, or of both layers. Call it with no more layers than there are."""
        parts = answers.parts[:layers]
        return cls(answers.features(parts), labels, parts)

    def with_others(self, others: LabelledFeatures | None) -> LabelledFeatures:
        """Return these photos and others; these alone without others."""
        if others is None:
            return self
        joined = np.concatenate([self.features, others.features]), np.concatenate([self.labels, others.labels])
        return LabelledFeatures(*joined, self.parts)

    def without(self, rows: NDArray[np.bool_]) -> LabelledFeatures:
        """Return the photos that are not in these rows."""
        return LabelledFeatures(self.features[~rows], self.labels[~rows], self.parts)

    def distribution(self, classes: int, span: NDArray[np.float64] | None = None) -> Embeddings:
        """Return how they are distributed. classes: K. span: as for `fit_embeddings`."""
        return fit_embeddings(self.features, self.labels, classes, self.parts, span=span)


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Distributions of the reference's features, each without the photos of one fold. folds: (N,) of photos and near misses."""

    folds: NDArray[np.intp]
    embeddings: tuple[Embeddings, ...] = ()

    def fits(self, answers: Answers) -> bool:
        """Return whether there are distributions, and the answers have the features that they are of."""
        parts = self.embeddings[0].parts if self.embeddings else ()
        return bool(parts) and answers.parts[: len(parts)] == parts

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
    photos: LabelledFeatures, folds: NDArray[np.intp], classes: int, train: LabelledFeatures | None = None
) -> HeldOut:
    """Return the distributions without each fold of N photos; none where there are too few. train: photos in all of them."""
    if len(photos.labels) < _FEWEST_PHOTOS:
        return HeldOut(folds)
    numbers = normalized(photos.with_others(train).features, photos.parts)
    axes, own = leading_axes(numbers), numbers[: len(folds)] - numbers.mean(axis=0)

    def without(fold: NDArray[np.bool_]) -> Embeddings:
        return photos.without(fold).with_others(train).distribution(classes, widened(axes, own[fold]))

    return HeldOut(folds, tuple(without(folds == fold) for fold in range(FOLDS)))


def choose_score(photos: Answers, near: Answers, held_out: HeldOut) -> tuple[ForeignRule, NDArray[np.float64]]:
    """Return the rule of the score that separates photos from near misses best, and the photos' (N,) held-out scores.

    The threshold accepts KEPT of the photos.
    """
    methods = [method for method in _METHODS if held_out.fits(photos) or method not in WITH_EMBEDDINGS]
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
    return Answers(answers.logits[rows], *(layer[rows] for layer in answers.layers))
