"""Inputs of a benchmark: pixels for the runner alone, encoded photos for the path from JPEG to label."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vegrt.bundle.bundle import Bundle
from vegrt.dataset.photos import read_split, warn_unreadable
from vegrt.errors import DataError
from vegrt.photo.contract import Contract
from vegrt.photo.preprocess import load_image

POOL = 128  # largest number of photos: enough for various sizes, few enough to hold decoded in memory
RANDOM = "random pixels"


@dataclass(frozen=True, slots=True)
class Inputs:
    """Images to time the candidates on.

    pixels: (P, H, W, 3) uint8, P at least the largest batch. photos: encoded, files or bytes. decode_s: mean seconds to decode
    and prepare one photo. source, photos_source: origin of pixels and photos, as text.
    """

    contract: Contract
    pixels: NDArray[np.uint8]
    photos: tuple[Path | bytes, ...]
    decode_s: float
    source: str
    photos_source: str


def gather_inputs(bundle: Bundle, data: Path | None, largest_batch: int) -> Inputs:
    """Return the inputs: photos of the test split in `data`; without data, random pixels and the bundle's golden photos.

    The time of a convolution does not depend on the pixels, but the time to decode a JPEG does. If the bundle has no golden
    photos, the random pixels are encoded as JPEGs in memory, which decode more slowly than photos. Every photo is decoded once
    here, so files are in the page cache before the timing. Raises DataError when no photo is readable.
    """
    contract = bundle.manifest.contract
    if data is not None:
        sampled: list[Path | bytes] = [*_sample_photos(data)]
        readable, images, decode_s = _decode(sampled, contract)
        if not images:
            raise DataError(f"{data}: none of {len(sampled)} test photos is readable; nothing to time")
        pixels = np.stack([images[index % len(images)] for index in range(max(len(images), largest_batch))])
        return Inputs(contract, pixels, readable, decode_s, str(data), str(data))
    shape = (largest_batch, *contract.shape)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    golden, _, decode_s = _decode(_golden_photos(bundle), contract)
    if golden:
        return Inputs(contract, pixels, golden, decode_s, RANDOM, "golden photos of the bundle")
    encoded, _, decode_s = _decode([_encode(image) for image in pixels], contract)
    return Inputs(contract, pixels, encoded, decode_s, RANDOM, "random pixels as JPEG of quality 90, in memory")


def _sample_photos(data: Path) -> list[Path]:
    """Return at most POOL photos of the test split, evenly spread over its classes."""
    photos = read_split(data, "test").photos
    indices = np.linspace(0, len(photos) - 1, min(POOL, len(photos))).astype(int)
    return [photos[index].path for index in indices]


def _golden_photos(bundle: Bundle) -> list[Path | bytes]:
    paths = [artifact.path for artifact in bundle.manifest.artifacts if artifact.role == "golden"]
    return [bundle.path_of(path) for path in paths if not path.endswith(".json")]


def _encode(image: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def _decode(
    photos: list[Path | bytes], contract: Contract
) -> tuple[tuple[Path | bytes, ...], list[NDArray[np.uint8]], float]:
    """Return the readable photos, their decoded images, and the mean seconds per photo."""
    readable, images, errors = [], [], []
    start = time.perf_counter()
    for photo in photos:
        try:
            images.append(load_image(photo, contract))
            readable.append(photo)
        except DataError as error:
            errors.append(str(error))
    warn_unreadable(errors, len(photos))
    return tuple(readable), images, (time.perf_counter() - start) / max(1, len(photos))
