"""Writes Q/DQ pairs into an ONNX graph, from a placement and ranges.

Activations: per tensor. `signed`: int8, zero point 0, scale = threshold / 127 (TensorRT accepts nothing else). `unsigned`: uint8,
zero point 0 where the tensor is never negative. Weights: per output channel, symmetric, zero point 0, bias in float.
Formulas: ONNX QuantizeLinear and DequantizeLinear, opset 19 and later (scales may be float16).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from vegrt.calibration.graph.onnx_graph import add_initializer
from vegrt.calibration.graph.placement import Edge, Encoding, Placement
from vegrt.errors import ModelError

SIGNED_LEVELS = 127
UNSIGNED_LEVELS = 255


@dataclass(frozen=True, slots=True)
class Range:
    """The interval of real values that a tensor's 8 bits represent; low <= 0 <= high."""

    low: float
    high: float


def insert_qdq(
    model: ir.Model, placement: Placement, ranges: Mapping[str, Range], encoding: Encoding, *, weight_levels: int = 127
) -> None:
    """Rewrite `model` in place with Q/DQ pairs around the tensors and weights that `placement` names.

    weight_levels: largest magnitude of a quantized weight: 127, or 64 to keep the sums of x86 CPUs without VNNI exact.
    Raises ModelError when a range is missing or is not finite.
    """
    nodes = {node.name: node for node in model.graph}
    for name, edges in placement.activations.items():
        source = placement.same_range.get(name, name)
        if source not in ranges:
            raise ModelError(f"{source}: no calibrated range; calibrate this graph again")
        _quantize_activation(model, nodes, name, edges, _parameters(source, ranges[source], encoding))
    for name, axis in placement.weights.items():
        _quantize_weight(model, name, axis, weight_levels)


def _parameters(name: str, span: Range, encoding: Encoding) -> tuple[np.float32, NDArray[np.generic]]:
    """Return scale and zero point of a tensor."""
    if not (np.isfinite(span.low) and np.isfinite(span.high) and span.low <= 0 <= span.high):
        raise ModelError(
            f"{name}: calibrated range [{span.low}, {span.high}]; expected finite numbers, low <= 0 <= high"
        )
    tiny = float(np.finfo(np.float16).tiny)  # a tensor that is always zero still needs a positive scale
    if encoding == "signed":
        scale = max(-span.low, span.high) / SIGNED_LEVELS
        return np.float32(max(scale, tiny)), np.array(0, np.int8)
    scale = max((span.high - span.low) / UNSIGNED_LEVELS, tiny)
    return np.float32(scale), np.array(np.clip(round(-span.low / scale), 0, UNSIGNED_LEVELS), np.uint8)


def _quantize_activation(
    model: ir.Model,
    nodes: Mapping[str | None, ir.Node],
    name: str,
    edges: tuple[Edge, ...],
    parameters: tuple[np.float32, NDArray[np.generic]],
) -> None:
    graph = model.graph
    value = nodes[edges[0].node].inputs[edges[0].index]
    if value is None or value.name != name:
        raise AssertionError(f"{edges[0]} does not read {name}")
    scale_dtype = np.float16 if value.dtype == ir.DataType.FLOAT16 else np.float32
    scale = add_initializer(graph, f"{name}.scale", np.array(parameters[0], scale_dtype))
    zero_point = add_initializer(graph, f"{name}.zero_point", parameters[1])
    quantize = ir.node("QuantizeLinear", [value, scale, zero_point], name=f"{name}.quantize")
    dequantize = ir.node("DequantizeLinear", [quantize.outputs[0], scale, zero_point], name=f"{name}.dequantize")
    _set_type(quantize.outputs[0], f"{name}.q", zero_point.dtype, value.shape)
    _set_type(dequantize.outputs[0], f"{name}.dq", value.dtype, value.shape)
    _insert_after_producer(graph, value, [quantize, dequantize])
    for edge in edges:
        nodes[edge.node].replace_input_with(edge.index, dequantize.outputs[0])


def _quantize_weight(model: ir.Model, name: str, axis: int, levels: int) -> None:
    graph = model.graph
    value = graph.initializers[name]
    if value.const_value is None:
        raise AssertionError(f"{name} is not a weight")
    weights = value.const_value.numpy()
    quantized, scales = quantize_weights(weights, axis, levels)
    readers = list(value.uses())
    stored = add_initializer(graph, f"{name}.q", quantized)
    scale = add_initializer(graph, f"{name}.scale", scales)
    zero_point = add_initializer(graph, f"{name}.zero_point", np.zeros(scales.shape, np.int8))
    dequantize = ir.node("DequantizeLinear", [stored, scale, zero_point], {"axis": axis}, name=f"{name}.dequantize")
    _set_type(dequantize.outputs[0], f"{name}.dq", value.dtype, value.shape)
    graph.insert_before(readers[0][0], dequantize)
    for node, index in readers:
        node.replace_input_with(index, dequantize.outputs[0])
    graph.initializers.pop(name)


def quantize_weights(
    weights: NDArray[np.floating], axis: int, levels: int
) -> tuple[NDArray[np.int8], NDArray[np.floating]]:
    """Return int8 weights of the same shape and one positive scale per index of `axis`, in the weights' dtype.

    scale = max |w| / levels over the channel; q = clip(round_half_even(w / scale), -levels, levels).
    """
    other_axes = tuple(index for index in range(weights.ndim) if index != axis)
    peak = np.abs(weights.astype(np.float32)).max(axis=other_axes, keepdims=True)
    # Rounded to the weights' type before it is used: the runtime will multiply by this very scale.
    scale = np.maximum(peak / levels, np.finfo(np.float16).tiny).astype(weights.dtype)
    quantized = np.clip(np.rint(weights.astype(np.float32) / scale.astype(np.float32)), -levels, levels)
    return quantized.astype(np.int8), scale.reshape(-1)


def _set_type(value: ir.Value, name: str, dtype: ir.DataType | None, shape: ir.Shape | None) -> None:
    value.name, value.shape = name, shape
    if dtype is not None:
        value.type = ir.TensorType(dtype)


def _insert_after_producer(graph: ir.Graph, value: ir.Value, nodes: list[ir.Node]) -> None:
    producer = value.producer()
    if producer is None:
        graph.insert_before(graph[0], nodes)
    else:
        graph.insert_after(producer, nodes)
