"""The backbones: one table, and how a checkpoint becomes a torch module. The only shared module that imports torch.

It lives here and not in train/ because export and the torch runner build networks too (docs/decisions/0002).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, partial
from itertools import pairwise
from typing import Any, Literal, cast

import torch
import torchvision
from torch import Tensor, nn

from vegrt.bundle.bundle import Bundle
from vegrt.errors import ModelError, require
from vegrt.photo.preprocess import IMAGENET_MEAN, IMAGENET_STD, Contract

Head = Literal["gap", "classic"]
TIMM = "timm:"  # what the names of timm's models begin with
_Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Backbone:
    """One architecture.

    builder: takes torchvision's or timm's arguments.
    head: attribute whose last Linear is the classifier. stages: module prefixes from the input on, in freezing order.
    mean, std: what its weights were trained with, per RGB channel of pixels in [0, 1].
    size: the only input size that it takes, in pixels; 0 is any.
    """

    name: str
    builder: Callable[..., nn.Module]
    head: str
    stages: tuple[tuple[str, ...], ...]
    mean: _Triple = IMAGENET_MEAN
    std: _Triple = IMAGENET_STD
    size: int = 0


_RESNET_STAGES = (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",))


def _features(*bounds: int) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(f"features.{index}" for index in range(low, high)) for low, high in pairwise(bounds))


_TABLE = (
    Backbone("resnet18", torchvision.models.resnet18, "fc", _RESNET_STAGES),
    Backbone("resnet50", torchvision.models.resnet50, "fc", _RESNET_STAGES),
    Backbone("vgg16", torchvision.models.vgg16, "classifier", _features(0, 5, 10, 17, 24, 31)),
    Backbone("efficientnet_b0", torchvision.models.efficientnet_b0, "classifier", _features(0, 2, 3, 4, 6, 9)),
    Backbone("mobilenet_v2", torchvision.models.mobilenet_v2, "classifier", _features(0, 2, 4, 7, 14, 19)),
)
BACKBONES = {backbone.name: backbone for backbone in _TABLE}


def find_backbone(name: str) -> Backbone:
    """Return the backbone of that name, `timm:NAME` for one of timm's. Raises ModelError that lists the known ones."""
    if name.startswith(TIMM):
        return _timm_backbone(name.removeprefix(TIMM))
    if name not in BACKBONES:
        raise ModelError(f"backbone {name!r}: unknown; expected one of {', '.join(BACKBONES)}, or {TIMM}NAME")
    return BACKBONES[name]


def contract_of(backbone: str, size: int) -> Contract:
    """Return how photos become this backbone's input. Raises ModelError for a size that it does not take."""
    found = find_backbone(backbone)
    if found.size and size != found.size:
        raise ModelError(f"backbone {backbone}: size {size} given, it takes {found.size} only; add --size {found.size}")
    return Contract(size, size, found.mean, found.std)


def build_network(name: str, num_classes: int, *, head: Head = "gap", imagenet: bool = False) -> nn.Module:
    """Return the backbone with a fresh head for `num_classes`; random weights, or torchvision's own with `imagenet`.

    head: only vgg16 has a choice. `gap` replaces its three 4096-wide layers by global average pooling and a 512-wide
    layer (15 M parameters instead of 138 M); `classic` keeps them.
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
    elif backbone.head == "fc":
        network.fc = nn.Linear(network.fc.in_features, num_classes)
    else:
        network.classifier[-1] = nn.Linear(network.classifier[-1].in_features, num_classes)
    return cast(nn.Module, network)


@cache
def _timm_backbone(name: str) -> Backbone:
    """Return what timm knows of its model. Every part with weights is a stage, so are the steps of a sequence of parts."""
    timm = require("timm", "timm")
    if (architecture := name.partition(".")[0]) not in (known := timm.list_models()):
        near = ", ".join(get_close_matches(architecture, known, n=5)) or "none of a similar name"
        raise ModelError(f"backbone {TIMM}{name}: timm {timm.__version__} has no such model; it has {near}")
    builder = partial(timm.create_model, name)
    try:
        network: Any = builder(pretrained=False)
    except RuntimeError as error:  # an unknown tag behind the dot, for one
        raise ModelError(f"backbone {TIMM}{name}: timm cannot build it ({error})") from error
    config, head = network.pretrained_cfg, network.pretrained_cfg.get("classifier")
    if not isinstance(head, str) or not isinstance(network.get_submodule(head), nn.Linear):
        raise ModelError(f"backbone {TIMM}{name}: its classifier is not one linear layer; choose another model")
    size = config["input_size"][-1] if config.get("fixed_input_size") else 0
    stages = tuple((stage,) for stage in _parts(network) if not head.startswith(stage))
    return Backbone(f"{TIMM}{name}", builder, head, stages, tuple(config["mean"]), tuple(config["std"]), size)


def _parts(network: nn.Module) -> Iterator[str]:
    for name, child in network.named_children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            yield from (f"{name}.{step}" for step, part in child.named_children() if has_weights(part))
        elif has_weights(child):
            yield name


def has_weights(module: nn.Module) -> bool:
    """Return whether the module or any part of it learns."""
    return any(True for _ in module.parameters())


class WithPreprocessing(nn.Module):
    """A network with the contract in front: uint8 (N, H, W, 3) RGB in, float32 logits (N, K) out."""

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, contract: Contract) -> None:
        super().__init__()
        self.network = network
        mean, std = torch.tensor(contract.mean), torch.tensor(contract.std)
        self.register_buffer("scale", (1 / (255 * std)).view(1, 3, 1, 1))
        self.register_buffer("shift", (-mean / std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, K) float32 logits. Cast comes first: TensorRT takes uint8 in no other operator."""
        pixels = images.to(torch.float32).permute(0, 3, 1, 2)  # (N, 3, H, W)
        logits: Tensor = self.network(pixels * self.scale + self.shift)
        return logits


def load_network(bundle: Bundle) -> nn.Module:
    """Return the bundle's checkpoint as a module in eval mode. Raises ModelError when weights and network disagree."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    manifest, file = bundle.manifest, bundle.file("weights")
    if missing := [name for name in ("backbone", "head") if not manifest.model.get(name)]:
        raise ModelError(f"{bundle.path}: its manifest names no {missing[0]} for the weights; train it again")
    network = build_network(manifest.model["backbone"], len(manifest.classes), head=manifest.model["head"])
    try:
        network.load_state_dict(load_file(file))
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(f"{file}: does not fit {manifest.model['backbone']} ({str(error).splitlines()[0]})") from error
    return network.eval()
