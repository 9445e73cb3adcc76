"""Random small classifiers: what edge networks are made of, in combinations that nobody chose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.LeakyReLU, nn.GELU, nn.Identity)


@dataclass(frozen=True)
class RandomClassifier:
    """A network for photos of height x width. blocks: in words. batch: of the photos that it is tried on."""

    network: nn.Module
    size: tuple[int, int]
    batch: int
    blocks: str


class Branches(nn.Module):
    """The sum or the concatenation of two branches."""

    def __init__(self, first: nn.Module, second: nn.Module, *, is_sum: bool) -> None:
        super().__init__()
        self.first, self.second, self.is_sum = first, second, is_sum

    def forward(self, values: Tensor) -> Tensor:
        first, second = self.first(values), self.second(values)
        return first + second if self.is_sum else torch.cat([first, second], dim=1)


class SqueezeExcite(nn.Module):
    """Each channel scaled by a gate that the means of all channels decide."""

    def __init__(self, channels: int, gate: nn.Module) -> None:
        super().__init__()
        inner = max(2, channels // 4)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, inner, 1), nn.ReLU(), nn.Conv2d(inner, channels, 1), gate
        )

    def forward(self, values: Tensor) -> Tensor:
        gates: Tensor = self.gate(values)
        return values * gates


def random_classifier(seed: int, classes: int) -> RandomClassifier:
    """Return the network of a seed, in evaluation mode; its batch normalisations have the statistics of noise."""
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    size = (int(random.integers(17, 65)), int(random.integers(17, 65)))
    channels = int(random.integers(3, 25))
    layers: list[nn.Module] = [convolution(random, 3, channels)]
    names = ["stem"]
    for _ in range(int(random.integers(1, 5))):
        kind, block, channels = random_block(random, channels)
        layers.append(block)
        names.append(kind)
    if random.random() < 0.3:
        layers += [nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, classes, 1), nn.Flatten()]
        names.append("convolution as head")
    else:
        pool: nn.Module = nn.AdaptiveAvgPool2d(1) if random.random() < 0.8 else nn.AdaptiveMaxPool2d(1)
        layers += [pool, nn.Flatten(), nn.Linear(channels, classes)]
        names.append("linear head")
    network = nn.Sequential(*layers)
    settle(network, size)
    return RandomClassifier(network, size, int(random.integers(1, 8)), ", ".join(names))


def random_block(random: np.random.Generator, channels: int) -> tuple[str, nn.Module, int]:
    """Return the name of a block, the block, and the number of channels that it gives."""
    kind = str(random.choice(["convolution", "depthwise", "groups", "residual", "concat", "pool", "gate"]))
    if kind == "depthwise":
        wider = convolution(random, channels, channels, groups=channels)
        return kind, nn.Sequential(wider, convolution(random, channels, 2 * channels, kernel=1)), 2 * channels
    if kind == "groups":
        groups = int(random.choice([count for count in (2, 3, 4) if channels % count == 0] or [1]))
        return kind, convolution(random, channels, channels, groups=groups), channels
    if kind == "residual":
        own = nn.Sequential(
            convolution(random, channels, channels, stride=1), convolution(random, channels, channels, stride=1)
        )
        return kind, nn.Sequential(Branches(nn.Identity(), own, is_sum=True), activation(random)), channels
    if kind == "concat":
        parts = [convolution(random, channels, channels, stride=1, kernel=kernel) for kernel in (1, 3)]
        return kind, Branches(parts[0], parts[1], is_sum=False), 2 * channels
    if kind == "pool":
        pools = [nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2, 2), nn.MaxPool2d(2, 2, ceil_mode=True)]
        return kind, pools[int(random.integers(len(pools)))], channels
    if kind == "gate":
        gate: nn.Module = nn.Sigmoid() if random.random() < 0.5 else nn.Hardsigmoid()
        return kind, SqueezeExcite(channels, gate), channels
    wider_by = int(random.integers(1, 3))
    return kind, convolution(random, channels, wider_by * channels), wider_by * channels


def convolution(
    random: np.random.Generator, inputs: int, outputs: int, *, groups: int = 1, stride: int = 0, kernel: int = 0
) -> nn.Sequential:
    """Return a convolution with or without batch normalisation, and an activation. stride, kernel: drawn if 0."""
    kernel = kernel or int(random.choice([1, 3, 3, 3, 5]))
    stride = stride or int(random.choice([1, 1, 2]))
    has_norm = bool(random.random() < 0.7)
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=not has_norm)
    return nn.Sequential(layer, *([nn.BatchNorm2d(outputs)] if has_norm else []), activation(random))


def activation(random: np.random.Generator) -> nn.Module:
    return ACTIVATIONS[int(random.integers(len(ACTIVATIONS)))]()


def settle(network: nn.Module, size: tuple[int, int]) -> None:
    """Give batch normalisations the statistics of noise, and heads weights whose logits lie apart."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.randn(16, 3, *size))
        heads = [module for module in network.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
        spread = network.eval()(torch.randn(64, 3, *size)).std(dim=0).mean()
        heads[-1].weight *= 3 / max(float(spread), 1e-6)
