"""How the answers to validation photos spread: what `vegrt drift` compares the answers of a device with."""

from __future__ import annotations

from math import ceil

import numpy as np
from numpy.typing import NDArray

from vegrt.infer.trust.histograms import Edges, Histogram, Reference, binned
from vegrt.infer.trust.record import AbstentionRule

_TENTHS = tuple(step / 10 for step in range(1, 10))
_LEAST_CONFIDENT = (0.05, 0.1, 0.2, 0.3, 0.5)  # above the median, a good classifier's differ from 1 by less than 0.001


def reference_of(
    labels: NDArray[np.intp], confidence: NDArray[np.float64], scores: NDArray[np.float64], rule: AbstentionRule
) -> Reference:
    """Return the histograms of N answers, with edges at quantiles of the photos; 0 is an edge of the scores.

    labels: (N,) answered classes. confidence: (N,) calibrated. scores: (N,) foreign scores less their threshold, held out where
    they need embeddings.
    """
    edges = Edges(_quantiles(confidence, _LEAST_CONFIDENT), tuple(sorted({*_quantiles(scores, _TENTHS), 0.0})))
    threshold = np.inf if rule.threshold is None else rule.threshold
    unsure = (scores <= 0) & ~(confidence >= threshold)
    histogram = Histogram.empty(int(labels.max()) + 1, edges)
    histogram.count(binned(edges, labels, confidence, scores, unsure))
    return Reference(edges, histogram.rows())


def _quantiles(values: NDArray[np.float64], shares: tuple[float, ...]) -> tuple[float, ...]:
    """Return values of photos at or below which these shares are; without those that have nothing above them."""
    ordered = np.sort(values)
    picked = {float(ordered[ceil(share * len(ordered) - 1e-9) - 1]) for share in shares}
    return tuple(sorted(picked - {float(ordered[-1])}))
