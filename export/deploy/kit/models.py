"""The float32 graph of a bundle with other inputs, for compilers that take neither uint8 nor a normalisation in the graph.

The batch is 1 and every shape is fixed: compilers for devices want no other.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common

from vegrt.calibration.graph.onnx_graph import serialize
from vegrt.errors import ModelError
from vegrt.evaluate.golden import GoldenPhotos
from vegrt.export.deploy.kit.inputs import PIXELS_NCHW, model_input
from vegrt.export.onnx.parity import FP32
from vegrt.infer.runtimes.onnxruntime.session import open_session, run_model
from vegrt.photo.contract import LUMA, Contract

_FRONT = ("Cast", "Transpose")  # from uint8 (N, H, W, 3) to float32 (N, 3, H, W)
_COLOUR = {"RGB": "", "BGR": "Gather", "L": "ReduceSum"}  # the operator that makes the network's channels


def float_model(source: bytes, form: str, contract: Contract) -> bytes:
    """Return the graph `source` with the input `images` as another form, PIXELS_NCHW or NORMALIZED_NCHW, and batch 1.

    Raises ModelError if the graph does not begin as vegrt's graphs do.
    """
    model = ir.from_proto(onnx.load_model_from_string(source))
    graph, classes = model.graph, model.graph.outputs[0].shape
    pixels = _after_front(graph)
    is_pixels = form == PIXELS_NCHW
    replaced = pixels if is_pixels else _after_normalization(pixels, contract)
    shape = ir.Shape([1, 3 if is_pixels else contract.channels, contract.height, contract.width])
    graph.inputs[0].name = "uint8_images"
    images = ir.Value(name="images", type=ir.TensorType(ir.DataType.FLOAT), shape=shape)
    replaced.replace_all_uses_with(images)
    graph.inputs[0] = images
    common.RemoveUnusedNodesPass()(model)
    for node in graph:
        for value in node.outputs:
            value.shape = None  # they hold the free batch
    graph.outputs[0].shape = ir.Shape([1, classes[1] if classes else None])
    model.metadata_props["vegrt.input"] = form
    common.ShapeInferencePass()(model)
    return serialize(model)


def check_float_model(subject: str, model: bytes, form: str, contract: Contract, golden: GoldenPhotos) -> None:
    """Raise ModelError unless the model answers the golden photos as the bundle's fp32 does, within rounding."""
    session = open_session(model)
    logits = np.concatenate(
        [
            run_model(session, ["logits"], model_input(image[None], form, contract), subject)[0]
            for image in golden.images
        ]
    )
    error = float(np.abs(logits - golden.logits).max()) / max(float(np.abs(golden.logits).max()), 1e-12)
    if not error <= FP32.error:
        raise ModelError(
            f"{subject}: the logits of golden photos differ by {error:.2%} of the largest logit from those of fp32; expected at "
            f"most {FP32.error:.1%}; this is an error in vegrt, report it with the model"
        )


def _after_front(graph: ir.Graph) -> ir.Value:
    value = graph.inputs[0]
    for operator in _FRONT:
        value = _result(value, operator)
    return value


def _after_normalization(pixels: ir.Value, contract: Contract) -> ir.Value:
    """Return the network's input. A scale of 1 and a shift of 0 are not in the graph."""
    mean, std = np.array(contract.mean), np.array(contract.std)
    scale = (np.array(LUMA) if contract.network_color == "L" else 1) / (255 * std)
    shift = -mean / std
    value = pixels if np.allclose(scale, 1) and not _is_read_by(pixels, "Mul", scale) else _result(pixels, "Mul")
    if operator := _COLOUR[contract.network_color]:
        value = _result(value, operator)
    shift = shift[::-1] if contract.network_color == "BGR" else shift
    return _result(value, "Add") if _is_read_by(value, "Add", shift) else value


def _result(value: ir.Value, operator: str) -> ir.Value:
    """Return the result of the only node that reads a value. Raises ModelError if it is another operator."""
    readers = value.consumers()
    if [node.op_type for node in readers] != [operator]:
        found = ", ".join(node.op_type for node in readers) or "nothing"
        raise ModelError(
            f"fp32.onnx: {value.name} is read by {found}; expected {operator}, as in the graphs that vegrt export writes"
        )
    return readers[0].outputs[0]


def _is_read_by(value: ir.Value, operator: str, constants: NDArray[np.float64]) -> bool:
    """Return whether a value is read by this operator alone, with these constants per channel."""
    readers = value.consumers()
    if [node.op_type for node in readers] != [operator]:
        return False
    inputs = [other for other in readers[0].inputs if other is not None]
    tensors = [tensor for other in inputs if (tensor := ir.convenience.get_const_tensor(other)) is not None]
    arrays = [tensor.numpy().reshape(-1) for tensor in tensors]
    return any(array.size == constants.size and np.allclose(array, constants, rtol=1e-4, atol=1e-6) for array in arrays)
