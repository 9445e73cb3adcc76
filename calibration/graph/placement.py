"""The placement of Q/DQ pairs: which tensors and weights are quantized. Knows nothing of ranges.

The rules are TensorRT's (explicit quantization): quantize the inputs of every Conv, of every Gemm and MatMul with weights except
the classifier, and the residual branch of an Add beside a Conv or Gemm; nothing between a Conv and its activation. LayerNorm,
Softmax and GELU stay in float, and so does the residual branch of a transformer. So may the products of two activations in
attention, as layers in float (docs/decisions/0033). The CPU encoding also quantizes the outputs of Conv and Gemm, because ONNX
Runtime's 8-bit kernels read and write 8-bit tensors; that of MatMul writes float. There a MaxPool of a quantized tensor has one
range for its input and its result: then it runs on the 8 bits themselves, otherwise in float.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import onnx_ir as ir

Encoding = Literal["signed", "unsigned"]

ACTIVATIONS = frozenset({"Relu", "Clip"})  # fused into the preceding Conv or Add by every runtime
CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
PRODUCTS = frozenset({"Gemm", "MatMul", "Einsum"})
_RESHAPING = frozenset({"Flatten", "Reshape", "Squeeze", "Identity", "Cast"})
_LAYERS = frozenset({"Conv", "Gemm", "MatMul"})  # operators whose weights may become int8
_CPU_KERNELS = frozenset({"Conv", "Gemm", "Add", "GlobalAveragePool"})  # those whose 8-bit kernel writes 8 bits


@dataclass(frozen=True, slots=True)
class Edge:
    """One input of one node, by the node's name."""

    node: str
    index: int


@dataclass(frozen=True, slots=True)
class Placement:
    """The tensors and weights to quantize.

    activations: tensor name -> the edges that read its quantized form. weights: initializer name -> its output-channel axis.
    tokens: the activations that a MatMul reads, whose channels are not axis 1. same_range: tensor -> the tensor whose range it
    has, because it holds a selection of the other's values.
    """

    activations: dict[str, tuple[Edge, ...]]
    weights: dict[str, int]
    tokens: frozenset[str] = frozenset()
    same_range: Mapping[str, str] = field(default_factory=dict)


def plan_quantization(model: ir.Model, encoding: Encoding, *, float_layers: frozenset[str] = frozenset()) -> Placement:
    """Return the tensors and weights to quantize in a float graph.

    float_layers: names of nodes whose weights and inputs stay in float.
    """
    edges: dict[str, list[Edge]] = {}
    weights: dict[str, int] = {}
    layers = list(quantizable_nodes(model))
    for node in layers:
        if node.name not in float_layers:
            weights[_name(node.inputs[1])] = output_axis(node)
        _add(edges, node, 0)
    for node in attention_products(model):
        _add(edges, node, 0)
        _add(edges, node, 1)
    neighbours = {node for node in layers if node.op_type != "MatMul"}
    for node in model.graph:
        if node.op_type == "Add" and (residual := _residual_input(node)) is not None and _is_beside(node, neighbours):
            _add(edges, node, residual)
    if encoding == "unsigned":
        _add_cpu_edges(model, edges, neighbours, float_layers)
    activations = {
        name: read
        for name, readers in edges.items()
        if (read := tuple(e for e in readers if e.node not in float_layers))
    }
    products = {node.name for node in model.graph if node.op_type == "MatMul"}
    tokens = {name for name, readers in activations.items() if any(edge.node in products for edge in readers)}
    same_range = _pooled(model, activations) if encoding == "unsigned" else {}
    return Placement(activations, weights, frozenset(tokens), same_range)


def quantizable_layers(model: ir.Model, encoding: Encoding) -> list[str]:
    """Return the names of the nodes that a placement quantizes and that `float_layers` may name, in the graph's order.

    Layers with weights; attention's products; additions whose skip connection is quantized; for a CPU also the pooling before the
    classifier.
    """
    read = {edge.node for edges in plan_quantization(model, encoding).activations.values() for edge in edges}
    operators = _LAYERS | (_CPU_KERNELS if encoding == "unsigned" else _CPU_KERNELS - {"GlobalAveragePool"})
    return [_text(node.name) for node in model.graph if node.name in read and node.op_type in operators]


def quantizable_nodes(model: ir.Model) -> Iterator[ir.Node]:
    """Yield the nodes whose weights may become int8: every Conv, Gemm and MatMul but the classifiers.

    A MatMul's weights are a matrix on its right, as those of a linear layer on tokens are.
    """
    varying, classifiers = values_of_images(model), _classifiers(model)
    for node in model.graph:
        if node.op_type not in _LAYERS or node in classifiers or node.inputs[0] not in varying:
            continue
        weight = node.inputs[1] if len(node.inputs) > 1 else None
        is_matrix = weight is not None and weight.shape is not None and len(weight.shape) == 2
        if weight is not None and weight.is_initializer() and (node.op_type != "MatMul" or is_matrix):
            yield node


def attention_products(model: ir.Model) -> list[ir.Node]:
    """Return the MatMuls of two values that depend on the image, as attention has them, in the graph's order."""
    varying = values_of_images(model)
    return [node for node in model.graph if node.op_type == "MatMul" and all(value in varying for value in node.inputs)]


def values_of_images(model: ir.Model) -> set[ir.Value]:
    """Return the values that depend on the image; all others are the same for all images: weights, and what is made of them."""
    varying = set(model.graph.inputs)
    for node in model.graph:
        if any(value in varying for value in node.inputs):
            varying.update(node.outputs)
    return varying


def output_axis(node: ir.Node) -> int:
    """Return the axis of a layer's output channels in its weight."""
    if node.op_type == "MatMul":
        return 1
    return 1 if node.op_type == "Gemm" and not node.attributes.get_int("transB", 0) else 0


def _classifiers(model: ir.Model) -> set[ir.Node]:
    """Return the layers that compute the logits, with no other layer between; several where heads are averaged.

    A convolution is one only where nothing but a new shape is between: before a pooling it works on every pixel.
    """
    varying, classifiers = values_of_images(model), set()
    pending, visited = [(value.producer(), True) for value in model.graph.outputs], set()
    while pending:
        node, only_reshaped = pending.pop()
        if node is None or node in visited:
            continue
        visited.add(node)
        is_product = node.op_type in PRODUCTS and not all(value in varying for value in node.inputs[:2])
        if node.op_type in CONVOLUTIONS or is_product:
            if is_product or only_reshaped:
                classifiers.add(node)
            continue
        only_reshaped = only_reshaped and node.op_type in _RESHAPING
        pending += [(value.producer(), only_reshaped) for value in node.inputs if value is not None]
    return classifiers


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


def _add_cpu_edges(
    model: ir.Model, edges: dict[str, list[Edge]], layers: set[ir.Node], float_layers: frozenset[str]
) -> None:
    """Add both inputs and the result of each node whose 8-bit kernel on a CPU writes 8 bits. layers: the Convs and Gemms."""
    classifiers = _classifiers(model)
    for node in model.graph:
        if node.op_type not in _CPU_KERNELS or node.name in float_layers or node in classifiers:
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


def _pooled(model: ir.Model, activations: Mapping[str, tuple[Edge, ...]]) -> dict[str, str]:
    """Return the quantized result of each MaxPool that reads a quantized tensor, and the tensor that holds its values first."""
    sources: dict[str, str] = {}
    for node in model.graph:
        if node.op_type == "MaxPool" and _name(node.outputs[0]) in activations:
            source = _name(node.inputs[0])
            if Edge(_text(node.name), 0) in activations.get(source, ()):
                sources[_name(node.outputs[0])] = sources.get(source, source)
    return sources


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
