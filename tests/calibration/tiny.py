"""A graph that takes milliseconds, and photos in memory, to calibrate it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx import TensorProto, checker, helper, numpy_helper

from vegrt.calibration.graph.onnx_graph import serialize
from vegrt.calibration.pixels import PhotoSet, PixelStore
from vegrt.calibration.subject import CalibrationSubject
from vegrt.dataset.photos import Photo
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime
from vegrt.photo.contract import Contract

CHANNELS, CLASSES, SIDE = 8, 4, 12
CONTRACT = Contract(SIDE, SIDE, (0, 0, 0), (1, 1, 1))


def tiny_model(*, hostile: int = 0, seed: int = 0) -> ir.Model:
    """Return conv1 -> Relu -> conv2 -> (+ skip) -> Relu -> pool -> fc.

    hostile: every so many-th channel between conv1 and conv2 is 1000 times larger, and conv2 undoes it.
    """
    random = np.random.default_rng(seed)
    factor = np.where(np.arange(CHANNELS) % hostile == 0, 1000.0, 1.0) if hostile else np.ones(CHANNELS)
    weights = {
        "scale": np.float32(1 / 255),
        "conv1.weight": random.normal(size=(CHANNELS, 3, 3, 3)) * factor[:, None, None, None],
        "conv1.bias": random.normal(size=CHANNELS) * factor,
        "conv2.weight": random.normal(size=(CHANNELS, CHANNELS, 3, 3)) / factor[None, :, None, None],
        "conv2.bias": random.normal(size=CHANNELS),
        "skip.weight": random.normal(size=(CHANNELS, 3, 1, 1)),
        "fc.weight": random.normal(size=(CLASSES, CHANNELS)),
        "fc.bias": random.normal(size=CLASSES),
    }
    pads = [1, 1, 1, 1]
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], "transpose", perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["planes", "scale"], ["pixels"], "normalise"),
        helper.make_node("Conv", ["pixels", "conv1.weight", "conv1.bias"], ["conv1"], "conv1", pads=pads),
        helper.make_node("Relu", ["conv1"], ["relu1"], "relu1"),
        helper.make_node("Conv", ["relu1", "conv2.weight", "conv2.bias"], ["conv2"], "conv2", pads=pads),
        helper.make_node("Conv", ["pixels", "skip.weight"], ["skip"], "skip"),
        helper.make_node("Add", ["conv2", "skip"], ["sum"], "add"),
        helper.make_node("Relu", ["sum"], ["relu2"], "relu2"),
        helper.make_node("GlobalAveragePool", ["relu2"], ["pool"], "pool"),
        helper.make_node("Flatten", ["pool"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "fc.weight", "fc.bias"], ["logits"], "fc", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    checker.check_model(model, full_check=True)
    return ir.passes.common.ShapeInferencePass()(ir.from_proto(model)).model


def photo_set(count: int, seed: int, labels: Sequence[int] | None = None) -> PhotoSet:
    """Return photos in memory: each has its own brightness per channel, so that the answers differ."""
    random = np.random.default_rng(seed)
    levels = random.uniform(20, 235, (count, 1, 1, 3))
    images = np.clip(random.normal(levels, 20, (count, SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
    photos = [Photo(Path(f"{index}.png"), label) for index, label in enumerate(labels or [0] * count)]
    pixels = PixelStore(CONTRACT)
    pixels.add(photos, images)
    return PhotoSet(photos, pixels)


def labelled(model: ir.Model, count: int, seed: int) -> PhotoSet:
    """Return photos labelled with the answers of `model` itself: it is right on all of them."""
    labels = open_onnxruntime(serialize(model)).logits(photo_set(count, seed).images()).argmax(axis=1)
    return photo_set(count, seed, labels.tolist())


def subject(*, hostile: int = 0, seed: int = 0, hashes: Sequence[str] = ("a", "b")) -> CalibrationSubject:
    model = tiny_model(hostile=hostile, seed=seed)
    return CalibrationSubject(
        model=model,
        contract=CONTRACT,
        hashes={"observed": list(hashes), "held out": ["c"]},
        observed=photo_set(96, seed=1),
        held_out=labelled(model, 96, seed=2),
    )
