"""Splits a network behind its frozen stages, so that their activations can be cached."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from vegrt.backbones import Backbone, has_weights
from vegrt.errors import ModelError
from vegrt.train.loop.freeze import stage_names

_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout)


class Tail(nn.Module):
    """The part behind the split: activations (N, ...) to logits (N, K). It shares the network's modules."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, activations: Tensor) -> Tensor:
        """Return (N, K) logits."""
        if activations.ndim == 4:
            activations = activations.contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.graph(activations)
        return logits


class _Tracer(fx.Tracer):
    """Traces the outermost forward only: the stages stay single modules."""

    def __init__(self, leaves: set[str]) -> None:
        super().__init__()
        self.leaves = leaves

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return name in self.leaves or super().is_leaf_module(module, name)


def split_at(network: nn.Module, backbone: Backbone, until: str) -> tuple[nn.Module, Tail]:
    """Return the network in two parts, sharing its modules: the stages up to `until`, and the rest.

    Operations without weights and randomness (activation, pooling) belong to the first part, whose output is then smaller.
    Raises ModelError for a network whose outermost forward cannot be traced, is random outside its stages, or passes more than
    one value between the parts.
    """
    leaves = {name for stage in (*backbone.stages, (backbone.head,)) for name in stage}
    try:
        graph = _Tracer(leaves).trace(network)
    except Exception as error:  # of whatever kind the network's own code raises when it is given proxies
        raise ModelError(f"{backbone.name}: cannot be split ({error!r:.200})") from error
    if random_nodes := [node for node in graph.nodes if node.op == "call_function" and "dropout" in str(node.target)]:
        raise ModelError(f"{backbone.name}: cannot be split ({random_nodes[0]} is random and outside all stages)")
    frozen = {name for stage in backbone.stages[: stage_names(backbone).index(until) + 1] for name in stage}
    last = max(index for index, node in enumerate(graph.nodes) if node.op == "call_module" and node.target in frozen)
    boundary = list(graph.nodes)[last]
    while (follower := _sole_follower(boundary, network)) is not None:
        boundary = follower
    first, second = fx.Graph(), fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        copies[node] = first.node_copy(node, copies.__getitem__)
        if node is boundary:
            break
    first.output(copies[boundary])
    behind = {boundary: second.placeholder("activations")}
    for node in list(graph.nodes)[len(copies) :]:
        if missing := set(node.all_input_nodes) - behind.keys():
            raise ModelError(f"{backbone.name}: cannot be split behind {until}: {node} needs {missing.pop()} too")
        behind[node] = second.node_copy(node, behind.__getitem__)
    return fx.GraphModule(network, first), Tail(fx.GraphModule(network, second))


def _sole_follower(node: fx.Node, network: nn.Module) -> fx.Node | None:
    """Return the only user of the node's output where it depends on nothing else, learns nothing and draws nothing."""
    users = list(node.users)
    if len(users) != 1 or users[0].op == "output" or users[0].all_input_nodes != [node]:
        return None
    user = users[0]
    if user.op == "call_module":
        module = network.get_submodule(str(user.target))
        return None if isinstance(module, _DROPOUTS) or has_weights(module) else user
    return user
