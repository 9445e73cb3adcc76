"""The interpolations that Pillow does not have: bilinear and bicubic without antialiasing, and exact area means.

Positions are of pixel centres (half-pixel centres, `align_corners=False`), and beyond the edge the edge's pixels are repeated, as
in OpenCV, torch and TensorFlow. Only the window that is kept is computed: its size bounds the memory, not the photo's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

CUBIC = -0.75  # the coefficient of OpenCV's INTER_CUBIC and of torch's bicubic; Pillow's and TensorFlow's is -0.5
Pixels = NDArray[np.uint8]  # (H, W, 3)


class Span(NamedTuple):
    """The part of one axis that is computed: the pixels `start` to `stop` of an axis scaled to `length` pixels."""

    length: int
    start: int
    stop: int


def bilinear(pixels: Pixels, down: Span, across: Span) -> Pixels:
    """Return the (H, W, 3) window of the scaled pixels; each is interpolated between its 2 x 2 neighbours."""
    return _interpolated(pixels, _two_taps(pixels.shape[0], down), _two_taps(pixels.shape[1], across))


def bicubic(pixels: Pixels, down: Span, across: Span) -> Pixels:
    """Return the (H, W, 3) window of the scaled pixels; each is interpolated between its 4 x 4 neighbours."""
    return _interpolated(pixels, _four_taps(pixels.shape[0], down), _four_taps(pixels.shape[1], across))


def area(pixels: Pixels, down: Span, across: Span) -> Pixels:
    """Return the (H, W, 3) window of the scaled pixels; each is the mean of the area that it covers in the photo."""
    rows = _means(pixels, down)
    return _rounded(_means(rows.transpose(1, 0, 2), across).transpose(1, 0, 2))


class _Taps(NamedTuple):
    """The neighbours of each output pixel of one axis: positions (taps, n) and weights (taps, n)."""

    positions: NDArray[np.intp]
    weights: NDArray[np.float32]


def _centres(length: int, span: Span) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return, for each output pixel, the last input pixel whose centre is not behind its own, and the distance to it, 0 to 1."""
    centres = (np.arange(span.start, span.stop) + 0.5) * (length / span.length) - 0.5
    below = np.floor(centres)
    return below.astype(np.intp), centres - below


def _two_taps(length: int, span: Span) -> _Taps:
    below, distance = _centres(length, span)
    positions = np.stack([below, below + 1]).clip(0, length - 1)
    return _Taps(positions, np.stack([1 - distance, distance]).astype(np.float32))


def _four_taps(length: int, span: Span) -> _Taps:
    """Return the taps of cubic convolution (R. Keys, IEEE Trans. ASSP 29, 1981), with CUBIC as its coefficient a."""
    below, near = _centres(length, span)
    far = 1 - near
    outer = [CUBIC * (((t - 5) * t + 8) * t - 4) for t in (1 + near, 1 + far)]
    inner = [((CUBIC + 2) * t - (CUBIC + 3)) * t * t + 1 for t in (near, far)]
    positions = np.stack([below - 1, below, below + 1, below + 2]).clip(0, length - 1)
    return _Taps(positions, np.stack([outer[0], inner[0], inner[1], outer[1]]).astype(np.float32))


def _interpolated(pixels: Pixels, down: _Taps, across: _Taps) -> Pixels:
    columns, places = np.unique(across.positions, return_inverse=True)
    places = places.reshape(across.positions.shape)
    rows = sum(
        weights[:, None, None] * pixels[np.ix_(positions, columns)]
        for positions, weights in zip(down.positions, down.weights)
    )
    assert isinstance(rows, np.ndarray), "there are two taps or more"
    total = sum(weights[None, :, None] * rows[:, place] for place, weights in zip(places, across.weights))
    return _rounded(total)


def _means(values: NDArray[Any], span: Span) -> NDArray[np.float32]:
    """Return the means of the intervals that the output pixels cover along the first axis; parts of a pixel count in part."""
    length = len(values)
    edges = np.arange(span.start, span.stop + 1) * (length / span.length)
    whole = np.minimum(edges.astype(np.intp), length - 1)
    parts = (edges - whole).astype(np.float32)[:, None, None] * values[whole]  # of the pixels at the edges
    sums = np.add.reduceat(values[: whole[-1] + 1], whole, axis=0, dtype=np.float32)[:-1]
    sums[whole[:-1] == whole[1:]] = 0  # an interval within one pixel, for which reduceat returns the pixel
    means: NDArray[np.float32] = (sums - parts[:-1] + parts[1:]) * np.float32(span.length / length)
    return means


def _rounded(values: NDArray[np.float32]) -> Pixels:
    return np.rint(values).clip(0, 255).astype(np.uint8)
