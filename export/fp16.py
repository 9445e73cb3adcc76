"""fp32 graph to float16: everything between the normalised pixels and the logits. Names stay, so one calibration fits both."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from vegrt.errors import ModelError

_KEPT_FLOAT = ("Cast", "Transpose", "Mul", "Add")  # the contract's own operators, in graph order


def to_fp16(model: ir.Model) -> None:
    """Rewrite a float32 model in place. Pixels are still normalised in float32; input and output types do not change.

    Raises ModelError, naming the weight, when one exceeds the range of float16.
    """
    graph = model.graph
    network = list(graph)[_contract_length(graph) :]
    first = network[0].inputs[0]
    if first is None:
        raise AssertionError("the network reads the normalised pixels")
    _convert_weights(graph, network)
    for node in network:
        _convert_constants(node)
        for output in node.outputs:
            output.type = ir.TensorType(ir.DataType.FLOAT16) if output.dtype == ir.DataType.FLOAT else output.type
    _cast_input(graph, first, network)
    _cast_output(graph)


def _contract_length(graph: ir.Graph) -> int:
    """Return how many nodes at the start belong to the contract: Cast, Transpose, Mul, Add."""
    found = tuple(node.op_type for node in list(graph)[: len(_KEPT_FLOAT)])
    if found != _KEPT_FLOAT:
        raise ModelError(
            f"ONNX graph: begins with {', '.join(found)}; expected the contract's {', '.join(_KEPT_FLOAT)}"
        )
    return len(_KEPT_FLOAT)


def _convert_weights(graph: ir.Graph, network: list[ir.Node]) -> None:
    used = {value.name for node in network for value in node.inputs if value is not None and value.is_initializer()}
    for name in used:
        value = graph.initializers[str(name)]
        if value.dtype != ir.DataType.FLOAT or value.const_value is None:
            continue
        weights = value.const_value.numpy()
        if not np.abs(weights).max(initial=0) <= np.finfo(np.float16).max:
            raise ModelError(f"{name}: weights up to {np.abs(weights).max():.3g} exceed float16; use the fp32 variant")
        value.const_value = ir.Tensor(weights.astype(np.float16), name=name)
        value.type = ir.TensorType(ir.DataType.FLOAT16)


def _convert_constants(node: ir.Node) -> None:
    for name, attribute in list(node.attributes.items()):
        if node.op_type == "Cast" and name == "to" and attribute.as_int() == ir.DataType.FLOAT:
            node.attributes[name] = ir.AttrInt64(name, int(ir.DataType.FLOAT16))
        elif attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype == ir.DataType.FLOAT:
            half = attribute.as_tensor().numpy().astype(np.float16)
            node.attributes[name] = ir.AttrTensor(name, ir.Tensor(half))


def _cast_input(graph: ir.Graph, pixels: ir.Value, network: list[ir.Node]) -> None:
    cast = ir.node("Cast", [pixels], {"to": int(ir.DataType.FLOAT16)}, name="to_fp16")
    cast.outputs[0].name, cast.outputs[0].shape, pixels.name = pixels.name, pixels.shape, f"{pixels.name}_fp32"
    cast.outputs[0].type = ir.TensorType(ir.DataType.FLOAT16)
    graph.insert_before(network[0], cast)
    for node, index in list(pixels.uses()):
        if node is not cast:
            node.replace_input_with(index, cast.outputs[0])


def _cast_output(graph: ir.Graph) -> None:
    logits = graph.outputs[0]
    cast = ir.node("Cast", [logits], {"to": int(ir.DataType.FLOAT)}, name="to_fp32")
    cast.outputs[0].shape, cast.outputs[0].type = logits.shape, ir.TensorType(ir.DataType.FLOAT)
    cast.outputs[0].name, logits.name = logits.name, "logits_fp16"
    graph.append(cast)
    graph.outputs[0] = cast.outputs[0]
