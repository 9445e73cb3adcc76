"""Each range method against a slow direct implementation of its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vegrt.calibration.ranges.methods import METHODS, clip_threshold, clipping_error, clipping_kl, tensor_range
from vegrt.calibration.ranges.observe import BINS, Observation, histogram

Samples = NDArray[np.float32]


def samples(seed: int, kind: str) -> Samples:
    random = np.random.default_rng(seed)
    drawn = {"normal": random.normal(size=20_000), "outliers": random.standard_t(2.5, size=20_000)}[kind]
    return drawn.astype(np.float32)


def observation(values: Samples) -> Observation:
    peak = float(np.abs(values).max())
    return Observation(float(min(0, values.min())), float(max(0, values.max())), histogram(values, peak))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), kind=st.sampled_from(["normal", "outliers"]))
def test_the_percentile_equals_that_of_the_samples(seed: int, kind: str) -> None:
    values = samples(seed, kind)
    observed = observation(values)
    expected = np.quantile(np.abs(values), 0.9999, method="inverted_cdf")
    threshold = clip_threshold(observed.magnitudes(), observed.peak, "percentile", 127)
    assert abs(threshold - expected) <= observed.peak / BINS * 1.01


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), kind=st.sampled_from(["normal", "outliers"]))
def test_mse_equals_the_error_of_quantizing_every_sample(seed: int, kind: str) -> None:
    values = samples(seed, kind)
    observed = observation(values)

    def true_error(threshold: float) -> float:
        scale = threshold / 127
        return float(np.square(values - np.clip(np.rint(values / scale), -127, 127) * scale).mean())

    chosen = clip_threshold(observed.magnitudes(), observed.peak, "mse", 127)
    best = min(true_error(float(threshold)) for threshold in np.linspace(observed.peak / 16, observed.peak, 200))
    assert true_error(chosen) <= best * 1.05


def slow_divergence(magnitudes: list[int], bins: int, levels: int) -> float:
    target = [float(count) for count in magnitudes[:bins]]
    target[-1] += sum(magnitudes[bins:])
    groups: dict[int, list[int]] = {}
    for index in range(bins):
        groups.setdefault(min(index * levels // bins, levels - 1), []).append(index)
    q = [0.0] * bins
    for members in groups.values():
        filled = [index for index in members if target[index] > 0]
        for index in filled:
            q[index] = sum(magnitudes[member] for member in members) / len(filled)
    filled_bins = sum(count > 0 for count in target)
    total, mass = sum(target), max(sum(q), 1.0)
    result = 0.0
    for count, approximation in zip(target, q, strict=True):
        if count > 0:
            smooth = (1 - 1e-4) * approximation / mass + 1e-4 / filled_bins
            result += count / total * np.log(count / total / smooth)
    return result


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(0, 1000), min_size=40, max_size=80).filter(any),
    bins=st.integers(10, 40),
    levels=st.integers(4, 10),
)
def test_entropy_is_the_divergence_computed_bin_by_bin(counts: list[int], bins: int, levels: int) -> None:
    divergence = clipping_kl(np.array(counts), bins, levels)
    assert divergence == pytest.approx(slow_divergence(counts, bins, levels), abs=1e-9)


def test_squared_error_grows_when_more_is_clipped_or_steps_get_coarse() -> None:
    flat = np.full(BINS, 10)
    assert clipping_error(flat, BINS // 2, 127) > clipping_error(flat, BINS, 127)
    assert clipping_error(flat, BINS, 64) > clipping_error(flat, BINS, 255)


def test_every_clipping_method_clips_an_outlier_and_minmax_does_not() -> None:
    values = np.concatenate([samples(0, "normal"), np.array([1000.0], np.float32)])
    observed = observation(values)
    thresholds = {method: clip_threshold(observed.magnitudes(), observed.peak, method, 127) for method in METHODS}
    assert thresholds["minmax"] == 1000.0
    assert max(thresholds["percentile"], thresholds["entropy"]) < 100
    assert thresholds["mse"] <= 1000.0


def test_zeros_of_a_relu_do_not_make_entropy_clip_the_rest() -> None:
    values = np.maximum(samples(1, "normal"), 0)
    values[:15_000] = 0
    observed = observation(values)
    assert clip_threshold(observed.magnitudes(), observed.peak, "entropy", 127) > 1.5


def test_ranges_match_the_encoding() -> None:
    relu = observation(np.abs(samples(2, "normal")))
    signed, unsigned = tensor_range(relu, "minmax", "signed"), tensor_range(relu, "minmax", "unsigned")
    assert (signed.low, signed.high) == (-relu.peak, relu.peak)
    assert (unsigned.low, unsigned.high) == (0.0, relu.peak)
    skewed = Observation(-1.0, 4.0, histogram(np.linspace(-1, 4, 1000, dtype=np.float32), 4.0))
    assert tensor_range(skewed, "minmax", "unsigned").low == -1.0
    silent = Observation(0.0, 0.0, histogram(np.zeros(9, np.float32), 0.0))
    assert tensor_range(silent, "entropy", "signed").high == 0.0
