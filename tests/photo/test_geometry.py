from __future__ import annotations

import io

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2 import functional

from tests.photo.contracts import contracts
from vegrt.photo.contract import Contract, as_sides
from vegrt.photo.geometry import clipped, is_reduced, least_size, resized, window

SIZES = st.tuples(st.integers(1, 6000), st.integers(1, 6000))


@given(SIZES, contracts())
def test_the_window_has_the_size_of_the_input_and_shows_the_photo(size: tuple[int, int], contract: Contract) -> None:
    new = resized(size, contract)
    left, top, right, bottom = window(new, contract)
    assert (right - left, bottom - top) == (contract.width, contract.height)
    visible = clipped((left, top, right, bottom), new)
    if contract.fit == "letterbox":
        assert visible[2] > visible[0]
        assert visible[3] > visible[1]
    else:
        assert visible == (left, top, right, bottom)  # nothing is padded
    middle = abs((left + right) - new[0]), abs((top + bottom) - new[1])
    if contract.pad_position == "center":
        assert max(middle) <= 2 if contract.rounding == "torchvision" else max(middle) <= 1


@given(SIZES, contracts())
def test_each_fit_scales_as_it_says(size: tuple[int, int], contract: Contract) -> None:
    height, width = contract.resize_box
    new = resized(size, contract)
    if contract.fit == "stretch":
        assert new == (width, height)
        return
    if contract.fit == "crop":
        assert new[0] >= width
        assert new[1] >= height
    else:
        assert new[0] <= width
        assert new[1] <= height
    assert new[0] == width or new[1] == height
    scale = (max if contract.fit == "crop" else min)(width / size[0], height / size[1])
    assert all(length == 1 or abs(length - side * scale) <= 1 for side, length in zip(size, new, strict=True))


@given(SIZES, st.integers(1, 500))
def test_torchvisions_rounding_is_torchvisions(size: tuple[int, int], shorter: int) -> None:
    photo = torch.empty(3, *size[::-1], device="meta")  # without memory for its pixels
    theirs = functional.resize(photo, [shorter]).shape
    assert resized(size, Contract(1, shorter, rounding="torchvision")) == (theirs[2], theirs[1])


@settings(max_examples=30, deadline=None)
@given(st.tuples(st.integers(8, 400), st.integers(8, 400)), contracts())
def test_pillow_reduces_a_jpeg_exactly_when_it_is_predicted(size: tuple[int, int], contract: Contract) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, "JPEG")
    with Image.open(buffer) as image:
        if least := least_size(size, contract):
            image.draft("RGB", least)
        assert (image.size != size) == is_reduced(size, contract)
        new = resized(size, contract)
        if image.size != size:
            assert all(kept >= 4 * length - 3 for kept, length in zip(image.size, new, strict=True))


def test_the_smaller_scale_keeps_four_times_the_side_that_decides() -> None:
    size = (4000, 1000)
    assert least_size(size, Contract(100, 120)) == (480, 480)
    assert least_size(size, Contract(as_sides(100, 200), fit="stretch")) == (800, 400)
    assert least_size(size, Contract(as_sides(100, 200), fit="letterbox")) == (800, 200)
    assert least_size(size, Contract(100, antialias=False)) is None
    assert least_size(size, Contract(100, interpolation="nearest", fit="stretch")) is None
    assert least_size(size, Contract(100, interpolation="area")) == (400, 400)
