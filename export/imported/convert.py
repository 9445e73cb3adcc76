"""Converts an imported ONNX classifier to the form that vegrt quantizes: contract in the graph, dynamic batch, plain operators.

Quantization needs batch normalisation folded into the weights, constants as initializers, a name for every node, and no shape
arithmetic. Knows nothing of the reference; the export stage compares the two.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common
from onnxscript import optimizer
from onnxscript.rewriter import rewrite
from onnxscript.rewriter.rules import common as rules

from vegrt.errors import ModelError, reason_of
from vegrt.export.engines.options import OPSET
from vegrt.export.imported.free_batch import free_batch
from vegrt.export.imported.onnx_file import ImportedModel
from vegrt.export.onnx.model import add_metadata
from vegrt.export.onnx.tidy import tidy
from vegrt.photo.contract import LUMA, Contract

log = logging.getLogger(__name__)

_TO_NHWC, _TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)
_IR_VERSION = 4  # before, every weight had to be listed as an input too
_AXES_INPUT_OPSET = 13  # before, the axes of a ReduceSum were an attribute
# The optimizer already folds batch normalisation.
_REWRITE_RULES = (
    rules.matmul_add_to_gemm_rule,
    rules.materialize_reshape_shape_rule,
    rules.transpose_transpose_rule,
    rules.no_op_transpose_rule,
)


def convert_imported(imported: ImportedModel, classes: Sequence[str], contract: Contract) -> ir.Model:
    """Return the classifier as a graph from `images` uint8 (N, H, W, 3) to `logits` float32 (N, K).

    Raises ModelError when the file's opset cannot be converted.
    """
    model = ir.from_proto(_with_opset(imported))
    model.ir_version = max(model.ir_version, _IR_VERSION)
    graph = model.graph
    _let_batch_vary(graph, imported, contract)
    _end_at_logits(graph, imported.logits)
    _simplify(model)
    free_batch(model, imported.batch)
    _prepend_contract(graph, imported, contract)
    rewrite(model, _REWRITE_RULES)
    _simplify(model)
    _name(model)
    tidy(model)
    common.ShapeInferencePass()(model)
    add_metadata(model, classes, contract, imported.sha256)
    return model


def convert_quantized(imported: ImportedModel, classes: Sequence[str], contract: Contract) -> ir.Model:
    """Return a quantized classifier with the interface of `convert_imported`, its opset and its operators.

    Nothing between the contract and the logits is optimised: an optimizer may move or merge a QuantizeLinear, and another model
    than the given one would be judged.
    """
    model = ir.from_proto(imported.proto)
    model.ir_version = max(model.ir_version, _IR_VERSION)
    graph = model.graph
    _let_batch_vary(graph, imported, contract)
    _end_at_logits(graph, imported.logits)
    lift_constants = common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)
    lift_constants(model)
    free_batch(model, imported.batch)
    _prepend_contract(graph, imported, contract)
    lift_constants(model)
    common.RemoveUnusedNodesPass()(model)
    _name(model)
    graph.outputs[0].shape = ir.Shape(["N", len(classes)])
    add_metadata(model, classes, contract, imported.sha256)
    return model


def _with_opset(imported: ImportedModel) -> onnx.ModelProto:
    if imported.opset >= OPSET:
        if imported.opset > OPSET:
            log.warning("%s: keeps opset %d; TensorRT 10.3 reads up to %d", imported.subject, imported.opset, OPSET)
        return imported.proto
    try:
        return onnx.version_converter.convert_version(imported.proto, OPSET)
    except (RuntimeError, onnx.version_converter.ConvertError) as error:
        reason = reason_of(error)
        raise ModelError(
            f"{imported.subject}: opset {imported.opset}, cannot be converted to {OPSET} ({reason}); export it with opset {OPSET}"
        ) from error


def _let_batch_vary(graph: ir.Graph, imported: ImportedModel, contract: Contract) -> None:
    """Give the input its sizes and drop those of all other values, which may contain the exported batch."""
    for value in [value for value in graph.inputs if value.name != imported.images]:
        graph.inputs.remove(value)  # weights that are also listed as inputs, as exporters did before IR version 4
    channels, height, width = contract.channels, contract.height, contract.width
    sides = [channels, height, width] if imported.layout == "NCHW" else [height, width, channels]
    graph.inputs[0].shape = ir.Shape(["N", *sides])
    for node in graph:
        for value in node.outputs:
            value.shape = None


def _end_at_logits(graph: ir.Graph, name: str) -> None:
    logits = next(value for node in graph for value in node.outputs if value.name == name)
    if not logits.is_graph_output():
        graph.outputs[0] = logits
    logits.type, logits.shape = ir.TensorType(ir.DataType.FLOAT), None


def _simplify(model: ir.Model) -> None:
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    optimizer.optimize(model, input_size_limit=1 << 28, output_size_limit=1 << 28)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.IdentityEliminationPass()(model)
    common.RemoveUnusedNodesPass()(model)


def _prepend_contract(graph: ir.Graph, imported: ImportedModel, contract: Contract) -> None:
    """Insert Cast, Transpose, Mul and Add at the front, as `vegrt.networks.WithPreprocessing` does.

    For a BGR or grey network, a Gather or a ReduceSum comes between Mul and Add.
    """
    normalised = graph.inputs[0]
    mean, std = np.array(contract.mean), np.array(contract.std)
    is_grey, is_bgr = contract.network_color == "L", contract.network_color == "BGR"
    factors, offsets = (np.array(LUMA) if is_grey else 1) / (255 * std), -mean / std
    scale = _constant(np.float32(factors).reshape(1, 3, 1, 1))
    shift = _constant(np.float32(offsets[::-1] if is_bgr else offsets).reshape(1, -1, 1, 1))
    shape = ir.Shape(["N", *contract.shape])
    images = ir.Value(name="images", type=ir.TensorType(ir.DataType.UINT8), shape=shape)
    cast = ir.node("Cast", [images], {"to": int(ir.DataType.FLOAT)})
    transposed = ir.node("Transpose", [cast.outputs[0]], {"perm": _TO_NCHW})
    scaled = ir.node("Mul", [transposed.outputs[0], scale.outputs[0]])
    nodes = [cast, transposed, scaled]
    constants = [scale, shift]
    if is_grey and imported.opset < _AXES_INPUT_OPSET:  # of a quantized model: others are converted to a later opset
        nodes.append(ir.node("ReduceSum", [scaled.outputs[0]], {"axes": [1]}))
    elif is_grey or is_bgr:
        constants.append(_constant(np.array([1] if is_grey else [2, 1, 0])))
        inputs = [scaled.outputs[0], constants[-1].outputs[0]]
        nodes.append(ir.node("ReduceSum", inputs) if is_grey else ir.node("Gather", inputs, {"axis": 1}))
    nodes.append(ir.node("Add", [nodes[-1].outputs[0], shift.outputs[0]]))
    if imported.layout == "NHWC":
        nodes.append(ir.node("Transpose", [nodes[-1].outputs[0]], {"perm": _TO_NHWC}))
    graph.insert_before(graph[0], [*constants, *nodes])
    normalised.replace_all_uses_with(nodes[-1].outputs[0])
    graph.inputs[0] = images
    normalised.name = None


def _name(model: ir.Model) -> None:
    """Name every node and value, the input `images` and the output `logits`."""
    graph = model.graph
    images, logits = graph.inputs[0], graph.outputs[0]
    for node in graph:
        for value in node.outputs:
            value.name = f"{value.name}_" if value.name in ("images", "logits") else value.name
    images.name, logits.name = "images", "logits"
    common.NameFixPass()(model)


def _constant(array: NDArray[np.generic]) -> ir.Node:
    """Return a Constant node; `_simplify` turns it into an initializer."""
    return ir.node("Constant", [], {"value": ir.Tensor(array)})
