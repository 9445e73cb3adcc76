"""The kinds of photo that the Python API takes, and how they become pixels by the contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vegrt.errors import DataError
from vegrt.photo.contract import Contract
from vegrt.photo.formats import readable
from vegrt.photo.preprocess import load_image, prepare, upright_rgb

Photo: TypeAlias = "str | Path | bytes | Image.Image | NDArray[np.uint8]"


def to_pixels(photo: Photo, contract: Contract) -> NDArray[np.uint8]:
    """Return one photo as (H, W, 3) uint8 RGB by the contract. Raises DataError if it is not readable.

    A path or bytes are decoded as in `vegrt infer`. A PIL image and an array count as decoded; the same steps follow.
    """
    if isinstance(photo, str | Path | bytes):
        return load_image(Path(photo) if isinstance(photo, str) else photo, contract)
    if isinstance(photo, Image.Image):
        return prepare(_whole(photo, contract), contract)
    if isinstance(photo, np.ndarray):
        return prepare(Image.fromarray(_photo_array(photo)), contract)
    raise DataError(f"image: {type(photo).__name__}; expected a path, bytes, a PIL image or a uint8 (H, W, 3) array")


def prepared(images: NDArray[Any], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Return `images` if it is uint8 (N, *shape), as a runner needs it. Raises DataError otherwise."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != shape:
        height, width, _ = shape
        raise DataError(f"images: {_described(images)}; a prepared batch is uint8 (N, {height}, {width}, 3) RGB")
    return images


def _photo_array(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise DataError(f"image: {_described(array)}; expected uint8 (H, W, 3) RGB, values 0 to 255")
    return np.ascontiguousarray(array)


def _whole(image: Image.Image, contract: Contract) -> Image.Image:
    """Return a PIL image upright and RGB. Its file may not be read completely yet, so this can fail like decoding."""
    with readable("image"):
        return upright_rgb(image, contract.icc, background=contract.background)


def _described(array: NDArray[Any]) -> str:
    return f"{array.dtype} ({', '.join(map(str, array.shape))})"
