from __future__ import annotations

from itertools import product
from math import comb

import numpy as np
import pytest

from vegrt.infer.drift.exact import SCREEN, Shares, deviations, hypergeometric, tails, two_sided


def mass(size: int, other_size: int, hits: int, mine: int) -> float:
    return comb(size, mine) * comb(other_size, hits - mine) / comb(size + other_size, hits)


@pytest.mark.parametrize(("size", "other_size", "hits"), [(7, 9, 5), (3, 40, 41), (50, 100, 0), (4, 4, 8), (0, 5, 2)])
def test_masses_are_those_of_binomial_coefficients(size: int, other_size: int, hits: int) -> None:
    low, masses = hypergeometric(size, other_size, hits)
    expected = [mass(size, other_size, hits, low + place) for place in range(len(masses))]
    assert masses == pytest.approx(expected, rel=1e-10)
    assert sum(expected) == pytest.approx(1)


def test_tails_of_strata_are_sums_over_all_their_tables() -> None:
    hits, totals = np.array([1, 4, 2]), np.array([5, 6, 4])
    other_hits, other_totals = np.array([6, 5, 0]), np.array([8, 6, 7])
    at_most = at_least = 0.0
    for mine in product(*(range(total + 1) for total in totals.tolist())):
        both = (hits + other_hits).tolist()
        if any(not 0 <= hit - own <= size for hit, own, size in zip(both, mine, other_totals.tolist(), strict=True)):
            continue
        rows = zip(totals.tolist(), other_totals.tolist(), both, mine, strict=True)
        probability = float(np.prod([mass(*row) for row in rows]))
        at_most += probability * (sum(mine) <= 7)
        at_least += probability * (sum(mine) >= 7)
    assert tails(hits, totals, other_hits, other_totals) == pytest.approx((at_most, at_least), rel=1e-10)


def test_very_small_p_values_are_exact() -> None:
    lower, _ = tails(np.array([5]), np.array([100]), np.array([90]), np.array([100]))
    assert lower == pytest.approx(sum(mass(100, 100, 95, mine) for mine in range(6)), rel=1e-9)
    assert lower < 1e-35


def test_small_differences_are_not_tested_and_large_ones_of_either_side_are() -> None:
    first = Shares(np.array([[50], [90], [10]]), np.array([100]))
    second = Shares(np.array([[50], [50], [50]]), np.array([100]))
    assert abs(deviations(first, second)[0]) < SCREEN < deviations(first, second)[1]
    values = two_sided(first, second)
    assert values[0] == 1
    assert values[1] == pytest.approx(values[2])
    assert values[1] < 1e-8
    upper = tails(np.array([90]), np.array([100]), np.array([50]), np.array([100]))[1]
    assert values[1] == pytest.approx(2 * upper)


def test_a_change_of_the_mix_alone_is_no_difference_within_classes() -> None:
    first = Shares(np.array([[5, 80]]), np.array([100, 100]))
    second = Shares(np.array([[45, 80]]), np.array([900, 100]))
    assert two_sided(first, second)[0] == 1
    joined = two_sided(Shares(np.array([[85]]), np.array([200])), Shares(np.array([[125]]), np.array([1000])))
    assert joined[0] < 1e-10
