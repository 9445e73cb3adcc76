"""The figures of one candidate's answers: accuracy, likelihood, calibration and classes, each with its interval.

Letters: N images, K classes, B resamples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vegrt.evaluate.resampling import Resamples, f1_intervals, percentile
from vegrt.evaluate.statistics import wilson
from vegrt.infer.runtimes.logits import log_softmax, top_classes
from vegrt.results.common import Interval
from vegrt.results.evaluation import AnswerFigures, ClassFigures, ReliabilityBin

CALIBRATION_BINS = 15  # of the expected calibration error: Guo et al., ICML 2017


@dataclass(frozen=True, slots=True)
class LabelledAnswers:
    """A candidate's answers for N images. log_probabilities, probabilities: (N, K) float64. top1, labels: (N,)."""

    log_probabilities: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    top1: NDArray[np.intp]
    labels: NDArray[np.int_]

    @classmethod
    def of(cls, logits: NDArray[np.float32], labels: NDArray[np.int_]) -> LabelledAnswers:
        """Return the answers that (N, K) logits give."""
        logs = log_softmax(logits)
        return cls(logs, np.exp(logs), logits.argmax(axis=1), labels)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Return which of the N answers are right."""
        result: NDArray[np.bool_] = self.top1 == self.labels
        return result

    @property
    def margins(self) -> NDArray[np.float64]:
        """Return the (N,) differences between the highest and the second highest probability."""
        best = np.partition(self.probabilities, -2, axis=1)[:, -2:]
        result: NDArray[np.float64] = best[:, 1] - best[:, 0]
        return result

    def confusion(self) -> NDArray[np.int_]:
        """Return the (K, K) counts of images: rows are the truth, columns the answer."""
        classes = self.probabilities.shape[1]
        cells = np.bincount(self.labels * classes + self.top1, minlength=classes * classes)
        return cells.reshape(classes, classes)


def figures_of(answers: LabelledAnswers, resamples: Resamples) -> AnswerFigures:
    """Return the figures of a candidate's answers. Intervals of proportions are Wilson's, all others bootstrapped."""
    labels, confusion, count = answers.labels, answers.confusion(), len(answers.labels)
    top3 = (top_classes(answers.log_probabilities, 3) == labels[:, None]).any(axis=1)
    gaps = bin_gaps(answers.probabilities, labels)
    means = (
        -answers.log_probabilities[np.arange(count), labels],
        brier(answers.probabilities, labels),
        answers.margins,
    )
    resampled = resamples.means(np.column_stack([*means, gaps]))  # (B, 3 + bins)
    errors = np.abs(resampled[:, len(means) :]).sum(axis=1)
    nll, brier_score, margin_mean = (
        percentile(column.mean(), resampled[:, index]) for index, column in enumerate(means)
    )
    return AnswerFigures(
        top1=wilson(int(answers.right.sum()), count),
        top3=wilson(int(top3.sum()), count),
        nll=nll,
        brier=brier_score,
        margin_mean=margin_mean,
        ece=percentile(calibration_error(answers.probabilities, labels), errors),
        classes=_classes(confusion),
        reliability=reliability_bins(answers.probabilities, labels),
        confusion=tuple(map(tuple, confusion.tolist())),
    )


def brier(probabilities: NDArray[np.float64], labels: NDArray[np.int_]) -> NDArray[np.float64]:
    """Return the (N,) Brier scores, summed over classes: 0 to 2 (Brier, Monthly Weather Review 78, 1950)."""
    distance = probabilities.copy()
    distance[np.arange(len(labels)), labels] -= 1
    result: NDArray[np.float64] = (distance**2).sum(axis=1)
    return result


def calibration_error(probabilities: NDArray[np.float64], labels: NDArray[np.int_]) -> float:
    """Return the expected calibration error: mean |accuracy - confidence| over equal-width bins, weighted by count."""
    return float(np.abs(bin_gaps(probabilities, labels).mean(axis=0)).sum())


def bin_gaps(probabilities: NDArray[np.float64], labels: NDArray[np.int_]) -> NDArray[np.float64]:
    """Return (N, bins): right (1 or 0) minus confidence of each image, in the column of its confidence's bin."""
    confidence, bins = _binned(probabilities)
    gaps = np.zeros((len(labels), CALIBRATION_BINS))
    gaps[np.arange(len(labels)), bins] = (probabilities.argmax(axis=1) == labels) - confidence
    return gaps


def reliability_bins(probabilities: NDArray[np.float64], labels: NDArray[np.int_]) -> tuple[ReliabilityBin, ...]:
    """Return the bins of equal width over the top-1 probability, with the images in each."""
    confidence, bins = _binned(probabilities)
    right = probabilities.argmax(axis=1) == labels
    counts, sums, hits = (np.bincount(bins, weights, CALIBRATION_BINS) for weights in (None, confidence, right))
    return tuple(
        ReliabilityBin(
            low=index / CALIBRATION_BINS,
            high=(index + 1) / CALIBRATION_BINS,
            count=int(count),
            confidence=float(sums[index] / count) if count else None,
            accuracy=float(hits[index] / count) if count else None,
        )
        for index, count in enumerate(counts)
    )


def _binned(probabilities: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int_]]:
    confidence = probabilities.max(axis=1)
    return confidence, np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)


def _classes(confusion: NDArray[np.int_]) -> tuple[ClassFigures, ...]:
    hits, answered, support = confusion.diagonal(), confusion.sum(axis=0), confusion.sum(axis=1)
    scores = f1_intervals(hits, answered, support, int(confusion.sum()))
    rows = zip(hits.tolist(), answered.tolist(), support.tolist(), scores, strict=True)
    return tuple(
        ClassFigures(image_count, _share(hit_count, answer_count), _share(hit_count, image_count), score)
        for hit_count, answer_count, image_count, score in rows
    )


def _share(hits: int, total: int) -> Interval | None:
    return wilson(hits, total) if total else None
