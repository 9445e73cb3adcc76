"""Streaming observers: exact extrema in pass one, fixed-bin histograms in pass two, for any number of images.

Memory holds one batch of activations and one histogram per tensor, so it does not grow with the number of images. What
was seen is saved after every chunk, so that an interrupted observation goes on there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vegrt.calibration.resume import CalibrationProgress
from vegrt.errors import ModelError

BINS = 2048  # per side of zero
CHUNK = 64  # images between two saves

_SILENT = 1e-30  # a peak below this is zero for every purpose, and 1 / peak would overflow float32

Activations = Callable[[NDArray[np.uint8]], Sequence[NDArray[np.float32]]]


class Batches(Protocol):
    """Images that can be read more than once, always the same in the same order."""

    def __call__(self, skip: int = 0) -> Iterable[NDArray[np.uint8]]:
        """Return the images but the first `skip`, as (N, H, W, 3) uint8 batches."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What calibration saw of one tensor.

    low, high: exact extrema over all images. counts: (2 * BINS,) int64 histogram over [-peak, peak], peak = max |x|.
    channels: (C,) float64, the largest magnitude in each channel, axis 1; (1,) for a tensor without channels.
    """

    low: float
    high: float
    counts: NDArray[np.int64]
    channels: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))

    @property
    def peak(self) -> float:
        """Return the largest magnitude seen."""
        return max(-self.low, self.high)

    def magnitudes(self) -> NDArray[np.int64]:
        """Return the (BINS,) int64 histogram of |x| over [0, peak]."""
        return self.counts[BINS:] + self.counts[:BINS][::-1]


def observe(
    names: Sequence[str], activations: Activations, batches: Batches, progress: CalibrationProgress | None = None
) -> dict[str, Observation]:
    """Return an Observation for every tensor in `names`.

    activations: runs the float model on (N, H, W, 3) uint8 and returns the tensors of `names`, in order, any shape.
    batches: read twice. progress: where an interrupted observation left off, and where this one saves what it saw.
    Raises ModelError when a tensor holds NaN or infinity, or when there are no images.
    """
    progress = progress or CalibrationProgress(None, "")
    extrema = _extrema(names, activations, batches, progress)
    for name, (low, high) in zip(names, extrema.spans, strict=True):
        if not np.isfinite([low, high]).all():
            raise ModelError(f"{name}: activation range [{low}, {high}]; the float model overflows, train it again")
    peaks = np.abs(extrema.spans).max(axis=1)
    counts = _histograms(peaks, activations, batches, progress)
    return {
        name: Observation(float(span[0]), float(span[1]), row, extrema.channels[index])
        for index, (name, span, row) in enumerate(zip(names, extrema.spans, counts, strict=True))
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
            others = tuple(axis for axis in range(values.ndim) if axis != 1)
            lows, highs = values.min(others, initial=0), values.max(others, initial=0)  # these let NaN through
            self.spans[index] = (
                np.minimum(self.spans[index, 0], lows.min()),
                np.maximum(self.spans[index, 1], highs.max()),
            )
            self.channels[index] = np.maximum(self.channels[index], np.maximum(-lows, highs))


def _extrema(
    names: Sequence[str], activations: Activations, batches: Batches, progress: CalibrationProgress
) -> _Extrema:
    seen, saved = progress.load("extrema")
    channels = [saved.get(f"channels.{index}", np.zeros(1)) for index in range(len(names))]
    found = _Extrema(saved.get("spans", np.zeros((len(names), 2))), channels)

    def state() -> Mapping[str, NDArray[Any]]:
        return {"spans": found.spans} | {f"channels.{index}": row for index, row in enumerate(found.channels)}

    seen = _by_chunks(batches, seen, lambda batch: found.update(activations(batch)), state, progress, "extrema")
    if not seen:
        raise ModelError("calibration: no images; expected at least one readable photo in the validation split")
    return found


def _histograms(
    peaks: NDArray[np.float64], activations: Activations, batches: Batches, progress: CalibrationProgress
) -> NDArray[np.int64]:
    seen, saved = progress.load("histograms")
    counts: NDArray[np.int64] = saved.get("counts", np.zeros((len(peaks), 2 * BINS), np.int64))

    def add(batch: NDArray[np.uint8]) -> None:
        for index, values in enumerate(activations(batch)):
            counts[index] += histogram(values, float(peaks[index]))

    _by_chunks(batches, seen, add, lambda: {"counts": counts}, progress, "histograms")
    return counts


def _by_chunks(
    batches: Batches,
    seen: int,
    take: Callable[[NDArray[np.uint8]], None],
    state: Callable[[], Mapping[str, NDArray[Any]]],
    progress: CalibrationProgress,
    name: str,
) -> int:
    """Give `take` every batch after the first `seen` images, save `state` after each chunk, return how many were seen."""
    unsaved = 0
    for batch in batches(seen):
        take(batch)
        seen, unsaved = seen + len(batch), unsaved + len(batch)
        if unsaved >= CHUNK:
            progress.save(name, seen, state())
            unsaved = 0
    if unsaved:
        progress.save(name, seen, state())
    return seen
