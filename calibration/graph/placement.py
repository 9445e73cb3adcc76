"""The placement of Q/DQ pairs: which tensors and weights are quantized. Knows nothing of ranges.

The rules are TensorRT's (explicit quantization): quantize the inputs of every Conv, of every Gemm except the classifier,
and the residual branch of an Add beside such a layer; nothing between a Conv and its activation. The CPU encoding also
quantizes the outputs, because ONNX Runtime's 8-bit kernels read and write 8-bit tensors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

Encoding = Literal["signed", "unsigned"]

ACTIVATIONS = frozenset({"Relu", "Clip"})  # fused into the preceding Conv or Add by every runtime
_CPU_KERNELS = frozenset({"Conv", "Gemm", "Add", "GlobalAveragePool"})  # operators with an 8-bit kernel of their own


@dataclass(frozen=True, slots=True)
class Edge:
    """One input of one node, by the node's name."""

    node: str
    index: int


@dataclass(frozen=True, slots=True)
class Placement:
    """The tensors and weights to quantize.

    activations: tensor name -> the edges that read its quantized form. weights: initializer name -> its output-channel axis.
    """

    activations: dict[str, tuple[Edge, ...]]
    weights: dict[str, int]


def plan_quantization(model: ir.Model, encoding: Encoding, *, float_layers: frozenset[str] = frozenset()) -> Placement:
    """Return the tensors and weights to quantize in a float graph.

    float_layers: names of nodes whose weights and inputs stay in float.
    """
    edges: dict[str, list[Edge]] = {}
    weights: dict[str, int] = {}
    for node in quantizable_nodes(model):
        if node.name not in float_layers:
            transposed = node.op_type == "Conv" or node.attributes.get_int("transB", False)
            weights[_name(node.inputs[1])] = 0 if transposed else 1
        _add(edges, node, 0)
    layers = set(quantizable_nodes(model))
    for node in model.graph:
        if node.op_type == "Add" and (residual := _residual_input(node)) is not None and _is_beside(node, layers):
            _add(edges, node, residual)
    if encoding == "unsigned":
        _add_cpu_edges(model, edges, float_layers)
    activations = {
        name: tuple(edge for edge in readers if edge.node not in float_layers) for name, readers in edges.items()
    }
    return Placement({name: readers for name, readers in activations.items() if readers}, weights)


def quantizable_layers(model: ir.Model, encoding: Encoding) -> list[str]:
    """Return the names of the nodes that a placement quantizes and that `float_layers` may name, in the graph's order.

    Layers with weights; additions whose skip connection is quantized; for a CPU also the pooling before the classifier.
    """
    read = {edge.node for edges in plan_quantization(model, encoding).activations.values() for edge in edges}
    operators = _CPU_KERNELS if encoding == "unsigned" else _CPU_KERNELS - {"GlobalAveragePool"}
    return [_text(node.name) for node in model.graph if node.name in read and node.op_type in operators]


def quantizable_nodes(model: ir.Model) -> Iterator[ir.Node]:
    """Yield the nodes whose weights may become int8: every Conv, and every Gemm but the classifier, the last one."""
    gemms = [node for node in model.graph if node.op_type == "Gemm"]
    for node in model.graph:
        weight = node.inputs[1] if node.op_type in {"Conv", "Gemm"} and len(node.inputs) > 1 else None
        if weight is not None and weight.is_initializer() and node not in gemms[-1:]:
            yield node


def result_of(node: ir.Node) -> ir.Value:
    """Return a node's result after its fused activation: the Relu's output, if only a Relu reads the node's own output."""
    output = node.outputs[0]
    consumers = output.consumers()
    if len(consumers) == 1 and consumers[0].op_type in ACTIVATIONS and not output.is_graph_output():
        return consumers[0].outputs[0]
    return output


def _residual_input(node: ir.Node) -> int | None:
    """Return which input of an Add is the skip connection; None for an Add with a constant.

    The Conv on the main branch fuses with the Add, so the other input is quantized; with two Convs, the second.
    """
    if any(value is None or value.is_initializer() or value.const_value is not None for value in node.inputs):
        return None
    first, second = (value.producer() if value is not None else None for value in node.inputs)
    if first is None or second is None:
        return None
    return 0 if first.op_type != "Conv" and second.op_type == "Conv" else 1


def _is_beside(add: ir.Node, layers: set[ir.Node]) -> bool:
    """Return whether an Add reads from or is read by one of the layers, directly or through an activation.

    Elsewhere, as between the token layers of a transformer, a pair costs time and no layer computes in 8 bits because of it.
    """
    sources = [value.producer() for value in add.inputs if value is not None]
    producers = [
        source.inputs[0].producer() if source.op_type in ACTIVATIONS and source.inputs[0] is not None else source
        for source in sources
        if source is not None
    ]
    readers = {*add.outputs[0].consumers(), *result_of(add).consumers()}
    return any(node in layers for node in (*producers, *readers))


def _add_cpu_edges(model: ir.Model, edges: dict[str, list[Edge]], float_layers: frozenset[str]) -> None:
    """Add both inputs and the result of each node that has an 8-bit kernel on a CPU."""
    classifier = [node for node in model.graph if node.op_type == "Gemm"][-1:]
    layers = set(quantizable_nodes(model))
    for node in model.graph:
        if node.op_type not in _CPU_KERNELS or node.name in float_layers or node in classifier:
            continue
        if node.op_type == "Add" and (_residual_input(node) is None or not _is_beside(node, layers)):
            continue
        if node.op_type in {"Add", "GlobalAveragePool"}:
            for index in range(len(node.inputs)):
                _add(edges, node, index)
        result = result_of(node)
        for consumer, index in result.uses():
            if not result.is_graph_output():
                _add(edges, consumer, index)


def _add(edges: dict[str, list[Edge]], node: ir.Node, index: int) -> None:
    edge = Edge(_text(node.name), index)
    readers = edges.setdefault(_name(node.inputs[index]), [])
    if edge not in readers:
        readers.append(edge)


def _name(value: ir.Value | None) -> str:
    return _text(value.name if value is not None else None)


def _text(name: str | None) -> str:
    if not name:
        raise AssertionError("graph passes name every node and value")
    return name
