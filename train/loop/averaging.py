"""The average of a network's weights over the steps (exponential moving average)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class WeightAverage:
    """A copy of a network that follows the network's weights and statistics slowly.

    network: the copy. decay: the share of the copy that a step preserves.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False)
        self._followed = network
        self._share = 1 - decay

    @torch.no_grad()
    def follow(self, applied: Tensor | None = None) -> None:
        """Move weights and statistics towards the network's, in a few kernels for all of them, and copy the counters.

        applied: 1, or 0 to leave weights and statistics unchanged, float32 () on the device; without it they move. The two ways
        may differ in the last bit: the one without it is a fused multiply-add on CPUs.
        """
        means, counters = _by_kind(self.network)
        values, counts = _by_kind(self._followed)
        if applied is None:
            torch._foreach_lerp_(means, values, self._share)
        else:
            differences = torch._foreach_sub(values, means)
            torch._foreach_mul_(differences, self._share * applied)
            torch._foreach_add_(means, differences)
        if counters:
            torch._foreach_copy_(counters, counts)

    def restart(self) -> None:
        """Set the average to the network's present weights and statistics."""
        self.network.load_state_dict(self._followed.state_dict())


def _by_kind(network: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Return weights and statistics, and the counters of batch normalisations."""
    tensors = [*network.parameters(), *network.buffers()]
    return [tensor for tensor in tensors if tensor.is_floating_point()], [
        tensor for tensor in tensors if not tensor.is_floating_point()
    ]
