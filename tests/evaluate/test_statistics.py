from __future__ import annotations

from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import binom, binomtest, norm
from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from vegrt.evaluate.statistics import holm, images_to_decide, mcnemar, tango, verdict_of, wilson
from vegrt.results.common import Interval


@given(total=st.integers(1, 5000), share=st.floats(0, 1))
def test_wilson_is_scipys(total: int, share: float) -> None:
    successes = round(total * share)
    expected = binomtest(successes, total).proportion_ci(0.95, method="wilson")
    interval = wilson(successes, total)
    assert interval.low == pytest.approx(expected.low, abs=1e-9)
    assert interval.high == pytest.approx(expected.high, abs=1e-9)


@given(wrong=st.integers(0, 300), right=st.integers(0, 300))
def test_mcnemar_is_scipys_binomial_test(wrong: int, right: int) -> None:
    expected = binomtest(wrong, wrong + right).pvalue if wrong + right else 1.0
    assert mcnemar(wrong, right) == pytest.approx(expected, abs=1e-9)


def in_whole_numbers(wrong: int, right: int) -> float:
    """McNemar's p-value by big integers."""
    discordant, term, tail = wrong + right, 1, 1
    for count in range(min(wrong, right)):
        term = term * (discordant - count) // (count + 1)
        tail += term
    return min(1.0, 2 * tail / 2**discordant) if 2 * tail < 2**discordant else 1.0


def test_mcnemar_has_all_digits_of_big_integers() -> None:
    chosen = np.random.default_rng(0).integers(0, 1000, (200, 2)).tolist()
    chosen += [[wrong, right] for wrong in range(25) for right in range(25)]
    chosen += [[3000, 3000 + more] for more in (0, 1, 7, 60, 300, 900)]
    for wrong, right in chosen:
        expected = in_whole_numbers(wrong, right)
        assert mcnemar(wrong, right) == pytest.approx(expected, rel=1e-12, abs=1e-300), (wrong, right)


def test_mcnemar_of_millions_of_flips_is_the_normal_approximation_and_takes_no_time() -> None:
    wrong, right = 5_000_000, 5_004_000
    with_continuity = 2 * norm.sf((right - wrong - 1) / np.sqrt(wrong + right))
    assert mcnemar(wrong, right) == pytest.approx(with_continuity, rel=1e-4)
    assert mcnemar(0, 10**7) == 0.0


def direct_score(b: int, c: int, n: int, delta: float) -> float:
    """Tango's statistic with the constrained likelihood maximised numerically instead of by his equation."""

    def negative_log_likelihood(q: float) -> float:
        terms = [(b, q + delta), (c, q), (n - b - c, 1 - 2 * q - delta)]
        return -sum(count * log(max(p, 1e-300)) for count, p in terms if count)

    low, high = max(0.0, -delta), (1 - delta) / 2
    q = float(minimize_scalar(negative_log_likelihood, bounds=(low, high), options={"xatol": 1e-13}).x)
    variance = n * (2 * q + delta - delta**2)
    return float((b - c - n * delta) / np.sqrt(variance))


@settings(max_examples=60, deadline=None)
@given(n=st.integers(20, 1000), first=st.floats(0.01, 0.4), second=st.floats(0.01, 0.4))
def test_tango_inverts_the_score_test_found_by_direct_maximisation(n: int, first: float, second: float) -> None:
    b, c = max(1, round(n * first)), max(1, round(n * second))
    interval, z = tango(b, c, n), norm.ppf(0.975)
    drop = (b - c) / n
    high = brentq(lambda delta: direct_score(b, c, n, delta) + z, drop, 0.999)
    low = brentq(lambda delta: direct_score(b, c, n, delta) - z, -0.999, drop)
    assert (interval.low, interval.value, interval.high) == pytest.approx((low, drop, high), abs=2e-4)


def test_tango_without_a_flip_is_the_closed_form() -> None:
    """With b = c = 0 the score equation reduces to n d / (1 - d) = z^2, so d = z^2 / (n + z^2)."""
    z2 = norm.ppf(0.975) ** 2
    assert tango(0, 0, 900).high == pytest.approx(z2 / (900 + z2), abs=1e-9)


def test_tango_is_antisymmetric() -> None:
    forth, back = tango(7, 3, 500), tango(3, 7, 500)
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low), abs=1e-9)


@pytest.mark.parametrize(
    ("b", "c", "n", "confidence", "low", "high"),
    [
        (0, 1, 44, 0.90, -0.096, 0.037),  # Tango 1998, soft contact lenses
        (
            1,
            7,
            21,
            0.95,
            -0.517,
            -0.026,
        ),  # Bentur et al. 2009, in Fagerland, Lydersen and Laake 2017, chapter 8
        (48, 41, 549, 0.90, -0.0157, 0.0414),  # by R's PropCIs 0.3-0, scoreci.mp(41, 48, 549, 0.9)
    ],
)
def test_tango_gives_published_intervals(b: int, c: int, n: int, confidence: float, low: float, high: float) -> None:
    interval = tango(b, c, n, confidence)
    digits = 5e-4 if n < 100 else 5e-5
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=digits)


@pytest.mark.parametrize("discordance", [0.006, 0.02, 0.08])
@pytest.mark.parametrize("total", [900, 3000])
def test_a_drop_at_the_margin_passes_at_most_one_time_in_twenty(total: int, discordance: float) -> None:
    """2,000 tests each; the true drop is exactly the margin of half a point."""
    random = np.random.default_rng(0)
    chances = [(discordance + 0.005) / 2, (discordance - 0.005) / 2, 1 - discordance]
    counts, times = np.unique(random.multinomial(total, chances, size=2000), axis=0, return_counts=True)
    passed = [verdict_of(tango(int(b), int(c), total), 0.005) == "PASS" for b, c, _ in counts]
    assert np.asarray(passed) @ times / 2000 <= 0.05


@pytest.mark.parametrize(
    ("total", "discordance", "drop", "least", "most"),
    [
        (900, 0.05, 0.0, 0.94, 0.96),
        (900, 0.05, 0.02, 0.94, 0.96),
        (300, 0.1, 0.005, 0.94, 0.96),
        (900, 0.01, 0.005, 0.94, 0.96),
        (
            900,
            0.002,
            0.0,
            0.96,
            1.0,
        ),  # two flips to be expected: counts are too coarse for 95 %, and Tango errs to the safe side
    ],
)
def test_tango_covers_the_truth(total: int, discordance: float, drop: float, least: float, most: float) -> None:
    """Exact: every count of newly wrong and newly right photos by its probability. More: tests/slow/coverage.py."""
    low, high = (int(binom.ppf(tail, total, discordance)) for tail in (1e-6, 1 - 1e-6))
    covered = 0.0
    for pairs in range(low, high + 1):
        chances = binom.pmf(np.arange(pairs + 1), pairs, (discordance + drop) / (2 * discordance))
        for wrong in np.flatnonzero(chances > 1e-6):
            interval = tango(int(wrong), pairs - int(wrong), total)
            covered += binom.pmf(pairs, total, discordance) * chances[wrong] * (interval.low <= drop <= interval.high)
    assert least <= covered <= most


def test_the_three_verdicts() -> None:
    assert verdict_of(Interval(0.0, -0.004, 0.004), 0.005) == "PASS"
    assert verdict_of(Interval(0.02, 0.006, 0.03), 0.005) == "FAIL"
    assert verdict_of(Interval(0.004, -0.001, 0.009), 0.005) == "INCONCLUSIVE"


def test_the_advised_number_of_images_decides_and_one_less_does_not() -> None:
    needed = images_to_decide(2, 1, 900, 0.005)
    assert needed is not None
    assert verdict_of(tango(2 * needed / 900, needed / 900, needed), 0.005) == "PASS"
    fewer = needed - 1
    assert verdict_of(tango(2 * fewer / 900, fewer / 900, fewer), 0.005) == "INCONCLUSIVE"
    assert images_to_decide(5, 0, 1000, 0.005) is None  # exactly at the margin: no number of images decides


@pytest.mark.parametrize("count", [1, 2, 15, 100])
def test_holm_is_statsmodels(count: int) -> None:
    p_values = np.random.default_rng(count).beta(0.3, 1.0, count).round(3).tolist()  # many small ones, some equal
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1], abs=1e-12)


@given(total=st.integers(1, 5000), share=st.floats(0, 1), confidence=st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_wilson_is_statsmodels(total: int, share: float, confidence: float) -> None:
    successes = round(total * share)
    interval = wilson(successes, total, confidence)
    low, high = proportion_confint(successes, total, 1 - confidence, method="wilson")
    assert (interval.low, interval.high) == pytest.approx((max(0.0, low), min(1.0, high)), abs=1e-9)


@given(wrong=st.integers(0, 60), right=st.integers(0, 60))
def test_mcnemar_is_statsmodels(wrong: int, right: int) -> None:
    expected = their_mcnemar([[5, wrong], [right, 7]], exact=True).pvalue if wrong + right else 1.0
    assert mcnemar(wrong, right) == pytest.approx(float(expected), abs=1e-9)
