from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from vegrt.evaluate.detectable import connor_power, detectable_drop, mcnemar_power


def found_by_drawing(drop: float, discordance: float, total: int, tests: int = 4000) -> float:
    """Return how often SciPy's binomial test finds the drop in drawn counts of newly wrong and newly right photos."""
    random = np.random.default_rng(5)
    wrong, right = (discordance + drop) / 2, (discordance - drop) / 2
    counts = random.multinomial(total, [wrong, right, 1 - wrong - right], size=tests)[:, :2]
    kinds, times = np.unique(counts, axis=0, return_counts=True)
    detected = [int(b) > int(c) and binomtest(int(b), int(b + c)).pvalue <= 0.05 for b, c in kinds]
    return float(np.asarray(detected) @ times / tests)


@pytest.mark.parametrize(("wrong", "right", "total"), [(0, 0, 900), (4, 2, 900), (20, 10, 3000), (60, 40, 500)])
def test_the_detectable_drop_is_found_in_four_of_five_drawn_tests(wrong: int, right: int, total: int) -> None:
    drop = detectable_drop(wrong, right, total)
    assert drop is not None
    discordance = max(drop, (wrong + right) / total)
    assert found_by_drawing(drop, discordance, total) == pytest.approx(0.8, abs=0.03)
    assert found_by_drawing(0.8 * drop, max(0.8 * drop, (wrong + right) / total), total) < 0.77


def test_power_is_a_sum_over_scipys_binomials() -> None:
    total, discordance, drop = 120, 0.2, 0.1
    chance = (discordance - drop) / (2 * discordance)
    expected = 0.0
    for pairs in range(1, total + 1):
        rights = np.arange(pairs // 2 + 1)
        rejecting = rights[2 * binom.cdf(rights, pairs, 0.5) <= 0.05]
        expected += binom.pmf(pairs, total, discordance) * binom.pmf(rejecting, pairs, chance).sum()
    assert mcnemar_power(drop, discordance, total) == pytest.approx(expected, abs=1e-9)


def test_the_normal_approximation_joins_where_it_takes_over() -> None:
    for discordance in (0.129, 0.132):  # 387 and 396 expected pairs, summed exactly
        exact = mcnemar_power(0.019, discordance, 3000)
        assert connor_power(0.019, discordance, 3000) == pytest.approx(exact, abs=0.02)
    assert mcnemar_power(0.019, 0.14, 3000) == connor_power(0.019, 0.14, 3000)


def test_too_few_images_detect_nothing() -> None:
    """Five newly wrong photos of five have p = 1/16: only from six on can the test reject."""
    assert detectable_drop(0, 0, 5) is None
    assert detectable_drop(0, 0, 6) is not None
