"""The preprocessing contract, and the only code that turns a photo into model input.

Training's evaluation transform, calibration, inference and the golden check all call `load_image`. Everything after
the uint8 pixels (cast, transpose, normalise) is inside the graph, so no runtime can do it differently.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from vegrt.errors import BundleError, DataError, FormatError, TooManyPixelsError
from vegrt.photo.depth import check_colours, is_deep, sample_format, to_grey8
from vegrt.photo.formats import MAX_PIXELS, open_image, readable
from vegrt.photo.icc import lab_to_srgb, to_srgb
from vegrt.photo.plain_jpeg import decode_plain, file_content
from vegrt.schema import build

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MAX_SIDE = 8192  # of a network's input, in pixels
Icc = Literal["srgb", "ignore"]
_FLIPS = Image.Transpose
_TURNS = {2: _FLIPS.FLIP_LEFT_RIGHT, 3: _FLIPS.ROTATE_180, 4: _FLIPS.FLIP_TOP_BOTTOM, 5: _FLIPS.TRANSPOSE}
_TURNS |= {6: _FLIPS.ROTATE_270, 7: _FLIPS.TRANSVERSE, 8: _FLIPS.ROTATE_90}  # EXIF 2.3, tag 0x0112
warnings.filterwarnings("ignore", module=r"PIL\.")  # about corrupt EXIF; decompression bombs are refused below


@dataclass(frozen=True, slots=True)
class Contract:
    """How pixels become model input. Stored with the weights, so that nobody has to enter it again.

    size: height and width of the square centre crop, in pixels.
    resize: length of the shorter side before the crop, in pixels (bilinear, antialiased).
    mean, std: per RGB channel, of pixels scaled to [0, 1]; applied inside the graph.
    icc: how embedded colour profiles are used. `srgb`: colours are converted to sRGB (see vegrt.photo.icc). `ignore`: profiles
    are ignored, as in bundles made before the contract had this field.
    """

    size: int = 224
    resize: int = 224
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    icc: Icc = "srgb"

    def __post_init__(self) -> None:
        if not 1 <= self.size <= self.resize <= MAX_SIDE:
            sizes = f"size {self.size}, resize {self.resize}"
            raise BundleError(f"contract: {sizes}; expected 1 <= size <= resize <= {MAX_SIDE}")
        numbers = (*self.mean, *self.std)
        if not (
            len(self.mean) == len(self.std) == 3
            and min(self.std) > 1e-6
            and all(abs(number) < 1e6 for number in numbers)
        ):
            raise BundleError(
                f"contract: mean {self.mean}, std {self.std}; expected 3 means and 3 positive stds, one per channel"
            )
        if self.icc not in ("srgb", "ignore"):
            raise BundleError(f"contract: icc {self.icc!r}; expected srgb or ignore")
        _check_units(self.mean, self.std)

    def to_dict(self) -> dict[str, Any]:
        """Return the contract as JSON values; without `icc` if profiles are ignored, as older versions wrote it."""
        value = asdict(self) | {"mean": list(self.mean), "std": list(self.std), "layout": "NHWC", "color": "RGB"}
        return {key: item for key, item in value.items() if (key, item) != ("icc", "ignore")}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Contract:
        """Return the contract written by `to_dict`. Raises BundleError for a missing or unknown value."""
        try:
            stored = build(_Stored, value)
        except FormatError as error:
            raise BundleError(f"contract: {error}; export the bundle again") from error
        if (stored.layout, stored.color) != ("NHWC", "RGB"):
            raise BundleError(f"contract: {stored.layout!a} {stored.color!a}; expected layout NHWC and color RGB")
        return cls(**{field.name: getattr(stored, field.name) for field in fields(cls)})


@dataclass(frozen=True, slots=True)
class _Stored:
    """The contract as stored in a manifest and in a model's metadata."""

    size: int
    resize: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    layout: str
    color: str
    icc: Icc = "ignore"  # not in older contracts


def _check_units(mean: Sequence[float], std: Sequence[float]) -> None:
    """Raise BundleError, with the correct values, if mean and std are for pixels in 0..255: every photo would become grey."""
    if not all(isfinite(number) for number in (*mean, *std)):
        raise BundleError(f"contract: mean {list(mean)}, std {list(std)}; expected finite numbers")
    if max(*map(abs, mean), *std) <= 1:
        return
    corrected = (f"{name} = {_in_unit_range(values)}" for name, values in (("mean", mean), ("std", std)))
    raise BundleError(
        f"contract: mean {list(mean)}, std {list(std)} are for pixels in 0..255; expected values for pixels in [0, 1]; "
        f"divide each number by 255: {', '.join(corrected)}"
    )


def _in_unit_range(values: Sequence[float]) -> list[float]:
    """Return mean or std for pixels in [0, 1]; values below 1 are assumed to be in that range already."""
    return [round(value / 255, 6) for value in values] if max(map(abs, values)) >= 1 else list(values)


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
    subject = name or _subject(source)
    with readable(subject):
        _check_source(subject, source)
        with open_image(source, subject) as image:
            _check_pixels(subject, image.size, max_pixels)
            if shorter_side:
                image.draft("RGB", (2 * shorter_side, 2 * shorter_side))
            return upright_rgb(image, icc, subject)


def upright_rgb(image: Image.Image, icc: Icc = "srgb", subject: str = "image") -> Image.Image:
    """Return a copy of a Pillow image, converted as in `decode`. Raises DataError, and Pillow's exceptions for a damaged file."""
    stated = sample_format(image)
    image.load()
    # after loading: Pillow's TIFF reader rotates the pixels itself and drops the tag
    turn = _TURNS.get(_orientation(image))
    check_colours(image, stated, subject)
    profile = image.info.get("icc_profile") if icc == "srgb" else None
    rgb = _to_rgb(to_grey8(image, stated, subject) if is_deep(image) else image, profile)
    if turn is not None:
        rgb = rgb.transpose(turn)
    elif rgb is image:
        rgb = image.copy()
    rgb.info.clear()  # profile and orientation are applied: a file written from this image must not contain them
    return rgb


def prepare(image: Image.Image, contract: Contract, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Return (H, W, 3) uint8 RGB: shorter side resized with antialiasing, then the centre crop. H = W = contract.size.

    Raises TooManyPixelsError if the resized image would have more than max_pixels.
    """
    if (new_size := resized(image.size, contract, max_pixels)) != image.size:
        image = image.resize(new_size, Image.Resampling.BILINEAR)  # antialiased: Pillow widens the filter to shrink
    x, y = (image.width - contract.size) // 2, (image.height - contract.size) // 2
    if image.size != (contract.size, contract.size):
        image = image.crop((x, y, x + contract.size, y + contract.size))
    return np.asarray(image, dtype=np.uint8)


def resized(size: tuple[int, int], contract: Contract, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return width and height of an image, in pixels, after the resize and before the crop.

    Raises TooManyPixelsError for more than max_pixels: an image of 1x60000 pixels would become gigabytes.
    """
    width, height = size
    scale = contract.resize / min(width, height)
    if scale == 1:
        return size
    new_size = max(contract.resize, round(width * scale)), max(contract.resize, round(height * scale))
    _check_pixels(f"image of {width}x{height}, resized", new_size, max_pixels)
    return new_size


def load_image(
    source: Path | bytes, contract: Contract, name: str = "", *, max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8]:
    """Return one photo as (H, W, 3) uint8 RGB, ready for a runner. Raises as `decode` does."""
    name = name or _subject(source)
    with readable(name):
        if isinstance(source, Path) and (content := file_content(source)) is not None:
            source = content
        image = decode_plain(source, contract.resize, max_pixels) if isinstance(source, bytes) else None
        if image is None:
            image = decode(source, shorter_side=contract.resize, name=name, max_pixels=max_pixels, icc=contract.icc)
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
