"""The short way of decoding: the same pixels as Pillow's own, and every file with anything unusual is left to Pillow."""

from __future__ import annotations

import io
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from vegrt.errors import TooManyPixelsError
from vegrt.photo.contract import Contract
from vegrt.photo.formats import MAX_PIXELS
from vegrt.photo.plain_jpeg import decode_plain, file_content
from vegrt.photo.preprocess import decode, load_image, prepare

SMALL = Contract(32, 32)
XMP = b'<x xmlns:tiff="t" tiff:Orientation="6"/>'


def photo(size: tuple[int, int] = (40, 52), mode: str = "RGB", **options: Any) -> bytes:
    """Return a JPEG of colours that change in both directions."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def exif(orientation: int | None) -> Image.Exif:
    tags = Image.Exif()
    tags[0x010F] = "Maker"
    if orientation is not None:
        tags[0x0112] = orientation
    return tags


def is_reduced(size: tuple[int, int]) -> bool:
    return min(size) >= 4 * 32


def by_pillow(content: bytes) -> NDArray[np.uint8]:
    return prepare(decode(content, shorter_side=32, name="x"), SMALL)


PLAIN = {
    "as Pillow writes it": photo(),
    "progressive": photo(progressive=True),
    "all colours stored": photo(subsampling=0, quality=95),
    "restart markers": photo(restart_marker_rows=1),
    "comment": photo(comment=b"\xff\xda\xff\xd9"),
    "upright Exif": photo(exif=exif(1)),
    "Exif without orientation": photo(exif=exif(None)),
    "harmless XMP": photo(xmp=b"<x/>"),
    "almost reduced": photo((127, 200)),
}
UNUSUAL = {
    "turned": photo(exif=exif(6)),
    "turned by XMP": photo(xmp=XMP),
    "grey": photo(mode="L"),
    "CMYK": photo(mode="CMYK"),
    "a profile": photo(icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()),
    "decoded at half its size": photo((128, 200)),
    "cut off": photo()[:-30],
    "PNG": b"\x89PNG\r\n\x1a\n",
    "nothing": b"",
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_photo_has_the_pixels_that_pillow_gives(name: str) -> None:
    image = decode_plain(PLAIN[name], is_reduced, MAX_PIXELS)
    assert image is not None
    assert np.array_equal(prepare(image, SMALL), by_pillow(PLAIN[name]))


@pytest.mark.parametrize("name", UNUSUAL)
def test_anything_unusual_is_left_to_pillow(name: str) -> None:
    assert decode_plain(UNUSUAL[name], is_reduced, MAX_PIXELS) is None


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns of damaged Exif
def test_no_damage_makes_a_difference() -> None:
    rng, accepted = random.Random(0), 0
    originals = list(PLAIN.values())
    for _ in range(600):
        content = bytearray(rng.choice(originals))
        for _ in range(rng.choice((1, 1, 2, 4))):
            place = rng.randrange(2, min(len(content), 700))
            content[place : place + rng.choice((0, 1, 1, 1, 9))] = rng.choice((b"", b"\xff", rng.randbytes(1)))
        if (image := decode_plain(bytes(content), is_reduced, MAX_PIXELS)) is not None:
            accepted += 1
            assert np.array_equal(prepare(image, SMALL), by_pillow(bytes(content))), bytes(content)
    assert accepted > 100


def test_files_are_read_whole_and_only_jpegs(tmp_path: Path) -> None:
    large = photo((900, 700), quality=100, subsampling=0)
    assert len(large) > 1 << 17
    (tmp_path / "large.jpg").write_bytes(large)
    assert file_content(tmp_path / "large.jpg") == large
    (tmp_path / "text.jpg").write_text("text")
    os.mkfifo(tmp_path / "pipe.jpg")
    for name in ("text.jpg", "pipe.jpg", "none.jpg", "."):
        assert file_content(tmp_path / name) is None


def test_a_limit_of_pixels_holds_for_plain_photos() -> None:
    with pytest.raises(TooManyPixelsError, match=r"40x52 pixels; .* at most 1,000"):
        load_image(photo(), SMALL, max_pixels=1000)
