"""Percentile bootstrap over images: intervals for figures without a closed formula.

B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13. Seeded, so the same images give the same
intervals, and all candidates use the same resamples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vegrt.evaluate.statistics import CONFIDENCE
from vegrt.results.common import Interval

RESAMPLES = 2000
SEED = 0
TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)  # quantiles at the ends of an interval
_ROWS = 250  # resamples per multiplication, which bounds the memory


class Resamples:
    """Counts of each of N images in each of RESAMPLES draws of N images with replacement."""

    def __init__(self, images: int, resamples: int = RESAMPLES) -> None:
        random = np.random.default_rng(SEED)
        self._counts = np.empty((resamples, images), np.uint8)
        for row in self._counts:
            row[:] = np.bincount(random.integers(images, size=images), minlength=images)

    def means(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the (RESAMPLES, M) means of the columns of (N, M) values."""
        parts = [self._counts[start : start + _ROWS] @ values for start in range(0, len(self._counts), _ROWS)]
        result: NDArray[np.float64] = np.concatenate(parts) / len(values)
        return result


def percentile(value: float, resampled: NDArray[np.float64]) -> Interval:
    """Return a figure with the percentile interval of its (RESAMPLES,) resampled values, widened to include the figure."""
    low, high = np.quantile(resampled, TAILS)
    return Interval(float(value), min(float(low), float(value)), max(float(high), float(value)))


def f1_intervals(
    hits: NDArray[np.int_], answered: NDArray[np.int_], support: NDArray[np.int_], images: int
) -> list[Interval | None]:
    """Return the F1 of each of K classes, with its interval; None for a class without images and without answers.

    hits: right answers per class. answered: answers per class. support: images per class. For one class, a resample of the images
    is a multinomial draw of true positives, false negatives, false positives and true negatives, so no images are drawn.
    """
    random = np.random.default_rng(SEED)
    scores: list[Interval | None] = []
    for hit_count, answer_count, image_count in zip(hits.tolist(), answered.tolist(), support.tolist(), strict=True):
        if not answer_count + image_count:
            scores.append(None)
            continue
        missed, false = image_count - hit_count, answer_count - hit_count
        outcomes = np.array([hit_count, missed, false, images - hit_count - missed - false])
        drawn = random.multinomial(images, outcomes / images, size=RESAMPLES)
        denominator = 2 * drawn[:, 0] + drawn[:, 1] + drawn[:, 2]
        f1 = 2 * hit_count / (answer_count + image_count)
        scores.append(percentile(f1, 2 * drawn[:, 0] / np.maximum(denominator, 1)))
    return scores
