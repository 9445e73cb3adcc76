"""The placement checker: refuses a quantized graph that breaks a rule of its runtime, naming the node and the rule.

It reads the graph alone, neither placement nor ranges, so it also finds errors of their code. A residual branch or a whole layer
left in float is no error: it only costs speed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from vegrt.calibration.graph.placement import ACTIVATIONS, Encoding, output_axis
from vegrt.errors import ModelError

HALF_SCALES_OPSET = 19  # the first whose QuantizeLinear and DequantizeLinear take float16 scales
_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_LAYERS = {"Conv", "Gemm", "MatMul"}


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules in which the encodings differ.

    activations: the output type of QuantizeLinear. shifted: activations may have a zero point other than 0.
    integer_bias: a bias may be int32 behind a DequantizeLinear. float_weights: a layer left in float may read
    a dequantized tensor, because the layer before it stores 8 bits.
    """

    activations: ir.DataType
    shifted: bool
    integer_bias: bool
    float_weights: bool


# All other rules are the same for both: constant scales, finite and normal in their own type; float16 scales from opset 19 on;
# one scale per activation, one per output channel of a weight; weights int8 and symmetric, only with quantized data;
# inputs of one layer in one float type; a DequantizeLinear behind every QuantizeLinear; no pair before a fused Relu or Clip.
RULES: dict[Encoding, Rules] = {
    "signed": Rules(ir.DataType.INT8, shifted=False, integer_bias=False, float_weights=False),  # TensorRT
    "unsigned": Rules(ir.DataType.UINT8, shifted=True, integer_bias=True, float_weights=True),  # ONNX Runtime on a CPU
}


def check_placement(model: ir.Model, encoding: Encoding) -> None:
    """Raise ModelError, naming the node and the rule, when a quantized graph breaks one of its encoding's rules."""
    rules, opset = RULES[encoding], model.opset_imports.get("", 0)
    for node in model.graph:
        if node.op_type in {_QUANTIZE, _DEQUANTIZE}:
            _check_scale(node, opset)
        if node.op_type == _QUANTIZE:
            _check_quantize(node, rules)
        elif node.op_type == _DEQUANTIZE:
            _check_dequantize(node, rules)
        elif node.op_type in ACTIVATIONS:
            _check_fusion(node)
        elif node.op_type in _LAYERS:
            _check_layer(node, rules)


def _check_scale(node: ir.Node, opset: int) -> None:
    scale = _constant(_input(node, 1))
    if scale is None:
        _refuse(node, "its scale is computed in the graph", "scales are constants")
    if scale.dtype not in (np.float16, np.float32):
        _refuse(node, f"{scale.dtype} scale", "scales are float16 or float32")
    if scale.dtype == np.float16 and opset < HALF_SCALES_OPSET:
        _refuse(node, f"float16 scale at opset {opset}", f"float16 scales need opset {HALF_SCALES_OPSET}")
    tiny = np.finfo(np.float16 if scale.dtype == np.float16 else np.float32).tiny
    bad_scales = [value for value in scale.reshape(-1).tolist() if not tiny <= value < np.inf]  # catches NaN too
    if bad_scales:
        _refuse(node, f"scale {bad_scales[0]:.3g}", f"scales are finite, positive and not subnormal in {scale.dtype}")


def _check_quantize(node: ir.Node, rules: Rules) -> None:
    if _constant(_input(node, 0)) is None:  # a float weight in front of a pair is checked at its DequantizeLinear
        _check_activation(node, rules)
    output = node.outputs[0]
    readers = output.consumers()
    if output.is_graph_output() or not readers or any(reader.op_type != _DEQUANTIZE for reader in readers):
        _refuse(node, "not read by a DequantizeLinear alone", "every QuantizeLinear is followed by one")


def _check_dequantize(node: ir.Node, rules: Rules) -> None:
    stored = _stored(node)
    roles = {index for reader, index in node.outputs[0].uses() if reader.op_type in _LAYERS}
    integer = stored is not None and stored.dtype == np.int32
    if integer or 2 in roles:
        if not rules.integer_bias:
            _refuse(node, "dequantizes a bias", "biases stay in float")
    elif stored is not None and 1 in roles:
        _check_weight(node, stored)
    else:
        _check_activation(node, rules)


def _check_activation(node: ir.Node, rules: Rules) -> None:
    scale = _constant(_input(node, 1))
    if scale is not None and scale.size != 1:
        _refuse(node, f"{scale.size} scales", "activations have one scale per tensor")
    if (kind := _eight_bits(node)) != rules.activations:
        _refuse(node, f"8-bit type {kind.name}", f"activations of this encoding are {rules.activations.name}")
    zero_point = _zero_point(node)
    if zero_point.any() and not rules.shifted:
        _refuse(node, f"zero point {int(zero_point.flat[0])}", "zero points are 0 in the signed encoding")


def _check_weight(node: ir.Node, weight: NDArray[np.generic]) -> None:
    scale, zero_point = _constant(_input(node, 1)), _zero_point(node)
    if weight.dtype not in (np.int8, np.float16, np.float32) or zero_point.dtype != np.int8:
        _refuse(node, f"weight of {weight.dtype}, zero point of {zero_point.dtype}", "quantized weights are int8")
    if zero_point.any():
        _refuse(node, f"weight zero point {int(zero_point[zero_point != 0].flat[0])}", "weights are symmetric")
    axis = node.attributes.get_int("axis", 1) % weight.ndim
    for reader in (reader for reader, index in node.outputs[0].uses() if reader.op_type in _LAYERS and index == 1):
        expected = output_axis(reader)
        if scale is None or scale.shape != (weight.shape[expected],) or axis != expected:
            shape, scales = list(weight.shape), list(scale.shape) if scale is not None else None
            rule = f"a {reader.op_type}'s weight has one scale per output channel, axis {expected}"
            _refuse(node, f"scales {scales} on axis {axis} of a weight {shape}", rule)


def _check_fusion(node: ir.Node) -> None:
    dequantize = _producer(node, 0, _DEQUANTIZE)
    quantize = _producer(dequantize, 0, _QUANTIZE)
    layer = _producer(quantize, 0, *_LAYERS)
    if dequantize is None or quantize is None or layer is None:
        return
    if len(dequantize.outputs[0].uses()) == 1:  # with more readers the activation is not the layer's own
        rule = f"no pair stands between a {layer.op_type} and its {node.op_type}"
        _refuse(quantize, f"between {layer.name} and {node.name}", rule)


def _check_layer(node: ir.Node, rules: Rules) -> None:
    data, weight = (_producer(node, index, _DEQUANTIZE) for index in (0, 1))
    # the right factor of two activations may come in 8 bits from the layer before it
    if weight and not data and not (rules.float_weights and _stored(weight) is None):
        _refuse(node, "quantized weight, float data", "both or neither are quantized")
    if data and not weight and not rules.float_weights:
        _refuse(node, "quantized data, float weight", "both or neither are quantized")
    kinds = [kind.name for index in range(len(node.inputs)) if (kind := _float_type(node, index)) is not None]
    if len(set(kinds)) > 1:
        _refuse(node, f"inputs of {', '.join(kinds)}", "all inputs have one float type")


def _float_type(node: ir.Node, index: int) -> ir.DataType | None:
    """Return the type of an input; behind a DequantizeLinear that of its scale, which decides regardless of the graph's note."""
    dequantize = _producer(node, index, _DEQUANTIZE)
    value = _input(node, index) if dequantize is None else _input(dequantize, 1)
    return value.dtype if value is not None else None


def _eight_bits(node: ir.Node) -> ir.DataType:
    """Return the 8-bit type that a QuantizeLinear writes or a DequantizeLinear reads; uint8 by default, as in ONNX."""
    if (zero_point := _input(node, 2)) is not None and zero_point.dtype is not None:
        return zero_point.dtype
    if node.op_type == _QUANTIZE:
        return ir.DataType(node.attributes.get_int("output_dtype", 0) or ir.DataType.UINT8)
    if (quantize := _producer(node, 0, _QUANTIZE)) is not None:
        return _eight_bits(quantize)
    value = _input(node, 0)
    return value.dtype if value is not None and value.dtype is not None else ir.DataType.UINT8


def _zero_point(node: ir.Node) -> NDArray[np.generic]:
    value = _input(node, 2)
    if value is None:
        return np.zeros((), _eight_bits(node).numpy())
    if (array := _constant(value)) is None:
        _refuse(node, "its zero point is computed in the graph", "zero points are constants")
    return array


def _stored(node: ir.Node) -> NDArray[np.generic] | None:
    """Return the constant that a DequantizeLinear restores, before its QuantizeLinear if there is one; None for activations."""
    return _constant(_input(_producer(node, 0, _QUANTIZE) or node, 0))


def _producer(node: ir.Node | None, index: int, *op_types: str) -> ir.Node | None:
    """Return the node that computes an input of `node`, if it is one of these operators."""
    value = _input(node, index) if node is not None else None
    producer = value.producer() if value is not None else None
    return producer if producer is not None and producer.op_type in op_types else None


def _input(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _constant(value: ir.Value | None) -> NDArray[np.generic] | None:
    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    return tensor.numpy() if tensor is not None else None


def _refuse(node: ir.Node, problem: str, rule: str) -> NoReturn:
    raise ModelError(f"{node.name or node.outputs[0].name}: {problem}; {rule}")
