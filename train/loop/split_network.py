"""Splits a network after its frozen stages, so that their activations can be cached."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from vegrt.backbones import Backbone, has_weights
from vegrt.errors import ModelError
from vegrt.train.loop.freeze import stage_names

_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout)


class Tail(nn.Module):
    """The part after the split: activations (N, ...) to logits (N, K). It shares the modules of the network."""

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
    """Traces only the outermost forward: a stage stays a single module."""

    def __init__(self, leaves: set[str]) -> None:
        super().__init__()
        self.leaves = leaves

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return name in self.leaves or super().is_leaf_module(module, name)


def split_at(network: nn.Module, backbone: Backbone, until: str) -> tuple[nn.Module, Tail]:
    """Return the network in two parts that share its modules: the stages up to `until`, and the rest.

    Operations without weights and randomness (activation, pooling) belong to the first part, because its output is then smaller.
    Raises ModelError for a network whose outermost forward cannot be traced, is random outside its stages, or passes more than
    one value between the parts.
    """
    graph = _trace(network, backbone)
    boundary = _boundary(graph, network, backbone, until)
    try:
        first, second = _cut(graph, boundary)
    except ModelError as error:
        raise ModelError(f"{backbone.name}: cannot be split after {until} ({error})") from error
    return fx.GraphModule(network, first), Tail(fx.GraphModule(network, second))


def _trace(network: nn.Module, backbone: Backbone) -> fx.Graph:
    """Return the graph of the outermost forward. Raises ModelError when it cannot be traced or is random outside its stages."""
    leaves = {name for stage in (*backbone.stages, backbone.heads) for name in stage}
    try:
        graph = _Tracer(leaves).trace(network)
    except Exception as error:  # the code of a network may raise any exception when it gets fx proxies
        raise ModelError(f"{backbone.name}: cannot be split ({error!r:.200})") from error
    if random_nodes := [node for node in graph.nodes if node.op == "call_function" and "dropout" in str(node.target)]:
        raise ModelError(f"{backbone.name}: cannot be split ({random_nodes[0]} is random and outside all stages)")
    return graph


def _boundary(graph: fx.Graph, network: nn.Module, backbone: Backbone, until: str) -> fx.Node:
    """Return the last node of the first part."""
    frozen = {name for stage in backbone.stages[: stage_names(backbone).index(until) + 1] for name in stage}
    boundary: fx.Node = [node for node in graph.nodes if node.op == "call_module" and node.target in frozen][-1]
    while (user := _movable_user(boundary, network)) is not None:
        boundary = user
    return boundary


def _cut(graph: fx.Graph, boundary: fx.Node) -> tuple[fx.Graph, fx.Graph]:
    """Return the graph up to `boundary`, and the rest. Raises ModelError when the rest needs another value of the first part."""
    first, second = fx.Graph(), fx.Graph()
    first_copies: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        first_copies[node] = first.node_copy(node, first_copies.__getitem__)
        if node is boundary:
            break
    first.output(first_copies[boundary])
    second_copies = {boundary: second.placeholder("activations")}
    for node in list(graph.nodes)[len(first_copies) :]:
        if missing := set(node.all_input_nodes) - second_copies.keys():
            raise ModelError(f"{node} also needs {missing.pop()}")
        second_copies[node] = second.node_copy(node, second_copies.__getitem__)
    return first, second


def _movable_user(node: fx.Node, network: nn.Module) -> fx.Node | None:
    """Return the only user of the output of a node; None if it has other inputs, weights or randomness."""
    users = list(node.users)
    if len(users) != 1 or users[0].op == "output" or users[0].all_input_nodes != [node]:
        return None
    user = users[0]
    if user.op == "call_module":
        module = network.get_submodule(str(user.target))
        return None if isinstance(module, _DROPOUTS) or has_weights(module) else user
    return user
