"""The photos that may calibrate: readable validation photos, without test photos, their near duplicates, and noise."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vegrt.calibration.pixels import PhotoSet, PixelStore
from vegrt.dataset.photos import Photo, Split, content_hash, has_split, read_split, warn_unreadable
from vegrt.errors import DataError
from vegrt.infer.decode.pipeline import batches
from vegrt.photo.contract import Contract
from vegrt.terminal.progress import track

log = logging.getLogger(__name__)

MIN_PHOTOS = 32
ADVISED_PHOTOS = 128
# Below this correlation of neighbouring cells a photo is noise. Measured: 750 photos of the Vegetable Image Dataset at 48, 100
# and 224 pixels: median 0.70, first percentile 0.32, lowest 0.14 (one photo). Noise, uniform or normal, of 128 to 1024
# pixels, PNG or JPEG of quality 50 and 90, at these sizes: at most 0.14; enlarged from 64 pixels up to 0.19, 0.29 at quality 50.
# Neighbouring pixels cannot decide: shrinking noise correlates them up to 0.44, enlarging it up to 0.97.
NOISE_CORRELATION = 0.2
NOISE_SHARE = 0.9  # of the photos; a few noisy ones do no harm
_CELLS = 16  # per side: few, so that a cell averages over the pixels that resizing or JPEG made similar
_BATCH = 16


@dataclass(frozen=True, slots=True)
class CalibrationPhotos:
    """The photos that may calibrate, in an order that mixes the classes, and how many near duplicates were left out."""

    used: PhotoSet
    left_out: int


def calibration_photos(
    data: Path, classes: tuple[str, ...], contract: Contract, *, near_test: Collection[str] = ()
) -> CalibrationPhotos:
    """Return the validation photos that may calibrate, decoded.

    near_test: names, as `Split.relative` gives them, of near duplicates of test photos; they are left out with a warning.
    Raises DataError when one is a test photo, when they are noise, or when fewer than MIN_PHOTOS remain.
    """
    split = read_split(data, "validation", classes)
    pixels = PixelStore(contract)
    correlations = _decode_all(split, pixels)
    _refuse_test_photos(split, list(correlations), data)
    photos = [photo for photo in correlations if split.relative(photo) not in near_test]
    left_out = len(correlations) - len(photos)
    if left_out:
        log.warning(
            "%s: %d of %d photos are left out of calibration: the audit lists them as near duplicates of test photos",
            *(split.root, left_out, len(correlations)),
        )
    _check_count(split, len(photos), left_out)
    _refuse_noise(split, np.array([correlations[photo] for photo in photos]))
    order = np.random.default_rng(0).permutation(len(photos))
    return CalibrationPhotos(PhotoSet([photos[index] for index in order], pixels), left_out)


def correlation(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return, for each of (N, H, W, 3) images, the correlation of neighbouring cells, down and across; 1 for a flat image.

    A cell is the mean of one of 16 x 16 equal parts; each channel's mean is removed first.
    """
    cells = min(_CELLS, *images.shape[1:3])
    rows, columns = images.shape[1] // cells, images.shape[2] // cells
    grid = images[:, : cells * rows, : cells * columns].reshape(-1, cells, rows, cells, columns, 3).mean((2, 4))
    grid -= grid.mean((1, 2), keepdims=True)
    down = (grid[:, 1:] * grid[:, :-1]).mean((1, 2, 3))
    across = (grid[:, :, 1:] * grid[:, :, :-1]).mean((1, 2, 3))
    variance = np.square(grid).mean((1, 2, 3))
    result: NDArray[np.float64] = np.where(variance > 0, (down + across) / 2 / np.where(variance > 0, variance, 1), 1)
    return result


def _decode_all(split: Split, pixels: PixelStore) -> dict[Photo, float]:
    """Store the readable photos, if all fit, and return each with its correlation, in order; log the others.

    Where they do not fit, the store fills with those that are read again, which are far fewer in a large split.
    """
    correlations: dict[Photo, float] = {}
    errors: list[str] = []
    store = pixels.has_room_for(len(split))
    parts = batches([photo.path for photo in split.photos], pixels.contract, _BATCH)
    for batch in track(parts, "Decoding photos", -(-len(split) // _BATCH)):
        photos = [split.photos[index] for index in batch.indices]
        correlations |= zip(photos, correlation(batch.images).tolist(), strict=True)
        errors += [reason for _, reason in batch.errors]
        if store:
            pixels.add(photos, batch.images)
    warn_unreadable(errors, len(split))
    return correlations


def _refuse_test_photos(split: Split, photos: list[Photo], data: Path) -> None:
    if not has_split(data, "test"):
        return
    test = read_split(data, "test", split.classes)
    hashes, errors = _hashes(test.photos)
    if errors:  # an unreadable test photo cannot have been calibrated on, so it does not stop the export
        log.warning("%s; skipped", errors[0])
        log.warning(
            "%s: %d of %d photos cannot be read and were not compared with the calibration photos",
            *(test.root, len(errors), len(test)),
        )
    test_hashes = set(hashes.values())
    if leaked := [photo.path for photo, digest in _hashes(photos)[0].items() if digest in test_hashes]:
        raise DataError(
            f"{leaked[0]}: also in the test split, as are {len(leaked) - 1} more; an evaluation on photos that were used for "
            f"calibration proves nothing: remove them from {split.root}"
        )


def _hashes(photos: Iterable[Photo]) -> tuple[dict[Photo, str], list[str]]:
    """Return the content hash of each readable photo, and the reasons why the others cannot be read."""
    hashes, errors = {}, []
    for photo in photos:
        try:
            hashes[photo] = content_hash(photo.path)
        except DataError as error:
            errors.append(str(error))
    return hashes, errors


def _check_count(split: Split, count: int, left_out: int) -> None:
    if count < MIN_PHOTOS:
        without = f" without the {left_out} near duplicates of test photos" if left_out else ""
        raise DataError(f"{split.root}: {count} readable photos{without}; calibration needs at least {MIN_PHOTOS}")
    if count < ADVISED_PHOTOS:
        log.warning("%s: only %d photos; %d or more calibrate better", split.root, count, ADVISED_PHOTOS)


def _refuse_noise(split: Split, correlations: NDArray[np.float64]) -> None:
    noisy = int((correlations < NOISE_CORRELATION).sum())
    if noisy >= NOISE_SHARE * len(correlations):
        raise DataError(
            f"{split.root}: {noisy} of {len(correlations)} photos are noise, their neighbouring parts correlate less than "
            f"{NOISE_CORRELATION}; calibrate on photos like those that the model will classify"
        )
