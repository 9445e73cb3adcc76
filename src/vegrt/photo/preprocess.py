"""The only code that turns a photo into model input, by the preprocessing contract.

Training's evaluation transform, calibration, inference and the golden check all call `load_image`. Everything after
the uint8 pixels (cast, transpose, normalise) is inside the graph, so no runtime can do it differently.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from vegrt.errors import DataError, TooManyPixelsError
from vegrt.photo import geometry, resample
from vegrt.photo.depth import check_colours, is_deep, sample_format, to_grey8
from vegrt.photo.formats import MAX_PIXELS, open_image, readable
from vegrt.photo.geometry import Size
from vegrt.photo.icc import lab_to_srgb, to_srgb
from vegrt.photo.plain_jpeg import decode_plain, file_content

if TYPE_CHECKING:
    from vegrt.photo.contract import Colour, Contract, Icc

_FLIPS = Image.Transpose
_TURNS = {  # EXIF 2.3, tag 0x0112
    2: _FLIPS.FLIP_LEFT_RIGHT,
    3: _FLIPS.ROTATE_180,
    4: _FLIPS.FLIP_TOP_BOTTOM,
    5: _FLIPS.TRANSPOSE,
    6: _FLIPS.ROTATE_270,
    7: _FLIPS.TRANSVERSE,
    8: _FLIPS.ROTATE_90,
}
_SIDEWAYS = frozenset({5, 6, 7, 8})
_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
}
_WITHOUT_ANTIALIAS = {"bilinear": resample.bilinear, "bicubic": resample.bicubic}
warnings.filterwarnings("ignore", module=r"PIL\.")  # about corrupt EXIF; decompression bombs are refused below


def decode(
    source: Path | bytes,
    *,
    shorter_side: int = 0,
    name: str = "",
    max_pixels: int = MAX_PIXELS,
    icc: Icc = "srgb",
) -> Image.Image:
    """Return an upright 8-bit RGB image without metadata; the first frame of an animation.

    EXIF orientation is applied exactly once; alpha is dropped; icc: how colour profiles are used (see Contract).
    vegrt.photo.depth converts samples of more than 8 bits. At most 12 bytes of memory are used per pixel.
    shorter_side: in pixels; a large JPEG is decoded at the smallest of the scales 1/1, 1/2, 1/4, 1/8 that keeps at least twice
    this length, which is several times faster.
    name: the photo's name in messages, by default the path. Raises TooManyPixelsError if the header states more than max_pixels,
    and DataError for a file that is not a complete image of a format in vegrt.photo.formats.
    """
    least = (2 * shorter_side, 2 * shorter_side) if shorter_side else None
    return _decoded(source, name or _subject(source), max_pixels, lambda _: least, icc)


def decode_for(
    source: Path | bytes, contract: Contract, *, name: str = "", max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """Return the image that `prepare` needs for a contract, as `decode` does; raises as that does.

    A large JPEG is decoded at the smallest scale that keeps four times the size after the resize, unless that would change more
    pixels than rounding: without antialiasing, each pixel counts (see geometry.least_size).
    """
    return _decoded(
        source,
        name or _subject(source),
        max_pixels,
        lambda size: geometry.least_size(size, contract),
        contract.icc,
        contract.background,
    )


def _decoded(
    source: Path | bytes,
    subject: str,
    max_pixels: int,
    least_size: Callable[[Size], Size | None],
    icc: Icc,
    background: Colour | None = None,
) -> Image.Image:
    """Return the upright image. least_size: maps width and height, upright, to those that a JPEG must keep; None for all."""
    with readable(subject):
        _check_source(subject, source)
        with open_image(source, subject) as image:
            _check_pixels(subject, image.size, max_pixels)
            is_turned = image.format in ("JPEG", "MPO") and _orientation(image) in _SIDEWAYS
            least = least_size(image.size[::-1] if is_turned else image.size)
            if least:
                image.draft("RGB", least[::-1] if is_turned else least)
            return upright_rgb(image, icc, subject, background=background)


def upright_rgb(
    image: Image.Image, icc: Icc = "srgb", subject: str = "image", *, background: Colour | None = None
) -> Image.Image:
    """Return a copy of a Pillow image, converted as in `decode`. Raises DataError, and Pillow's exceptions for a damaged file.

    background: sRGB colour under transparent pixels; None drops the alpha channel.
    """
    stated = sample_format(image)
    image.load()
    # after loading: Pillow's TIFF reader rotates the pixels itself and drops the tag
    turn = _TURNS.get(_orientation(image))
    check_colours(image, stated, subject)
    profile = image.info.get("icc_profile") if icc == "srgb" else None
    rgb = _to_rgb(to_grey8(image, stated, subject) if is_deep(image) else image, profile)
    if background is not None and image.has_transparency_data:
        alpha = image.convert("RGBA").getchannel("A")
        rgb = Image.composite(rgb, Image.new("RGB", rgb.size, background), alpha)
    if turn is not None:
        rgb = rgb.transpose(turn)
    elif rgb is image:
        rgb = image.copy()
    rgb.info.clear()  # profile and orientation are applied: a file written from this image must not contain them
    return rgb


def prepare(image: Image.Image, contract: Contract, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Return (H, W, 3) uint8 RGB: the RGB image, resized, then cropped or padded, as the contract says; grey for a grey network.

    Raises TooManyPixelsError if the resized image would have more than max_pixels.
    """
    new_size = checked_size(image.size, contract, max_pixels)
    if contract.network_color == "L":  # ITU-R 601-2 luma, as Pillow, torchvision, Keras and OpenCV
        image = image.convert("L").convert("RGB")
    window = geometry.window(new_size, contract)
    visible = geometry.clipped(window, new_size)
    pixels = _resized(image, new_size, visible, contract)
    return pixels if visible == window else _padded(pixels, window, contract)


def checked_size(size: Size, contract: Contract, max_pixels: int = MAX_PIXELS) -> Size:
    """Return width and height of an image, in pixels, after the resize and before crop or padding.

    Raises TooManyPixelsError for more than max_pixels: an image of 1x60000 pixels would become gigabytes.
    """
    new_size = geometry.resized(size, contract)
    if new_size != size:
        _check_pixels(f"image of {size[0]}x{size[1]}, resized", new_size, max_pixels)
    return new_size


def _resized(image: Image.Image, size: Size, box: geometry.Box, contract: Contract) -> NDArray[np.uint8]:
    """Return the box (left, top, right, bottom) of the image scaled to `size`, (H, W, 3) uint8."""
    left, top, right, bottom = box
    if size != image.size:
        down, across = resample.Span(size[1], top, bottom), resample.Span(size[0], left, right)
        if contract.interpolation == "area":
            return resample.area(np.asarray(image), down, across)
        if not contract.antialias:
            return _WITHOUT_ANTIALIAS[contract.interpolation](np.asarray(image), down, across)
        image = image.resize(size, _FILTERS[contract.interpolation])  # Pillow widens the filters that shrink
    if box != (0, 0, *image.size):
        image = image.crop(box)
    return np.asarray(image, dtype=np.uint8)


def _padded(pixels: NDArray[np.uint8], window: geometry.Box, contract: Contract) -> NDArray[np.uint8]:
    """Return (H, W, 3): the pixels on the contract's colour. window: of the input, from the top left of the resized image."""
    padded = np.empty(contract.shape, np.uint8)
    padded[:] = contract.fill
    left, top = max(0, -window[0]), max(0, -window[1])
    padded[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return padded


def load_image(
    source: Path | bytes, contract: Contract, name: str = "", *, max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8]:
    """Return one photo as (H, W, 3) uint8 RGB, ready for a runner. Raises as `decode` does."""
    name = name or _subject(source)
    with readable(name):
        if isinstance(source, Path) and (content := file_content(source)) is not None:
            source = content
        image = None
        if isinstance(source, bytes):
            image = decode_plain(source, lambda size: geometry.is_reduced(size, contract), max_pixels)
        if image is None:
            image = decode_for(source, contract, name=name, max_pixels=max_pixels)
        return prepare(image, contract, max_pixels=max_pixels)


def _subject(source: Path | bytes) -> str:
    return "image" if isinstance(source, bytes) else str(source)


def _check_source(subject: str, source: Path | bytes) -> None:
    if isinstance(source, Path) and not source.is_file():  # opening a named pipe would block forever
        raise DataError(f"{subject}: {'not a regular file' if source.exists() else 'no such file'}")
    if (len(source) if isinstance(source, bytes) else source.stat().st_size) == 0:
        raise DataError(f"{subject}: empty file (0 bytes); not a photo")


def _check_pixels(subject: str, size: tuple[int, int], max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise TooManyPixelsError(
            f"{subject}: {size[0]}x{size[1]} pixels; expected at most {max_pixels:,}; shrink the photo"
        )


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation; 1 (upright) if the EXIF data is damaged, because the photo may still be good."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:
        return 1
    return orientation if isinstance(orientation, int) else 1


def _to_rgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return an 8-bit image as RGB: the image itself if no conversion is needed."""
    if image.mode == "LAB":
        return lab_to_srgb(image)
    if image.mode == "P" and "transparency" in image.info:
        image = image.copy()
        del image.info["transparency"]  # alpha is dropped in any case; Pillow would warn
    if profile is None:
        return image if image.mode == "RGB" else image.convert("RGB")
    if image.mode not in ("RGB", "L", "CMYK"):
        image = image.convert("L" if image.mode in ("1", "LA") else "RGB")
    return to_srgb(image, profile)
