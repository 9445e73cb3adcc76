"""The normalisation of the image in one operator, for the CPU encoding."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from vegrt.calibration.graph.onnx_graph import add_initializer

_BEFORE = frozenset({"Cast", "Transpose"})


def merge_normalization(model: ir.Model) -> None:
    """Replace the Mul and Add that normalise the image by one BatchNormalization, in place; leave any other graph as it is.

    ONNX Runtime computes the Mul and the Add pixel by pixel, three channels at a time, in two passes over the largest float
    tensor of the network; BatchNormalization takes one pass over whole channels. x * scale + shift is the same either way:
    mean 0, variance 1, epsilon 0.
    """
    multiply = _reader(model.graph.inputs[0])
    while multiply is not None and multiply.op_type in _BEFORE:
        multiply = _reader(multiply.outputs[0])
    if multiply is None or multiply.op_type != "Mul" or (add := _reader(multiply.outputs[0])) is None:
        return
    if add.op_type != "Add" or add.outputs[0].is_graph_output():
        return
    (image, scale), (_, shift) = _operands(multiply), _operands(add)
    if image is None or scale is None or shift is None or len(scale) != len(shift):
        return
    result, graph = add.outputs[0], model.graph
    constants = {"scale": scale, "shift": shift, "mean": np.zeros_like(scale), "variance": np.ones_like(scale)}
    inputs = [add_initializer(graph, f"normalization.{name}", array) for name, array in constants.items()]
    merged = ir.node("BatchNormalization", [image, *inputs], {"epsilon": 0.0}, name="normalization")
    graph.insert_before(multiply, merged)
    name, merged.outputs[0].shape, merged.outputs[0].type = result.name, result.shape, result.type
    ir.convenience.replace_all_uses_with(result, merged.outputs[0])
    graph.remove([add, multiply], safe=True)
    merged.outputs[0].name = name


def _reader(value: ir.Value) -> ir.Node | None:
    """Return the only node that reads a value; None if there are several."""
    readers = value.consumers()
    return readers[0] if len(readers) == 1 else None


def _operands(node: ir.Node) -> tuple[ir.Value | None, NDArray[np.float32] | None]:
    """Return the input that depends on the image, and the (C,) constants for its channels if the other one holds them."""
    image, channels = None, None
    for value in node.inputs:
        tensor = ir.convenience.get_const_tensor(value) if value is not None else None
        if tensor is None:
            image = value
        elif (array := tensor.numpy()).ndim == 4 and array.size == array.shape[1]:
            channels = array.reshape(-1)
    return image, channels
