"""Exact p-values for two groups of photos: is a share larger or smaller in one of them, within classes?

R. A. Fisher's exact test, and its form for several strata (J. J. Gart, Biometrika 57, 1970): given how many photos of
each stratum have the property in both groups together, the number of them in the first group is hypergeometric, and the
sum over strata is their convolution. No approximation, so the p-values hold however small they are and however few the photos.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
# Standard deviations below which a difference is not tested: its p-value is far above every limit in use. Leaving tests out
# can cost an alarm but never cause a false one.
SCREEN = 2.5


@dataclass(frozen=True, slots=True, eq=False)
class Shares:
    """Photos with a property, T properties in K strata. hits: (T, K), those with it. totals: (T, K), or (K,) for all T."""

    hits: Counts
    totals: Counts


def two_sided(first: Shares, second: Shares) -> Floats:
    """Return the (T,) p-values that a share differs between two groups: twice the smaller tail, at most 1.

    1 where the difference is less than SCREEN standard deviations.
    """
    result = np.ones(len(first.hits))
    first_totals = np.broadcast_to(first.totals, first.hits.shape)
    second_totals = np.broadcast_to(second.totals, second.hits.shape)
    for test in np.flatnonzero(np.abs(deviations(first, second)) >= SCREEN).tolist():
        lower, upper = tails(first.hits[test], first_totals[test], second.hits[test], second_totals[test])
        result[test] = min(1.0, 2 * min(lower, upper))
    return result


def deviations(first: Shares, second: Shares) -> Floats:
    """Return the (T,) standard deviations by which the first group's hits exceed what the common shares give.

    N. Mantel, W. Haenszel, J. Natl. Cancer Inst. 22 (1959).
    """
    both, hits = first.totals + second.totals, first.hits + second.hits
    size = np.maximum(both, 1)
    expected = hits * first.totals / size
    variances = expected * (1 - first.totals / size) * (both - hits) / np.maximum(both - 1, 1)
    spread = np.sqrt(variances.sum(axis=1))
    return np.asarray((first.hits - expected).sum(axis=1) / np.where(spread > 0, spread, np.inf))


def tails(hits: Counts, totals: Counts, other_hits: Counts, other_totals: Counts) -> tuple[float, float]:
    """Return the probabilities of at most and of at least as many hits in the first group, of (K,) strata each."""
    distribution, least = np.ones(1), 0
    for mine, size, theirs, other_size in zip(
        hits.tolist(), totals.tolist(), other_hits.tolist(), other_totals.tolist(), strict=True
    ):
        low, masses = hypergeometric(size, other_size, mine + theirs)
        distribution, least = np.convolve(distribution, masses), least + low
    place = int(hits.sum()) - least
    return float(distribution[: place + 1].sum()), float(distribution[place:].sum())


def hypergeometric(size: int, other_size: int, hits: int) -> tuple[int, Floats]:
    """Return the least number of hits among `size` photos, and the probabilities of it and each larger number.

    hits: of both groups together. By the ratio of neighbouring terms, in logarithms.
    """
    low, high = max(0, hits - other_size), min(size, hits)
    steps = np.arange(low, high, dtype=np.float64)
    ratios = (size - steps) * (hits - steps) / ((steps + 1) * (other_size - hits + steps + 1))
    logs = np.concatenate([[0.0], np.cumsum(np.log(ratios))])
    masses = np.exp(logs - logs.max())
    return low, np.asarray(masses / masses.sum())
