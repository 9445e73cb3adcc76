"""The ONNX operators of an exported classifier as torch functions. Trainable weights and 8 bits are not handled here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import onnx_ir as ir
import torch
from torch import Tensor
from torch.nn import functional

from vegrt.errors import ModelError

Operator = Callable[..., Tensor]
_FLOAT = int(ir.DataType.FLOAT)


def operator(node: ir.Node) -> Operator:
    """Return a node as a function of its inputs, None for an omitted one. Raises ModelError for an unknown operator."""
    if node.op_type not in _OPERATORS:
        supported = ", ".join(sorted(_OPERATORS))
        raise ModelError(
            f"{node.name}: operator {node.op_type} in quantization-aware training, expected Conv, Gemm, {supported}; "
            "keep layers in float instead: vegrt calibrate BUNDLE --max-drop POINTS"
        )
    return _OPERATORS[node.op_type](node)


def convolution(node: ir.Node) -> Operator:
    """Return a Conv as a function of input, weight and bias."""
    pad, padding = _padding(node, 0.0)
    stride, dilation = _pair(node, "strides"), _pair(node, "dilations")
    groups = node.attributes.get_int("group", 1)

    def run(data: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return functional.conv2d(pad(data), weight, bias, stride, padding, dilation, groups)

    return run


def _padding(node: ir.Node, value: float) -> tuple[Operator, tuple[int, int]]:
    """Return a function that pads the input, and the padding for torch, which takes only equal pads on opposite sides."""
    top, left, bottom, right = node.attributes.get_ints("pads", (0, 0, 0, 0)) or (0, 0, 0, 0)
    if (top, left) == (bottom, right):
        return _same, (top, left)
    return partial(functional.pad, pad=(left, right, top, bottom), value=value), (0, 0)


def _pair(node: ir.Node, name: str) -> tuple[int, int]:
    height, width = node.attributes.get_ints(name, (1, 1)) or (1, 1)
    return height, width


def _same(data: Tensor) -> Tensor:
    return data


def _max_pool(node: ir.Node) -> Operator:
    pad, padding = _padding(node, float("-inf"))
    pool = partial(
        functional.max_pool2d,
        kernel_size=_pair(node, "kernel_shape"),
        stride=_pair(node, "strides"),
        padding=padding,
        dilation=_pair(node, "dilations"),
        ceil_mode=bool(node.attributes.get_int("ceil_mode", 0)),
    )
    return lambda data: pool(pad(data))


def _average_pool(node: ir.Node) -> Operator:
    pad, padding = _padding(node, 0.0)
    pool = partial(
        functional.avg_pool2d,
        kernel_size=_pair(node, "kernel_shape"),
        stride=_pair(node, "strides"),
        padding=padding,
        ceil_mode=bool(node.attributes.get_int("ceil_mode", 0)),
        count_include_pad=bool(node.attributes.get_int("count_include_pad", 0)),
    )
    return lambda data: pool(pad(data))


def _batch_normalization(node: ir.Node) -> Operator:
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    return lambda data, scale, shift, mean, variance: functional.batch_norm(
        data, mean, variance, scale, shift, eps=epsilon
    )


def _cast(node: ir.Node) -> Operator:
    if node.attributes.get_int("to") != _FLOAT:
        raise ModelError(f"{node.name}: casts to a type other than float32; export the bundle again")
    return Tensor.float


def _transpose(node: ir.Node) -> Operator:
    axes = tuple(node.attributes.get_ints("perm") or ())
    return lambda data: data.permute(axes)


def _clip(node: ir.Node) -> Operator:
    return lambda data, low=None, high=None: torch.clamp(data, low, high)


def _hard_sigmoid(node: ir.Node) -> Operator:
    slope, shift = node.attributes.get_float("alpha", 0.2), node.attributes.get_float("beta", 0.5)
    return lambda data: torch.clamp(slope * data + shift, 0, 1)


def _concat(node: ir.Node) -> Operator:
    axis = node.attributes.get_int("axis", 1)
    return lambda *parts: torch.cat(parts, axis)


def _flatten(node: ir.Node) -> Operator:
    axis = node.attributes.get_int("axis", 1)
    return lambda data: data.flatten(axis)


def _global_average_pool(node: ir.Node) -> Operator:
    return lambda data: data.mean((2, 3), keepdim=True)


_OPERATORS: dict[str, Callable[[ir.Node], Operator]] = {
    "Add": lambda node: torch.add,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "DequantizeLinear": lambda node: (
        lambda data, *parameters: data
    ),  # fake quantization has already returned real values
    "Flatten": _flatten,
    "GlobalAveragePool": _global_average_pool,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda node: functional.hardswish,
    "Identity": lambda node: _same,
    "MaxPool": _max_pool,
    "Mul": lambda node: torch.mul,
    "Relu": lambda node: functional.relu,
    "Sigmoid": lambda node: torch.sigmoid,
    "Transpose": _transpose,
}
