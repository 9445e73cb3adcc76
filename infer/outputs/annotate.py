"""Draw the model's answer on a photo."""

from __future__ import annotations

import io
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vegrt.files.text import printable
from vegrt.infer.decode.item import Item
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
_LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383}  # of libjpeg and libwebp, in pixels
_QUALITY = 95  # of JPEG and WebP; the other formats are lossless and ignore it
_BAND = (0, 0, 0)
_TEXT = (255, 255, 255)


def annotated(item: Item, name: str, row: AnswerRow, row_format: RowFormat) -> tuple[str, bytes]:
    """Return file name and bytes of a copy of the whole photo, upright, with label and score drawn on it.

    name: the photo's file name; .png is added for formats that vegrt does not write, or that cannot hold a photo of this size.
    Raises DataError, OSError, and the errors of an encoder.
    """
    content = item.content
    if isinstance(content, np.ndarray):
        image = Image.fromarray(content)
    elif isinstance(content, (bytes, Path)):
        image = decode(content, name=item.name)
    else:
        raise AssertionError("an annotated photo was read before")
    file_format = _FORMATS.get(PurePosixPath(name).suffix.lower(), "")
    if max(image.size) > _LONGEST_SIDE.get(file_format, max(image.size)):
        file_format = ""
    draw_label(image, row, row_format)
    encoded = io.BytesIO()  # in memory: an encoder that writes the file hides errors of the system
    image.save(encoded, file_format or "PNG", quality=_QUALITY)
    return name if file_format else f"{name}.png", encoded.getvalue()


def caption(row: AnswerRow, row_format: RowFormat, longest: int | None = None) -> str:
    """Return the text to draw, one line: `Carrot 97.3 %`, or `unsure (Carrot 41.0 %)`.

    longest: number of characters of the class name; a longer one is cut, and ends in an ellipsis.
    """
    best, score = row.ranked[0]
    name = best if longest is None or len(best) <= longest else f"{best[:longest].rstrip(' ,')}…"
    text = f"{name} {score:.1%}".replace("%", " %") if row_format.score == "probability" else f"{name} {score:.2f}"
    return printable(text if row.label == best else f"{row.label} ({text})")


def draw_label(image: Image.Image, row: AnswerRow, row_format: RowFormat) -> None:
    """Draw white text on a black band along the upper edge of an RGB image.

    Where the text does not fit it becomes smaller, down to about 10 pixels, and then the class name shorter.
    """
    size, smallest = max(10, min(image.size) // 14), max(6, min(10, image.width // 16))
    canvas = ImageDraw.Draw(image)
    longest = len(row.ranked[0][0])
    while True:
        text, font = caption(row, row_format, longest), ImageFont.load_default(size)
        left, top, right, bottom = canvas.textbbox((0, 0), text, font)
        if right - left <= image.width * 0.96 or (size == smallest and longest == 1):
            break
        if size > smallest:
            size = max(smallest, int(size * 0.9))
        else:
            longest = max(1, int(longest * 0.9))
    margin = size // 3
    canvas.rectangle((0, 0, image.width, bottom - top + 2 * margin), fill=_BAND)
    canvas.text((margin - left, margin - top), text, font=font, fill=_TEXT)
