from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.photo.frameworks import LINES, Line
from vegrt.photo.preprocess import prepare

ALWAYS = ("torchvision", "timm", "PIL")  # the others are no dependencies of the tests
EXACT = [line for line in LINES if line.largest < 255 and (line.module in ALWAYS or line.is_installed)]
SIZES = [(417, 301), (333, 640), (96, 64), (1000, 257), (30, 20)]


@pytest.mark.parametrize("line", EXACT, ids=lambda line: line.name)
@pytest.mark.parametrize("size", SIZES)
def test_the_contract_gives_the_pixels_of_the_framework(line: Line, size: tuple[int, int]) -> None:
    """On noise, so that a shift by a pixel or another filter would show."""
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8)
    image = Image.fromarray(pixels)
    if not line.covers(image):
        return
    ours, theirs = prepare(image, line.contract), line.prepare(image)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs.astype(float)).max() <= line.largest
