from __future__ import annotations

from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import binomtest, norm

from vegrt.infer.statistics import Interval, images_to_decide, judge, mcnemar, tango, wilson


@given(total=st.integers(1, 5000), share=st.floats(0, 1))
def test_wilson_is_scipys(total: int, share: float) -> None:
    successes = round(total * share)
    expected = binomtest(successes, total).proportion_ci(0.95, method="wilson")
    got = wilson(successes, total)
    assert got.low == pytest.approx(expected.low, abs=1e-9)
    assert got.high == pytest.approx(expected.high, abs=1e-9)


@given(wrong=st.integers(0, 300), right=st.integers(0, 300))
def test_mcnemar_is_scipys_binomial_test(wrong: int, right: int) -> None:
    expected = binomtest(wrong, wrong + right).pvalue if wrong + right else 1.0
    assert mcnemar(wrong, right) == pytest.approx(expected, abs=1e-9)


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
    got, z = tango(b, c, n), norm.ppf(0.975)
    drop = (b - c) / n
    high = brentq(lambda delta: direct_score(b, c, n, delta) + z, drop, 0.999)
    low = brentq(lambda delta: direct_score(b, c, n, delta) - z, -0.999, drop)
    assert (got.low, got.value, got.high) == pytest.approx((low, drop, high), abs=2e-4)


def test_tango_without_a_flip_is_the_closed_form() -> None:
    """With b = c = 0 the score equation reduces to n d / (1 - d) = z^2, so d = z^2 / (n + z^2)."""
    z2 = norm.ppf(0.975) ** 2
    assert tango(0, 0, 900).high == pytest.approx(z2 / (900 + z2), abs=1e-9)


def test_tango_is_antisymmetric() -> None:
    forth, back = tango(7, 3, 500), tango(3, 7, 500)
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low), abs=1e-9)


def test_a_drop_at_the_margin_passes_at_most_one_time_in_twenty() -> None:
    random = np.random.default_rng(0)
    n, margin = 1000, 0.01
    outcomes = random.multinomial(n, [0.025, 0.015, 0.96], size=2000)  # true drop: exactly the margin
    passed = sum(judge(tango(int(b), int(c), n), margin) == "PASS" for b, c, _ in outcomes)
    assert passed / 2000 <= 0.05


def test_the_three_verdicts() -> None:
    assert judge(Interval(0.0, -0.004, 0.004), 0.005) == "PASS"
    assert judge(Interval(0.02, 0.006, 0.03), 0.005) == "FAIL"
    assert judge(Interval(0.004, -0.001, 0.009), 0.005) == "INCONCLUSIVE"


def test_the_advised_number_of_images_decides_and_one_part_less_does_not() -> None:
    needed = images_to_decide(2, 1, 900, 0.005)
    assert needed is not None
    factor = needed // 900
    assert judge(tango(2 * factor, factor, needed), 0.005) == "PASS"
    assert judge(tango(2 * (factor - 1), factor - 1, needed - 900), 0.005) == "INCONCLUSIVE"
    assert images_to_decide(5, 0, 1000, 0.005) is None  # exactly at the margin: no number of images decides
