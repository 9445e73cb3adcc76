from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from vegrt.backbones import build_network
from vegrt.train.loop.averaging import WeightAverage

DECAY = 0.9


def drifted(network: nn.Module) -> nn.Module:
    """Change all weights, statistics and counters of a network, and return it."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.randn(tensor.shape, generator=generator))
            else:
                tensor.add_(3)
    return network


def states(applied: Tensor | None) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Return the average before and after a step, and the network that it follows."""
    torch.manual_seed(0)
    network = build_network("resnet18", 3)
    average = WeightAverage(network, DECAY)
    before = copy.deepcopy(average.network.state_dict())
    drifted(network)
    average.follow(applied)
    return before, average.network.state_dict(), network.state_dict()


def test_the_average_is_that_of_a_loop_over_the_tensors_bit_for_bit() -> None:
    before, after, network = states(None)
    for name, mean in before.items():
        expected = mean.lerp(network[name], 1 - DECAY) if mean.is_floating_point() else network[name]
        assert torch.equal(after[name], expected), name


@pytest.mark.parametrize("applied", [0.0, 1.0])
def test_a_skipped_step_leaves_the_average_unchanged(applied: float) -> None:
    before, after, network = states(torch.tensor(applied))
    for name, mean in before.items():
        if not mean.is_floating_point():
            assert torch.equal(after[name], network[name]), name
            continue
        expected = mean + (network[name] - mean) * torch.tensor((1 - DECAY) * applied)
        assert torch.equal(after[name], expected), name
        assert torch.equal(after[name], mean) == (applied == 0.0), name


def test_a_restarted_average_equals_the_network() -> None:
    network = build_network("mobilenet_v2", 3)
    average = WeightAverage(network, DECAY)
    drifted(network)
    average.restart()
    assert all(
        torch.equal(mean, value)
        for mean, value in zip(average.network.state_dict().values(), network.state_dict().values(), strict=True)
    )
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
