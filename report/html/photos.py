"""Thumbnails as data URIs, so that a page needs no other file."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from vegrt.errors import DataError
from vegrt.photo.preprocess import decode
from vegrt.report.html.blocks import Thumbnail
from vegrt.report.language.language import translate

_SIDE_PX = 160  # of a thumbnail; 48 of them take about 0.25 MB


def thumbnail_of(path: Path, name: str) -> Thumbnail | None:
    """Return a thumbnail; None if the photo cannot be read. name: the photo's name on the page."""
    try:
        image = reduce_photo(path, side_px=_SIDE_PX)
    except DataError:
        return None
    return Thumbnail(jpeg_uri(image), translate("photo {name}", name=name), image.width, image.height)


def reduce_photo(path: Path, *, side_px: int) -> Image.Image:
    """Return the photo with its longer side reduced to `side_px`. Raises DataError if it cannot be read."""
    image = decode(path, shorter_side=side_px)
    image.thumbnail((side_px, side_px), Image.Resampling.BILINEAR)
    return image


def jpeg_uri(image: Image.Image) -> str:
    """Return an image as the data URI of a JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=70)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
