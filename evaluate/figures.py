"""The figures of one candidate's answers: accuracy, likelihood, calibration and classes, each with its interval.

Letters: N images, K classes, B resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.evaluate.resampling import Resamples, f1_intervals, percentile
from vegrt.evaluate.statistics import wilson
from vegrt.infer.runtimes.logits import log_softmax
from vegrt.results.common import Interval
from vegrt.results.evaluation import MAX_DENSE_CLASSES, AnswerFigures, ClassFigures, ReliabilityBin

TOP5_MIN_CLASSES = 20  # with fewer, it says little
CALIBRATION_BINS = 15  # of the expected calibration error: Guo et al., ICML 2017


@dataclass(frozen=True, slots=True)
class LabelledAnswers:
    """A candidate's answers for N images: of each image only what the figures need, so that no (N, K) array is in memory.

    All arrays are (N,). top1, labels: class indices. The others are None where an answers file does not have the numbers.
    probability: of top1. margin: probability minus that of the second best class. rank: of the label, 0 for the best class.
    nll: -log of the label's probability, nats. brier: Brier score. divergence: Kullback-Leibler divergence from the reference's
    probabilities, nats; 0 without a reference. classes: K.
    """

    top1: NDArray[np.intp]
    labels: NDArray[np.int_]
    probability: NDArray[np.float64] | None
    margin: NDArray[np.float64] | None
    rank: NDArray[np.int32] | None
    nll: NDArray[np.float64] | None
    brier: NDArray[np.float64] | None
    divergence: NDArray[np.float64] | None
    classes: int

    @classmethod
    def of(
        cls, logits: NDArray[np.float32], labels: NDArray[np.int_], reference: NDArray[np.float32] | None = None
    ) -> LabelledAnswers:
        """Return the answers that (N, K) logits give. reference: the reference's (N, K) logits.

        Rows are computed independently, so the answers of a batch are those of the same rows in a larger array.
        """
        logs = log_softmax(logits)
        probabilities = np.exp(logs)
        best = np.partition(probabilities, -2, axis=1)[:, -2:]
        return cls(
            top1=logits.argmax(axis=1),
            labels=labels,
            probability=probabilities.max(axis=1),
            margin=best[:, 1] - best[:, 0],
            rank=ranks(logs, labels).astype(np.int32),
            nll=-logs[np.arange(len(labels)), labels],
            brier=brier(probabilities, labels),
            divergence=np.zeros(len(labels)) if reference is None else divergences(log_softmax(reference), logs),
            classes=logits.shape[1],
        )

    @classmethod
    def joined(cls, parts: Sequence[LabelledAnswers]) -> LabelledAnswers:
        """Return the answers of one or more batches as one."""
        columns = {name: [getattr(part, name) for part in parts] for name in _COLUMNS}
        joined: dict[str, Any] = {
            name: None if arrays[0] is None else np.concatenate(arrays) for name, arrays in columns.items()
        }
        return cls(**joined, classes=parts[0].classes)

    def __getitem__(self, rows: NDArray[np.bool_]) -> LabelledAnswers:
        """Return the answers for the images of a mask (N,)."""
        columns = {name: getattr(self, name) for name in _COLUMNS}
        return replace(self, **{name: array[rows] for name, array in columns.items() if array is not None})

    @property
    def right(self) -> NDArray[np.bool_]:
        """Return which of the N answers are right."""
        result: NDArray[np.bool_] = self.top1 == self.labels
        return result

    def confusion(self) -> NDArray[np.int_]:
        """Return the (K, K) counts of images: rows are the truth, columns the answer."""
        cells = np.bincount(self.labels * self.classes + self.top1, minlength=self.classes**2)
        return cells.reshape(self.classes, self.classes)


_COLUMNS = tuple(field.name for field in fields(LabelledAnswers) if field.name != "classes")


def ranks(scores: NDArray[np.float64], labels: NDArray[np.int_]) -> NDArray[np.intp]:
    """Return the (N,) rank of each label among (N, K) scores, 0 for the highest; of equal scores the lower index is first."""
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    earlier = np.arange(scores.shape[1]) < labels[:, None]
    result: NDArray[np.intp] = ((scores > own) | ((scores == own) & earlier)).sum(axis=1)
    return result


def divergences(reference_logs: NDArray[np.float64], candidate_logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (N,) Kullback-Leibler divergences of (N, K) log-probabilities from the reference's, in nats."""
    result: NDArray[np.float64] = (np.exp(reference_logs) * (reference_logs - candidate_logs)).sum(axis=1)
    return result


def figures_of(
    answers: LabelledAnswers, resamples: Resamples, *, max_dense_classes: int = MAX_DENSE_CLASSES
) -> AnswerFigures:
    """Return the figures of a candidate's answers. Intervals of proportions are Wilson's, all others bootstrapped.

    max_dense_classes: with more classes, the confusion matrix is a list of its cells that are not 0.
    """
    count, confusion = len(answers.labels), answers.confusion()
    is_dense = answers.classes <= max_dense_classes
    return AnswerFigures(
        top1=wilson(int(answers.right.sum()), count),
        top3=None if answers.rank is None else _top(answers.rank, 3),
        top5=None if answers.rank is None or answers.classes < TOP5_MIN_CLASSES else _top(answers.rank, 5),
        **_resampled_figures(answers, resamples),
        classes=_classes(confusion),
        reliability=None if answers.probability is None else reliability_bins(answers.probability, answers.right),
        confusion=tuple(map(tuple, confusion.tolist())) if is_dense else None,
        confusion_cells=None if is_dense else _cells(confusion),
    )


def _top(rank: NDArray[np.int32], best: int) -> Interval:
    """Return the share of images whose label is among the best classes. rank: (N,) of the labels, 0 for the best class."""
    return wilson(int((rank < best).sum()), len(rank))


def _resampled_figures(answers: LabelledAnswers, resamples: Resamples) -> dict[str, Interval | None]:
    """Return the figures with bootstrapped intervals, by name; None where the answers do not have the numbers."""
    means = {"nll": answers.nll, "brier": answers.brier, "margin_mean": answers.margin}
    columns = {name: column for name, column in means.items() if column is not None}
    probability = answers.probability
    gaps = [] if probability is None else [bin_gaps(probability, answers.right)]
    figures: dict[str, Interval | None] = dict.fromkeys((*means, "ece"))
    if not columns and not gaps:
        return figures
    resampled = resamples.means(np.column_stack([*columns.values(), *gaps]))  # (B, means + bins)
    for index, (name, column) in enumerate(columns.items()):
        figures[name] = percentile(column.mean(), resampled[:, index])
    if probability is not None:
        errors = np.abs(resampled[:, len(columns) :]).sum(axis=1)
        figures["ece"] = percentile(calibration_error(probability, answers.right), errors)
    return figures


def brier(probabilities: NDArray[np.float64], labels: NDArray[np.int_]) -> NDArray[np.float64]:
    """Return the (N,) Brier scores, summed over classes: 0 to 2 (Brier, Monthly Weather Review 78, 1950)."""
    distance = probabilities.copy()
    distance[np.arange(len(labels)), labels] -= 1
    result: NDArray[np.float64] = (distance**2).sum(axis=1)
    return result


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error: mean |accuracy - confidence| over equal-width bins, weighted by count."""
    return float(np.abs(bin_gaps(confidence, right).mean(axis=0)).sum())


def bin_gaps(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (N, bins): right (1 or 0) minus confidence of each image, in the column of its confidence's bin."""
    gaps = np.zeros((len(right), CALIBRATION_BINS))
    gaps[np.arange(len(right)), _bins(confidence)] = right - confidence
    return gaps


def reliability_bins(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[ReliabilityBin, ...]:
    """Return the bins of equal width over the (N,) top-1 probabilities, with the images in each."""
    bins = _bins(confidence)
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


def _bins(confidence: NDArray[np.float64]) -> NDArray[np.int_]:
    bins: NDArray[np.int_] = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    return bins


def _cells(confusion: NDArray[np.int_]) -> tuple[tuple[int, int, int], ...]:
    truths, answers = confusion.nonzero()
    return tuple(zip(truths.tolist(), answers.tolist(), confusion[truths, answers].tolist(), strict=True))


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
