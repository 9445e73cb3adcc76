"""Attention's products are in 8 bits where no held-out answer changes for it, on a graph that takes milliseconds."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, checker, helper, numpy_helper

from vegrt.calibration.graph.onnx_graph import serialize
from vegrt.calibration.graph.placement import attention_products, quantizable_layers
from vegrt.calibration.graph.quantize import ENCODINGS
from vegrt.calibration.pixels import PhotoSet, PixelStore
from vegrt.calibration.saved import FILE, to_json
from vegrt.calibration.settings import Attention, CalibrationSettings
from vegrt.calibration.stage import run_calibration
from vegrt.calibration.subject import CalibrationSubject
from vegrt.dataset.photos import Photo
from vegrt.files.atomic import write_json
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime
from vegrt.photo.contract import Contract

WIDTH, CLASSES, SIDE, PATCH = 8, 4, 12, 4
CONTRACT = Contract(SIDE, SIDE, (0, 0, 0), (1, 1, 1))
PRODUCTS = ["scores", "mixed"]


def attention_model(*, hostile: bool = False) -> ir.Model:
    """Return a patch embedding, queries x keys -> Softmax -> x values, and a classifier.

    hostile: one channel of the values is huge and meets weights of 0, so that 8 bits leave the others no steps.
    """
    random = np.random.default_rng(3)
    weights = {name: random.normal(size=(WIDTH, WIDTH)) / 2 for name in ("q", "k", "v")}
    weights |= {
        "scale": np.array(1 / 255),
        "patch": random.normal(size=(WIDTH, 3, PATCH, PATCH)) / 2,
        "head": random.normal(size=(CLASSES, WIDTH)),
    }
    if hostile:
        weights["v"][:, 0] *= 1e5
        weights["head"][:, 0] = 0
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], "transpose", perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["planes", "scale"], ["pixels"], "normalise"),
        helper.make_node("Conv", ["pixels", "patch"], ["patches"], "patches", strides=[PATCH, PATCH]),
        helper.make_node("Reshape", ["patches", "flat"], ["rows"], "rows"),
        helper.make_node("Transpose", ["rows"], ["tokens"], "tokens", perm=[0, 2, 1]),
        *(helper.make_node("MatMul", ["tokens", name], [f"{name}_"], f"{name}_layer") for name in ("q", "k", "v")),
        helper.make_node("Transpose", ["k_"], ["keys"], "keys", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q_", "keys"], ["scores"], "scores"),
        helper.make_node("Softmax", ["scores"], ["shares"], "softmax"),
        helper.make_node("MatMul", ["shares", "v_"], ["mixed"], "mixed"),
        helper.make_node("ReduceMean", ["mixed", "middle"], ["mean"], "mean", keepdims=0),
        helper.make_node("Gemm", ["mean", "head"], ["logits"], "head_layer", transB=1),
    ]
    stored = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in weights.items()]
    numbers = {"flat": [0, WIDTH, -1], "middle": [1]}
    stored += [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in numbers.items()]
    graph = helper.make_graph(
        nodes,
        "attention",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])],
        stored,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    checker.check_model(model, full_check=True)
    return ir.passes.common.ShapeInferencePass()(ir.from_proto(model)).model


def photo_set(model: ir.Model, seed: int) -> PhotoSet:
    """Return 64 photos of random colours in memory, labelled with the answers of the model itself."""
    images = np.random.default_rng(seed).integers(0, 256, (64, SIDE, SIDE, 3)).astype(np.uint8)
    labels = open_onnxruntime(serialize(model)).logits(images).argmax(axis=1)
    photos = [Photo(Path(f"{index}.png"), int(label)) for index, label in enumerate(labels)]
    pixels = PixelStore(CONTRACT)
    pixels.add(photos, images)
    return PhotoSet(photos, pixels)


def subject(*, hostile: bool = False) -> CalibrationSubject:
    model = attention_model(hostile=hostile)
    hashes = {"observed": ["a"], "held out": ["b"]}
    return CalibrationSubject(model, CONTRACT, hashes, photo_set(model, 1), photo_set(model, 2))


@pytest.mark.parametrize(
    ("attention", "hostile", "in_float"),
    [("auto", False, ()), ("auto", True, PRODUCTS), ("float", False, PRODUCTS), ("int8", True, ())],
)
def test_the_held_out_photos_decide_whether_attention_is_in_8_bits(
    attention: Attention, hostile: bool, in_float: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "vegrt")
    calibration = run_calibration(
        tmp_path, subject(hostile=hostile), CalibrationSettings(attention=attention)
    ).calibration
    assert calibration.float_layers == {encoding: tuple(sorted(in_float)) for encoding in ENCODINGS}
    assert ("attention in float; in 8 bits it changes agreement" in caplog.text) == (attention == "auto" and hostile)
    for encoding in ENCODINGS:
        model = attention_model(hostile=hostile)
        calibration.quantize(model, encoding)
        products = [node for node in model.graph if node.op_type in ("Conv", "MatMul")]
        quantized = {node.name for node in products if all("dequantize" in name for name in producers(node))}
        assert quantized == {"patches", "q_layer", "k_layer", "v_layer", *(PRODUCTS if not in_float else ())}


def producers(node: ir.Node) -> list[str]:
    values = [value.producer() for value in node.inputs if value is not None]
    return [str(producer.name) for producer in values if producer is not None]


def test_attention_is_among_the_layers_that_a_file_may_name() -> None:
    model = attention_model()
    assert [node.name for node in attention_products(model)] == PRODUCTS
    assert set(PRODUCTS) <= set(quantizable_layers(model, "signed"))


def test_a_saved_calibration_without_ranges_of_tokens_is_not_reused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Earlier versions calibrated convolutions only, under the same key."""
    outcome = run_calibration(tmp_path, subject(), CalibrationSettings())
    saved = json.loads(json.dumps(to_json(outcome.calibration, outcome.key)))
    del saved["tensors"]["tokens"]
    write_json(tmp_path / FILE, saved)
    assert not run_calibration(tmp_path, subject(), CalibrationSettings()).reused
    assert "it lacks 1 tensors that are quantized now; calibrating again" in caplog.text
