"""Converts samples of more than 8 bits to 8 bits. The file states the values of black and white; they are never guessed.

| samples | black and white |
|---|---|
| 16-bit grey | 0 and 65535, or less by TIFF's BitsPerSample (12), MinSampleValue and MaxSampleValue, or PNG's sBIT |
| the same, with no stated range and no value above 4095 | refused: 12-bit values would become nearly black |
| 16-bit colour | 0 and 65535; Pillow keeps the upper 8 bits. Refused if no value is above 4095 |
| float grey | 0.0 and 1.0, or TIFF's SMinSampleValue and SMaxSampleValue; values out of range are refused |
| 32-bit or signed grey | TIFF's SMinSampleValue and SMaxSampleValue; refused without them |
| PGM and PPM of any depth | 0 and the maximum in the header |

TIFF's "0 is white" is inverted. A 16-bit image with no value above 16383 is read, with a warning.
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

_STRIP_PIXELS = 1 << 18  # pixels per step, so that the temporary arrays stay small for any image
# Tags of TIFF 6.0, sections 8 and 19
_BITS, _PHOTOMETRIC, _MIN, _MAX = 258, 262, 280, 281
_FORMAT, _S_MIN, _S_MAX = 339, 340, 341
_SIGNED = 2  # a value of _FORMAT
_CURE = "store it with its range (TIFF BitsPerSample or MaxSampleValue, PNG sBIT), or scale it to 8 or 16 bits"


@dataclass(frozen=True)
class SampleFormat:
    """The sample format that a file states.

    bits: width of one stored sample. limits: the values of black and white. significant: bits by PNG's sBIT, 0 if absent.
    inverted: whether 0 is white. signed: whether the samples are signed.
    """

    bits: int = 8
    limits: tuple[float, float] | None = None
    significant: int = 0
    inverted: bool = False
    signed: bool = False


def sample_format(image: Image.Image) -> SampleFormat:
    """Return the sample format. Call it before the pixels are loaded: loading removes some of the tags."""
    if image.format == "TIFF":
        return _of_tiff(getattr(image, "tag_v2", {}))
    if image.format == "PNG":
        tile = getattr(image, "tile", None)
        rawmode = tile[0][3] if tile else ""
        deep = is_deep(image) or (isinstance(rawmode, str) and ";16" in rawmode)
        return SampleFormat(16, significant=_sbit(image)) if deep else SampleFormat()
    if image.format == "PPM" and image.mode == "I":
        return SampleFormat(16, (0, 65535))  # Pillow scaled them by the maximum in the header
    return SampleFormat({"I": 32, "F": 32}.get(image.mode, 16)) if is_deep(image) else SampleFormat()


def is_deep(image: Image.Image) -> bool:
    """Return whether the pixels in memory have more than 8 bits."""
    return image.mode.startswith("I;16") or image.mode in ("I", "F")


def to_grey8(image: Image.Image, stated: SampleFormat, subject: str) -> Image.Image:
    """Return a loaded image of mode I, I;16 or F as mode L. Raises DataError if the values of black and white are unknown."""
    low, high = _limits(image, stated, subject)
    scale = 255 / (high - low)
    pixels = np.empty((image.height, image.width), np.uint8)
    for top, strip in _strips(image, stated):
        pixels[top : top + len(strip)] = np.clip(np.rint((strip - np.float64(low)) * scale), 0, 255)
    if stated.inverted:
        np.subtract(255, pixels, out=pixels)
    return Image.fromarray(pixels)


def check_colours(image: Image.Image, stated: SampleFormat, subject: str) -> None:
    """Raise DataError if a loaded image lost its content when Pillow reduced its 16-bit samples to 8 bits."""
    if stated.signed and stated.bits == 8:
        raise DataError(f"{subject}: signed 8-bit samples, but the file does not state black and white; {_CURE}")
    if stated.bits != 16 or is_deep(image) or stated.significant == 16 or stated.limits == (0, 65535):
        return
    extrema: Any = image.getextrema()
    bands = extrema if isinstance(extrema[0], tuple) else (extrema,)
    colours = bands[:-1] if image.mode[-1] in "Aa" else bands
    _check_top(256 * max(high for _, high in colours) + 255, "16-bit colour", subject)


def _of_tiff(tags: Any) -> SampleFormat:
    bits = max(_numbers(tags.get(_BITS)), default=1)
    low = _first(tags, _S_MIN, _MIN)
    high = _first(tags, _S_MAX, _MAX)
    limits = (low or 0.0, high) if high is not None and high > (low or 0.0) else None
    if limits is None and bits == 12:
        limits = (0, 4095)
    signed = _SIGNED in _numbers(tags.get(_FORMAT))
    return SampleFormat(int(bits), limits, inverted=tags.get(_PHOTOMETRIC) == 0, signed=signed)


def _first(tags: Any, *names: int) -> float | None:
    return next((max(numbers) for name in names if (numbers := _numbers(tags.get(name)))), None)


def _numbers(value: Any) -> list[float]:
    """Return the finite numbers in a tag, whose value may be of any type."""
    values = value if isinstance(value, (tuple, list)) else (value,)
    return [float(number) for number in values if isinstance(number, (int, float)) and math.isfinite(number)]


def _sbit(image: Image.Image) -> int:
    """Return the significant bits of the first channel, from the sBIT chunk, which Pillow ignores; 0 if there is none."""
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


def _limits(image: Image.Image, stated: SampleFormat, subject: str) -> tuple[float, float]:
    """Return the values of black and white."""
    low, high, used = _extremes(image, stated)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise DataError(f"{subject}: float samples with NaN or infinity; expected 0.0 (black) to 1.0 (white)")
    if image.mode == "F" and low >= -1e-3 and high <= 1 + 1e-3:
        return 0.0, 1.0
    if stated.limits is not None:
        if low < stated.limits[0] or high > stated.limits[1]:
            stated_range = f"{stated.limits[0]:g} to {stated.limits[1]:g}"
            raise DataError(f"{subject}: samples from {low:g} to {high:g}, but the file states {stated_range}; {_CURE}")
        return stated.limits
    if stated.bits != 16 or stated.signed:
        kind = "float" if image.mode == "F" else "signed" if stated.signed else f"{stated.bits}-bit"
        raise DataError(
            f"{subject}: {kind} samples from {low:g} to {high:g}, but the file does not state black and white; {_CURE}"
        )
    if not stated.significant:
        _check_top(int(high), "16-bit grey", subject)
    elif high < 1 << stated.significant and used & ((1 << (16 - stated.significant)) - 1):
        return 0, (
            1 << stated.significant
        ) - 1  # not scaled to the upper bits, although the PNG specification requires it
    return 0, 65535


def _check_top(highest: int, kind: str, subject: str) -> None:
    if 0 < highest < 1 << 12:
        raise DataError(f"{subject}: {kind} with no value above {highest} of 65535: probably 12 bits or fewer; {_CURE}")
    if 0 < highest < 1 << 14:
        log.warning(
            "%s: %s with no value above %d of 65535; if white is below 65535, %s", subject, kind, highest, _CURE
        )


def _extremes(image: Image.Image, stated: SampleFormat) -> tuple[float, float, int]:
    """Return the lowest and the highest sample, and for integers the bitwise OR of all samples."""
    low, high, used = math.inf, -math.inf, 0
    for _, strip in _strips(image, stated):
        lowest, highest = float(strip.min()), float(strip.max())  # either is nan when any sample is
        if math.isnan(lowest):
            return lowest, lowest, 0
        low, high = min(low, lowest), max(high, highest)
        used |= int(np.bitwise_or.reduce(strip, axis=None)) if strip.dtype.kind == "u" else 0
    return low, high, used


def _strips(image: Image.Image, stated: SampleFormat) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield for each strip the index of its first row, and its samples (rows, W)."""
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
        yield top, strip.view(np.uint32) if strip.dtype == np.int32 and not stated.signed else strip
