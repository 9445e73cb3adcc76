"""A foreign ONNX classifier -> the form that vegrt quantizes: the contract in the graph, a dynamic batch, plain operators.

Which quantization needs batch normalisation folded into the weights, constants as initializers, a name for every node, and
no shape arithmetic. Knows nothing of the reference; the export stage compares the two.
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

from vegrt.errors import ModelError
from vegrt.export.engines.build import OPSET
from vegrt.export.imported.onnx_file import ImportedModel
from vegrt.export.onnx.model import add_metadata
from vegrt.export.onnx.tidy import constant, tidy
from vegrt.photo.preprocess import Contract

log = logging.getLogger(__name__)

_TO_NHWC, _TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)
# Batch normalisation is folded by the optimizer already.
_FOLDED = (
    rules.matmul_add_to_gemm_rule,
    rules.materialize_reshape_shape_rule,
    rules.transpose_transpose_rule,
    rules.no_op_transpose_rule,
)


def convert_imported(foreign: ImportedModel, classes: Sequence[str], contract: Contract) -> ir.Model:
    """Return the classifier as a graph `images` uint8 (N, H, W, 3) -> `logits` float32 (N, K).

    Raises ModelError when the file's opset cannot be converted.
    """
    model = ir.from_proto(_with_opset(foreign))
    graph = model.graph
    _let_batch_vary(graph, foreign, contract)
    _end_at_logits(graph, foreign.logits)
    _simplify(model)
    _free_reshapes(graph, foreign.batch)
    _prepend_contract(graph, foreign, contract)
    rewrite(model, _FOLDED)
    _simplify(model)
    _name(model)
    tidy(model)
    common.ShapeInferencePass()(model)
    add_metadata(model, classes, contract, foreign.sha256)
    return model


def _with_opset(foreign: ImportedModel) -> onnx.ModelProto:
    if foreign.opset >= OPSET:
        if foreign.opset > OPSET:
            log.warning("%s: opset %d is kept; TensorRT 10.3 reads up to %d", foreign.subject, foreign.opset, OPSET)
        return foreign.proto
    try:
        return onnx.version_converter.convert_version(foreign.proto, OPSET)
    except (RuntimeError, onnx.version_converter.ConvertError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"{foreign.subject}: opset {foreign.opset}, cannot be converted to {OPSET} ({reason}); export it with opset {OPSET}"
        ) from error


def _let_batch_vary(graph: ir.Graph, foreign: ImportedModel, contract: Contract) -> None:
    """Give the input its sizes and forget those of all other values, which may hold the exported batch."""
    for value in [value for value in graph.inputs if value.name != foreign.images]:
        graph.inputs.remove(value)  # weights listed as inputs too, as exporters did before IR version 4
    side = contract.size
    graph.inputs[0].shape = ir.Shape(["N", 3, side, side] if foreign.layout == "NCHW" else ["N", side, side, 3])
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


def _free_reshapes(graph: ir.Graph, batch: int) -> None:
    """Let Reshapes to the exported batch take over their input's instead: 0 in an ONNX shape, unless `allowzero` is set.

    torch's newer exporter sets it on every Reshape; where no dimension is 0 it says nothing.
    """
    for node in [node for node in graph if node.op_type == "Reshape"]:
        shape = constant(node.inputs[1])
        literal = node.attributes.get_int("allowzero", 0) and 0 in (shape or ())
        if batch and shape and shape[0] == batch and not literal:
            free = _constant(np.array([0, *shape[1:]]))
            graph.insert_before(node, free)
            node.replace_input_with(1, free.outputs[0])
            node.attributes.pop("allowzero", None)


def _prepend_contract(graph: ir.Graph, foreign: ImportedModel, contract: Contract) -> None:
    """Put Cast, Transpose, Mul and Add in front, as `vegrt.networks.WithPreprocessing` does."""
    old = graph.inputs[0]
    mean, std = np.array(contract.mean), np.array(contract.std)
    scale, shift = (_constant(np.float32(one).reshape(1, 3, 1, 1)) for one in (1 / (255 * std), -mean / std))
    shape = ir.Shape(["N", contract.size, contract.size, 3])
    images = ir.Value(name="images", type=ir.TensorType(ir.DataType.UINT8), shape=shape)
    cast = ir.node("Cast", [images], {"to": int(ir.DataType.FLOAT)})
    turned = ir.node("Transpose", [cast.outputs[0]], {"perm": _TO_NCHW})
    scaled = ir.node("Mul", [turned.outputs[0], scale.outputs[0]])
    added = [cast, turned, scaled, ir.node("Add", [scaled.outputs[0], shift.outputs[0]])]
    if foreign.layout == "NHWC":
        added.append(ir.node("Transpose", [added[-1].outputs[0]], {"perm": _TO_NHWC}))
    graph.insert_before(graph[0], [scale, shift, *added])
    old.replace_all_uses_with(added[-1].outputs[0])
    graph.inputs[0] = images
    old.name = None


def _name(model: ir.Model) -> None:
    """Name every node and value, the interface as the bundle's format asks for."""
    graph = model.graph
    images, logits = graph.inputs[0], graph.outputs[0]
    for node in graph:
        for value in node.outputs:
            value.name = f"{value.name}_" if value.name in ("images", "logits") else value.name
    images.name, logits.name = "images", "logits"
    common.NameFixPass()(model)


def _constant(array: NDArray[np.generic]) -> ir.Node:
    """Return a Constant node; `_simplify` makes an initializer of it."""
    return ir.node("Constant", [], {"value": ir.Tensor(array)})
