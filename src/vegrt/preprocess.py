"""The contract: the only place where a photo becomes model input.

Training's evaluation transform, calibration, inference and the golden check all call `load_image`. Everything after
the uint8 pixels (cast, transpose, normalise) is inside the graph, so no runtime can do it differently.
"""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError, WebPImagePlugin

from vegrt.errors import BundleError, DataError, TooManyPixelsError
from vegrt.heif import is_heif, load_plugin

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MAX_PIXELS = 178_956_970  # what Pillow refuses as a decompression bomb: half a GiB of RGB
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
_FLIPS = Image.Transpose
_TURNS = {2: _FLIPS.FLIP_LEFT_RIGHT, 3: _FLIPS.ROTATE_180, 4: _FLIPS.FLIP_TOP_BOTTOM, 5: _FLIPS.TRANSPOSE}
_TURNS |= {6: _FLIPS.ROTATE_270, 7: _FLIPS.TRANSVERSE, 8: _FLIPS.ROTATE_90}  # EXIF 2.3, tag 0x0112
_COMMON = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM")
_rare = Lock()
Image.preinit()  # all of _COMMON is loaded here, so that decoding from several threads at once is safe
assert WebPImagePlugin.WebPImageFile.format in _COMMON
warnings.filterwarnings("ignore", module=r"PIL\.")  # corrupt EXIF is no reason to warn; bombs are refused below


@dataclass(frozen=True, slots=True)
class Contract:
    """How pixels become model input. Written beside the weights, never typed twice.

    size: height and width of the square centre crop, in pixels.
    resize: what the shorter side is resized to before the crop, in pixels (bilinear, antialiased).
    mean, std: per RGB channel, of pixels scaled to [0, 1]; applied inside the graph.
    """

    size: int = 224
    resize: int = 224
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if not 1 <= self.size <= self.resize:
            raise BundleError(f"contract: size {self.size}, resize {self.resize}; expected 1 <= size <= resize")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise BundleError(f"contract: mean {self.mean}, std {self.std}; expected three means, three positive stds")

    def to_dict(self) -> dict[str, Any]:
        """Return the contract as JSON values."""
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std), "layout": "NHWC", "color": "RGB"}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Contract:
        """Return the contract written by `to_dict`. Raises BundleError for missing or foreign values."""
        try:
            known = {field.name: value[field.name] for field in fields(cls)}
            if (value["layout"], value["color"]) != ("NHWC", "RGB"):
                raise BundleError(f"contract: {value['layout']} {value['color']}; this vegrt reads NHWC RGB only")
            return cls(int(known["size"]), int(known["resize"]), tuple(known["mean"]), tuple(known["std"]))
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"contract: {error!r} is missing or malformed; export the bundle again") from error


def decode(source: Path | bytes, *, shorter_side: int = 0, name: str = "", max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Return an upright RGB image; of an animation the first frame.

    EXIF orientation is applied, alpha is dropped, 16-bit is scaled to 8. With `shorter_side` (pixels) a large JPEG is
    decoded at the smallest of 1/1, 1/2, 1/4, 1/8 scale that still covers twice that side: several times faster.
    name: what messages call it; by default the path. Raises TooManyPixelsError above max_pixels, seen in the header, and
    DataError for whatever is not a whole, readable image.
    """
    subject = name or ("image" if isinstance(source, bytes) else str(source))
    try:
        _check_source(subject, source)
        with _open(subject, source) as image:
            _check_pixels(subject, image.size, max_pixels)
            if shorter_side:
                image.draft("RGB", (2 * shorter_side, 2 * shorter_side))
            return upright_rgb(image)
    except UnidentifiedImageError as error:
        raise DataError(f"{subject}: not an image that Pillow can identify") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooManyPixelsError(
            f"{subject}: more than {max_pixels:,} pixels, refused as a decompression bomb"
        ) from error
    except MemoryError as error:
        raise DataError(f"{subject}: not enough memory to decode it") from error
    except (OSError, SyntaxError, ValueError, EOFError, KeyError, TypeError, IndexError, struct.error) as error:
        if isinstance(error, OSError) and error.errno:
            raise DataError(f"{subject}: cannot be read ({error.strerror})") from error
        raise DataError(
            f"{subject}: damaged image ({str(error).splitlines()[0] if str(error) else error!r})"
        ) from error


def upright_rgb(image: Image.Image) -> Image.Image:
    """Return a Pillow image as the camera was held and as RGB: a copy. Raises whatever Pillow does for a damaged file."""
    orientation = image.getexif().get(ExifTags.Base.Orientation)
    return _to_rgb(_upright(image, orientation))


def prepare(image: Image.Image, contract: Contract, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Return (H, W, 3) uint8 RGB: shorter side resized with antialias, then the centre crop. H = W = contract.size.

    Raises TooManyPixelsError when the resized image would have more than max_pixels.
    """
    width, height = image.size
    scale = contract.resize / min(width, height)
    if scale != 1:
        new_size = max(contract.resize, round(width * scale)), max(contract.resize, round(height * scale))
        _check_pixels(
            f"image of {width}x{height}, resized", new_size, max_pixels
        )  # a 1x60000 line would become gigabytes
        image = image.resize(new_size, Image.Resampling.BILINEAR)  # Pillow widens the filter when it shrinks: antialias
    left, top = (image.width - contract.size) // 2, (image.height - contract.size) // 2
    if image.size != (contract.size, contract.size):
        image = image.crop((left, top, left + contract.size, top + contract.size))
    return np.asarray(image, dtype=np.uint8)


def load_image(
    source: Path | bytes, contract: Contract, name: str = "", *, max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8]:
    """Return one photo as (H, W, 3) uint8 RGB, ready for a runner. Raises as `decode` does."""
    image = decode(source, shorter_side=contract.resize, name=name, max_pixels=max_pixels)
    return prepare(image, contract, max_pixels=max_pixels)


def _check_source(subject: str, source: Path | bytes) -> None:
    if isinstance(source, Path) and not source.is_file():  # a named pipe, opened, would wait for ever
        raise DataError(f"{subject}: {'not a regular file' if source.exists() else 'no such file'}")
    if (len(source) if isinstance(source, bytes) else source.stat().st_size) == 0:
        raise DataError(f"{subject}: empty, 0 bytes; not an image that Pillow can identify")


def _open(subject: str, source: Path | bytes) -> Image.Image:
    opened = partial(Image.open, io.BytesIO(source) if isinstance(source, bytes) else source)
    try:
        return opened(formats=_COMMON)
    except UnidentifiedImageError:
        with _rare:  # left to Pillow, two threads may load the forty others at once (decision 0013)
            Image.init()
    try:
        return opened()
    except UnidentifiedImageError:
        if not is_heif(source):
            raise
        if not load_plugin():
            raise DataError(f"{subject}: a HEIC photo; to read it: pip install pillow-heif") from None
        return opened()


def _check_pixels(subject: str, size: tuple[int, int], max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise TooManyPixelsError(f"{subject}: {size[0]}x{size[1]} pixels; at most {max_pixels:,} are decoded")


def _upright(image: Image.Image, orientation: object) -> Image.Image:
    """Return the image as the camera was held. ImageOps.exif_transpose also rewrites the EXIF, and fails where that is odd."""
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image.transpose(turn) if turn is not None else image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):  # 16-bit grey: convert() would clip, not scale
        grey = np.asarray(image, dtype=np.float32) / (257.0 if image.mode != "F" else 1.0)
        return Image.fromarray(np.clip(grey.round(), 0, 255).astype(np.uint8)).convert("RGB")
    if "transparency" in image.info and image.mode == "P":
        image = image.convert("RGBA")  # what Pillow asks for: straight to RGB it warns
    return image.convert("RGB")  # a copy, also of what is RGB already
