from __future__ import annotations

import numpy as np
import pytest

from vegrt.evaluate.trust.conformal import conformity, fit_sets, photos_needed, quantile
from vegrt.infer.trust.judge import set_members


def draw(photos: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, 4) probabilities that are calibrated, and labels drawn from them."""
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet([0.6] * 4, photos)
    labels = (random.random((photos, 1)) > probabilities.cumsum(axis=1)).sum(axis=1).clip(max=3)
    return probabilities, labels


@pytest.mark.parametrize(("coverage", "photos"), [(0.9, 9), (0.95, 19), (0.99, 99)])
def test_fewer_photos_than_needed_give_no_threshold(coverage: float, photos: int) -> None:
    assert photos_needed(coverage) == photos
    assert quantile(np.arange(photos, dtype=np.float64), coverage) == photos - 1
    assert quantile(np.arange(photos - 1, dtype=np.float64), coverage) is None


def test_scores_of_three_classes_by_hand() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    labels = np.array([1, 2])
    assert conformity(probabilities, labels, "lac").tolist() == pytest.approx([0.7, 0.3])
    first, second = conformity(probabilities, labels, "aps").tolist()
    assert 0.5 <= first <= 0.8
    assert 0.0 <= second <= 0.7
    assert conformity(probabilities, labels, "aps").tolist() == [first, second]  # drawn from a fixed seed


@pytest.mark.parametrize("method", ["lac", "aps"])
def test_sets_of_other_photos_hold_the_label_as_often_as_stated(method: str) -> None:
    shares = []
    for seed in range(40):
        rule = next(rule for rule in fit_sets(*draw(400, seed)) if (rule.method, rule.coverage) == (method, 0.9))
        probabilities, labels = draw(1000, 1000 + seed)
        shares.append(set_members(probabilities, rule)[np.arange(1000), labels].mean())
    mean = float(np.mean(shares))
    assert 0.893 < mean < (0.91 if method == "lac" else 1.0), mean


def test_each_class_has_the_coverage_by_its_own_threshold() -> None:
    """The labels of class 0 are improbable more often, so one threshold for all covers it too rarely."""
    random = np.random.default_rng(0)
    labels = random.integers(2, size=4000)
    own = np.where(labels == 0, random.uniform(0, 1, 4000), random.uniform(0.5, 1, 4000))
    probabilities = np.where(labels[:, None] == [0, 1], own[:, None], 1 - own[:, None])
    rule = next(rule for rule in fit_sets(probabilities[:2000], labels[:2000]) if rule.coverage == 0.9)
    of_class_0 = labels[2000:] == 0
    rows = np.arange(2000)
    for by_class, expected in ((False, 0.8), (True, 0.9)):
        members = set_members(probabilities[2000:], rule, by_class=by_class)
        assert members[rows, labels[2000:]][of_class_0].mean() == pytest.approx(expected, abs=0.03)


def test_an_aps_set_ends_with_the_class_that_reaches_the_threshold() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2]])
    rule = next(rule for rule in fit_sets(*draw(400, 0)) if rule.method == "aps")
    for threshold, size in ((0.0, 0), (0.4, 1), (0.5, 1), (0.6, 2), (0.81, 3)):
        changed = type(rule)("aps", 0.9, 9, threshold, rule.by_class)
        assert set_members(probabilities, changed).sum() == size, threshold


def test_aps_sets_of_a_confident_classifier_are_small_and_never_empty() -> None:
    """Of 1,000 answers 980 are right with a probability of 0.999: the threshold must not be that of the wrong ones."""
    labels = np.where(np.arange(1000) < 980, 0, 1)
    probabilities = np.tile([0.999, 0.0007, 0.0003], (1000, 1))
    rule = next(rule for rule in fit_sets(probabilities, labels) if (rule.method, rule.coverage) == ("aps", 0.95))
    assert set(set_members(probabilities, rule).sum(axis=1).tolist()) == {1}
