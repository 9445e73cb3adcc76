from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from vegrt.calibration.pixels import PhotoSet, PixelStore
from vegrt.calibration.ranges.activations import Network
from vegrt.calibration.ranges.observe import BINS, CHUNK, ChannelPeaks, histogram, observe
from vegrt.calibration.resume import CalibrationProgress
from vegrt.dataset.photos import Photo
from vegrt.errors import ModelError
from vegrt.photo.contract import Contract


def photo_set(images: NDArray[np.uint8]) -> PhotoSet:
    photos = [Photo(Path(f"{index}.png"), 0) for index in range(len(images))]
    pixels = PixelStore(Contract(images.shape[1], images.shape[1]))
    pixels.add(photos, images)
    return PhotoSet(photos, pixels)


@settings(max_examples=100, deadline=None)
@given(values=arrays(np.float32, st.integers(1, 200), elements=st.floats(-1e4, 1e4, width=32)))
def test_the_histogram_is_that_of_numpy_except_for_ties_at_the_edges(values: NDArray[np.float32]) -> None:
    peak = float(np.abs(values).max())
    counts = histogram(values, peak)
    assert counts.sum() == values.size
    if peak < 1e-30:
        assert counts[BINS] == values.size
        return
    expected, _ = np.histogram(values.astype(np.float64), bins=2 * BINS, range=(-peak, peak))
    moved = np.abs(np.cumsum(counts) - np.cumsum(expected)).max()  # a value on an edge may fall one bin aside
    at_edge = np.abs((values / peak * BINS) - np.rint(values / peak * BINS)) < 1e-2
    assert moved <= at_edge.sum()


def test_observations_do_not_depend_on_the_batch_size() -> None:
    images = np.random.default_rng(0).integers(0, 256, (23, 4, 4, 3), np.uint8)

    def activations(batch: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        pixels = batch.astype(np.float32)
        return [pixels - 100, pixels * 0.5]

    photos = photo_set(images)
    whole = observe(Network(["centred", "halved"], activations), photos, batch_size=23)
    parts = observe(Network(["centred", "halved"], activations), photos, batch_size=5)
    for name, observation in whole.items():
        assert (observation.low, observation.high) == (parts[name].low, parts[name].high)
        assert np.array_equal(observation.counts, parts[name].counts)
    assert whole["halved"].low >= 0
    assert whole["centred"].magnitudes().sum() == images.size


def test_infinity_and_no_photos_are_refused() -> None:
    images = np.zeros((1, 2, 2, 3), np.uint8)
    with pytest.raises(ModelError, match="conv1: activation range"):
        observe(Network(["conv1"], lambda batch: [np.full(3, np.inf, np.float32)]), photo_set(images))
    with pytest.raises(ModelError, match="no images"):
        observe(Network(["conv1"], lambda batch: []), photo_set(images[:0]))


def test_a_single_nan_among_numbers_is_refused() -> None:
    images = np.zeros((1, 2, 2, 3), np.uint8)
    values = np.array([1.0, np.nan, 2.0], np.float32)
    with pytest.raises(ModelError, match="relu: activation range"):
        observe(Network(["relu"], lambda batch: [values]), photo_set(images))


def test_an_interrupted_observation_resumes_after_its_last_chunk(tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (5 * CHUNK, 4, 4, 3), np.uint8)
    photos = photo_set(images)
    ran = 0

    def activations(batch: NDArray[np.uint8], *, limit: int = 10**9) -> list[NDArray[np.float32]]:
        nonlocal ran
        ran += len(batch)
        if ran > limit:
            raise KeyboardInterrupt
        return [batch.astype(np.float32).transpose(0, 3, 1, 2) - 100]

    whole = observe(Network(["pixels"], activations), photos)["pixels"]
    for limit in (2 * CHUNK + 1, 3 * CHUNK, 3 * CHUNK):  # within pass one, at its end, and within pass two
        ran = 0
        with pytest.raises(KeyboardInterrupt):
            observe(
                Network(["pixels"], partial(activations, limit=limit)),
                photos,
                CalibrationProgress(tmp_path / "p", "key"),
            )
    ran = 0
    resumed = observe(Network(["pixels"], activations), photos, CalibrationProgress(tmp_path / "p", "key"))["pixels"]
    assert ran < len(images)
    assert (resumed.low, resumed.high) == (whole.low, whole.high)
    assert np.array_equal(resumed.counts, whole.counts)
    assert np.array_equal(resumed.channels, whole.channels)
    assert np.array_equal(whole.channels, np.abs(images.astype(np.float64) - 100).max((0, 1, 2)))
    ran = 0
    observe(Network(["pixels"], activations), photos, CalibrationProgress(tmp_path / "p", "another key"))
    assert ran == 2 * len(images)  # the state of another calibration is not used


@pytest.mark.parametrize(("workers", "batch_size"), [(1, 1), (3, 1), (2, 5)])
def test_what_is_stored_in_memory_is_not_run_again(workers: int, batch_size: int) -> None:
    images = np.random.default_rng(2).integers(0, 256, (CHUNK + 21, 4, 4, 3), np.uint8)
    photos = photo_set(images)
    runs: list[int] = []

    def activations(batch: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        runs.append(len(batch))
        return [batch.astype(np.float32).transpose(0, 3, 1, 2) - 100, batch.astype(np.float32)]

    network = Network(["centred", "plain"], activations, workers=workers)
    twice = observe(Network(network.names, activations), photos)
    assert sum(runs) == 2 * len(images)
    photo_bytes = 2 * 4 * 4 * 3 * 4
    for stored in (40, len(images)):
        runs.clear()
        once = observe(network, photos, batch_size=batch_size, store_bytes=stored * photo_bytes)
        assert sum(runs) == 2 * len(images) - stored
        for name, observation in twice.items():
            assert (observation.low, observation.high) == (once[name].low, once[name].high)
            assert np.array_equal(observation.counts, once[name].counts)
            assert np.array_equal(observation.channels, once[name].channels)


def test_magnitudes_are_checked_between_the_passes() -> None:
    images = np.full((3, 2, 2, 3), 7, np.uint8)
    images[1, :, :, 2] = 9
    runs: list[float] = []
    offset = np.float32(0)

    def read(batch: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        runs.append(float(batch.max()))
        planes = batch.astype(np.float32).transpose(0, 3, 1, 2)
        return [planes, np.where(planes == 9, offset, -planes)]

    checked: list[ChannelPeaks] = []
    observe(Network(["plain", "negative"], read), photo_set(images), check=checked.append)
    assert {name: peaks.tolist() for name, peaks in checked[0].items()} == {"plain": [7, 7, 9], "negative": [7, 7, 7]}
    offset = np.float32(np.nan)

    def refuse(peaks: ChannelPeaks) -> None:
        assert np.isnan(peaks["negative"][2])
        raise ModelError("no number")

    runs.clear()
    with pytest.raises(ModelError, match="no number"):
        observe(Network(["plain", "negative"], read), photo_set(images), check=refuse)
    assert runs == [7, 9, 7]  # no second pass
