"""The smallest accuracy drop that a test split of a given size can detect.

Unconditional power of the exact McNemar test: the number of discordant pairs is binomial, and given that number, the number of
newly right ones is binomial too (S. W. Duffy, Biometrics 40 (1984) 1005-1015). With many discordant pairs, R. J. Connor's normal
approximation (Biometrics 43 (1987) 207-211) is used; there it gives a detectable drop about 1 % smaller.
"""

from __future__ import annotations

from math import log, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

POWER = 0.8
SIGNIFICANCE = 0.05
_MANY = 400  # expected discordant pairs above which the normal approximation is used
_REACH = 8.0  # standard deviations of the number of discordant pairs to sum over; the rest is below 1e-14


def detectable_drop(newly_wrong: int, newly_right: int, total: int) -> float | None:
    """Return the smallest true drop, a proportion, that `total` images detect with 80 % power at the two-sided 5 % level.

    The assumed rate of discordant pairs is the observed one, or the drop itself if that is larger, because no drop exceeds this
    rate. Returns None if not even a model that is always wrong would be detected.
    """
    discordance = (newly_wrong + newly_right) / total
    low, high = 0.0, 1.0
    if mcnemar_power(high, discordance, total) < POWER:
        return None
    while high - low > 1e-4 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if mcnemar_power(middle, discordance, total) >= POWER else (middle, high)
    return high


def mcnemar_power(drop: float, discordance: float, total: int) -> float:
    """Return the probability that the exact two-sided McNemar test detects the drop, as a loss, at the 5 % level.

    drop: true drop, a proportion above 0. discordance: probability that a pair is discordant; if the drop is larger, the drop
    is used.
    """
    rate = max(discordance, drop)
    if total * rate > _MANY:
        return connor_power(drop, rate, total)
    mean, reach = total * rate, _REACH * sqrt(total * rate) + _REACH
    counts = np.arange(max(0, int(mean - reach)), min(total, int(mean + reach)) + 1)  # of discordant pairs
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, total + 1)))])
    critical = _critical(counts, factorials)
    rejected = _binomial_cdf(critical, counts, (rate - drop) / (2 * rate), factorials)
    weights = _binomial(counts, np.full_like(counts, total), rate, factorials)
    return min(1.0, float(weights @ rejected))


def connor_power(drop: float, discordance: float, total: int) -> float:
    """Return the same probability by Connor's formula, for discordance > drop^2."""
    normal = NormalDist()
    shortfall = drop * sqrt(total) - normal.inv_cdf(1 - SIGNIFICANCE / 2) * sqrt(discordance)
    spread = sqrt(max(discordance - drop * drop, 1e-12))
    return normal.cdf(shortfall / spread)


def _critical(counts: NDArray[np.int_], factorials: NDArray[np.float64]) -> NDArray[np.int_]:
    """Return, for each number of discordant pairs, the largest number of newly right ones that the test rejects; -1 if none."""
    last = int(counts[-1])
    lowest = np.arange(last // 2 + 1)
    tails = np.cumsum(_binomial(lowest[None, :], counts[:, None], 0.5, factorials), axis=1)  # (D, k)
    result: NDArray[np.int_] = (2 * tails <= SIGNIFICANCE).sum(axis=1) - 1
    return result


def _binomial_cdf(
    upper: NDArray[np.int_], counts: NDArray[np.int_], chance: float, factorials: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return P(X <= upper) for X ~ Binomial(counts, chance), elementwise; 0 where `upper` is -1."""
    successes = np.arange(max(0, int(upper.max())) + 1)
    terms = _binomial(successes[None, :], counts[:, None], chance, factorials)
    result: NDArray[np.float64] = np.where(successes[None, :] <= upper[:, None], terms, 0.0).sum(axis=1)
    return result


def _binomial(
    successes: NDArray[np.int_], trials: NDArray[np.int_], chance: float, factorials: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the binomial probabilities, broadcast; 0 where there are more successes than trials."""
    failures = np.maximum(trials - successes, 0)
    ways = factorials[trials] - factorials[np.minimum(successes, trials)] - factorials[failures]
    likely = successes * _log(chance) + failures * _log(1 - chance)
    result: NDArray[np.float64] = np.where(successes <= trials, np.exp(ways + likely), 0.0)
    return result


def _log(chance: float) -> float:
    return log(chance) if chance > 0 else -1e300  # not minus infinity: 0 times it must be 0, not NaN
