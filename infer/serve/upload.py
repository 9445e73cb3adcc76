"""The body of POST /v1/predict -> pixels of the contract: a raw image, or a multipart form with one file.

What is a photo is not decided here: `load_image` reads the formats that `vegrt infer` reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from vegrt.errors import DataError, TooManyPixelsError
from vegrt.infer.serve.refusal import NotAPhoto, Refusal, TooLarge
from vegrt.photo.preprocess import Contract, load_image

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FIELD = b"file"


def photo_pixels(body: bytes, content_type: str, contract: Contract, max_pixels: int) -> NDArray[np.uint8]:
    """Return the photo in a request's body as (1, S, S, 3) uint8 RGB, decoded as everywhere else.

    Raises Refusal 400 for a malformed form, TooLarge for too many pixels, NotAPhoto for what cannot be decoded.
    """
    media_type, options = parse_options_header(content_type)
    if media_type == b"multipart/form-data":
        body = _file_of_form(body, options.get(b"boundary", b""))
    if not body:
        raise NotAPhoto("image: the body is empty; expected the bytes of a photo")
    try:
        return load_image(body, contract, max_pixels=max_pixels)[None]
    except TooManyPixelsError as error:
        raise TooLarge(" ".join(str(error).split())) from error
    except DataError as error:
        raise NotAPhoto(" ".join(str(error).split())) from error


class _Form:
    """The callbacks of the parser: the names of the parts, and the data of the one that is wanted."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.names: list[bytes] = []
        self.complete = False
        self._header: tuple[bytearray, bytearray] = bytearray(), bytearray()

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
        self.names.append(b"")

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def on_header_end(self) -> None:
        name, value = bytes(self._header[0]).lower(), bytes(self._header[1])
        self._header = bytearray(), bytearray()
        if name == b"content-disposition":
            self.names[-1] = parse_options_header(value)[1].get(b"name", b"")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self.names == [FIELD]:
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
    if form.names != [FIELD]:
        names = ", ".join(repr(name.decode("utf-8", "backslashreplace")[:40]) for name in form.names[:4])
        raise Refusal(f"multipart form: {len(form.names)} fields ({names}); expected one, {FIELD.decode()!r}, a photo")
    return b"".join(form.data)
