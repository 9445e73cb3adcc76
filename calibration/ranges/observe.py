"""Streaming observers: exact extrema in pass one, fixed-bin histograms in pass two, for any number of images.

Pass one keeps the activations in memory as far as they fit; the network runs again in pass two only on the other images. Apart
from that, memory holds a few batches of activations and one histogram per tensor, whatever the number of images. The statistics
are saved after every chunk, so that an interrupted observation resumes there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from vegrt.calibration.pixels import PhotoSet
from vegrt.calibration.ranges.activations import ActivationStore, Network, Tensors
from vegrt.calibration.resume import CalibrationProgress
from vegrt.errors import ModelError

BINS = 2048  # per side of zero
CHUNK = 64  # images between two saves

_BATCH = 1  # all inner tensors of a batch are in memory at once
_NEAR_ZERO = 1e-30  # a peak below this is zero for every purpose, and 1 / peak would overflow float32

T = TypeVar("T")
ChannelPeaks = Mapping[
    str, NDArray[np.float64]
]  # tensor -> (C,) largest magnitude in each channel, NaN where a value is
PeakCheck = Callable[[ChannelPeaks], None]  # raises for a network that cannot be calibrated


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
    network: Network,
    photos: PhotoSet,
    progress: CalibrationProgress | None = None,
    *,
    check: PeakCheck | None = None,
    batch_size: int = _BATCH,
    store_bytes: int = 0,
) -> dict[str, Observation]:
    """Return an Observation for every tensor of `network.names`.

    photos: read once, and again those whose activations do not fit into `store_bytes` of memory. progress: saved state of an
    interrupted observation, and where this one is saved. check: is called between the passes. Raises what it raises, and
    ModelError when a tensor holds NaN or infinity, or when there are no photos.
    """
    passes = _Passes(
        network, photos, progress or CalibrationProgress(None, ""), batch_size, ActivationStore(store_bytes)
    )
    extrema = passes.extrema()
    if check:
        check(dict(zip(network.names, extrema.channels, strict=True)))
    for name, (low, high) in zip(network.names, extrema.spans, strict=True):
        if not np.isfinite([low, high]).all():
            raise ModelError(f"{name}: activation range [{low}, {high}]; the float model overflows, train it again")
    counts = passes.histograms(np.abs(extrema.spans).max(axis=1))
    return {
        name: Observation(float(span[0]), float(span[1]), row, channels)
        for name, span, row, channels in zip(network.names, extrema.spans, counts, extrema.channels, strict=True)
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

    @classmethod
    def of(cls, tensors: Tensors) -> _Extrema:
        """Return the extrema of one batch. NaN and infinity pass through."""
        spans, channels = np.zeros((len(tensors), 2)), []
        for index, values in enumerate(tensors):
            axes = tuple(axis for axis in range(values.ndim) if axis != 1)
            lows, highs = values.min(axes, initial=0), values.max(axes, initial=0)
            spans[index] = lows.min(), highs.max()
            channels.append(np.maximum(-lows, highs).astype(np.float64))
        return cls(spans, channels)

    def update(self, other: _Extrema) -> None:
        np.minimum(self.spans[:, 0], other.spans[:, 0], out=self.spans[:, 0])
        np.maximum(self.spans[:, 1], other.spans[:, 1], out=self.spans[:, 1])
        self.channels = [np.maximum(mine, more) for mine, more in zip(self.channels, other.channels, strict=True)]

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"spans": self.spans} | {f"channels.{index}": row for index, row in enumerate(self.channels)}


@dataclass(frozen=True, slots=True)
class _Passes:
    """The two passes over the photos."""

    network: Network
    photos: PhotoSet
    progress: CalibrationProgress
    batch_size: int
    store: ActivationStore

    def extrema(self) -> _Extrema:
        tensors = len(self.network.names)
        done, saved = self.progress.load("extrema")
        channels = [saved.get(f"channels.{index}", np.zeros(1)) for index in range(tensors)]
        extrema = _Extrema(saved.get("spans", np.zeros((tensors, 2))), channels)

        def examine(index: int, images: NDArray[np.uint8]) -> _Extrema:
            values = self.network.read(images)
            self.store.add(index, values)
            return _Extrema.of(values)

        if not self._run("extrema", done, examine, extrema.update, extrema.arrays):
            raise ModelError("calibration: no images; expected at least one readable photo in the validation split")
        return extrema

    def histograms(self, peaks: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the (T, 2 * BINS) histograms. peaks: (T,) the largest magnitude of each of T tensors."""
        done, saved = self.progress.load("histograms")
        counts: NDArray[np.int64] = saved.get("counts", np.zeros((len(peaks), 2 * BINS), np.int64))

        def examine(index: int, images: NDArray[np.uint8]) -> list[NDArray[np.int64]]:
            tensors = self.store.take(index) or self.network.read(images)
            return [histogram(values, float(peak)) for values, peak in zip(tensors, peaks, strict=True)]

        def add(rows: list[NDArray[np.int64]]) -> None:
            for index, row in enumerate(rows):
                counts[index] += row

        self._run("histograms", done, examine, add, lambda: {"counts": counts})
        return counts

    def _run(
        self,
        name: str,
        done: int,
        examine: Callable[[int, NDArray[np.uint8]], T],
        add: Callable[[T], None],
        state: Callable[[], Mapping[str, NDArray[Any]]],
    ) -> int:
        """Examine all photos after the first `done`, save `state` after each chunk; return the photo count.

        examine: called by several threads, with the index of a batch's first photo and the batch. add: gets the results in order.
        """
        with ThreadPoolExecutor(self.network.workers) as pool:
            for starts, batches in self._chunks(name, done):
                for result in pool.map(examine, starts, batches):
                    add(result)
                done = starts[-1] + len(batches[-1])
                self.progress.save(name, done, state())
        return done

    def _chunks(self, name: str, done: int) -> Iterator[tuple[list[int], list[NDArray[np.uint8]]]]:
        """Yield the photos after the first `done`, about CHUNK at a time: each batch's first index, and the batches."""
        starts: list[int] = []
        batches: list[NDArray[np.uint8]] = []
        for images in self.photos.batches(self.batch_size, skip=done, title=f"Observing {name}"):
            starts.append(done)
            batches.append(images)
            done += len(images)
            if done - starts[0] >= CHUNK:
                yield starts, batches
                starts, batches = [], []
        if starts:
            yield starts, batches
