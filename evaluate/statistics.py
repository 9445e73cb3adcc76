"""Paired statistics of two classifiers on the same images, and the gate built on them.

Wilson: E. B. Wilson, JASA 22 (1927). Tango: T. Tango, Statistics in Medicine 17 (1998) 891-908, the score interval for the
difference of paired proportions; unlike Wald's it keeps its coverage when discordant pairs are few or none. Holm: S. Holm,
Scandinavian Journal of Statistics 6 (1979) 65-70. Loader: C. Loader, Fast and accurate computation of binomial probabilities
(2000), as in R's dbinom. All of it is arithmetic of the standard library: what an edge box installs has
no SciPy, with which the tests compare it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, factorial, floor, log, pi, sqrt
from statistics import NormalDist

from vegrt.results.common import Interval, Verdict

CONFIDENCE = 0.95
_FURTHEST = 100  # times the images there are: beyond, advice to take more of them is none


def wilson(successes: int, total: int, confidence: float = CONFIDENCE) -> Interval:
    """Return the Wilson score interval of a proportion; total >= 1."""
    z = _z(confidence)
    rate, spread = successes / total, z * z / total
    centre = (rate + spread / 2) / (1 + spread)
    half = z / (1 + spread) * sqrt(rate * (1 - rate) / total + spread / (4 * total))
    return Interval(rate, max(0.0, centre - half), min(1.0, centre + half))


def tango(newly_wrong: float, newly_right: float, total: int, confidence: float = CONFIDENCE) -> Interval:
    """Return Tango's score interval of the accuracy drop (newly_wrong - newly_right) / total; total >= 1.

    The counts may be expected ones, not whole.
    """
    z = _z(confidence)
    drop = (newly_wrong - newly_right) / total

    def score(delta: float) -> float:
        return _tango_score(newly_wrong, newly_right, total, delta)

    return Interval(drop, _solve(score, z, -1.0, drop), _solve(score, -z, drop, 1.0))


def mcnemar(newly_wrong: int, newly_right: int) -> float:
    """Return the two-sided p-value of the exact McNemar test: a binomial test of the discordant pairs against 1/2.

    As exact as a float, for any number of pairs: the tail is its largest term times a sum of ratios of neighbours.
    """
    discordant, fewer = newly_wrong + newly_right, min(newly_wrong, newly_right)
    ratio, total = 1.0, 1.0
    for count in range(fewer, 0, -1):
        ratio *= count / (discordant - count + 1)
        total += ratio
        if ratio < 1e-18 * total:
            break
    return min(1.0, 2 * total * exp(_log_half_binomial(fewer, discordant)))


def verdict_of(drop: Interval, margin: float) -> Verdict:
    """Return the gate's decision for a drop and a margin, both as proportions: a non-inferiority test.

    PASS when the whole interval is below the margin, FAIL when it is all above, INCONCLUSIVE when the margin lies within.
    """
    if drop.high < margin:
        return "PASS"
    return "FAIL" if drop.low > margin else "INCONCLUSIVE"


def images_to_decide(newly_wrong: int, newly_right: int, total: int, margin: float) -> int | None:
    """Return the fewest images that would let the gate decide if the rates seen stayed; None beyond 100 times `total`."""

    def decided(images: int) -> bool:
        drop = tango(newly_wrong * images / total, newly_right * images / total, images)
        return verdict_of(drop, margin) != "INCONCLUSIVE"

    low, high = total, _FURTHEST * total
    if not decided(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if decided(middle) else (middle + 1, high)
    return low


def decidable_margin(images: int) -> float:
    """Return the least margin, in points and whole tenths, that so many images pass when not one answer changed; images >= 1.

    A smaller one no result of so many images can pass: the interval of no change at all already reaches beyond it.
    """
    least = 100 * tango(0, 0, images).high
    return (floor(10 * least) + 1) / 10


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values in the order given: rejecting those below a level keeps the family's error below it."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _log_half_binomial(successes: int, trials: int) -> float:
    """Return the log of a binomial probability at chance 1/2, by Loader's expansion: log-gamma alone would lose digits."""
    failures = trials - successes
    if successes == 0 or failures == 0:
        return -trials * log(2)
    error = _stirling_error(trials) - _stirling_error(successes) - _stirling_error(failures)
    distance = _deviance(successes, trials / 2) + _deviance(failures, trials / 2)
    return error - distance + 0.5 * (log(trials / (2 * pi * successes)) - log(failures))


def _stirling_error(n: int) -> float:
    """Return log n! less Stirling's formula for it; n >= 1."""
    if n < 16:
        return log(factorial(n)) - 0.5 * log(2 * pi * n) - n * log(n) + n
    square = n * n
    return (1 / 12 - (1 / 360 - (1 / 1260 - (1 / 1680 - 1 / (1188 * square)) / square) / square) / square) / n


def _deviance(x: float, mean: float) -> float:
    """Return x log(x / mean) + mean - x without cancellation where they are close: as a series in their relative distance."""
    if abs(x - mean) >= 0.1 * (x + mean):
        return x * log(x / mean) + mean - x
    part = (x - mean) / (x + mean)
    total, term, odd = (x - mean) * part, 2 * x * part, 1
    while True:
        term *= part * part
        odd += 2
        if total + term / odd == total:
            return total
        total += term / odd


def _tango_score(b: float, c: float, n: int, delta: float) -> float:
    """Return Tango's score statistic, which falls as delta rises; standard normal when the true difference is delta.

    q, the probability of newly_right under the constraint, is the larger root of 2 n q^2 + B q + C = 0 (his equation 4).
    """
    linear = -b - c + (2 * n - b + c) * delta
    constant = -c * delta * (1 - delta)
    q = (sqrt(max(0.0, linear * linear - 8 * n * constant)) - linear) / (4 * n)
    variance = n * (2 * q + delta * (1 - delta))
    difference = b - c - n * delta
    return difference / sqrt(variance) if variance > 0 else (difference > 0) * 1e9 - (difference < 0) * 1e9


def _solve(score: Callable[[float], float], target: float, low: float, high: float) -> float:
    """Return where a falling function crosses `target`, by bisection to double precision."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if score(middle) > target else (low, middle)
    return (low + high) / 2


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf(0.5 + confidence / 2)
