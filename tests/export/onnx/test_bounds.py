"""Bounds of magnitudes are above what a run gives, and save the run for the check of float16's range."""

from __future__ import annotations

import logging

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.calibration.tiny import SIDE, photo_set, tiny_model
from vegrt.calibration.graph.onnx_graph import copy_graph, expose_tensors
from vegrt.calibration.resume import CalibrationProgress
from vegrt.calibration.tournament.calibrate import observe_tensors
from vegrt.errors import ModelError
from vegrt.export.onnx import overflow
from vegrt.export.onnx.bounds import magnitude_bounds
from vegrt.infer.runtimes.onnxruntime.session import read_tensors


def other_operators() -> ir.Model:
    """Return a graph with a grouped Conv, Clip, pooling, and a Gemm with factors."""
    random = np.random.default_rng(0)
    weights = {
        "scale": np.float32(1 / 255),
        "grouped": random.normal(size=(6, 1, 3, 3)),
        "low": np.float32(-4),
        "high": np.float32(4),
        "fc": random.normal(size=(6 * 36, 5)),
        "bias": random.normal(size=5),
        "fc2": random.normal(size=(4, 5)),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], "transpose", perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["planes", "scale"], ["pixels"], "normalise"),
        helper.make_node("Conv", ["pixels", "grouped"], ["conv"], "conv", pads=[1, 1, 1, 1], group=3),
        helper.make_node("Clip", ["conv", "low", "high"], ["clip"], "clip"),
        helper.make_node("AveragePool", ["clip"], ["pool"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["pool"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "fc", "bias"], ["hidden"], "fc", alpha=0.5, beta=2.0),
        helper.make_node("Gemm", ["hidden", "fc2"], ["logits"], "fc2", transB=1),
    ]
    pixels = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", SIDE, SIDE, 3])
    result = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 4])
    tensors = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "other", [pixels], [result], tensors)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return ir.passes.common.ShapeInferencePass()(ir.from_proto(proto)).model


@pytest.mark.parametrize("model", [tiny_model(), other_operators()], ids=["tiny", "other"])
@pytest.mark.parametrize("measured", [(), ("pixels",), ("pixels", "relu1", "clip")])
def test_no_result_exceeds_its_bound(model: ir.Model, measured: tuple[str, ...]) -> None:
    names = [str(node.outputs[0].name) for node in model.graph][:-1]
    read = read_tensors(expose_tensors(copy_graph(model), names), names)
    values = dict(zip(names, read(photo_set(40, seed=3).images()), strict=True))
    peaks = {name: channel_peaks(values[name]) for name in measured if name in names}
    bounds = magnitude_bounds(model, peaks)
    for name in names:
        assert np.isfinite(bounds[name]).all()
        assert (channel_peaks(values[name]) <= bounds[name] * (1 + 1e-6)).all(), name
    assert all(bounds[name] is peak for name, peak in peaks.items())


def channel_peaks(values: NDArray[np.float32]) -> NDArray[np.float64]:
    other_axes = tuple(axis for axis in range(values.ndim) if axis != 1)
    result: NDArray[np.float64] = np.abs(values.astype(np.float64)).max(axis=other_axes)
    return result


def test_an_operator_without_a_rule_has_no_bound() -> None:
    model = tiny_model()
    next(node for node in model.graph if node.op_type == "Relu").op_type = "Exp"
    assert not np.isfinite(magnitude_bounds(model, {})["relu1"]).all()


def test_only_results_that_may_be_near_the_limit_are_run_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    photos, runs = photo_set(40, seed=3), []
    check_overflow = overflow.check_overflow

    def counting(*arguments: object, in_float16: bool) -> float:
        runs.append(arguments)
        return check_overflow(*arguments, in_float16=in_float16)  # type: ignore[arg-type]

    monkeypatch.setattr(overflow, "check_overflow", counting)

    def check(factor: float, *, in_float16: bool = True) -> None:
        model = tiny_model()
        weight = model.graph.initializers["conv2.weight"]
        assert weight.const_value is not None
        weight.const_value = ir.Tensor(weight.const_value.numpy() * np.float32(factor), name=weight.name)
        checked = overflow.overflow_check(model, photos, in_float16=in_float16)
        observe_tensors(model, photos, CalibrationProgress(None, ""), checked)

    check(1)
    assert (runs, caplog.records) == ([], [])
    with caplog.at_level(logging.WARNING):
        check(700)
    assert "the limit of float16 is 65504" in caplog.text
    assert len(runs) == 1
    with pytest.raises(ModelError, match=r"fp16\.onnx: \d results exceed float16's 65504 .* conv2 "):
        check(7e4)
    with pytest.raises(ModelError, match=r"fp32\.onnx: conv2 gives NaN .* for every photo|for 0\.png"):
        check(float("nan"))
    runs.clear()
    check(7e4, in_float16=False)
    assert not runs
    with pytest.raises(ModelError, match=r"fp32\.onnx: conv2 gives NaN"):
        check(float("nan"), in_float16=False)
