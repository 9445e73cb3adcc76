"""Range methods: they turn a histogram of |x| into the threshold at which values are clipped.

All methods return a threshold t in (0, peak]. `levels` is the number of quantization steps between 0 and t: 127 for int8,
255 for uint8 that covers non-negative values only.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vegrt.calibration.graph.encode import SIGNED_LEVELS, UNSIGNED_LEVELS, Range
from vegrt.calibration.graph.placement import Encoding
from vegrt.calibration.ranges.observe import Observation
from vegrt.calibration.settings import PERCENTILE

Method = Literal["minmax", "percentile", "mse", "entropy"]
METHODS: tuple[Method, ...] = ("minmax", "percentile", "mse", "entropy")  # simplest first: ties go to the earlier
_CANDIDATES = 128  # thresholds that mse and entropy try


def tensor_range(
    observation: Observation, method: Method, encoding: Encoding, *, percentile: float = PERCENTILE
) -> Range:
    """Return the interval that an encoding's 8 bits represent for a tensor."""
    low, high, peak, magnitudes = observation.low, observation.high, observation.peak, observation.magnitudes()
    if peak == 0:
        return Range(0.0, 0.0)
    if encoding == "signed":
        threshold = clip_threshold(magnitudes, peak, method, SIGNED_LEVELS, percentile=percentile)
        return Range(-threshold, threshold)
    levels = UNSIGNED_LEVELS if low >= 0 else round(UNSIGNED_LEVELS * peak / (high - low))
    threshold = clip_threshold(magnitudes, peak, method, levels, percentile=percentile)
    return Range(max(low, -threshold), min(high, threshold))


def clip_threshold(
    magnitudes: NDArray[np.int64], peak: float, method: Method, levels: int, *, percentile: float = PERCENTILE
) -> float:
    """Return the threshold of `method`, for a histogram of |x| over equal bins of [0, peak].

    minmax: the peak; no value is clipped.
    percentile: the smallest bin edge with at least `percentile` % of the values at or below it.
    mse: the candidate with the least mean squared error of rounding and clipping.
    entropy: the candidate with the least Kullback-Leibler divergence KL(P || Q) between the clipped histogram P and its
        quantization Q (Migacz, 8-bit Inference with TensorRT, GTC 2017).
    """
    if method == "minmax":
        return peak
    bins = len(magnitudes)
    if method == "percentile":
        cumulative = np.cumsum(magnitudes)
        reached = int(np.searchsorted(cumulative, cumulative[-1] * (percentile / 100)))
        return peak * (reached + 1) / bins
    if (
        method == "entropy"
    ):  # zeros are exact at any scale; with them, a Relu's many zeros would hide the cost of clipping
        magnitudes = np.concatenate([magnitudes[1:2], magnitudes[1:]])
        if not magnitudes.any():
            return peak
    candidates = np.unique(np.linspace(levels, bins, _CANDIDATES).round().astype(int))
    loss = clipping_error if method == "mse" else clipping_kl
    losses = [loss(magnitudes, int(candidate), levels) for candidate in candidates]
    return float(peak * candidates[int(np.argmin(losses))] / bins)


def clipping_error(magnitudes: NDArray[np.int64], bins: int, levels: int) -> float:
    """Return the summed squared error, in squared bins, of clipping at `bins` bins and rounding to `levels` steps.

    Every value counts at its bin's centre.
    """
    centres = np.arange(len(magnitudes)) + 0.5
    step = bins / levels
    quantized = np.minimum(np.rint(centres / step), levels) * step
    return float(magnitudes @ np.square(centres - quantized))


def clipping_kl(magnitudes: NDArray[np.int64], bins: int, levels: int) -> float:
    """Return KL(P || Q) of clipping at `bins` bins: P has the clipped tail in its last bin, Q the bins in `levels` steps.

    Each step's mass is spread evenly over its bins that P fills. A filled bin that Q leaves empty would cost infinity, so 1e-4 of
    the mass is spread over all filled bins.
    """
    inside = magnitudes[:bins].astype(np.float64)
    target = inside.copy()
    target[-1] += magnitudes[bins:].sum()
    step_of_bin = np.minimum(np.arange(bins) * levels // bins, levels - 1)
    filled = (target > 0).astype(np.float64)
    mass = np.bincount(step_of_bin, inside, levels)
    spread = np.bincount(step_of_bin, filled, levels)
    approximation = np.where(filled > 0, (mass / np.maximum(spread, 1))[step_of_bin], 0.0)
    p = target / target.sum()
    q = approximation / max(approximation.sum(), 1.0)
    q = np.where(p > 0, (1 - 1e-4) * q + 1e-4 / filled.sum(), 0.0)
    used = p > 0
    return float(np.sum(p[used] * np.log(p[used] / q[used])))
