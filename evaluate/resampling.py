"""Percentile bootstrap over images: intervals of figures that have no formula.

B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13. Seeded, so that the same images give the same
intervals, and the same resamples serve every candidate.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vegrt.evaluate.statistics import CONFIDENCE
from vegrt.results.common import Interval

RESAMPLES = 2000
SEED = 0
TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)  # between which percentiles an interval lies
_ROWS = 250  # of resamples in one multiplication, so that memory is bounded


class Resamples:
    """How often each of N images is in each of RESAMPLES draws of N with replacement."""

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
    """Return a figure with the percentiles of its (RESAMPLES,) resampled values, widened where they leave it out."""
    low, high = np.quantile(resampled, TAILS)
    return Interval(float(value), min(float(low), float(value)), max(float(high), float(value)))


def f1_intervals(
    hits: NDArray[np.int_], answered: NDArray[np.int_], support: NDArray[np.int_], images: int
) -> list[Interval | None]:
    """Return the F1 of each of K classes, with its interval; None for a class that no image has and no answer names.

    hits: right answers per class. answered: answers per class. support: images per class. A resample of the images is, for one
    class, a multinomial draw over four kinds: hit, missed, falsely named, neither; so no image is drawn here.
    """
    random = np.random.default_rng(SEED)
    found: list[Interval | None] = []
    for hit, named, own in zip(hits.tolist(), answered.tolist(), support.tolist(), strict=True):
        if not named + own:
            found.append(None)
            continue
        kinds = np.array([hit, own - hit, named - hit, images - own - named + hit])
        drawn = random.multinomial(images, kinds / images, size=RESAMPLES)
        both = 2 * drawn[:, 0] + drawn[:, 1] + drawn[:, 2]
        found.append(percentile(2 * hit / (named + own), 2 * drawn[:, 0] / np.maximum(both, 1)))
    return found
