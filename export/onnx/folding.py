"""Folding of constants: what is the same for all images is computed once, at the export, instead of with every image.

Such as standardised weights (BiT, NFNet) and position biases that a small network computes (Swin V2). torch's exporters fold
small constants only, and a layer is quantized only if its weights are stored.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common

from vegrt.calibration.graph.onnx_graph import copy_graph, serialize
from vegrt.calibration.graph.placement import values_of_images
from vegrt.infer.runtimes.onnxruntime.session import open_session

_LIMIT_BYTES = 64 << 20  # of one constant: larger ones are cheaper to compute than to store
_RANDOM = ("Random", "Multinomial", "Bernoulli")  # beginnings of operators whose results differ each time


def fold_constants(model: ir.Model) -> None:
    """Replace, in place, the results that do not depend on the image by stored tensors, named as before.

    A graph with random operators, or with graphs inside operators, stays as it is: what they depend on is not seen.
    """
    graph = model.graph
    if any(node.op_type.startswith(_RANDOM) or _has_graph(node) for node in graph):
        return
    constants = _computed_constants(model)
    if not constants:
        return
    for value, array in zip(constants, _computed(model, [str(value.name) for value in constants]), strict=True):
        if array.nbytes <= _LIMIT_BYTES:
            tensor = ir.Tensor(array, name=value.name)
            name, value.name = value.name, f"{value.name}_computed"
            shape, kind = ir.Shape(array.shape), ir.TensorType(tensor.dtype)
            stored = ir.Value(name=name, shape=shape, type=kind, const_value=tensor)
            graph.register_initializer(stored)
            value.replace_all_uses_with(stored)
    common.RemoveUnusedNodesPass()(model)


def _computed_constants(model: ir.Model) -> list[ir.Value]:
    """Return the results that are the same for all images and that a node that depends on the image reads."""
    varying = values_of_images(model)
    read = {
        value: None
        for node in model.graph
        if any(output in varying for output in node.outputs)
        for value in node.inputs
        if value is not None and value not in varying and value.producer() is not None
    }
    return list(read)


def _computed(model: ir.Model, names: list[str]) -> list[NDArray[Any]]:
    """Return the arrays of the values `names`, which need no input."""
    copy = copy_graph(model)
    values = {value.name: value for node in copy.graph for value in node.outputs}
    copy.graph.outputs.clear()
    copy.graph.outputs.extend(values[name] for name in names)
    common.RemoveUnusedNodesPass()(copy)
    copy.graph.inputs.clear()
    arrays: list[NDArray[Any]] = open_session(serialize(copy, check=False)).run(names, {})
    return arrays


def _has_graph(node: ir.Node) -> bool:
    kinds = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    return any(attribute.type in kinds for attribute in node.attributes.values())
