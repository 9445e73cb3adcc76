"""Sizes of a photo on its way to the network: after the early reduction of JPEGs, after the resize, and the part that is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Tuple

if TYPE_CHECKING:
    from vegrt.photo.contract import Contract

Size = Tuple[int, int]  # width and height, in pixels, as in Pillow
Box = Tuple[int, int, int, int]  # left, top, right, bottom, in pixels, as in Pillow
_SCALES = (8, 4, 2)  # divisors at which libjpeg decodes
_LEAST = 4  # times the size after the resize


def resized(size: Size, contract: Contract) -> Size:
    """Return the size of an image after the resize and before crop or padding."""
    box = contract.resize_box[::-1]  # width and height
    if contract.fit == "stretch":
        return box
    if contract.fit == "letterbox":
        ratio = max(side / limit for side, limit in zip(size, box))
        width, height = (max(1, min(limit, round(side / ratio))) for side, limit in zip(size, box))
        return width, height
    if box[0] != box[1]:  # as timm's ResizeKeepRatio
        ratio = min(side / limit for side, limit in zip(size, box))
        width, height = (max(limit, round(side / ratio)) for side, limit in zip(size, box))
        return width, height
    return _with_shorter_side(size, box[0], rounds_down=contract.rounding == "torchvision")


def _with_shorter_side(size: Size, shorter: int, *, rounds_down: bool) -> Size:
    width, height = size
    if rounds_down:  # torchvision's Resize, in the order of its arithmetic
        longer = int(shorter * max(size) / min(size))
        return (shorter, longer) if width <= height else (longer, shorter)
    scale = shorter / min(width, height)
    if scale == 1:
        return size
    return max(shorter, round(width * scale)), max(shorter, round(height * scale))


def window(size: Size, contract: Contract) -> Box:
    """Return the part of a resized image that is the network's input; where it reaches beyond the image, it is padded."""
    left, top = (_start(length, side, contract) for length, side in zip(size, (contract.width, contract.height)))
    return left, top, left + contract.width, top + contract.height


def _start(length: int, side: int, contract: Contract) -> int:
    if length < side:
        return 0 if contract.pad_position == "top-left" else -((side - length) // 2)
    # torchvision's CenterCrop rounds half to even
    return round((length - side) / 2) if contract.rounding == "torchvision" else (length - side) // 2


def clipped(box: Box, size: Size) -> Box:
    """Return the part of a box that is inside an image of that size."""
    return max(0, box[0]), max(0, box[1]), min(size[0], box[2]), min(size[1], box[3])


def least_size(size: Size, contract: Contract) -> Size | None:
    """Return the size that a JPEG must keep when it is decoded at a smaller scale; None if its pixels must not change.

    It is four times the size after the resize, so that the antialiasing resize still has pixels to average: with twice the size,
    one of 120 answers changed (docs/results.md). Without antialiasing, the resize reads single pixels, which a smaller scale
    replaces by means.
    """
    if not contract.antialias or contract.interpolation == "nearest":
        return None
    if contract.fit == "letterbox":
        size = resized(size, contract)
        return _LEAST * size[0], _LEAST * size[1]
    height, width = contract.resize_box  # the side that is scaled less decides
    return _LEAST * width, _LEAST * height


def is_reduced(size: Size, contract: Contract) -> bool:
    """Return whether a JPEG of that size is decoded at a smaller scale."""
    least = least_size(size, contract)
    return least is not None and min(size[0] // least[0], size[1] // least[1]) >= min(_SCALES)
