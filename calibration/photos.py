"""Which photos may calibrate: readable validation photos, none of them a test photo or nearly one, and no noise."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vegrt.dataset.photos import Photo, Split, content_hash, has_split, read_split, warn_unreadable
from vegrt.errors import DataError
from vegrt.infer.decode.pipeline import batches
from vegrt.photo.preprocess import Contract

log = logging.getLogger(__name__)

MIN_PHOTOS = 32
ADVISED_PHOTOS = 128
# Below this correlation of neighbouring cells a photo is noise. Seen: 750 photos of the Vegetable Image Dataset at 48, 100
# and 224 pixels: median 0.70, first percentile 0.32, lowest 0.14 (one photo). Noise, uniform or normal, of 128 to 1024
# pixels, PNG or JPEG of quality 50 and 90, at these sizes: at most 0.14; enlarged from 64 pixels up to 0.19, 0.29 at quality 50.
# Neighbouring pixels would not do: shrinking noise correlates them up to 0.44, enlarging it up to 0.97.
NOISE_CORRELATION = 0.2
NOISE_SHARE = 0.9  # of the photos; a few that look like noise do no harm
_CELLS = 16  # per side: few enough that one averages the pixels that resizing or JPEG made alike
_BATCH = 16


@dataclass(frozen=True, slots=True)
class CalibrationPhotos:
    """The photos that may calibrate, in an order that mixes the classes, and how many near duplicates were left out."""

    used: list[Photo]
    left_out: int


def calibration_photos(
    data: Path, classes: tuple[str, ...], contract: Contract, *, near_test: Collection[str] = ()
) -> CalibrationPhotos:
    """Return the validation photos that may calibrate.

    near_test: names, as `Split.relative` gives them, of near duplicates of test photos; they are left out with a warning.
    Raises DataError when one is a test photo, when they are noise, or when fewer than MIN_PHOTOS remain.
    """
    split = read_split(data, "validation", classes)
    readable = _look_at_all(split, contract)
    _refuse_test_photos(split, list(readable), data)
    photos = [photo for photo in readable if split.relative(photo) not in near_test]
    left_out = len(readable) - len(photos)
    if left_out:
        shown = (split.root, left_out, len(readable))
        log.warning("%s: %d of %d photos do not calibrate: by the audit near duplicates of test photos", *shown)
    _check_count(split, len(photos), left_out)
    _refuse_noise(split, np.array([readable[photo] for photo in photos]))
    order = np.random.default_rng(0).permutation(len(photos))
    return CalibrationPhotos([photos[index] for index in order], left_out)


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


def _look_at_all(split: Split, contract: Contract) -> dict[Photo, float]:
    """Return the readable photos, in order, each with its correlation; log the others."""
    found: dict[Photo, float] = {}
    errors: list[str] = []
    for batch in batches([photo.path for photo in split.photos], contract, _BATCH):
        photos = (split.photos[index] for index in batch.indices)
        found |= zip(photos, correlation(batch.images).tolist(), strict=True)
        errors += [reason for _, reason in batch.errors]
    warn_unreadable(errors, len(split))
    return found


def _refuse_test_photos(split: Split, photos: list[Photo], data: Path) -> None:
    if not has_split(data, "test"):
        return
    test = read_split(data, "test", split.classes)
    hashes, errors = _hashes(test.photos)
    if errors:  # what nobody can read, nobody can have calibrated on: it holds up no export
        log.warning("%s; skipped", errors[0])
        log.warning(
            "%s: %d of %d photos cannot be read and were not compared with those that calibrate",
            test.root,
            len(errors),
            len(test),
        )
    forbidden = set(hashes.values())
    if leaked := [photo.path for photo, digest in _hashes(photos)[0].items() if digest in forbidden]:
        raise DataError(
            f"{leaked[0]}: also in the test split, as are {len(leaked) - 1} more; calibrating on test photos would make "
            f"the proof worthless, so remove them from {split.root}"
        )


def _hashes(photos: Iterable[Photo]) -> tuple[dict[Photo, str], list[str]]:
    """Return the content hash of each photo that can be read, and why the others cannot."""
    found, errors = {}, []
    for photo in photos:
        try:
            found[photo] = content_hash(photo.path)
        except DataError as error:
            errors.append(str(error))
    return found, errors


def _check_count(split: Split, count: int, left_out: int) -> None:
    if count < MIN_PHOTOS:
        without = f" without the {left_out} that are nearly test photos" if left_out else ""
        raise DataError(f"{split.root}: {count} readable photos{without}; calibration needs at least {MIN_PHOTOS}")
    if count < ADVISED_PHOTOS:
        log.warning("%s: only %d photos; %d or more calibrate better", split.root, count, ADVISED_PHOTOS)


def _refuse_noise(split: Split, correlations: NDArray[np.float64]) -> None:
    noisy = int((correlations < NOISE_CORRELATION).sum())
    if noisy >= NOISE_SHARE * len(correlations):
        raise DataError(
            f"{split.root}: {noisy} of {len(correlations)} photos are noise, their neighbouring parts correlate less than "
            f"{NOISE_CORRELATION}; calibrate on photos such as the model will see"
        )
