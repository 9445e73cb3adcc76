from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vegrt.evaluate.figures import LabelledAnswers, bin_gaps, calibration_error, figures_of, reliability_bins
from vegrt.evaluate.paired import class_drops, compare_answers
from vegrt.evaluate.resampling import Resamples, f1_intervals, percentile
from vegrt.results.common import Interval
from vegrt.results.evaluation import ClassFigures


def drawn(
    images: int, classes: int = 3, seed: int = 0, skill: float = 2.0
) -> tuple[NDArray[np.float32], NDArray[np.int_]]:
    """Return seeded (N, K) logits that are often right, and the labels."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, images)
    logits = random.normal(0, 1, (images, classes))
    logits[np.arange(images), labels] += skill
    return logits.astype(np.float32), labels


def test_means_are_those_of_plain_loops() -> None:
    logits, labels = drawn(50)
    figures = figures_of(LabelledAnswers.of(logits, labels), Resamples(50))
    rows = [np.exp(row - row.max()) / np.exp(row - row.max()).sum() for row in logits.astype(float)]
    brier = [sum((p - (k == label)) ** 2 for k, p in enumerate(row)) for row, label in zip(rows, labels, strict=True)]
    intervals = [figures.brier, figures.nll, figures.margin_mean, figures.ece]
    expected = [
        np.mean(brier),
        np.mean([-np.log(row[label]) for row, label in zip(rows, labels, strict=True)]),
        np.mean([sorted(row)[-1] - sorted(row)[-2] for row in rows]),
    ]
    for interval in intervals:
        assert isinstance(interval, Interval)
        assert interval.low <= interval.value <= interval.high
    assert [getattr(interval, "value", None) for interval in intervals[:3]] == pytest.approx(expected)


def test_top5_is_counted_where_there_are_many_classes() -> None:
    logits, labels = drawn(200, classes=40)
    figures = figures_of(LabelledAnswers.of(logits, labels), Resamples(200))
    for count, figure in ((3, figures.top3), (5, figures.top5)):
        best = np.argsort(-logits, axis=1)[:, :count]
        assert figure is not None
        assert figure.value == np.mean([label in row for label, row in zip(labels, best, strict=True)])
    few, few_labels = drawn(20, classes=15)
    assert figures_of(LabelledAnswers.of(few, few_labels), Resamples(20)).top5 is None


def test_classes_are_counted_by_truth_and_answer() -> None:
    """Class 0: three photos, two right, and one photo of class 1 called 0. Class 2 has no photo and no answer."""
    labels = np.array([0, 0, 0, 1, 1])
    top1 = np.array([0, 0, 1, 0, 1])
    logits = np.full((5, 3), -9.0, np.float32)
    logits[np.arange(5), top1] = 9.0
    first, second, third = figures_of(LabelledAnswers.of(logits, labels), Resamples(5)).classes or ()
    of_first = [figure for figure in (first.precision, first.recall, first.f1) if figure]
    assert [figure.value for figure in of_first] == pytest.approx([2 / 3, 2 / 3, 2 / 3])
    assert [figure.value for figure in (second.precision, second.recall) if figure] == [0.5, 0.5]
    assert third == ClassFigures(0, None, None, None)
    assert of_first[1].low < 2 / 3 < of_first[1].high


def test_reliability_bins_explain_the_calibration_error() -> None:
    logits, labels = drawn(400)
    answers = LabelledAnswers.of(logits, labels)
    assert answers.probability is not None
    bins = reliability_bins(answers.probability, answers.right)
    assert len(bins) == 15
    assert sum(bin_.count for bin_ in bins) == 400
    assert (bins[0].low, bins[-1].high) == (0.0, 1.0)
    gaps = [bin_.count * abs((bin_.accuracy or 0) - (bin_.confidence or 0)) for bin_ in bins if bin_.count]
    assert sum(gaps) / 400 == pytest.approx(calibration_error(answers.probability, answers.right))
    assert all(bin_.accuracy is None and bin_.confidence is None for bin_ in bins if not bin_.count)
    assert any(not bin_.count for bin_ in bins)  # three classes: no confidence below a third
    assert bin_gaps(answers.probability, answers.right).shape == (400, 15)


def test_resampled_means_are_those_of_the_drawn_images() -> None:
    """The bootstrap's mean and deviation are the sample's own: Var of a resampled mean is the plug-in variance / N."""
    values = np.random.default_rng(3).exponential(1.0, 200)
    means = Resamples(200).means(values[:, None])[:, 0]
    assert means.mean() == pytest.approx(values.mean(), abs=4 * values.std() / np.sqrt(200 * 2000))
    assert means.std() == pytest.approx(values.std() / np.sqrt(200), rel=0.06)
    np.testing.assert_array_equal(means, Resamples(200).means(values[:, None])[:, 0])
    assert Resamples(7).means(np.ones((7, 2))) == pytest.approx(np.ones((2000, 2)))


def test_an_interval_is_widened_to_hold_its_value() -> None:
    drawn_again = np.linspace(1.0, 3.0, 2001)  # a biased figure: about 2 where the value is 1
    interval = percentile(0.5, drawn_again)
    assert (interval.low, interval.value) == (0.5, 0.5)
    assert interval.high == pytest.approx(2.95)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), images=st.integers(30, 200))
def test_f1_intervals_are_those_of_resampled_images(seed: int, images: int) -> None:
    """The multinomial draw against a plain bootstrap over images, which takes a thousand times as long."""
    logits, labels = drawn(images, seed=seed, skill=1.0)
    top1, random = logits.argmax(axis=1), np.random.default_rng(1)
    picked = random.integers(images, size=(20_000, images))
    truth, answer = labels[picked] == 0, top1[picked] == 0
    plain = 2 * (truth & answer).sum(axis=1) / np.maximum(truth.sum(axis=1) + answer.sum(axis=1), 1)
    confusion = LabelledAnswers.of(logits, labels).confusion()
    interval = f1_intervals(confusion.diagonal(), confusion.sum(axis=0), confusion.sum(axis=1), images)[0]
    assert interval is not None
    for end, share in ((interval.low, 0.025), (interval.high, 0.975)):  # shares, because few images have few values
        lowest, highest = np.quantile(plain, [share - 0.02, share + 0.02])
        assert lowest - 1e-9 <= end <= highest + 1e-9


def test_divergence_is_zero_for_equal_answers_and_known_for_others() -> None:
    logits = np.log(np.array([[0.5, 0.5], [0.9, 0.1]], np.float32))
    candidate_logits = np.log(np.array([[0.25, 0.75], [0.9, 0.1]], np.float32))
    labels = np.array([0, 0])
    reference, candidate = LabelledAnswers.of(logits, labels), LabelledAnswers.of(candidate_logits, labels, logits)
    expected = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    assert candidate.divergence == pytest.approx([expected, 0.0], abs=1e-6)
    divergence = compare_answers(reference, candidate, Resamples(2)).kl
    assert divergence is not None
    assert (divergence.low, divergence.value, divergence.high) == pytest.approx((0.0, expected / 2, expected), abs=1e-6)


def test_drops_of_classes_add_up_and_are_corrected() -> None:
    labels = np.repeat([0, 1, 2], 40)
    reference, candidate = labels.copy(), labels.copy()
    candidate[:12] = 1  # class 0 loses 12 of 40
    reference[40:43] = 2  # class 1 gains 3
    first, second, third, absent = class_drops(reference, candidate, labels, 4)
    assert first.drop is not None
    assert (first.newly_wrong, first.newly_right, first.drop.value) == (12, 0, 0.3)
    assert (second.newly_wrong, second.newly_right) == (0, 3)
    assert first.p == pytest.approx(2 / 2**12)
    assert first.p_holm == pytest.approx(4 * 2 / 2**12)
    assert second.p_holm == pytest.approx(3 * 0.25)
    assert third.p_holm == 1.0
    assert absent.drop is None


def test_one_image_and_logits_of_any_size_give_figures() -> None:
    logits = np.array([[1e4, -1e4]], np.float32)
    figures = figures_of(LabelledAnswers.of(logits, np.array([1])), Resamples(1))
    assert isinstance(figures.nll, Interval)
    assert figures.nll.value == 2e4
    assert figures.top1.value == 0.0
