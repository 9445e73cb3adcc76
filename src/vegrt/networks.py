"""Networks with built-in preprocessing, and a bundle's checkpoint as a torch module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vegrt.backbones import build_network
from vegrt.bundle.bundle import Bundle
from vegrt.errors import ModelError, reason_of
from vegrt.photo.contract import Contract


class WithPreprocessing(nn.Module):
    """A network preceded by the contract's normalization: uint8 (N, H, W, 3) RGB to float32 logits (N, K)."""

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, contract: Contract) -> None:
        super().__init__()
        self.network = network
        mean, std = torch.tensor(contract.mean), torch.tensor(contract.std)
        self.register_buffer("scale", (1 / (255 * std)).view(1, 3, 1, 1))
        self.register_buffer("shift", (-mean / std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, K) float32 logits. Cast comes first, because in TensorRT no other operator accepts uint8."""
        pixels = images.to(torch.float32).permute(0, 3, 1, 2)  # (N, 3, H, W)
        logits: Tensor = self.network(pixels * self.scale + self.shift)
        return logits


def load_network(bundle: Bundle) -> nn.Module:
    """Return the bundle's checkpoint as a module in eval mode. Raises ModelError if the weights do not fit the network."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    manifest, file = bundle.manifest, bundle.file("weights")
    if missing := [name for name in ("backbone", "head") if not manifest.model.get(name)]:
        raise ModelError(f"{bundle.path}: the manifest has no {missing[0]} for the weights; train again")
    network = build_network(manifest.model["backbone"], len(manifest.classes), head=manifest.model["head"])
    try:
        network.load_state_dict(load_file(file))
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(
            f"{file}: does not fit {manifest.model['backbone']} ({reason_of(error)}); train again"
        ) from error
    return network.eval()
