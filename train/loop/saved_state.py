"""Weights, optimizer and loss scale as named tensors on the CPU, which a checkpoint stores, and back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
_SCALER_KEYS = {"scale": "scale", "growth_tracker": "_growth_tracker"}  # our name -> GradScaler's


def network_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Return weights, statistics and counters by name, contiguous."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}


def optimizer_tensors(optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, Tensor]:
    """Return the moments and step counts as `<moment>.<parameter>`, contiguous; none before the first step."""
    return {
        f"{moment}.{name}": tensor.detach().cpu().contiguous()
        for name, parameter in network.named_parameters()
        for moment, tensor in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Restore `optimizer_tensors`. Moments get the memory layout of their parameter, which fused AdamW assumes."""
    for moment in _MOMENTS:
        saved = with_prefix(f"{moment}.", tensors)
        for name, parameter in network.named_parameters():
            if name in saved:
                like = torch.zeros((), device=parameter.device) if moment == "step" else parameter.detach()
                optimizer.state[parameter][moment] = torch.empty_like(like).copy_(saved[name])


def scaler_tensors(scaler: torch.amp.GradScaler) -> dict[str, Tensor]:
    """Return the loss scale and the number of steps since it changed, float64 (); none unless it is enabled."""
    state = scaler.state_dict()
    return {name: torch.tensor(float(state[key]), dtype=torch.float64) for name, key in _SCALER_KEYS.items() if state}


def restore_scaler(scaler: torch.amp.GradScaler, tensors: Mapping[str, Tensor]) -> None:
    """Restore `scaler_tensors`. Without them, as in a state from a device that needed none, the scale stays as it is."""
    if scaler.is_enabled() and tensors:
        scale, growth_tracker = tensors["scale"].item(), int(tensors["growth_tracker"])
        scaler.load_state_dict(scaler.state_dict() | {"scale": scale, "_growth_tracker": growth_tracker})


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose name begins with the prefix, under the remainder of their name."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
