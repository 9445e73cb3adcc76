"""A float32 graph to float16 or bfloat16: everything between the normalised pixels and the logits.

Names do not change, so one calibration fits all graphs.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
from onnxscript import version_converter

from vegrt.errors import ModelError

BF16_OPSET = 22  # the first whose Conv, MaxPool and GlobalAveragePool take bfloat16
_CONTRACT_OPERATORS = (
    "Cast",
    "Transpose",
    "Mul",
    "Add",
)  # in the order in which the pixels pass them; they stay in float32
_FLOAT32_INPUTS = {("Resize", 2), ("Upsample", 1)}  # by operator and position: scales, which ONNX has in float32 only


def to_fp16(model: ir.Model) -> None:
    """Rewrite a float32 graph in place. Pixels are still normalised in float32; input and output types do not change.

    Raises ModelError, naming the weight, when one exceeds the range of float16.
    """
    _to_half(model, ir.DataType.FLOAT16)


def to_bf16(model: ir.Model) -> None:
    """Rewrite a float32 graph in place, as `to_fp16` does, to bfloat16 and the opset that allows it in convolutions."""
    if model.opset_imports[""] < BF16_OPSET:
        version_converter.convert_version(model, BF16_OPSET)
    _to_half(model, ir.DataType.BFLOAT16)


def round_to_bf16(model: ir.Model) -> None:
    """Rewrite a float32 graph in place: it computes in float32 and rounds each weight and each result to bfloat16.

    ONNX Runtime has no bfloat16 convolutions on a CPU; this graph replaces bf16.onnx where its accuracy is measured.
    """
    graph, kind = model.graph, ir.DataType.BFLOAT16
    network = _network(graph)
    for value in _weights(graph, network):
        tensor = _narrowed(value, kind).numpy().astype(np.float32)
        value.const_value = ir.Tensor(tensor, name=value.name)
    for node in network:
        output = node.outputs[0]
        if output.dtype != ir.DataType.FLOAT or output.is_graph_output():
            continue
        users = list(output.uses())
        down = ir.node("Cast", [output], {"to": int(kind)}, name=f"{node.name}.round")
        back = ir.node("Cast", [down.outputs[0]], {"to": int(ir.DataType.FLOAT)}, name=f"{node.name}.rounded")
        graph.insert_after(node, [down, back])
        for user, index in users:
            user.replace_input_with(index, back.outputs[0])


def _to_half(model: ir.Model, kind: ir.DataType) -> None:
    graph = model.graph
    network, pixels = _network(graph), _prepared_pixels(graph)[-1]
    for value in _weights(graph, network):
        value.const_value = _narrowed(value, kind)
        value.type = ir.TensorType(kind)
    for node in network:
        _convert_constants(node, kind)
        for output in node.outputs:
            output.type = ir.TensorType(kind) if output.dtype == ir.DataType.FLOAT else output.type
    _cast_scales(graph, network)
    _cast_input(graph, pixels, kind)
    _cast_output(graph, kind)


def _network(graph: ir.Graph) -> list[ir.Node]:
    """Return all nodes but the contract's operators, in the graph's order."""
    preparing = {node for value in _prepared_pixels(graph) if (node := value.producer()) is not None}
    return [node for node in graph if node not in preparing]


def _prepared_pixels(graph: ir.Graph) -> list[ir.Value]:
    """Return the result of each of the contract's operators, in order; the network reads the last.

    They are found by following the pixels, not by their position in the list. Mul and Add are missing where an optimizer removed
    them, for a mean of 0 or a std of 1/255.
    """
    values = [graph.inputs[0]]
    for kind in _CONTRACT_OPERATORS:
        readers = [node for node in values[-1].consumers() if node.op_type not in ("Shape", "Size")]
        is_constant = all(
            value is values[-1] or (value and value.const_value is not None)
            for node in readers
            for value in node.inputs
        )
        is_step = len(readers) == 1 and readers[0].op_type == kind and is_constant
        if is_step and not readers[0].outputs[0].is_graph_output():
            values.append(readers[0].outputs[0])
        elif kind in ("Cast", "Transpose"):
            operators = ", ".join(node.op_type for node in readers) or "no operator"
            raise ModelError(
                f"ONNX graph: {values[-1].name} is read by {operators}; expected the contract's {kind} alone"
            )
    return values[1:]


def _weights(graph: ir.Graph, network: list[ir.Node]) -> list[ir.Value]:
    names = {
        value.name
        for node in network
        for index, value in enumerate(node.inputs)
        if value is not None and value.is_initializer() and (node.op_type, index) not in _FLOAT32_INPUTS
    }
    weights = [graph.initializers[str(name)] for name in names]
    return [value for value in weights if value.dtype == ir.DataType.FLOAT and value.const_value is not None]


def _narrowed(value: ir.Value, kind: ir.DataType) -> ir.Tensor[Any]:
    """Return the weight in another float type. Raises ModelError when it exceeds that type's range."""
    if value.const_value is None:
        raise AssertionError(f"{value.name} is not a weight")
    weights, dtype = value.const_value.numpy(), kind.numpy()
    if not np.abs(weights).max(initial=0) <= float(ml_dtypes.finfo(dtype).max):  # type: ignore[no-untyped-call]
        raise ModelError(
            f"{value.name}: weights up to {np.abs(weights).max():.3g} exceed {kind.name.lower()}; export without it: --no-fp16"
        )
    return ir.Tensor(weights.astype(dtype), name=value.name)


def _convert_constants(node: ir.Node, kind: ir.DataType) -> None:
    for name, attribute in list(node.attributes.items()):
        if node.op_type == "Cast" and name == "to" and attribute.as_int() == ir.DataType.FLOAT:
            node.attributes[name] = ir.AttrInt64(name, int(kind))
        elif attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype == ir.DataType.FLOAT:
            half = attribute.as_tensor().numpy().astype(kind.numpy())
            node.attributes[name] = ir.AttrTensor(name, ir.Tensor(half))


def _cast_scales(graph: ir.Graph, network: list[ir.Node]) -> None:
    """Cast back to float32 what the operators that want it there get in a narrower type; constants of their own still have it."""
    for node in network:
        for operator, index in _FLOAT32_INPUTS:
            value = node.inputs[index] if node.op_type == operator and index < len(node.inputs) else None
            if value is not None and value.dtype in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16):
                cast = ir.node("Cast", [value], {"to": int(ir.DataType.FLOAT)}, name=f"{node.name}.scales")
                cast.outputs[0].type, cast.outputs[0].shape = ir.TensorType(ir.DataType.FLOAT), value.shape
                graph.insert_before(node, cast)
                node.replace_input_with(index, cast.outputs[0])


def _cast_input(graph: ir.Graph, pixels: ir.Value, kind: ir.DataType) -> None:
    cast = ir.node("Cast", [pixels], {"to": int(kind)}, name=f"to_{kind.name.lower()}")
    cast.outputs[0].name, cast.outputs[0].shape, pixels.name = pixels.name, pixels.shape, f"{pixels.name}_fp32"
    cast.outputs[0].type = ir.TensorType(kind)
    producer = pixels.producer()
    if producer is None:
        raise AssertionError("the network reads the result of the contract's operators")
    graph.insert_after(producer, cast)
    for node, index in list(pixels.uses()):
        if node is not cast:
            node.replace_input_with(index, cast.outputs[0])


def _cast_output(graph: ir.Graph, kind: ir.DataType) -> None:
    logits = graph.outputs[0]
    cast = ir.node("Cast", [logits], {"to": int(ir.DataType.FLOAT)}, name="to_fp32")
    cast.outputs[0].shape, cast.outputs[0].type = logits.shape, ir.TensorType(ir.DataType.FLOAT)
    cast.outputs[0].name, logits.name = logits.name, f"logits_{kind.name.lower()}"
    graph.append(cast)
    graph.outputs[0] = cast.outputs[0]
