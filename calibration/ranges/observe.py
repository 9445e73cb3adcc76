"""Streaming observers: exact extrema in pass one, fixed-bin histograms in pass two, for any number of images.

Memory holds one batch of activations and one histogram per tensor, so it does not grow with the number of images. The
statistics are saved after every chunk, so that an interrupted observation resumes there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.calibration.pixels import PhotoSet
from vegrt.calibration.resume import CalibrationProgress
from vegrt.errors import ModelError

BINS = 2048  # per side of zero
CHUNK = 64  # images between two saves

_BATCH = 1  # all inner tensors of a batch are in memory at once
_NEAR_ZERO = 1e-30  # a peak below this is zero for every purpose, and 1 / peak would overflow float32

Activations = Callable[[NDArray[np.uint8]], Sequence[NDArray[np.float32]]]


@dataclass(frozen=True, slots=True)
class Observation:
    """The statistics of one tensor over all observed images.

    low, high: exact extrema. counts: (2 * BINS,) int64 histogram over [-peak, peak], peak = max |x|.
    channels: (C,) float64, the largest magnitude in each channel, axis 1; (1,) for a tensor without channels.
    """

    low: float
    high: float
    counts: NDArray[np.int64]
    channels: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))

    @property
    def peak(self) -> float:
        """Return the largest magnitude."""
        return max(-self.low, self.high)

    def magnitudes(self) -> NDArray[np.int64]:
        """Return the (BINS,) int64 histogram of |x| over [0, peak]."""
        return self.counts[BINS:] + self.counts[:BINS][::-1]


def observe(
    names: Sequence[str],
    activations: Activations,
    photos: PhotoSet,
    progress: CalibrationProgress | None = None,
    *,
    batch_size: int = _BATCH,
) -> dict[str, Observation]:
    """Return an Observation for every tensor in `names`.

    activations: runs the float model on (N, H, W, 3) uint8 and returns the tensors of `names`, in order, any shape.
    photos: read twice. progress: saved state of an interrupted observation, and where this one is saved.
    Raises ModelError when a tensor holds NaN or infinity, or when there are no photos.
    """
    passes = _Passes(activations, photos, progress or CalibrationProgress(None, ""), batch_size)
    extrema = passes.extrema(len(names))
    for name, (low, high) in zip(names, extrema.spans, strict=True):
        if not np.isfinite([low, high]).all():
            raise ModelError(f"{name}: activation range [{low}, {high}]; the float model overflows, train it again")
    counts = passes.histograms(np.abs(extrema.spans).max(axis=1))
    return {
        name: Observation(float(span[0]), float(span[1]), row, channels)
        for name, span, row, channels in zip(names, extrema.spans, counts, extrema.channels, strict=True)
    }


def histogram(values: NDArray[np.float32], peak: float) -> NDArray[np.int64]:
    """Return the (2 * BINS,) int64 histogram of `values` over [-peak, peak]; the last bin includes its upper edge.

    A value's bin is floor((x / peak + 1) * BINS): several times faster than numpy.histogram, which searches edges.
    """
    if peak < _NEAR_ZERO:
        counts = np.zeros(2 * BINS, np.int64)
        counts[BINS] = values.size
        return counts
    scaled = values.reshape(-1) * np.float32(BINS / peak)
    scaled += np.float32(BINS)
    counts = np.bincount(
        scaled.astype(np.intp), minlength=2 * BINS + 1
    )  # rounds towards zero: nothing falls below bin 0
    counts[2 * BINS - 1] += counts[2 * BINS]
    return counts[: 2 * BINS]


@dataclass(slots=True)
class _Extrema:
    """spans: (T, 2) float64, lowest (at most 0) and highest (at least 0) of each of T tensors; channels: see Observation."""

    spans: NDArray[np.float64]
    channels: list[NDArray[np.float64]]

    def update(self, tensors: Sequence[NDArray[np.float32]]) -> None:
        for index, values in enumerate(tensors):
            other_axes = tuple(axis for axis in range(values.ndim) if axis != 1)
            lows, highs = values.min(other_axes, initial=0), values.max(other_axes, initial=0)  # these let NaN through
            self.spans[index] = (
                np.minimum(self.spans[index, 0], lows.min()),
                np.maximum(self.spans[index, 1], highs.max()),
            )
            self.channels[index] = np.maximum(self.channels[index], np.maximum(-lows, highs))

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"spans": self.spans} | {f"channels.{index}": row for index, row in enumerate(self.channels)}


@dataclass(frozen=True, slots=True)
class _Passes:
    """The two passes over the photos."""

    activations: Activations
    photos: PhotoSet
    progress: CalibrationProgress
    batch_size: int

    def extrema(self, tensors: int) -> _Extrema:
        done, saved = self.progress.load("extrema")
        channels = [saved.get(f"channels.{index}", np.zeros(1)) for index in range(tensors)]
        extrema = _Extrema(saved.get("spans", np.zeros((tensors, 2))), channels)
        if not self._run("extrema", done, extrema.update, extrema.arrays):
            raise ModelError("calibration: no images; expected at least one readable photo in the validation split")
        return extrema

    def histograms(self, peaks: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the (T, 2 * BINS) histograms. peaks: (T,) the largest magnitude of each of T tensors."""
        done, saved = self.progress.load("histograms")
        counts: NDArray[np.int64] = saved.get("counts", np.zeros((len(peaks), 2 * BINS), np.int64))

        def add(tensors: Sequence[NDArray[np.float32]]) -> None:
            for index, values in enumerate(tensors):
                counts[index] += histogram(values, float(peaks[index]))

        self._run("histograms", done, add, lambda: {"counts": counts})
        return counts

    def _run(
        self,
        name: str,
        done: int,
        add: Callable[[Sequence[NDArray[np.float32]]], None],
        state: Callable[[], Mapping[str, NDArray[Any]]],
    ) -> int:
        """Add the activations of all photos after the first `done`, save `state` after each chunk; return the photo count."""
        unsaved = 0
        for images in self.photos.batches(self.batch_size, skip=done, title=f"Observing {name}"):
            add(self.activations(images))
            done, unsaved = done + len(images), unsaved + len(images)
            if unsaved >= CHUNK:
                self.progress.save(name, done, state())
                unsaved = 0
        if unsaved:
            self.progress.save(name, done, state())
        return done
