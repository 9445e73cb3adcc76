"""Paired statistics of two classifiers on the same images, and the gate's decision rule.

Wilson: E. B. Wilson, JASA 22 (1927). Tango: T. Tango, Statistics in Medicine 17 (1998) 891-908, the score interval for the
difference of paired proportions; unlike Wald's interval it keeps its coverage when discordant pairs are few or none. Holm: S.
Holm, Scandinavian Journal of Statistics 6 (1979) 65-70. Loader: C. Loader, Fast and accurate computation of binomial
probabilities (2000), as in R's dbinom. The module uses the standard library only, because edge devices do not install SciPy; the
tests compare it with SciPy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, factorial, floor, log, pi, sqrt
from statistics import NormalDist

from vegrt.results.common import Interval, Verdict

CONFIDENCE = 0.95
_MOST_IMAGES = 100  # times the present number: above this, advice to collect more images is useless


def wilson(successes: int, total: int, confidence: float = CONFIDENCE) -> Interval:
    """Return the Wilson score interval of a proportion; total >= 1."""
    z = _z(confidence)
    rate, spread = successes / total, z * z / total
    centre = (rate + spread / 2) / (1 + spread)
    half = z / (1 + spread) * sqrt(rate * (1 - rate) / total + spread / (4 * total))
    return Interval(rate, max(0.0, centre - half), min(1.0, centre + half))


def tango(newly_wrong: float, newly_right: float, total: int, confidence: float = CONFIDENCE) -> Interval:
    """Return Tango's score interval of the accuracy drop (newly_wrong - newly_right) / total; total >= 1.

    The counts may be expected values and need not be whole numbers.
    """
    z = _z(confidence)
    drop = (newly_wrong - newly_right) / total

    def score(delta: float) -> float:
        return _tango_score(newly_wrong, newly_right, total, delta)

    return Interval(drop, _solve(score, z, -1.0, drop), _solve(score, -z, drop, 1.0))


def mcnemar(newly_wrong: int, newly_right: int) -> float:
    """Return the two-sided p-value of the exact McNemar test: a binomial test of the discordant pairs against 1/2.

    Exact to float precision for any number of pairs: the tail is its largest term times a sum of ratios of adjacent terms.
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
    """Return the gate's decision by a non-inferiority test; drop and margin are proportions.

    PASS if the whole interval is below the margin, FAIL if all of it is above, INCONCLUSIVE if the interval contains the margin.
    """
    if drop.high < margin:
        return "PASS"
    return "FAIL" if drop.low > margin else "INCONCLUSIVE"


def images_to_decide(newly_wrong: int, newly_right: int, total: int, margin: float) -> int | None:
    """Return the smallest number of images that decides the gate at the observed rates; None if above 100 times `total`."""

    def is_decided(images: int) -> bool:
        drop = tango(newly_wrong * images / total, newly_right * images / total, images)
        return verdict_of(drop, margin) != "INCONCLUSIVE"

    low, high = total, _MOST_IMAGES * total
    if not is_decided(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if is_decided(middle) else (middle + 1, high)
    return low


def decidable_margin(images: int) -> float:
    """Return the smallest margin that this number of images can pass, in points, rounded up to tenths; images >= 1.

    It is the upper end of the interval when no answer changes. No result with this number of images can pass a smaller margin.
    """
    upper_end = 100 * tango(0, 0, images).high
    return (floor(10 * upper_end) + 1) / 10


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values in the given order; rejecting those below a level controls the family-wise error rate."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _log_half_binomial(successes: int, trials: int) -> float:
    """Return the log of a binomial probability with p = 1/2, by Loader's expansion; log-gamma would lose digits."""
    failures = trials - successes
    if successes == 0 or failures == 0:
        return -trials * log(2)
    error = _stirling_error(trials) - _stirling_error(successes) - _stirling_error(failures)
    distance = _deviance(successes, trials / 2) + _deviance(failures, trials / 2)
    return error - distance + 0.5 * (log(trials / (2 * pi * successes)) - log(failures))


def _stirling_error(n: int) -> float:
    """Return the error of Stirling's formula for log n!; n >= 1."""
    if n < 16:
        return log(factorial(n)) - 0.5 * log(2 * pi * n) - n * log(n) + n
    square = n * n
    return (1 / 12 - (1 / 360 - (1 / 1260 - (1 / 1680 - 1 / (1188 * square)) / square) / square) / square) / n


def _deviance(x: float, mean: float) -> float:
    """Return x log(x / mean) + mean - x; if x is close to mean, by a series in the relative distance, without cancellation."""
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
    """Return Tango's score statistic: decreasing in delta, standard normal if the true difference is delta.

    b: newly wrong. c: newly right. n: images. q, the probability of newly_right under the constraint, is the larger root of
    2 n q^2 + B q + C = 0 (Tango's equation 4).
    """
    linear = -b - c + (2 * n - b + c) * delta
    constant = -c * delta * (1 - delta)
    q = (sqrt(max(0.0, linear * linear - 8 * n * constant)) - linear) / (4 * n)
    variance = n * (2 * q + delta * (1 - delta))
    difference = b - c - n * delta
    return difference / sqrt(variance) if variance > 0 else (difference > 0) * 1e9 - (difference < 0) * 1e9


def _solve(score: Callable[[float], float], target: float, low: float, high: float) -> float:
    """Return the argument at which a decreasing function equals `target`, by bisection to double precision."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if score(middle) > target else (low, middle)
    return (low + high) / 2


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf(0.5 + confidence / 2)
