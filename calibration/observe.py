"""Streaming observers: exact extrema in pass one, fixed-bin histograms in pass two, for any number of images.

Memory holds one batch of activations and one histogram per tensor, so it does not grow with the number of images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import ModelError

BINS = 2048  # per side of zero

_SILENT = 1e-30  # a peak below this is zero for every purpose, and 1 / peak would overflow float32

Batches = Callable[[], Iterable[NDArray[np.uint8]]]
Activations = Callable[[NDArray[np.uint8]], Sequence[NDArray[np.float32]]]


@dataclass(frozen=True, slots=True)
class Observation:
    """What calibration saw of one tensor.

    low, high: exact extrema over all images. counts: (2 * BINS,) int64 histogram over [-peak, peak], peak = max |x|.
    """

    low: float
    high: float
    counts: NDArray[np.int64]

    @property
    def peak(self) -> float:
        """Return the largest magnitude seen."""
        return max(-self.low, self.high)

    def magnitudes(self) -> NDArray[np.int64]:
        """Return the (BINS,) int64 histogram of |x| over [0, peak]."""
        return self.counts[BINS:] + self.counts[:BINS][::-1]


def observe(names: Sequence[str], activations: Activations, batches: Batches) -> dict[str, Observation]:
    """Return an Observation for every tensor in `names`.

    activations: runs the float model on (N, H, W, 3) uint8 and returns the tensors of `names`, in order, any shape.
    batches: called twice, gives the same images in both passes.
    Raises ModelError when a tensor holds NaN or infinity, or when there are no images.
    """
    lows, highs = np.zeros(len(names)), np.zeros(len(names))
    seen = 0
    for batch in batches():
        seen += len(batch)
        for index, values in enumerate(activations(batch)):
            lows[index] = np.minimum(lows[index], values.min())  # unlike min(), these let NaN through
            highs[index] = np.maximum(highs[index], values.max())
    if not seen:
        raise ModelError("calibration: no images; expected at least one readable photo in the validation split")
    for name, low, high in zip(names, lows, highs, strict=True):
        if not np.isfinite([low, high]).all():
            raise ModelError(f"{name}: activation range [{low}, {high}]; the float model overflows, train it again")
    peaks = np.maximum(-lows, highs)
    counts = np.zeros((len(names), 2 * BINS), np.int64)
    for batch in batches():
        for index, values in enumerate(activations(batch)):
            counts[index] += histogram(values, peaks[index])
    return {
        name: Observation(float(low), float(high), row)
        for name, low, high, row in zip(names, lows, highs, counts, strict=True)
    }


def histogram(values: NDArray[np.float32], peak: float) -> NDArray[np.int64]:
    """Return the (2 * BINS,) int64 histogram of `values` over [-peak, peak]; the last bin includes its upper edge.

    A value's bin is floor((x / peak + 1) * BINS): several times faster than numpy.histogram, which searches edges.
    """
    if peak < _SILENT:
        counts = np.zeros(2 * BINS, np.int64)
        counts[BINS] = values.size
        return counts
    scaled = values.reshape(-1) * np.float32(BINS / peak)
    scaled += np.float32(BINS)
    bins = np.minimum(scaled, 2 * BINS - 1, out=scaled).astype(np.int32)
    return np.bincount(np.maximum(bins, 0, out=bins), minlength=2 * BINS)
