"""Photos of no class, made from photos of the classes: what they show is like the data, but it is none of the objects.

The score that tells foreign photos is chosen by them, because photos of foreign objects are not at hand.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Images = NDArray[np.uint8]
_TILES = 4  # per side of a shuffled photo
_TEXTURE = 4  # the side of a texture's crop is this part of the photo's


def near_misses(images: Images, labels: NDArray[np.int_], random: np.random.Generator) -> Images:
    """Return one near miss of each of (N, H, W, 3) photos, the kinds in turn. labels: (N,) class indices."""
    return np.stack([_KINDS[index % len(_KINDS)](images, labels, index, random) for index in range(len(images))])


def _mixed(images: Images, labels: NDArray[np.int_], index: int, random: np.random.Generator) -> Images:
    """Return the mean of a photo and one of another class; of any other photo where there is none."""
    others = np.flatnonzero(labels != labels[index])
    other = int(random.choice(others)) if len(others) else (index + 1) % len(images)
    mean: Images = ((images[index].astype(np.uint16) + images[other]) // 2).astype(np.uint8)
    return mean


def _shuffled(images: Images, labels: NDArray[np.int_], index: int, random: np.random.Generator) -> Images:
    """Return a photo with its tiles in another order; what does not divide into tiles stays in its place."""
    result: Images = images[index].copy()
    height, width = (size // _TILES for size in result.shape[:2])
    places = [(row * height, column * width) for row in range(_TILES) for column in range(_TILES)]
    for (top, left), source in zip(places, random.permutation(len(places)).tolist(), strict=True):
        from_top, from_left = places[source]
        tile = images[index, from_top : from_top + height, from_left : from_left + width]
        result[top : top + height, left : left + width] = tile
    return result


def _rotated_colours(images: Images, labels: NDArray[np.int_], index: int, random: np.random.Generator) -> Images:
    return np.ascontiguousarray(images[index][..., [2, 0, 1]])


def _inverted(images: Images, labels: NDArray[np.int_], index: int, random: np.random.Generator) -> Images:
    inverted: Images = 255 - images[index]
    return inverted


def _texture(images: Images, labels: NDArray[np.int_], index: int, random: np.random.Generator) -> Images:
    """Return a small part of a photo, enlarged."""
    height, width = images.shape[1:3]
    rows, columns = max(1, height // _TEXTURE), max(1, width // _TEXTURE)
    top, left = int(random.integers(height - rows + 1)), int(random.integers(width - columns + 1))
    part = Image.fromarray(images[index, top : top + rows, left : left + columns])
    return np.asarray(part.resize((width, height), Image.Resampling.BILINEAR))


_KINDS: tuple[Callable[[Images, NDArray[np.int_], int, np.random.Generator], Images], ...] = (
    _mixed,
    _shuffled,
    _rotated_colours,
    _inverted,
    _texture,
)
