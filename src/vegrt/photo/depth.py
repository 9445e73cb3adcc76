"""Samples of more than 8 bits -> 8 bits, by what the file says black and white are. What it does not say is not guessed.

| samples | black and white |
|---|---|
| 16-bit grey | 0 and 65535. By TIFF's BitsPerSample (12), MinSampleValue and MaxSampleValue, or PNG's sBIT where they say less |
| the same, without a word about its range and with no value above 4095 | refused: 12-bit values would become nearly black |
| 16-bit colour | 0 and 65535; Pillow keeps the upper 8 bits. With no value above 4095 refused |
| float grey | 0.0 and 1.0, or TIFF's SMinSampleValue and SMaxSampleValue; refused beyond |
| 32-bit or signed grey | TIFF's SMinSampleValue and SMaxSampleValue, else refused |
| PGM and PPM of any depth | 0 and the maximum in the header |

TIFF's "0 is white" is turned round. A 16-bit image with no value above 16383 is read, with a warning.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vegrt.errors import DataError

log = logging.getLogger(__name__)

_STRIP_PIXELS = 1 << 18  # what is computed at once; so 49 million pixels take no more memory than their own bytes
_BITS, _PHOTOMETRIC, _MIN, _MAX, _FORMAT, _S_MIN, _S_MAX = (
    258,
    262,
    280,
    281,
    339,
    340,
    341,
)  # TIFF 6.0, section 8 and 19
_SIGNED = 2  # of _FORMAT
_CURE = "store it with its range (TIFF BitsPerSample or MaxSampleValue, PNG sBIT), or scaled to 8 or 16 bits"


@dataclass(frozen=True, slots=True)
class Stated:
    """What a file says of its samples.

    bits: of one sample as stored. limits: the values of black and white. significant: of PNG's sBIT, 0 if it is not there.
    inverted: whether 0 is white. signed: whether the samples have a sign.
    """

    bits: int = 8
    limits: tuple[float, float] | None = None
    significant: int = 0
    inverted: bool = False
    signed: bool = False


def stated(image: Image.Image) -> Stated:
    """Return what is known before the pixels are loaded; loading takes some of it away."""
    if image.format == "TIFF":
        return _of_tiff(getattr(image, "tag_v2", {}))
    if image.format == "PNG":
        tile = getattr(image, "tile", None)
        rawmode = tile[0][3] if tile else ""
        deep = is_deep(image) or (isinstance(rawmode, str) and ";16" in rawmode)
        return Stated(16, significant=_sbit(image)) if deep else Stated()
    if image.format == "PPM" and image.mode == "I":
        return Stated(16, (0, 65535))  # Pillow has scaled them from the maximum in the header
    return Stated({"I": 32, "F": 32}.get(image.mode, 16)) if is_deep(image) else Stated()


def is_deep(image: Image.Image) -> bool:
    """Return whether the pixels themselves are of more than 8 bits."""
    return image.mode.startswith("I;16") or image.mode in ("I", "F")


def to_grey8(image: Image.Image, said: Stated, subject: str) -> Image.Image:
    """Return a loaded image of mode I, I;16 or F as L. Raises DataError where black and white are not known."""
    low, high = _limits(image, said, subject)
    scale = 255 / (high - low)
    pixels = np.empty((image.height, image.width), np.uint8)
    for top, strip in _strips(image, said):
        pixels[top : top + len(strip)] = np.clip(np.rint((strip - np.float64(low)) * scale), 0, 255)
    if said.inverted:
        np.subtract(255, pixels, out=pixels)
    return Image.fromarray(pixels)


def check_colours(image: Image.Image, said: Stated, subject: str) -> None:
    """Raise DataError where a loaded image, already of 8 bits, has lost its content with the lower bits of 16."""
    if said.signed and said.bits == 8:
        raise DataError(f"{subject}: 8-bit samples with a sign, whose black and white the file does not say; {_CURE}")
    if said.bits != 16 or is_deep(image) or said.significant == 16 or said.limits == (0, 65535):
        return
    found: Any = image.getextrema()
    bands = found if isinstance(found[0], tuple) else (found,)
    colours = bands[:-1] if image.mode[-1] in "Aa" else bands
    _check_top(256 * max(high for _, high in colours) + 255, "16-bit colour", subject)


def _of_tiff(tags: Any) -> Stated:
    bits = max(_numbers(tags.get(_BITS)), default=1)
    low = _first(tags, _S_MIN, _MIN)
    high = _first(tags, _S_MAX, _MAX)
    limits = (low or 0.0, high) if high is not None and high > (low or 0.0) else None
    if limits is None and bits == 12:
        limits = (0, 4095)
    signed = _SIGNED in _numbers(tags.get(_FORMAT))
    return Stated(int(bits), limits, inverted=tags.get(_PHOTOMETRIC) == 0, signed=signed)


def _first(tags: Any, *names: int) -> float | None:
    return next((max(found) for name in names if (found := _numbers(tags.get(name)))), None)


def _numbers(value: Any) -> list[float]:
    """Return the finite numbers in a tag, whatever a file put there."""
    values = value if isinstance(value, (tuple, list)) else (value,)
    return [float(one) for one in values if isinstance(one, (int, float)) and math.isfinite(one)]


def _sbit(image: Image.Image) -> int:
    """Return the significant bits of the first channel, from the chunk that Pillow passes over; 0 if it is not there."""
    file = getattr(image, "fp", None)
    if file is None or not getattr(image, "tile", None):
        return 0
    before = file.tell()
    try:
        file.seek(8)
        while len(head := file.read(8)) == 8 and head[4:] not in (b"IDAT", b"PLTE"):
            size = int.from_bytes(head[:4], "big")
            if head[4:] == b"sBIT":
                return min(16, next(iter(file.read(1)), 0))
            file.seek(size + 4, 1)
        return 0
    finally:
        file.seek(before)


def _limits(image: Image.Image, said: Stated, subject: str) -> tuple[float, float]:
    """Return the values of black and white."""
    low, high, used = _extremes(image, said)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise DataError(f"{subject}: float samples that are not numbers; expected 0.0 (black) to 1.0 (white)")
    if image.mode == "F" and low >= -1e-3 and high <= 1 + 1e-3:
        return 0.0, 1.0
    if said.limits is not None:
        if low < said.limits[0] or high > said.limits[1]:
            stated_range = f"{said.limits[0]:g} to {said.limits[1]:g}"
            raise DataError(f"{subject}: samples from {low:g} to {high:g}, where the file says {stated_range}; {_CURE}")
        return said.limits
    if said.bits != 16 or said.signed:
        kind = "float" if image.mode == "F" else "signed" if said.signed else f"{said.bits}-bit"
        raise DataError(
            f"{subject}: {kind} samples from {low:g} to {high:g}, whose black and white the file does not say; {_CURE}"
        )
    if not said.significant:
        _check_top(int(high), "16-bit grey", subject)
    elif high < 1 << said.significant and used & ((1 << (16 - said.significant)) - 1):
        return 0, (1 << said.significant) - 1  # not shifted to the upper bits, as the PNG specification wants it
    return 0, 65535


def _check_top(highest: int, what: str, subject: str) -> None:
    if 0 < highest < 1 << 12:
        raise DataError(f"{subject}: {what} with no value above {highest} of 65535, as of 12 bits or less; {_CURE}")
    if 0 < highest < 1 << 14:
        log.warning(
            "%s: %s with no value above %d of 65535; if white is less than that, %s", subject, what, highest, _CURE
        )


def _extremes(image: Image.Image, said: Stated) -> tuple[float, float, int]:
    """Return the lowest and the highest sample, and of integers which bits any of them has."""
    low, high, used = math.inf, -math.inf, 0
    for _, strip in _strips(image, said):
        lowest, highest = float(strip.min()), float(strip.max())  # either is nan when any sample is
        if math.isnan(lowest):
            return lowest, lowest, 0
        low, high = min(low, lowest), max(high, highest)
        used |= int(np.bitwise_or.reduce(strip, axis=None)) if strip.dtype.kind == "u" else 0
    return low, high, used


def _strips(image: Image.Image, said: Stated) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield the first row of each strip, and its samples (rows, W)."""
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
        yield top, strip.view(np.uint32) if strip.dtype == np.int32 and not said.signed else strip
