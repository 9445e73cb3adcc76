from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta, binom

from vegrt.evaluate.trust.risk import at_most, fit_abstention, photos_needed, upper_bound


@pytest.mark.parametrize(("errors", "total"), [(0, 1), (0, 299), (2, 690), (7, 20), (300, 9000)])
def test_bounds_are_those_of_the_beta_distribution(errors: int, total: int) -> None:
    assert upper_bound(errors, total) == pytest.approx(beta.ppf(0.95, errors + 1, total - errors), rel=1e-9)
    assert at_most(errors, total, 0.02) == pytest.approx(binom.cdf(errors, total, 0.02), rel=1e-9)


def test_ends_of_the_bound() -> None:
    assert upper_bound(5, 5) == 1.0
    assert upper_bound(0, 0) == 1.0
    assert [at_most(1, 2, rate) for rate in (0.0, 1.0)] == [1.0, 0.0]
    assert photos_needed(0.01) == 299
    assert upper_bound(0, 299) <= 0.01 < upper_bound(0, 298)


def draw(photos: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities of answers, and which answers are right: the more probable, the more often."""
    confidence = random.beta(6, 0.5, photos)
    return confidence, random.random(photos) < 1 - 0.6 * (1 - confidence)


def test_the_stated_risk_is_exceeded_in_at_most_5_percent_of_draws() -> None:
    random = np.random.default_rng(0)
    exceeded = accepting = 0
    for _ in range(120):
        confidence, right = draw(750, random)
        rule = fit_abstention(confidence, right, np.ones(750, np.bool_), 0.02)
        if rule.threshold is not None:
            accepting += 1
            confidence, right = draw(20_000, random)
            exceeded += bool((~right[confidence >= rule.threshold]).mean() > 0.02)
    assert accepting > 100
    assert exceeded <= 0.05 * 120 + 3 * (0.05 * 0.95 * 120) ** 0.5


def test_too_few_photos_give_no_threshold_but_say_how_many_are_needed() -> None:
    rule = fit_abstention(np.ones(298), np.ones(298, np.bool_), np.ones(298, np.bool_), 0.01)
    assert (rule.threshold, rule.photos_needed) == (None, 299)
    assert fit_abstention(np.ones(299), np.ones(299, np.bool_), np.ones(299, np.bool_), 0.01).threshold == 0.0


def test_photos_that_look_foreign_are_not_counted() -> None:
    right = np.arange(400) < 390
    assert fit_abstention(np.ones(400), right, np.ones(400, np.bool_), 0.01).threshold is None
    rule = fit_abstention(np.ones(400), right, right, 0.01)
    assert (rule.accepted, rule.errors, rule.photos) == (390, 0, 400)


def test_a_threshold_that_fails_ends_the_test_although_a_later_one_would_pass() -> None:
    confidence = np.concatenate([np.full(300, 0.999), np.full(10_000, 0.5)])
    right = np.arange(10_300) >= 30
    assert upper_bound(30, 10_300) < 0.02
    assert fit_abstention(confidence, right, np.ones(10_300, np.bool_), 0.02).threshold is None
