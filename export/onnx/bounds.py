"""Upper bounds of the magnitudes in a float graph, from those of some of its tensors, without running it.

|sum of w x| <= sum of |w| |x|: for a Conv, the largest magnitude of each input channel times the sum of the weights' magnitudes
that read it. Tensors that were observed have their measured magnitude, so a bound is at most one layer away from a measurement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Bound = NDArray[np.float64]  # (C,) per channel, axis 1, or (1,) for the whole tensor; infinity where nothing is known

_UNKNOWN = np.full(1, np.inf)
_PIXEL = np.full(1, 255.0)


def magnitude_bounds(model: ir.Model, measured: Mapping[str, Bound]) -> dict[str, Bound]:
    """Return a bound for each node's first result, by tensor name: the measured one where there is one.

    model: a float graph of uint8 images. Operators that are not listed below have no bound.
    """
    bounds: dict[str, Bound] = {str(value.name): _PIXEL for value in model.graph.inputs}
    with np.errstate(invalid="ignore"):  # 0 times infinity is NaN: not below any limit either
        for node in model.graph:
            name = str(node.outputs[0].name)
            rule = _RULES.get(node.op_type)
            bounds[name] = measured[name] if name in measured else rule(node, bounds) if rule else _UNKNOWN
    return bounds


def _input(node: ir.Node, index: int, bounds: Mapping[str, Bound]) -> Bound:
    """Return the bound of an input: of a constant, the largest magnitude of all its values; 0 for an input that is left out."""
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        return np.zeros(1)
    if value.const_value is not None:
        return np.full(1, np.abs(value.const_value.numpy().astype(np.float64)).max(initial=0))
    return bounds.get(str(value.name), _UNKNOWN)


def _same(node: ir.Node, bounds: Mapping[str, Bound]) -> Bound:
    return _input(node, 0, bounds)


def _rearranged(node: ir.Node, bounds: Mapping[str, Bound]) -> Bound:
    return np.full(1, _input(node, 0, bounds).max())


def _sum(node: ir.Node, bounds: Mapping[str, Bound]) -> Bound:
    return np.full(1, _input(node, 0, bounds).max() + _input(node, 1, bounds).max())


def _product(node: ir.Node, bounds: Mapping[str, Bound]) -> Bound:
    return np.full(1, _input(node, 0, bounds).max() * _input(node, 1, bounds).max())


def _clip(node: ir.Node, bounds: Mapping[str, Bound]) -> Bound:
    limits = [_input(node, index, bounds).max() for index in (1, 2)]
    result: Bound = np.maximum(_input(node, 0, bounds), max(limits))
    return result


def _conv(node: ir.Node, bounds: Mapping[str, Bound]) -> Bound:
    weights, peaks = _weights(node), _input(node, 0, bounds)
    if weights is None or weights.ndim < 3:
        return _UNKNOWN
    sums = np.abs(weights).reshape(*weights.shape[:2], -1).sum(axis=2)  # (M, C / groups)
    outputs, group_inputs = sums.shape
    groups = node.attributes.get_int("group", 1)
    inputs = np.broadcast_to(peaks, groups * group_inputs).reshape(groups, group_inputs)
    read = np.repeat(inputs, outputs // groups, axis=0)  # (M, C / groups): the channels that each output reads
    return np.asarray((sums * read).sum(axis=1) + _input(node, 2, bounds))


def _gemm(node: ir.Node, bounds: Mapping[str, Bound]) -> Bound:
    weights = _weights(node)
    if weights is None:
        return _UNKNOWN
    sums = np.abs(weights).sum(axis=1 if node.attributes.get_int("transB", 0) else 0)
    alpha, beta = (abs(node.attributes.get_float(name, 1.0)) for name in ("alpha", "beta"))
    return np.asarray(alpha * sums * _input(node, 0, bounds).max() + beta * _input(node, 2, bounds))


def _weights(node: ir.Node) -> NDArray[np.float64] | None:
    value = node.inputs[1]
    return value.const_value.numpy().astype(np.float64) if value is not None and value.const_value is not None else None


_RULES: dict[str, Callable[[ir.Node, Mapping[str, Bound]], Bound]] = {
    **dict.fromkeys(("Cast", "Relu", "MaxPool", "AveragePool", "GlobalAveragePool", "Identity"), _same),
    **dict.fromkeys(("Transpose", "Flatten", "Reshape"), _rearranged),
    "Add": _sum,
    "Mul": _product,
    "Clip": _clip,
    "Conv": _conv,
    "Gemm": _gemm,
}
