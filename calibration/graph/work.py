"""The share of a network that computes in 8 bits, by its multiplications.

The denominator is the whole network, not only the layers that can be quantized: every layer with weights, whatever its operator,
and the products of two activations in attention.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from vegrt.calibration.graph.onnx_graph import copy_graph, serialize
from vegrt.calibration.graph.placement import (
    CONVOLUTIONS,
    PRODUCTS,
    attention_products,
    quantizable_nodes,
    values_of_images,
)
from vegrt.infer.runtimes.onnxruntime.session import read_tensors

Shape = Sequence[int]


@dataclass(frozen=True, slots=True)
class Work:
    """The 8-bit part of a network. share: of the multiplications for one image. layers: of `all_layers` with weights.

    macs_per_image: the multiplications for one image in all layers with weights.
    """

    share: float
    layers: int
    all_layers: int
    macs_per_image: int = 0

    def __str__(self) -> str:
        """Return it in words: `92.3% of all multiplications (51 of 53 weight layers) in 8 bits`."""
        return f"{share_percent(self.share)} of all multiplications ({self.layers} of {self.all_layers} weight layers) in 8 bits"


def share_percent(share: float) -> str:
    """Return a share as a percentage with one digit; only the whole is 100.0%."""
    return f"{share if share == 1 else min(share, 0.999):.1%}"


def weight_layers(model: ir.Model) -> list[ir.Node]:
    """Return the nodes that multiply values that depend on the image by weights, in the graph's order.

    Every Conv and ConvTranspose; a Gemm, MatMul or Einsum with an operand that is the same for all images: an initializer, or the
    result of Transpose, Reshape, DequantizeLinear and so on of one. Attention's products of two activations are not among them.
    """
    varying = values_of_images(model)
    return [node for node in _multiplying(model, varying) if not _has_two_activations(node, varying)]


def multiplications(model: ir.Model) -> list[tuple[str, int]]:
    """Return the name and the multiplications for one image of each weight layer and each product of two activations.

    They are in the graph's order. Sizes are those of a run on one black image, which also gives the shapes that the graph
    computes. Does not change `model`.
    """
    copy = copy_graph(model)
    layers = list(_multiplying(copy, values_of_images(copy)))
    read = [[*_operands(node), node.outputs[0]] for node in layers]
    shapes = _shapes(copy, [value for values in read for value in values])
    return [
        (str(node.name), _count(node, [shapes[str(value.name)] for value in values]))
        for node, values in zip(layers, read, strict=True)
    ]


def work_in_8_bits(model: ir.Model, float_layers: Mapping[str, Iterable[str]]) -> dict[str, Work]:
    """Return the work of each variant of a float32 graph. float_layers: by variant, the layers that it keeps in float."""
    counts, weighted = multiplications(model), {str(node.name) for node in weight_layers(model)}
    quantizable = {str(node.name) for node in (*quantizable_nodes(model), *attention_products(model))}
    works = {}
    for variant, in_float in float_layers.items():
        in_8_bits = quantizable - set(in_float)
        macs = sum(count for _, count in counts)
        share = sum(count for name, count in counts if name in in_8_bits) / max(macs, 1)
        works[variant] = Work(share, len(in_8_bits & weighted), len(weighted), macs)
    return works


def _multiplying(model: ir.Model, varying: Collection[ir.Value]) -> Iterator[ir.Node]:
    """Yield the nodes that multiply values that depend on the image, `varying`, by weights or by one another."""
    for node in model.graph:
        if node.op_type in CONVOLUTIONS | PRODUCTS and any(value in varying for value in _operands(node)):
            yield node


def _has_two_activations(node: ir.Node, varying: Collection[ir.Value]) -> bool:
    return node.op_type in PRODUCTS and all(value in varying for value in _operands(node))


def _shapes(model: ir.Model, values: Sequence[ir.Value]) -> dict[str, Shape]:
    """Return the shapes of values for one image, by name: of constants from the graph, of all others from a run."""
    constants = {str(value.name): value.const_value.shape.numpy() for value in values if value.const_value is not None}
    images = model.graph.inputs[0]
    input_shape = (1, *(size if isinstance(size, int) else 1 for size in (images.shape or ())[1:]))
    known = {str(images.name): input_shape} | constants
    unknown = {str(value.name): value for value in values if str(value.name) not in known}
    outputs = {str(value.name) for value in model.graph.outputs}
    model.graph.outputs.extend(value for name, value in unknown.items() if name not in outputs)
    read = read_tensors(serialize(model, check=False), list(unknown))
    tensors = read(np.zeros(input_shape, np.uint8))
    return known | {name: tuple(tensor.shape) for name, tensor in zip(unknown, tensors, strict=True)}


def _operands(node: ir.Node) -> list[ir.Value]:
    """Return the factors of a layer, without the bias of a Conv or Gemm."""
    factors = node.inputs if node.op_type == "Einsum" else node.inputs[:2]
    return [value for value in factors if value is not None]


def _count(node: ir.Node, shapes: Sequence[Shape]) -> int:
    """Return a layer's number of multiplications. shapes: of its operands and of its result."""
    first, second, result = shapes[0], shapes[1], shapes[-1]
    if node.op_type in CONVOLUTIONS:  # weights (M, C, ...) or (C, M, ...): each is used at every pixel of one side
        return prod((result if node.op_type == "Conv" else first)[2:]) * prod(second)
    if node.op_type == "Einsum":
        return prod(_letters(node, shapes[:-1]).values())
    transposed = node.op_type == "Gemm" and node.attributes.get_int("transA", False)
    return prod(result) * first[0 if transposed else -1]


def _letters(node: ir.Node, shapes: Sequence[Shape]) -> dict[object, int]:
    """Return the size of each index of an Einsum; those behind an ellipsis are counted from the right."""
    sizes: dict[object, int] = {}
    terms = node.attributes.get_string("equation", "").replace(" ", "").split("->")[0].split(",")
    for term, shape in zip(terms, shapes, strict=True):
        before, ellipsis, after = term.partition("...")
        hidden = shape[len(before) : len(shape) - len(after)] if ellipsis else ()
        names = [*before, *range(len(hidden), 0, -1), *after]
        sizes |= {name: max(size, sizes.get(name, 1)) for name, size in zip(names, shape, strict=True)}
    return sizes
