"""Corruptions of photos at five levels: seeded, and identical on every machine with the same Pillow.

Parameters are those of ImageNet-C (D. Hendrycks and T. Dietterich, ICLR 2019, arXiv 1903.12261; their code, make_imagenet_c.py)
for 224x224 pixels: Gaussian noise, JPEG compression, brightness, and Gaussian blur from its extra set. Rotation is not in
ImageNet-C; its angles are our choice. Corruptions apply to the model's input pixels, after the contract's resize and crop.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Pixels = NDArray[np.uint8]  # (H, W, 3) RGB


@dataclass(frozen=True, slots=True)
class Corruption:
    """One way to corrupt a photo. levels: the parameter at each of the five levels, from mild to severe, in `unit`."""

    name: str
    unit: str
    levels: tuple[float, ...]
    apply: Callable[[Pixels, float, np.random.Generator], Pixels]


def jpeg(pixels: Pixels, quality: float, random: np.random.Generator) -> Pixels:
    """Return the pixels after JPEG compression."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=int(quality))
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"), np.uint8)


def blur(pixels: Pixels, sigma: float, random: np.random.Generator) -> Pixels:
    """Return the pixels after a Gaussian blur (Pillow's, by repeated box filters). sigma: in pixels."""
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(sigma)), np.uint8)


def noise(pixels: Pixels, deviation: float, random: np.random.Generator) -> Pixels:
    """Return the pixels with Gaussian noise. deviation: of pixels scaled to [0, 1]."""
    return _rounded(pixels + random.normal(0.0, 255 * deviation, pixels.shape))


def brightness(pixels: Pixels, more: float, random: np.random.Generator) -> Pixels:
    """Return the pixels with a higher V of HSV, and the same hue and saturation. more: increase of V in [0, 1]."""
    value = pixels.max(axis=2, keepdims=True).astype(np.float64)
    raised = np.minimum(value + 255 * more, 255.0)
    scaled = pixels * (raised / np.maximum(value, 1.0))
    return _rounded(np.where(value > 0, scaled, raised))  # black has no hue to keep


def rotate(pixels: Pixels, degrees: float, random: np.random.Generator) -> Pixels:
    """Return the pixels rotated in a random direction, bilinear; the corners are filled with the photo mirrored at its edge."""
    height, width = pixels.shape[:2]
    pad = max(height, width) // 4  # the corners of a square rotated by 45 degrees stand out by 0.21 of its side
    pad = min(pad, height - 1, width - 1)  # as far as it can be mirrored
    image = Image.fromarray(np.pad(pixels, ((pad, pad), (pad, pad), (0, 0)), mode="reflect"))
    turned = image.rotate(degrees * random.choice([-1, 1]), Image.Resampling.BILINEAR)
    return np.asarray(turned.crop((pad, pad, pad + width, pad + height)), np.uint8)


CORRUPTIONS = (
    Corruption("jpeg", "quality", (25, 18, 15, 10, 7), jpeg),
    Corruption("blur", "sigma_pixels", (1, 2, 3, 4, 6), blur),
    Corruption("noise", "deviation", (0.08, 0.12, 0.18, 0.26, 0.38), noise),
    Corruption("brightness", "value_gain", (0.1, 0.2, 0.3, 0.4, 0.5), brightness),
    Corruption("rotation", "degrees", (5, 10, 15, 30, 45), rotate),
)


def _rounded(pixels: NDArray[np.float64]) -> Pixels:
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
