"""The deployed form of a network: the same answers from fewer operators, for export.

timm merges the branches of RepVGG, MobileOne, FastViT and others into one convolution, and folds the batch normalisations of
LeViT and others, also after a Linear. torch's exporters fold those directly after a convolution.
"""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models import MobileNetV2


def deployed(network: nn.Module) -> nn.Module:
    """Return a network in eval mode in its deployed form. It may share modules with the network, or change it."""
    if type(network).__module__.startswith("timm."):
        from timm.utils.model import reparameterize_model

        network = reparameterize_model(network)
    return _plain_pooling(network)


class _GlobalAverage(nn.Module):
    """AdaptiveAvgPool2d(1) without the strided view that torch's exporter writes as index arithmetic (torch 2.14)."""

    def forward(self, features: Tensor) -> Tensor:
        return features.mean((2, 3), keepdim=True)  # (N, C, 1, 1)


class _MobileNet(nn.Module):
    """torchvision's MobileNetV2 under the same names; its own forward pools by a function, which no module can replace."""

    def __init__(self, network: MobileNetV2) -> None:
        super().__init__()
        self.features, self.pool, self.classifier = network.features, _GlobalAverage(), network.classifier

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.pool(self.features(images)).flatten(1))
        return logits


def _plain_pooling(network: nn.Module) -> nn.Module:
    if isinstance(network, MobileNetV2):
        return _MobileNet(network)
    for name, child in network.named_children():
        if isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size in (1, (1, 1)):
            setattr(network, name, _GlobalAverage())
        else:
            _plain_pooling(child)
    return network
