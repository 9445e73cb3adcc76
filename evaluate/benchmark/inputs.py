"""What a benchmark runs on: pixels for the runner alone, encoded photos for the way from JPEG to label."""

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
from vegrt.photo.preprocess import Contract, load_image

POOL = 128  # photos at most: enough that sizes vary, few enough to hold decoded in memory
RANDOM = "random pixels"


@dataclass(frozen=True, slots=True)
class Inputs:
    """Images to time on.

    pixels: (P, H, W, 3) uint8, P at least the largest batch. photos: encoded, files or bytes. decode_s: seconds that decoding
    and preparing one photo takes, about. source, photos_source: where pixels and photos come from, in words.
    """

    contract: Contract
    pixels: NDArray[np.uint8]
    photos: tuple[Path | bytes, ...]
    decode_s: float
    source: str
    photos_source: str


def gather_inputs(bundle: Bundle, data: Path | None, largest_batch: int) -> Inputs:
    """Return the inputs: photos of DATA's test split, or without data random pixels and the bundle's golden photos.

    The time of a convolution does not depend on the pixels; the time of decoding a JPEG does. A bundle without golden photos gets
    its random pixels as JPEGs in memory, which decode slower than photos do. Every photo is decoded once, so files are in the
    page cache before anything is timed. Raises DataError when no photo is readable.
    """
    contract = bundle.manifest.contract
    if data is not None:
        chosen: list[Path | bytes] = [*_spread(data)]
        readable, images, seconds = _decode(chosen, contract)
        if not images:
            raise DataError(f"{data}: none of {len(chosen)} test photos is readable; nothing to time")
        pixels = np.stack([images[index % len(images)] for index in range(max(len(images), largest_batch))])
        return Inputs(contract, pixels, readable, seconds, str(data), str(data))
    shape = (largest_batch, contract.size, contract.size, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    golden, _, seconds = _decode(_golden(bundle), contract)
    if golden:
        return Inputs(contract, pixels, golden, seconds, RANDOM, "golden photos of the bundle")
    noise, _, seconds = _decode([_encode(image) for image in pixels], contract)
    return Inputs(contract, pixels, noise, seconds, RANDOM, "random pixels as JPEG of quality 90, in memory")


def _spread(data: Path) -> list[Path]:
    """Return at most POOL photos of the test split, evenly spread over its classes."""
    photos = read_split(data, "test").photos
    picks = np.linspace(0, len(photos) - 1, min(POOL, len(photos))).astype(int)
    return [photos[index].path for index in picks]


def _golden(bundle: Bundle) -> list[Path | bytes]:
    names = [one.path for one in bundle.manifest.artifacts if one.role == "golden"]
    return [bundle.path_of(name) for name in names if not name.endswith(".json")]


def _encode(image: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def _decode(
    photos: list[Path | bytes], contract: Contract
) -> tuple[tuple[Path | bytes, ...], list[NDArray[np.uint8]], float]:
    """Return the readable ones, what they decode to, and the seconds that one takes."""
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
