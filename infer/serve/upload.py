"""The body of POST /v1/predict -> pixels of the contract: a raw image or a multipart form, checked before it is decoded.

Only formats that cameras and browsers make are opened. Pillow knows more (EPS starts Ghostscript, others are rarely tested),
and a service is handed files by strangers.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from vegrt.errors import DataError
from vegrt.infer.serve.refusal import NotAPhoto, Refusal, TooLarge
from vegrt.preprocess import Contract, load_image

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
FIELD = b"file"


def photo_pixels(body: bytes, content_type: str, contract: Contract, max_pixels: int) -> NDArray[np.uint8]:
    """Return the photo in a request's body as (1, S, S, 3) uint8 RGB.

    Raises Refusal 400 for a malformed form, TooLarge for too many pixels, NotAPhoto for what cannot be decoded.
    """
    media_type, options = parse_options_header(content_type)
    if media_type == b"multipart/form-data":
        body = _file_of_form(body, options.get(b"boundary", b""))
    _check(body, max_pixels)
    try:
        return load_image(body, contract)[None]
    except DataError as error:
        raise NotAPhoto(" ".join(str(error).split())) from error


def _check(body: bytes, max_pixels: int) -> None:
    """Read no more than the image's header."""
    if not body:
        raise NotAPhoto("image: the body is empty; expected the bytes of a photo")
    formats = [name for name in FORMATS if name in Image.OPEN]
    try:
        with Image.open(io.BytesIO(body), formats=formats) as image:
            width, height = image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLarge(f"image: too many pixels; at most {max_pixels:,} are decoded") from error
    except Exception as error:  # plugins raise many kinds
        raise NotAPhoto(f"image: not one that can be read; expected {', '.join(formats)}") from error
    if width * height > max_pixels:
        raise TooLarge(f"image: {width}x{height} pixels; at most {max_pixels:,} are decoded")


class _Form:
    """The callbacks of the parser, which finds one part and keeps its data."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.complete = self.found = False
        self._header: tuple[bytearray, bytearray] = bytearray(), bytearray()
        self._wanted = False

    def callbacks(self) -> MultipartCallbacks:
        """Return what the parser calls."""
        return {
            "on_part_begin": self.on_part_begin,
            "on_header_field": self.on_header_field,
            "on_header_value": self.on_header_value,
            "on_header_end": self.on_header_end,
            "on_part_data": self.on_part_data,
            "on_end": self.on_end,
        }

    def on_part_begin(self) -> None:
        self._wanted = False

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def on_header_end(self) -> None:
        name, value = bytes(self._header[0]).lower(), bytes(self._header[1])
        self._header = bytearray(), bytearray()
        if name == b"content-disposition" and not self.found:
            self._wanted = self.found = parse_options_header(value)[1].get(b"name") == FIELD

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._wanted:
            self.data.append(data[start:end])

    def on_end(self) -> None:
        self.complete = True


def _file_of_form(body: bytes, boundary: bytes) -> bytes:
    form = _Form()
    try:
        parser = MultipartParser(boundary, form.callbacks())
        parser.write(body)
    except FormParserError as error:
        raise Refusal(f"multipart form: malformed ({str(error)[:120]})") from error
    if not form.complete:
        raise Refusal("multipart form: it ends before its closing boundary")
    if not form.found:
        raise Refusal(f"multipart form: no field {FIELD.decode()!r} in it")
    return b"".join(form.data)
