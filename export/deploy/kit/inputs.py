"""The inputs that the models of a device kit take, made from prepared photos. Runs on devices too: Python 3.8."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vegrt.photo.contract import Contract

UINT8_NHWC = "uint8-nhwc"
PIXELS_NCHW = "pixels-nchw"
NORMALIZED_NCHW = "normalized-nchw"
NORMALIZED_NHWC = "normalized-nhwc"
FORMS = {
    UINT8_NHWC: "uint8 RGB, (N, H, W, 3)",
    PIXELS_NCHW: "float32 RGB from 0 to 255, (N, 3, H, W)",
    NORMALIZED_NCHW: "float32, normalised, in the network's colour channels, (N, C, H, W)",
    NORMALIZED_NHWC: "the same as (N, H, W, C)",
}


def model_input(images: NDArray[np.uint8], form: str, contract: Contract) -> NDArray[Any]:
    """Return the input of a model for (N, H, W, 3) uint8 RGB images, as FORMS describes it."""
    if form == UINT8_NHWC:
        return images
    floats = images.astype(np.float32)
    if form == PIXELS_NCHW:
        return np.ascontiguousarray(floats.transpose(0, 3, 1, 2))
    normalized = _normalized(floats, contract)
    return normalized if form == NORMALIZED_NHWC else np.ascontiguousarray(normalized.transpose(0, 3, 1, 2))


def _normalized(floats: NDArray[np.float32], contract: Contract) -> NDArray[np.float32]:
    """Return (N, H, W, C) normalised pixels, C of the network: grey images have three equal channels."""
    if contract.network_color == "L":
        floats = floats[..., :1]
    mean, std = np.array(contract.mean), np.array(contract.std)
    normalized = floats * np.float32(1 / (255 * std)) - np.float32(mean / std)
    if contract.network_color == "BGR":
        normalized = normalized[..., ::-1]
    return np.ascontiguousarray(normalized, dtype=np.float32)
