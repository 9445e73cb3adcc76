"""The threshold of probability above which answers are accepted, for a stated share of errors among the accepted.

Fixed-sequence testing as in learn then test (A. N. Angelopoulos et al., 2021): thresholds of a fixed grid are tested from the
strictest down; the first that cannot be shown to keep the risk ends it, so no correction for many tests is needed. Each test is
exact: C. J. Clopper, E. S. Pearson, Biometrika 26 (1934), one-sided.
"""

from __future__ import annotations

from math import ceil, exp, lgamma, log, log1p

import numpy as np
from numpy.typing import NDArray

from vegrt.infer.trust.record import AbstentionRule

CONFIDENCE = 0.95
# Fixed before any photo is seen: probabilities whose distances to 1 are spaced evenly in the logarithm, the strictest first
GRID = (*(1 - exp(log(1e-6) * (1 - step / 400)) for step in range(400)), 0.0)


def upper_bound(errors: int, total: int, confidence: float = CONFIDENCE) -> float:
    """Return the one-sided Clopper-Pearson upper bound of a probability after `errors` of `total`; 1 without photos."""
    if errors >= total:
        return 1.0
    low, high = errors / total, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if at_most(errors, total, middle) > 1 - confidence else (low, middle)
    return high


def at_most(errors: int, total: int, rate: float) -> float:
    """Return the probability of at most `errors` in `total` trials of a rate between 0 and 1, both excluded."""
    if not 0 < rate < 1:
        return 1.0 if rate <= 0 or errors >= total else 0.0
    terms = (
        lgamma(total + 1)
        - lgamma(count + 1)
        - lgamma(total - count + 1)
        + count * log(rate)
        + (total - count) * log1p(-rate)
        for count in range(errors + 1)
    )
    return min(1.0, sum(map(exp, terms)))


def photos_needed(max_error: float, confidence: float = CONFIDENCE) -> int:
    """Return how many accepted photos without a single error show that the risk is below `max_error`."""
    return ceil(log(1 - confidence) / log1p(-max_error))


def fit_abstention(
    confidence_of: NDArray[np.float64], right: NDArray[np.bool_], candidates: NDArray[np.bool_], max_error: float
) -> AbstentionRule:
    """Return the lowest threshold that keeps the share of errors among accepted photos below `max_error`.

    confidence_of: (N,) calibrated probability of each answer. right: (N,) whether it is right. candidates: (N,) which photos
    may be accepted at all, because they do not look foreign. The test begins at the strictest threshold that accepts
    `photos_needed` photos: a stricter one could not pass even without errors.
    """
    needed = photos_needed(max_error)
    chosen: AbstentionRule | None = None
    for threshold in GRID:
        accepted = candidates & (confidence_of >= threshold)
        count, errors = int(accepted.sum()), int((accepted & ~right).sum())
        if count < needed:
            continue
        bound = upper_bound(errors, count)
        if bound > max_error:
            break
        chosen = AbstentionRule(max_error, needed, threshold, count, errors, bound, len(right))
    return chosen or AbstentionRule(max_error, needed, None, 0, 0, 1.0, len(right))
