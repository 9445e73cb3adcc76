"""Converts the colours of an embedded ICC profile to sRGB, the colour space of screens and of training photos.

Relative colorimetric with black point compensation, by LittleCMS, which comes with Pillow. An sRGB profile leaves all
pixels unchanged. An unusable profile counts as sRGB, as in every browser, and is logged once.
"""

from __future__ import annotations

import io
import logging
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform

log = logging.getLogger(__name__)

MAX_PROFILE_BYTES = 1 << 22  # profiles of CMYK printing presses have 1 to 2 MB
_ROUNDING = 2  # levels of 255, the largest difference between sRGB profiles of different vendors
_SPACES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # a profile's colour space -> Pillow's mode


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Return the image as RGB in sRGB: the image itself if it is RGB and needs no conversion.

    image: L, CMYK or RGB; a grey image with an RGB profile is read as RGB. profile: as embedded in the file.
    """
    space = _SPACES.get(profile[16:20].decode("latin-1"), "")
    if space == "RGB" and image.mode == "L":
        image = image.convert("RGB")
    transform = _transform(profile, image.mode) if space == image.mode and len(profile) <= MAX_PROFILE_BYTES else None
    if transform is None:
        return image if image.mode == "RGB" else image.convert("RGB")
    from PIL import ImageCms

    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None, "it is None only for a conversion in place"
    return converted


def lab_to_srgb(image: Image.Image) -> Image.Image:
    """Return an image of mode LAB (CIE L*a*b*, D50) as RGB in sRGB."""
    from PIL import ImageCms

    converted = ImageCms.applyTransform(image, _lab())
    assert converted is not None
    return converted


@lru_cache(maxsize=1)
def _lab() -> ImageCmsTransform:
    from PIL import ImageCms

    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")


@lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> ImageCmsTransform | None:
    """Return the conversion of pixels with this mode to sRGB; None if none is needed, or the profile is unusable."""
    from PIL import ImageCms

    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    if mode == "L":
        # LittleCMS's optimized table for grey is too coarse: errors of up to 7 of 255 in dark pixels of a linear profile
        flags |= ImageCms.Flags.NOOPTIMIZE
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags,
        )
        return None if _changes_nothing(transform, mode) else transform
    except Exception as error:  # damaged, a printer or device-link profile, or a Pillow without LittleCMS
        log.warning(
            "a colour profile of %d bytes cannot be used (%s); such photos are read as sRGB", len(profile), error
        )
        return None


def _changes_nothing(transform: ImageCmsTransform, mode: str) -> bool:
    if mode == "CMYK":
        return False
    from PIL import ImageCms

    probe = _probe() if mode == "RGB" else Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    converted = ImageCms.applyTransform(probe, transform)
    unchanged = np.asarray(probe.convert("RGB"), np.int16)
    return bool(np.abs(np.asarray(converted, np.int16) - unchanged).max() <= _ROUNDING)


@lru_cache(maxsize=1)
def _probe() -> Image.Image:
    """Return an image of 17 x 17 x 17 evenly spaced colours and all 256 greys."""
    steps = np.append(np.arange(0, 256, 16), 255).astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    greys = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    return Image.fromarray(np.concatenate([cube, greys], axis=1))
