"""The table of backbones, and the networks that are built from it.

It is shared because training, export and the torch runner all build networks (docs/decisions/0002).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, partial
from itertools import pairwise
from math import floor
from typing import Any, Literal, cast

import torchvision
from torch import nn

from vegrt.errors import ModelError, require
from vegrt.photo.contract import (
    CHOICES,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Colour,
    Contract,
    Fit,
    Interpolation,
    Sides,
    both,
)

Head = Literal["gap", "classic"]
_TIMM_FITS: dict[str | None, Fit] = {"squash": "stretch", "border": "letterbox"}  # its crop_mode
TIMM = "timm:"  # prefix of the names of timm's models
_Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Backbone:
    """One architecture.

    builder: has the signature of torchvision's or timm's builders.
    heads: names of the modules that compute the logits; the logits are the mean of several.
    stages: prefixes of module names from input to output, the order in which they are frozen.
    mean, std: normalization of its pretrained weights, per RGB channel of pixels in [0, 1].
    size: the only accepted input size, in pixels; 0 if any size is.
    fit, interpolation, crop_pct: how photos were fitted for its pretrained weights. crop_pct: share of the resized photo that the
    crop keeps.
    """

    name: str
    builder: Callable[..., nn.Module]
    heads: tuple[str, ...]
    stages: tuple[tuple[str, ...], ...]
    mean: _Triple = IMAGENET_MEAN
    std: _Triple = IMAGENET_STD
    size: int = 0
    fit: Fit = "crop"
    interpolation: str = "bilinear"
    crop_pct: float = 1.0


_RESNET_STAGES = (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",))


def _features(*bounds: int) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(f"features.{index}" for index in range(low, high)) for low, high in pairwise(bounds))


_TABLE = (
    Backbone("resnet18", torchvision.models.resnet18, ("fc",), _RESNET_STAGES),
    Backbone("resnet50", torchvision.models.resnet50, ("fc",), _RESNET_STAGES),
    Backbone("vgg16", torchvision.models.vgg16, ("classifier",), _features(0, 5, 10, 17, 24, 31)),
    Backbone("efficientnet_b0", torchvision.models.efficientnet_b0, ("classifier",), _features(0, 2, 3, 4, 6, 9)),
    Backbone("mobilenet_v2", torchvision.models.mobilenet_v2, ("classifier",), _features(0, 2, 4, 7, 14, 19)),
)
BACKBONES = {backbone.name: backbone for backbone in _TABLE}


def find_backbone(name: str) -> Backbone:
    """Return the backbone with this name, `timm:NAME` for one of timm's. Raises ModelError for an unknown name."""
    if name.startswith(TIMM):
        return _timm_backbone(name.removeprefix(TIMM))
    if name not in BACKBONES:
        raise ModelError(f"backbone {name!r}: unknown; expected one of {', '.join(BACKBONES)}, or {TIMM}NAME")
    return BACKBONES[name]


def contract_of(
    backbone: str, size: Sides, *, fit: Fit | None = None, interpolation: Interpolation | None = None
) -> Contract:
    """Return the preprocessing contract of a backbone. fit, interpolation: instead of those of its pretrained weights.

    Without them, a model of timm gets the pixels that timm gives it. A given fit leaves no margin to crop. Raises ModelError for
    a size or an interpolation that is not supported.
    """
    architecture = find_backbone(backbone)
    if (fixed_size := architecture.size) and size != fixed_size:
        raise ModelError(f"backbone {backbone}: size {size}; expected {fixed_size}; add --size {fixed_size}")
    chosen = interpolation or architecture.interpolation
    if chosen not in CHOICES["interpolation"]:
        raise ModelError(
            f"backbone {backbone}: interpolation {chosen}; expected {' or '.join(CHOICES['interpolation'])}; add "
            "--interpolation bicubic"
        )
    is_timms = fit is None and backbone.startswith(TIMM)
    crop_pct = architecture.crop_pct if is_timms else 1.0
    fit = fit or architecture.fit
    height, width = (floor(side / crop_pct) for side in both(size))
    return Contract(
        size,
        (height, width),
        architecture.mean,
        architecture.std,
        fit=fit,
        interpolation=cast(Interpolation, chosen),
        fill=_colour_of(architecture.mean) if fit == "letterbox" else (0, 0, 0),
        rounding="torchvision" if is_timms else "nearest",
    )


def _colour_of(mean: _Triple) -> Colour:
    red, green, blue = (round(255 * value) for value in mean)
    return red, green, blue


def build_network(name: str, num_classes: int, *, head: Head = "gap", imagenet: bool = False) -> nn.Module:
    """Return the backbone with a new head for `num_classes`.

    imagenet: load pretrained weights instead of random ones.
    head: used for vgg16 only. `gap` replaces its three 4096-wide layers with global average pooling and a 512-wide layer
    (15 M parameters instead of 138 M); `classic` keeps them.
    """
    backbone = find_backbone(name)
    if name.startswith(TIMM):
        return backbone.builder(pretrained=imagenet, num_classes=num_classes)
    network: Any = backbone.builder(weights="DEFAULT" if imagenet else None)
    if name == "vgg16" and head == "gap":
        network.avgpool = nn.AdaptiveAvgPool2d(1)
        network.classifier = nn.Sequential(
            nn.Linear(512, 512), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(512, num_classes)
        )
    elif backbone.heads == ("fc",):
        network.fc = nn.Linear(network.fc.in_features, num_classes)
    else:
        network.classifier[-1] = nn.Linear(network.classifier[-1].in_features, num_classes)
    return cast(nn.Module, network)


@cache
def _timm_backbone(name: str) -> Backbone:
    """Return one of timm's models. Its stages are its children with weights; each block of a sequence is a stage."""
    timm = require("timm", "timm")
    if (architecture := name.partition(".")[0]) not in (names := timm.list_models()):
        similar = ", ".join(get_close_matches(architecture, names, n=5)) or "no model with a similar name"
        raise ModelError(f"backbone {TIMM}{name}: not in timm {timm.__version__}; similar names: {similar}")
    builder = partial(timm.create_model, name)
    try:
        network: Any = builder(pretrained=False, num_classes=2)  # some have no classifier by default
    except RuntimeError as error:  # such as an unknown tag after the dot
        raise ModelError(f"backbone {TIMM}{name}: timm cannot build it ({error}); choose another model") from error
    config, heads = network.pretrained_cfg, _timm_heads(network)
    if not heads:
        raise ModelError(f"backbone {TIMM}{name}: has no classifier in timm {timm.__version__}; choose another model")
    size = config["input_size"][-1] if config.get("fixed_input_size") else 0
    stages = tuple(
        (stage,) for stage in _parts(network) if not any(f"{head}.".startswith(f"{stage}.") for head in heads)
    )
    return Backbone(
        f"{TIMM}{name}",
        builder,
        heads,
        stages,
        tuple(config["mean"]),
        tuple(config["std"]),
        size,
        fit=_TIMM_FITS.get(config.get("crop_mode"), "crop"),
        interpolation=config.get("interpolation") or "bilinear",
        crop_pct=config.get("crop_pct") or 0.875,  # timm's own default
    )


def _timm_heads(network: Any) -> tuple[str, ...]:
    """Return the names of a timm model's classifiers: one, or two where a second one was trained by distillation."""
    classifier = network.get_classifier()
    modules = tuple(classifier) if isinstance(classifier, tuple | list | nn.ModuleList) else (classifier,)
    names = {id(module): name for name, module in network.named_modules()}
    return tuple(names[id(module)] for module in modules if id(module) in names and has_weights(module))


def _parts(network: nn.Module) -> Iterator[str]:
    for name, child in network.named_children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            yield from (f"{name}.{step}" for step, part in child.named_children() if has_weights(part))
        elif has_weights(child):
            yield name


def has_weights(module: nn.Module) -> bool:
    """Return whether the module has parameters."""
    return any(True for _ in module.parameters())
