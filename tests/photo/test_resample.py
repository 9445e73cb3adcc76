from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vegrt.photo.resample import Pixels, Span, area, bicubic, bilinear

SIDES = st.integers(1, 60)
RANDOM = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
METHODS = {"bilinear": bilinear, "bicubic": bicubic, "area": area}


def whole(pixels: Pixels, height: int, width: int, method: str) -> Pixels:
    return METHODS[method](pixels, Span(height, 0, height), Span(width, 0, width))


def by_torch(pixels: Pixels, height: int, width: int, method: str) -> NDArray[np.float64]:
    batch = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].double()
    scaled = torch.nn.functional.interpolate(batch, (height, width), mode=method, align_corners=False, antialias=False)
    return scaled[0].permute(1, 2, 0).numpy()


def overlaps(length: int, scaled: int) -> NDArray[np.float64]:
    """Return how much of each input pixel each output pixel covers, (scaled, length), as shares of the output pixel."""
    edges = np.arange(scaled + 1) * length / scaled
    start, stop = np.maximum(edges[:-1, None], np.arange(length)), np.minimum(edges[1:, None], np.arange(1, length + 1))
    shares: NDArray[np.float64] = np.maximum(0, stop - start) * scaled / length
    return shares


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from(["bilinear", "bicubic"]))
def test_it_is_torchs_interpolation_without_antialiasing(
    height: int, width: int, new_height: int, new_width: int, method: str
) -> None:
    pixels = RANDOM[:height, :width]
    expected = by_torch(pixels, new_height, new_width, method).clip(0, 255)
    assert np.abs(whole(pixels, new_height, new_width, method) - expected).max() <= 0.51  # rounded once, at the end


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES)
def test_area_is_the_mean_of_the_covered_area(height: int, width: int, new_height: int, new_width: int) -> None:
    pixels = RANDOM[:height, :width]
    down, across = overlaps(height, new_height), overlaps(width, new_width)
    expected = np.einsum("yh,xw,hwc->yxc", down, across, pixels)
    assert np.abs(whole(pixels, new_height, new_width, "area") - expected).max() <= 0.51


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, st.data(), st.sampled_from(sorted(METHODS)))
def test_a_window_has_the_pixels_of_the_whole(height: int, width: int, data: st.DataObject, method: str) -> None:
    spans = []
    for length in (height, width):
        start = data.draw(st.integers(0, length - 1))
        spans.append(Span(length, start, data.draw(st.integers(start + 1, length))))
    pixels = RANDOM[:41, :23]
    expected = whole(pixels, height, width, method)[spans[0].start : spans[0].stop, spans[1].start : spans[1].stop]
    assert np.array_equal(METHODS[method](pixels, *spans), expected)


@pytest.mark.parametrize("method", METHODS)
def test_flat_colours_stay_as_they_are(method: str) -> None:
    flat = np.full((37, 53, 3), (255, 1, 0), np.uint8)
    assert (whole(flat, 19, 111, method) == (255, 1, 0)).all()
