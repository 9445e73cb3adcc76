"""Copies of photos with what the model says drawn on them."""

from __future__ import annotations

import io
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vegrt.files.text import printable
from vegrt.infer.decode.item import Item
from vegrt.infer.outputs.placing import file_name, write_unique
from vegrt.infer.outputs.rows import AnswerRow, RowFormat
from vegrt.photo.preprocess import decode

_FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".png": "PNG",
}
_LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383}  # that libjpeg and libwebp write, in pixels
_QUALITY = 95  # of JPEG and WebP; the other formats lose nothing and ignore it
_BAND = (0, 0, 0)
_TEXT = (255, 255, 255)


def annotate(folder: Path, item: Item, row: AnswerRow, wanted: RowFormat) -> Path:
    """Write a copy of the whole photo, upright, with label and score on it; return where it is.

    It has the photo's name, and .png added to that for formats that we do not write, or that hold no photo of this size.
    Raises DataError, OSError, and whatever an encoder does.
    """
    content = item.content
    if isinstance(content, np.ndarray):
        image = Image.fromarray(content)
    elif isinstance(content, (bytes, Path)):
        image = decode(content, name=item.name)
    else:
        raise AssertionError("what is annotated was read before")
    name = file_name(item)
    known = _FORMATS.get(PurePosixPath(name).suffix.lower(), "")
    if max(image.size) > _LONGEST_SIDE.get(known, max(image.size)):
        known = ""
    draw_label(image, caption(row, wanted))
    encoded = io.BytesIO()  # not into the file: there an encoder hides which error was the system's
    image.save(encoded, known or "PNG", quality=_QUALITY)
    return write_unique(
        folder, name if known else f"{name}.png", item.name, lambda file: file.write_bytes(encoded.getbuffer())
    )


def caption(row: AnswerRow, wanted: RowFormat) -> str:
    """Return what is drawn, on one line: `Carrot 97.3 %`, or `unsure (Carrot 41.0 %)`."""
    best, score = row.ranked[0]
    text = f"{best} {score:.1%}".replace("%", " %") if wanted.score == "probability" else f"{best} {score:.2f}"
    return printable(text if row.label == best else f"{row.label} ({text})")


def draw_label(image: Image.Image, text: str) -> None:
    """Draw white text on a black band along the upper edge of an RGB image, smaller where it would not fit."""
    size = max(10, min(image.size) // 14)
    canvas = ImageDraw.Draw(image)
    while True:
        font = ImageFont.load_default(size)
        left, top, right, bottom = canvas.textbbox((0, 0), text, font)
        if right - left <= image.width * 0.96 or size <= 6:
            break
        size = max(6, int(size * 0.9))
    margin = size // 3
    canvas.rectangle((0, 0, image.width, bottom - top + 2 * margin), fill=_BAND)
    canvas.text((margin - left, margin - top), text, font=font, fill=_TEXT)
