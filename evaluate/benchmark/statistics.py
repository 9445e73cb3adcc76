"""Statistics of timings: quantiles with bootstrap intervals, the ratio of two medians, and how many rounds a budget allows.

Intervals are percentile bootstrap, 95 %, seeded (B. Efron, R. Tibshirani: An Introduction to the Bootstrap, 1993, chapter 13).
They cover the variation within one run, but not the variation between runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vegrt.evaluate.resampling import RESAMPLES, TAILS
from vegrt.results.benchmark import Timing

MIN_ROUNDS = 5  # with fewer, a bootstrap interval of a median is meaningless
QUANTILES = (0.5, 0.9, 0.99)
STORED_SAMPLES = 1000  # largest number of timings of one case in a result file
_CHUNK = 1 << 20  # numbers to resample at once, which bounds the memory for a long run

Samples = Sequence[float | None]  # seconds, one per round; None: the case skipped the round
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio with its 95 % interval. paired: whether it compares the same rounds of one run."""

    value: float
    low: float
    high: float
    paired: bool


def summarize_times(batch: int, samples: Samples) -> Timing:
    """Return the timing of a batch size: quantiles in ms with intervals, and images per second.

    A quantile has an interval if at least one timing is expected above it: p90 from 10 timings on, p99 from 100 on.
    """
    seconds = to_array(samples)
    seconds = seconds[~np.isnan(seconds)]
    low, high = bootstrap(seconds)
    p50_ms, p90_ms, p99_ms = (float(np.quantile(seconds, quantile)) * 1e3 for quantile in QUANTILES)
    ends = [
        (float(low[index]) * 1e3, float(high[index]) * 1e3)
        if index == 0 or len(seconds) * (1 - quantile) >= 1 - 1e-9
        else (None, None)
        for index, quantile in enumerate(QUANTILES)
    ]
    p50_low_ms, p50_high_ms = float(low[0]) * 1e3, float(high[0]) * 1e3
    return Timing(
        batch=batch,
        p50_ms=p50_ms,
        p50_low_ms=p50_low_ms,
        p50_high_ms=p50_high_ms,
        p90_ms=p90_ms,
        p90_low_ms=ends[1][0],
        p90_high_ms=ends[1][1],
        p99_ms=p99_ms,
        p99_low_ms=ends[2][0],
        p99_high_ms=ends[2][1],
        images_per_s=batch / (p50_ms / 1e3),
        images_per_s_low=batch / (p50_high_ms / 1e3),
        images_per_s_high=batch / (p50_low_ms / 1e3),
        count=len(seconds),
        samples_ms=tuple(None if second is None else float(f"{second * 1e3:.4g}") for second in _thinned(samples)),
    )


def bootstrap(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the low and high ends of the intervals of QUANTILES, for (n,) values."""
    drawn = _resampled_quantiles(values, QUANTILES, np.random.default_rng(0))
    low, high = np.quantile(drawn, TAILS, axis=0)
    return low, high


def bootstrap_mean(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the interval of the mean of (n,) values."""
    generator, size = np.random.default_rng(0), max(1, _CHUNK // len(values))
    means = [
        values[generator.integers(0, len(values), (min(size, RESAMPLES - start), len(values)))].mean(axis=1)
        for start in range(0, RESAMPLES, size)
    ]
    low, high = np.quantile(np.concatenate(means), TAILS)
    return float(low), float(high)


def ratio_of_times(base: NDArray[np.float64], new: NDArray[np.float64], *, paired: bool) -> Ratio:
    """Return the ratio new / base of timings in any unit; NaN: a skipped round.

    Unpaired: the ratio of the medians, each resampled independently. paired: both come from the same rounds of one run; then it
    is the median of the rounds' ratios, from which common drift cancels out. With fewer than MIN_ROUNDS common rounds the
    timings are treated as unpaired.
    """
    ratios = new / base if paired else np.zeros(0)
    ratios = ratios[~np.isnan(ratios)]
    generator = np.random.default_rng(0)
    if len(ratios) >= MIN_ROUNDS:
        value, drawn = np.median(ratios), _resampled_quantiles(ratios, (0.5,), generator)
    else:
        base, new = base[~np.isnan(base)], new[~np.isnan(new)]
        value = np.median(new) / np.median(base)
        base_medians, new_medians = (_resampled_quantiles(values, (0.5,), generator) for values in (base, new))
        drawn = new_medians / base_medians
    low, high = np.quantile(drawn, TAILS)
    return Ratio(float(value), float(low), float(high), len(ratios) >= MIN_ROUNDS)


def plan_rounds(costs_s: Mapping[T, float], budget_s: float, rounds: int) -> dict[T, int]:
    """Return the number of timings of each case. costs_s: seconds of one timing.

    Each case gets MIN_ROUNDS timings, or as many as the budget allows, but at least one and at most `rounds`. The rest of the
    budget is divided equally among the cases; time that cheap cases do not need goes to expensive ones.
    """
    total_s = sum(costs_s.values())
    least = max(1, min(MIN_ROUNDS, rounds, int(min(rounds, budget_s / max(total_s, 1e-9)))))
    counts: dict[T, int] = {}
    left_s = max(0.0, budget_s - least * total_s)
    for planned, (case, cost_s) in enumerate(sorted(costs_s.items(), key=lambda item: item[1])):
        extra = int(min(rounds - least, left_s / (len(costs_s) - planned) / max(cost_s, 1e-9)))
        counts[case] = least + extra
        left_s = max(0.0, left_s - extra * cost_s)
    return counts


def takes_part(index: int, count: int, rounds: int) -> bool:
    """Return whether a case with `count` timings runs in round `index` of `rounds`; the timings are spread evenly."""
    return (index + 1) * count // rounds > index * count // rounds


def to_array(samples: Samples) -> NDArray[np.float64]:
    """Return timings as (n,) float64; NaN: a skipped round."""
    return np.array([np.nan if sample is None else sample for sample in samples], np.float64)


def _thinned(samples: Samples) -> Samples:
    """Return at most STORED_SAMPLES timings, evenly spread; the choice depends only on their number, so rounds stay aligned."""
    if len(samples) <= STORED_SAMPLES:
        return samples
    return [samples[int(index)] for index in np.linspace(0, len(samples) - 1, STORED_SAMPLES)]


def _resampled_quantiles(
    values: NDArray[np.float64], quantiles: tuple[float, ...], generator: np.random.Generator
) -> NDArray[np.float64]:
    """Return (RESAMPLES, len(quantiles)): the quantiles of samples drawn from `values` with replacement.

    Sorts the draws' ranks, which is several times faster than numpy.quantile on many short rows, with the same result.
    """
    ranked, count = np.sort(values), len(values)
    size, places = max(1, _CHUNK // count), np.array(quantiles) * (count - 1)
    below, above = np.floor(places).astype(int), np.ceil(places).astype(int)
    parts = []
    for start in range(0, RESAMPLES, size):
        ranks = generator.integers(0, count, (min(size, RESAMPLES - start), count), np.int32)
        ranks.sort(axis=1)
        low, high = ranked[ranks[:, below]], ranked[ranks[:, above]]
        parts.append(low + (high - low) * (places - below))
    return np.concatenate(parts)
