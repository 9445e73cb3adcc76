"""The preprocessing contract: which pixels a network is given, as it is stored in bundles and in ONNX files.

docs/contract.md lists which contract says the same as a line of timm, torchvision, Keras or OpenCV.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, asdict, dataclass, fields
from math import isfinite
from typing import Any, Literal, get_args

from vegrt.errors import BundleError, FormatError
from vegrt.schema import build

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MAX_SIDE = 8192  # of a network's input, in pixels
Icc = Literal["srgb", "ignore"]
Fit = Literal["crop", "stretch", "letterbox"]
Interpolation = Literal["bilinear", "bicubic", "nearest", "area"]
PadPosition = Literal["center", "top-left"]
Rounding = Literal["nearest", "torchvision"]
NetworkColor = Literal["RGB", "BGR", "L"]
Sides = int | tuple[int, int]
Colour = tuple[int, int, int]
CHOICES: dict[str, tuple[str, ...]] = {
    "icc": get_args(Icc),
    "fit": get_args(Fit),
    "interpolation": get_args(Interpolation),
    "pad_position": get_args(PadPosition),
    "rounding": get_args(Rounding),
    "network_color": get_args(NetworkColor),
}
LUMA = (0.299, 0.587, 0.114)  # weights of red, green and blue in grey, ITU-R 601-2; their sum is 1
_FIRST_EDITION = ("size", "resize", "mean", "std", "icc")
_LAYOUT, _COLOR = "NHWC", "RGB"  # of the images that every runner is given


@dataclass(frozen=True, slots=True)
class Contract:
    """How pixels become model input. Stored with the weights, so that nobody has to enter it again.

    size: of the network's input, in pixels: one number for a square, or (height, width).
    resize: what the photo is scaled to before the crop or the padding, in the same form; 0 stands for `size`.
    mean, std: per channel (RGB, or one for a grey network), of pixels scaled to [0, 1]; applied inside the graph.
    icc: how embedded colour profiles are used. `srgb`: colours are converted to sRGB (see vegrt.photo.icc). `ignore`: profiles
    are ignored, as in bundles made before the contract had this field.
    fit: `crop`: the photo is scaled until it just covers `resize`, and the centre is cut out. `stretch`: both sides are scaled to
    `resize`, the aspect ratio is lost. `letterbox`: the photo is scaled until it just fits into `resize`, and padded.
    interpolation: `bilinear`, `bicubic`, `nearest` (centres of pixels) or `area` (exact means).
    antialias: whether bilinear and bicubic widen their filter to shrink, as Pillow does. Without it, bicubic has the coefficient
    -0.75 of OpenCV and torch, instead of -0.5. True for `nearest` and `area`, which have no such filter.
    fill, pad_position: colour (RGB, 0 to 255) and side of the padding of `letterbox`: around the photo, or right of and below it.
    background: colour under transparent pixels; None drops the alpha channel.
    rounding: `nearest`: the longer side is rounded to the nearest pixel, and the crop's start is rounded down. `torchvision`: the
    longer side is rounded down, unless `resize` has two numbers, as in timm, and the crop's start is rounded to the nearest.
    network_color: the network's channels. Images are RGB in any case, the graph converts them; for `L` they are grey already.
    """

    size: Sides = 224
    resize: Sides = 0
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    icc: Icc = "srgb"
    _: KW_ONLY
    fit: Fit = "crop"
    interpolation: Interpolation = "bilinear"
    antialias: bool = True
    fill: Colour = (0, 0, 0)
    pad_position: PadPosition = "center"
    background: Colour | None = None
    rounding: Rounding = "nearest"
    network_color: NetworkColor = "RGB"

    def __post_init__(self) -> None:
        for name in ("size", "resize"):  # (224, 224) is 224, so that equal contracts are stored as equal bytes
            object.__setattr__(self, name, as_sides(*both(getattr(self, name) or self.size)))
        for name, choices in CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                raise BundleError(f"contract: {name} {value!r}; expected {' or '.join(choices)}")
        if self.interpolation in ("nearest", "area"):
            object.__setattr__(self, "antialias", True)
        self._check_sides()
        self._check_colours()
        self._check_channels()

    @property
    def height(self) -> int:
        """Return the height of the network's input, in pixels."""
        return both(self.size)[0]

    @property
    def width(self) -> int:
        """Return the width of the network's input, in pixels."""
        return both(self.size)[1]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return the shape of one image, (H, W, 3)."""
        return (self.height, self.width, 3)

    @property
    def channels(self) -> int:
        """Return the number of the network's channels; images have three in any case."""
        return 1 if self.network_color == "L" else 3

    @property
    def resize_box(self) -> tuple[int, int]:
        """Return height and width, in pixels, of what a photo is scaled to cover, fill or fit into."""
        return both(self.resize)

    @property
    def edition(self) -> Literal[1, 2]:
        """Return the first edition that can express the contract. Bundles and ONNX files have it as their format version."""
        added = [field for field in fields(self) if field.name not in _FIRST_EDITION]
        is_first = type(self.size) is type(self.resize) is int
        return 1 if is_first and all(getattr(self, field.name) == field.default for field in added) else 2

    def to_dict(self) -> dict[str, Any]:
        """Return the contract as JSON values, as the first edition that can express it, which had no `icc` at its beginning."""
        value = asdict(self) | {"layout": _LAYOUT, "color": _COLOR}
        value = {key: list(item) if isinstance(item, tuple) else item for key, item in value.items()}
        if self.edition == 2:
            return value
        value = {key: value[key] for key in (*_FIRST_EDITION, "layout", "color")}
        return {key: item for key, item in value.items() if (key, item) != ("icc", "ignore")}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Contract:
        """Return the contract written by `to_dict`. Raises BundleError for a missing or unknown value."""
        try:
            stored = build(_Stored, value)
        except FormatError as error:
            raise BundleError(f"contract: {error}; export the bundle again") from error
        if (stored.layout, stored.color) != (_LAYOUT, _COLOR):
            raise BundleError(
                f"contract: {stored.layout!a:.40} {stored.color!a:.40}; expected layout {_LAYOUT} and color {_COLOR}"
            )
        return cls(**{field.name: getattr(stored, field.name) for field in fields(cls)})

    def _check_sides(self) -> None:
        pairs = list(zip(both(self.size), both(self.resize), strict=True))
        if not all(1 <= side <= resized <= MAX_SIDE for side, resized in pairs):
            sizes = f"size {self.size}, resize {self.resize}"
            raise BundleError(f"contract: {sizes}; expected 1 <= size <= resize <= {MAX_SIDE}")
        for name, default in (("fill", (0, 0, 0)), ("pad_position", "center")):
            if self.fit != "letterbox" and (value := getattr(self, name)) != default:
                raise BundleError(f"contract: {name} {value} with fit {self.fit}; expected fit letterbox, which pads")
        if self.pad_position != "center" and self.size != self.resize:
            raise BundleError(
                f"contract: pad_position {self.pad_position} with resize {self.resize}; expected resize {self.size}, as size"
            )

    def _check_colours(self) -> None:
        for name in ("fill", "background"):
            colour = getattr(self, name)
            if colour is not None and not (len(colour) == 3 and all(0 <= value <= 255 for value in colour)):
                raise BundleError(
                    f"contract: {name} {colour!s:.80}; expected three numbers, 0 to 255, for red, green and blue"
                )

    def _check_channels(self) -> None:
        channels = self.channels
        numbers = (*self.mean, *self.std)
        if not (
            len(self.mean) == len(self.std) == channels
            and min(self.std) > 1e-6
            and all(abs(number) < 1e6 for number in numbers)
        ):
            expected = "3 means and 3 positive stds" if channels == 3 else "one mean and one positive std"
            raise BundleError(
                f"contract: mean {self.mean!s:.80}, std {self.std!s:.80}; expected {expected}, one per channel"
            )
        _check_units(self.mean, self.std)


@dataclass(frozen=True, slots=True)
class _Stored:
    """The contract as stored in a manifest and in a model's metadata; the fields with defaults are not in every edition."""

    size: Sides
    resize: Sides
    mean: tuple[float, ...]
    std: tuple[float, ...]
    layout: str
    color: str
    icc: Icc = "ignore"
    fit: Fit = "crop"
    interpolation: Interpolation = "bilinear"
    antialias: bool = True
    fill: Colour = (0, 0, 0)
    pad_position: PadPosition = "center"
    background: Colour | None = None
    rounding: Rounding = "nearest"
    network_color: NetworkColor = "RGB"


def both(sides: Sides) -> tuple[int, int]:
    """Return height and width of one number for both, or of (height, width)."""
    return (sides, sides) if isinstance(sides, int) else sides


def as_sides(height: int, width: int) -> Sides:
    """Return one number for a square, else (height, width)."""
    return height if height == width else (height, width)


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
