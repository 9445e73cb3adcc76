"""Statistics of timings against scipy, against known cases and by simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vegrt.evaluate.benchmark.statistics import (
    MIN_ROUNDS,
    STORED_SAMPLES,
    bootstrap,
    bootstrap_mean,
    plan_rounds,
    ratio_of_times,
    summarize_times,
    takes_part,
)
from vegrt.results.convert import to_dict

COSTS = st.dictionaries(st.integers(), st.floats(1e-4, 10), min_size=1, max_size=12)


def timings(seed: int, count: int = 30, median: float = 1.0) -> NDArray[np.float64]:
    return median * np.random.default_rng(seed).lognormal(0, 0.2, count)


def test_intervals_are_those_of_scipy() -> None:
    from scipy import stats

    values = timings(0, 200)
    low, high = bootstrap(values)
    for index, quantile in enumerate((0.5, 0.9)):
        expected = stats.bootstrap(
            (values,),
            lambda sample, axis, q=quantile: np.quantile(sample, q, axis=axis),
            n_resamples=2000,
            method="percentile",
            rng=np.random.default_rng(1),
        ).confidence_interval
        assert low[index] == pytest.approx(expected.low, rel=0.02)
        assert high[index] == pytest.approx(expected.high, rel=0.02)
    expected = stats.bootstrap((values,), np.mean, n_resamples=2000, method="percentile", rng=2).confidence_interval
    assert np.ptp(bootstrap_mean(values)) == pytest.approx(
        expected.high - expected.low, rel=0.1
    )  # 90 % would be 16 % less
    assert bootstrap_mean(values) == pytest.approx((expected.low, expected.high), rel=0.01)


def test_intervals_cover_what_they_estimate() -> None:
    """Of 300 runs of 30 rounds, 95 % hold the true median, and the true ratio of two, however paired; 3.3 standard errors."""
    medians, ratios = 0, np.zeros(2)
    for seed in range(300):
        base, new = timings(seed), timings(seed + 10_000, median=1.1)
        low, high = bootstrap(base)
        medians += bool(low[0] <= 1.0 <= high[0])
        ratios += [
            ratio.low <= 1.1 <= ratio.high
            for ratio in (ratio_of_times(base, new, paired=paired) for paired in (False, True))
        ]
    assert 0.908 <= medians / 300 <= 0.992
    assert ((ratios >= 0.908 * 300) & (ratios <= 0.992 * 300)).all()


def test_a_timing_of_known_samples() -> None:
    timing = summarize_times(4, [None, *(number / 1000 for number in range(1, 101)), None])
    assert timing.count == 100
    assert timing.p50_ms == pytest.approx(50.5)
    assert timing.p90_ms == pytest.approx(90.1)
    assert timing.images_per_s == pytest.approx(4 / 0.0505)
    assert timing.samples_ms == (None, *map(float, range(1, 101)), None)
    for name in ("p50", "p90", "p99"):
        low, value, high = (getattr(timing, f"{name}_{end}ms") for end in ("low_", "", "high_"))
        assert low <= value <= high
    assert timing.p50_low_ms is not None
    assert timing.p50_high_ms is not None
    assert timing.images_per_s_low == pytest.approx(4000 / timing.p50_high_ms)
    assert timing.images_per_s_high == pytest.approx(4000 / timing.p50_low_ms)
    assert summarize_times(4, [0.00123456]).samples_ms == (1.235,)
    assert timing == summarize_times(4, [None, *(number / 1000 for number in range(1, 101)), None])


def test_a_tail_has_an_interval_only_where_timings_lie_beyond_it() -> None:
    intervals = {
        count: {key for key in to_dict(summarize_times(1, [0.1] * count)) if "_low_ms" in key}
        for count in (9, 10, 99, 100)
    }
    assert intervals[9] == {"p50_low_ms"}
    assert intervals[10] == intervals[99] == {"p50_low_ms", "p90_low_ms"}
    assert intervals[100] == {"p50_low_ms", "p90_low_ms", "p99_low_ms"}


def test_a_long_run_is_kept_in_part_and_figured_in_full() -> None:
    seconds = timings(1, 5000).tolist()
    timing = summarize_times(1, seconds)
    assert timing.count == 5000
    assert timing.samples_ms is not None
    assert len(timing.samples_ms) == STORED_SAMPLES
    assert timing.p50_ms == pytest.approx(1e3 * float(np.median(seconds)))
    assert np.median([sample for sample in timing.samples_ms if sample]) == pytest.approx(timing.p50_ms, rel=0.05)


def test_pairs_of_rounds_take_the_drift_out() -> None:
    drift = np.linspace(1, 3, 30)
    base, new = drift * timings(2) ** 0.05, 1.2 * drift * timings(3) ** 0.05
    paired, unpaired = (ratio_of_times(base, new, paired=wanted) for wanted in (True, False))
    assert (paired.paired, unpaired.paired) == (True, False)
    assert 1.15 < paired.low <= 1.2 <= paired.high < 1.25
    assert unpaired.low < 1.0
    assert unpaired.high > 1.4
    assert unpaired.value == pytest.approx(np.median(new) / np.median(base))
    assert paired.value == pytest.approx(np.median(new / base))


def test_only_rounds_that_both_took_part_in_are_paired() -> None:
    base, new = np.array([1.0, 9.0] * 6), np.full(12, np.nan)
    new[::2] = 2.0
    assert ratio_of_times(base, new, paired=True) == ratio_of_times(base[::2], new[::2], paired=True)
    assert ratio_of_times(base, new, paired=True).value == 2.0
    new[: 2 * (7 - MIN_ROUNDS)] = np.nan
    assert not ratio_of_times(base, new, paired=True).paired


@given(costs=COSTS, budget=st.floats(0, 100), rounds=st.integers(1, 60))
def test_a_plan_keeps_to_the_budget_and_to_its_bounds(costs: dict[int, float], budget: float, rounds: int) -> None:
    counts = plan_rounds(costs, budget, rounds)
    least = max(1, min(rounds, MIN_ROUNDS, int(budget / sum(costs.values()))))
    assert counts.keys() == costs.keys()
    assert all(least <= count <= rounds for count in counts.values())
    spent = sum(costs[case] * count for case, count in counts.items())
    assert spent <= max(budget, least * sum(costs.values())) + 1e-6
    ranked = [counts[case] for case in sorted(costs, key=costs.__getitem__)]
    assert all(cheap >= dear - 1 for cheap, dear in itertools.pairwise(ranked))  # 1: what rounding down left over
    if all(count > least for count in counts.values()):
        assert spent <= budget + 1e-6


def test_time_that_fast_cases_leave_goes_to_slow_ones() -> None:
    assert plan_rounds({"cheap": 0.01, "dear": 1.0}, float("inf"), 30) == {"cheap": 30, "dear": 30}
    assert plan_rounds({"cheap": 0.01, "dear": 1.0}, 20.3, 30) == {"cheap": 30, "dear": 20}


@given(count=st.integers(1, 40), more=st.integers(0, 40))
def test_a_case_is_spread_evenly_over_the_rounds(count: int, more: int) -> None:
    rounds = count + more
    taken = [index for index in range(rounds) if takes_part(index, count, rounds)]
    assert len(taken) == count
    gaps = np.diff([-1, *taken])
    assert gaps.max() - gaps.min() <= 1
