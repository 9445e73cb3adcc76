"""What stays in float32 in a graph of float16 or bfloat16, because ONNX has it in no other type."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from vegrt.calibration.graph.onnx_graph import copy_graph, serialize
from vegrt.export.onnx.fp16 import round_to_bf16, to_bf16, to_fp16
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime

SIDE, WIDTH = 6, 3
CONSTANT, COMPUTED = [1.0, 1.0, 4 / 3, 4 / 3], [1.0, 1.0, 0.5, 0.5]


def resizing_model() -> ir.Model:
    """Return Conv -> Resize by constant scales -> Resize by scales that the graph computes -> pool, as HRNet resizes."""
    random = np.random.default_rng(0)
    stored = {
        "factor": np.float32(1 / 255),
        "weight": random.normal(size=(WIDTH, 3, 3, 3)).astype(np.float32),
        "constant": np.array(CONSTANT, np.float32),
        "half": np.array(COMPUTED, np.float32),
        "zero": np.float32(0),
        "first": np.array([0]),
        "one": np.array([1]),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], "transpose", perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["planes", "factor"], ["pixels"], "normalise"),
        helper.make_node("Conv", ["pixels", "weight"], ["conv"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Resize", ["conv", "", "constant"], ["large"], "grow", mode="linear"),
        helper.make_node("Shape", ["large"], ["shape"], "shape"),
        helper.make_node("Cast", ["shape"], ["sizes"], "to_float", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["sizes", "zero"], ["nothing"], "nothing"),
        helper.make_node("Add", ["nothing", "half"], ["scales"], "scales"),
        helper.make_node("Resize", ["large", "", "scales"], ["small"], "shrink", mode="nearest"),
        helper.make_node("GlobalAveragePool", ["small"], ["pool"], "pool"),
        helper.make_node("Flatten", ["pool"], ["logits"], "flatten"),
    ]
    graph = helper.make_graph(
        nodes,
        "resizing",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", WIDTH])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return ir.passes.common.ShapeInferencePass()(ir.from_proto(model)).model


def test_scales_of_a_resize_stay_in_float32() -> None:
    model, images = resizing_model(), np.random.default_rng(1).integers(0, 256, (3, SIDE, SIDE, 3)).astype(np.uint8)
    want = open_onnxruntime(serialize(model)).logits(images)
    half, rounded, bf16 = copy_graph(model), copy_graph(model), copy_graph(model)
    to_fp16(half)
    round_to_bf16(rounded)
    to_bf16(bf16)
    for graph, tolerance in ((half, 5e-3), (rounded, 5e-2)):
        answers = open_onnxruntime(serialize(graph), float16=graph is half).logits(images)
        assert answers == pytest.approx(want, abs=tolerance * float(np.abs(want).max()))
    for graph in (half, bf16):
        serialize(graph)
        assert graph.graph.initializers["constant"].dtype == ir.DataType.FLOAT
        (shrink,) = [node for node in graph.graph if node.name == "shrink"]
        assert shrink.inputs[2] is not None
        assert shrink.inputs[2].dtype == ir.DataType.FLOAT
