"""Graph passes towards the plain operators that TensorRT and ONNX Runtime quantize: fewer nodes, named after modules."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from vegrt.export.onnx.folding import fold_constants

MODULE_PREFIX = "network."  # the attribute of vegrt.networks.WithPreprocessing that holds the network


def tidy(model: ir.Model) -> None:
    """Rewrite `model` in place: constants folded, pooling and flattening as single operators, nodes named after modules."""
    graph = model.graph
    fold_constants(model)
    _cast_first(graph)
    for node in list(graph):
        _pool_globally(graph, node)
    for node in list(graph):
        _flatten(graph, node)
    common.RemoveUnusedNodesPass()(model)
    _name_after_modules(graph)
    for item in [*graph, *(value for node in graph for value in node.outputs)]:
        item.metadata_props.clear()  # the exporter's traces contain paths of this machine


def constant(value: ir.Value | None) -> list[int] | None:
    """Return the integers of a constant value; None for any other."""
    if value is None or value.const_value is None:
        return None
    return [int(number) for number in value.const_value.numpy().reshape(-1)]


def _cast_first(graph: ir.Graph) -> None:
    """Let only the Cast read the uint8 pixels: TensorRT accepts them nowhere else, and a Shape after it is the same.

    Networks that need the batch size, such as those with a class token, begin with a Shape of their input.
    """
    images = graph.inputs[0]
    cast = next((node for node in images.consumers() if node.op_type == "Cast"), None)
    if images.dtype != ir.DataType.UINT8 or cast is None:
        return
    for node, index in list(images.uses()):
        if node.op_type in ("Shape", "Size"):
            node.replace_input_with(index, cast.outputs[0])
    graph.remove(cast)
    graph.insert_before(graph[0], cast)


def _pool_globally(graph: ir.Graph, node: ir.Node) -> None:
    """ReduceMean over H and W that keeps the dimensions -> GlobalAveragePool, which has an 8-bit kernel."""
    if node.op_type != "ReduceMean" or node.attributes.get_int("keepdims", 1) != 1 or len(node.inputs) < 2:
        return
    if constant(node.inputs[1]) in ([2, 3], [-1, -2], [-2, -1]):
        _replace(graph, node, ir.node("GlobalAveragePool", [node.inputs[0]], name=node.name))


def _flatten(graph: ir.Graph, node: ir.Node) -> None:
    """Reshape of pooled (N, C, 1, 1) to two dimensions, (N, C) -> Flatten, which needs no shape arithmetic."""
    source = node.inputs[0].producer() if node.op_type == "Reshape" and node.inputs[0] is not None else None
    if source is None or source.op_type != "GlobalAveragePool" or (shape := node.inputs[1]) is None:
        return
    if shape.shape == (2,):
        _replace(graph, node, ir.node("Flatten", [node.inputs[0]], {"axis": 1}, name=node.name))


def _replace(graph: ir.Graph, old: ir.Node, new: ir.Node) -> None:
    before, after = old.outputs[0], new.outputs[0]
    after.name, after.type, after.shape = before.name, before.type, before.shape
    ir.convenience.replace_nodes_and_values(graph, old, [old], [new], [before], [after])


def _name_after_modules(graph: ir.Graph) -> None:
    """Name weights, and the nodes that own one and their outputs, as torch names the module: `layer1.0.conv1`."""
    for value in list(graph.initializers.values()):
        if value.name is not None and value.name.startswith(MODULE_PREFIX):
            value.name = value.name.removeprefix(MODULE_PREFIX)
    for node in graph:
        weight = node.inputs[1] if len(node.inputs) > 1 else None
        if node.op_type in {"Conv", "Gemm"} and weight is not None and weight.name and weight.name.endswith(".weight"):
            _rename(node, weight.name.removesuffix(".weight"), graph)
            if not node.outputs[0].is_graph_output():
                node.outputs[0].name = node.name
        elif node.op_type in {"Add", "Conv", "MatMul"} and (module := _module_of(node)):
            has_weight = node.op_type != "Add" and weight is not None and weight.is_initializer()
            _rename(node, module if has_weight else f"{module}.{node.op_type.lower()}", graph)


def _module_of(node: ir.Node) -> str:
    """Return the torch module that a node was exported from, by the exporter's note: `layer1.0`; empty without a note."""
    # such as "...: ResNet/network.layer1.0: BasicBlock/add_8"
    scopes = node.metadata_props.get("namespace", "").split("/")[:-1]
    return scopes[-1].split(":")[0].removeprefix(MODULE_PREFIX).strip() if len(scopes) > 1 else ""


def _rename(node: ir.Node, name: str, graph: ir.Graph) -> None:
    """Give a node this name, with a number behind it where another node has it: two layers may share their weights."""
    used = {other.name for other in graph if other is not node}
    candidates = (name, *(f"{name}{number}" for number in range(1, len(used) + 2)))
    node.name = next(candidate for candidate in candidates if candidate not in used)
