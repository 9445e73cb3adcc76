"""The contracts that are tried, one factor at a time: normalisation and channels, size, fit, interpolation.

Each function returns a contract with one factor changed to every plausible value; of contracts with the same pixels, the first is
shown. Their sources are the tables of docs/contract.md. How rare a value is, in nats (-log of its odds against the most usual
one), decides between contracts that the photos hardly tell apart. These numbers are estimates, not measurements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vegrt.photo.contract import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Colour,
    Contract,
    Fit,
    Interpolation,
    NetworkColor,
    PadPosition,
)

PLAUSIBLE_SIZES = (224, 256, 299, 384, 192, 160, 128, 96, 64, 32)  # where the graph has no size
_CROP_SHARES = (0.875, 1.0, 0.965, 0.95, 0.9)  # size / resize: torchvision (256 and 232 for 224), timm
_UNIT = (1 / 255, 1 / 255, 1 / 255)  # the std of pixels in 0..255
_INTERPOLATIONS: dict[tuple[Interpolation, bool], float] = {  # interpolation and antialias: rarity
    ("bilinear", True): 0,
    ("bilinear", False): 0.5,
    ("bicubic", True): 0,  # timm's default, as bilinear is torchvision's
    ("nearest", True): 1,
    ("area", True): 1,
    ("bicubic", False): 1.5,
}
_FILLS = ((0, 0, 0), (114, 114, 114), (128, 128, 128), (255, 255, 255))  # colours of padding, the first two usual
_BGR_RARITY = 1.0
_REVERSED_RARITY = 1.0


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Mean and std per channel, of pixels scaled to [0, 1].

    name: as users know it. rarity: in nats. color: the channels that it is usual with.
    """

    name: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    rarity: float = 0.0
    color: NetworkColor = "RGB"

    def reversed(self) -> Normalisation:
        """Return the normalisation whose values were written for the other order of channels."""
        return replace(self, name=f"{self.name} in reverse", mean=self.mean[::-1], std=self.std[::-1])


COLOUR = (
    Normalisation("ImageNet mean and std", IMAGENET_MEAN, IMAGENET_STD),
    Normalisation("0..1", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    Normalisation("-1..1", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    Normalisation("0..255", (0.0, 0.0, 0.0), _UNIT, 0.5),
    Normalisation("caffe mean", (123.68 / 255, 116.779 / 255, 103.939 / 255), _UNIT, 0.5, "BGR"),
    Normalisation("CLIP mean and std", (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711), 1),
    Normalisation("-128..127", (128 / 255, 128 / 255, 128 / 255), _UNIT, 3),
    Normalisation("ImageNet mean", IMAGENET_MEAN, (1.0, 1.0, 1.0), 3),
    Normalisation("CIFAR-10 mean and std", (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616), 3),
)
GREY = (
    Normalisation("0..1", (0.0,), (1.0,), 0, "L"),
    Normalisation("-1..1", (0.5,), (0.5,), 0, "L"),
    Normalisation("0..255", (0.0,), (1 / 255,), 0.5, "L"),
    Normalisation("MNIST mean and std", (0.1307,), (0.3081,), 0.5, "L"),
    Normalisation("ImageNet mean and std", (0.449,), (0.226,), 1, "L"),
    Normalisation("-128..127", (128 / 255,), (1 / 255,), 3, "L"),
)


def first_contract(height: int, width: int, channels: int) -> Contract:
    """Return the contract that the search starts with: the whole photo's centre, the most usual normalisation."""
    color: NetworkColor = "L" if channels == 1 else "RGB"
    usual = (GREY if channels == 1 else COLOUR)[0]
    return _cropped(Contract((height, width), 0, usual.mean, usual.std, network_color=color), (height, width))


def normalised(contract: Contract) -> tuple[Contract, ...]:
    """Return the contract with every normalisation, for RGB and for BGR networks.

    For BGR, values that differ by channel are tried both ways: converted with the channels, and left as they are for RGB, as in
    code that forgot the conversion.
    """
    if contract.network_color == "L":
        return tuple(replace(contract, mean=choice.mean, std=choice.std) for choice in GREY)
    rgb = [replace(contract, mean=each.mean, std=each.std, network_color="RGB") for each in COLOUR]
    both = [normal for each in COLOUR for normal in dict.fromkeys((each, each.reversed()))]
    bgr = [replace(contract, mean=each.mean, std=each.std, network_color="BGR") for each in both]
    return tuple(dict.fromkeys((*rgb, *bgr)))


def sized(contract: Contract, sizes: Sequence[int]) -> tuple[Contract, ...]:
    """Return the contract with every size, as a square, without margin."""
    return tuple(_cropped(replace(contract, size=size, resize=size), (size, size)) for size in sizes)


def fitted(contract: Contract) -> tuple[Contract, ...]:
    """Return the contract with every fit, margin and padding."""
    height, width = contract.height, contract.width
    boxes = [(int(height / share), int(width / share)) for share in _CROP_SHARES]
    mean = tuple(round(255 * value) for value in contract.mean)
    fills = dict.fromkeys([*_FILLS, *([mean] if len(mean) == 3 and max(mean) <= 255 else [])])
    return (
        *(_cropped(contract, box) for box in boxes),
        _whole(contract, "stretch"),
        replace(_cropped(contract, boxes[0]), fit="stretch"),
        *(_whole(contract, "letterbox", fill=(fill[0], fill[1], fill[2])) for fill in fills),
        _whole(contract, "letterbox", pad_position="top-left"),
    )


def coarse(contract: Contract) -> tuple[Contract, ...]:
    """Return the contract with the kinds of fit and of interpolation together: a fit may show only with its interpolation."""
    usual = int(contract.height / _CROP_SHARES[0]), int(contract.width / _CROP_SHARES[0])
    fits = (
        _cropped(contract, usual),
        _cropped(contract, (contract.height, contract.width)),
        _whole(contract, "stretch"),
        _whole(contract, "letterbox"),
    )
    kinds: tuple[tuple[Interpolation, bool], ...] = (("bilinear", True), ("bilinear", False), ("nearest", True))
    return tuple(replace(fit, interpolation=name, antialias=antialias) for fit in fits for name, antialias in kinds)


def interpolated(contract: Contract) -> tuple[Contract, ...]:
    """Return the contract with every interpolation, with and without antialiasing."""
    return tuple(replace(contract, interpolation=name, antialias=antialias) for name, antialias in _INTERPOLATIONS)


def rarity(contract: Contract) -> float:
    """Return how rare a contract is, in nats; 0 for the most usual one."""
    normal = _named(contract)
    is_reversed = normal.name != "other mean and std" and normal not in (*COLOUR, *GREY)
    of_channels = _REVERSED_RARITY * is_reversed + _BGR_RARITY * (normal.color != contract.network_color)
    of_interpolation = _INTERPOLATIONS[contract.interpolation, contract.antialias]
    if normal.name.startswith("CLIP"):  # its own preprocessing is bicubic
        of_interpolation = 0.0 if (contract.interpolation, contract.antialias) == ("bicubic", True) else 1.0
    return normal.rarity + of_channels + _fit_rarity(contract) + of_interpolation


def describe(contract: Contract) -> str:
    """Return a contract in words, such as `0..1, BGR; stretch 224; bilinear without antialias`."""
    parts = [f"{contract.fit} {_sides_text(contract.resize)}"]
    if contract.resize != contract.size:
        parts.append(f"to {_sides_text(contract.size)}")
    if contract.fit == "letterbox":
        parts.append(f"on {contract.fill[0] if len(set(contract.fill)) == 1 else contract.fill}")
        parts += [contract.pad_position] if contract.pad_position != "center" else []
    return f"{_named(contract).name}, {contract.network_color}; {' '.join(parts)}; {interpolation_name(contract)}"


def interpolation_name(contract: Contract) -> str:
    """Return the interpolation in words."""
    return contract.interpolation + ("" if contract.antialias else " without antialias")


def _sides_text(sides: int | tuple[int, int]) -> str:
    return str(sides) if isinstance(sides, int) else f"{sides[0]}x{sides[1]}"


def _cropped(contract: Contract, box: tuple[int, int]) -> Contract:
    """Return the contract with a crop out of `box`, rounded as torchvision and timm do."""
    return replace(contract, resize=box, fit="crop", fill=(0, 0, 0), pad_position="center", rounding="torchvision")


def _whole(contract: Contract, fit: Fit, *, fill: Colour = (0, 0, 0), pad_position: PadPosition = "center") -> Contract:
    """Return the contract with a fit that shows the whole photo, where no rounding is to be chosen."""
    size = contract.size
    return replace(contract, resize=size, fit=fit, fill=fill, pad_position=pad_position, rounding="nearest")


def _named(contract: Contract) -> Normalisation:
    choices = GREY if contract.network_color == "L" else (*COLOUR, *(each.reversed() for each in COLOUR))
    same = [each for each in choices if (each.mean, each.std) == (contract.mean, contract.std)]
    return same[0] if same else Normalisation("other mean and std", contract.mean, contract.std)


def _fit_rarity(contract: Contract) -> float:
    has_margin = contract.resize != contract.size
    if contract.fit == "stretch":
        return 2.0 if has_margin else 0.0
    if contract.fit == "letterbox":
        return 1.0 if contract.fill in _FILLS[:2] and contract.pad_position == "center" else 2.0
    usual = int(contract.height / _CROP_SHARES[0])
    return 0.0 if contract.resize_box[0] == usual else 1.0 if has_margin else 0.5
