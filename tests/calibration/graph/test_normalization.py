"""The normalisation of the image as one operator: the same answers, and no other graph is touched."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from vegrt.bundle.bundle import Bundle
from vegrt.calibration.graph.normalization import merge_normalization
from vegrt.calibration.graph.onnx_graph import copy_graph, serialize
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime


@pytest.fixture
def model(bundle: Bundle) -> ir.Model:
    return ir.load(bundle.file("model", "fp32"))


def named(model: ir.Model, op_type: str) -> ir.Node:
    return next(node for node in model.graph if node.op_type == op_type)


def test_one_operator_normalises_and_the_answers_are_the_same(model: ir.Model) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 48, 48, 3), dtype=np.uint8)
    want, result = open_onnxruntime(serialize(model)).logits(images), named(model, "Add").outputs[0].name
    merge_normalization(model)
    start = [node.op_type for node in list(model.graph)[:4]]
    assert start == ["Cast", "Transpose", "BatchNormalization", "Conv"]
    assert named(model, "BatchNormalization").outputs[0].name == result  # its range is known by this name
    np.testing.assert_allclose(open_onnxruntime(serialize(model)).logits(images), want, rtol=1e-5, atol=1e-5)


def swap(model: ir.Model) -> None:
    named(model, "Mul").op_type = "Div"


def per_pixel(model: ir.Model) -> None:
    value = named(model, "Mul").inputs[1]
    assert value is not None
    value.const_value = ir.Tensor(np.ones((1, 3, 48, 48), np.float32), name=value.name)


def read_twice(model: ir.Model) -> None:
    scaled = named(model, "Mul").outputs[0]
    named(model, "Add").replace_input_with(1, scaled)


def one_for_all_channels(model: ir.Model) -> None:
    value = named(model, "Add").inputs[1]
    assert value is not None
    value.const_value = ir.Tensor(np.ones((1, 1, 1, 1), np.float32), name=value.name)


@pytest.mark.parametrize("change", [swap, per_pixel, read_twice, one_for_all_channels])
def test_another_graph_stays_as_it_is(model: ir.Model, change: Callable[[ir.Model], None]) -> None:
    change(model)
    before = ir.to_proto(copy_graph(model)).SerializeToString(deterministic=True)
    merge_normalization(model)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
