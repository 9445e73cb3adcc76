"""Classifiers in ONNX files as other tools write them, and what they answer."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from vegrt.photo.contract import Contract

SIZE, CLASSES = 48, ("Beet", "Cress", "Eggplant")
CONTRACT = Contract(SIZE, SIZE, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
TOML = "size = 48\nresize = 48\nmean = [0.5, 0.4, 0.3]\nstd = [0.2, 0.25, 0.3]\n"
FLOAT = TensorProto.FLOAT


def export_by_torch(
    network: nn.Module, file: Path, *, image: tuple[int, int, int] = (3, SIZE, SIZE), batch: int = 1, **options: Any
) -> None:
    if not options.get("optimize", True):
        options["dynamic_shapes"] = ({0: torch.export.Dim("N")},)
    example = torch.rand(2 if "dynamic_shapes" in options else batch, *image)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters warn of their own internals and of each other
        torch.onnx.export(network, (example,), file, verbose=False, **options)


def tensor(name: str, kind: int, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def tensorflow_like(file: Path, *, opset: int = 13, **changes: Any) -> None:
    """Write a classifier as tf2onnx does: NHWC in, Transpose, Conv and BatchNormalization, mean, MatMul and Add, Softmax."""
    random = np.random.default_rng(5)
    shapes: dict[str, Any] = {
        "w": (8, 3, 3, 3),
        "g": 8,
        "b": 8,
        "m": 8,
        "v": 8,
        "w2": (16, 8, 3, 3),
        "fc": (16, 3),
        "fb": (3,),
    }
    weights = {
        name: random.uniform(0.1, 0.5, shape) - (0.25 if name[0] == "w" else 0) for name, shape in shapes.items()
    }
    same: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Transpose", ["pixels"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["nchw", "w"], ["c1"], **same),
        helper.make_node("BatchNormalization", ["c1", "g", "b", "m", "v"], ["n1"]),
        helper.make_node("Relu", ["n1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], **same),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("ReduceMean", ["r2"], ["pooled"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["pooled", "fc"], ["product"]),
        helper.make_node("Add", ["product", "fb"], ["images"]),
        *changes.get("tail", [helper.make_node("Softmax", ["images"], ["scores"], axis=-1)]),
    ]
    graph = helper.make_graph(
        nodes,
        "tf2onnx",
        [tensor("pixels", TensorProto.FLOAT, changes.get("batch", "unk__1"), 48, 48, 3), *changes.get("inputs", [])],
        [tensor("scores", TensorProto.FLOAT, changes.get("batch", "unk__1"), 3), *changes.get("outputs", [])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    onnx.save(
        helper.make_model(
            graph, opset_imports=[helper.make_opsetid(name, opset) for name in ("", "com.example")], ir_version=8
        ),
        file,
    )


def random_images(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


def original_answer(
    file: Path, images: NDArray[np.uint8], *, nhwc: bool = False, contract: Contract = CONTRACT
) -> NDArray[np.float32]:
    """Return what the file itself gives, one image at a time. contract: for its mean and std, in the order of the images."""
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    pixels = ((images / 255 - contract.mean) / contract.std).astype(np.float32)
    pixels = pixels if nhwc else pixels.transpose(0, 3, 1, 2)
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: np.ascontiguousarray(image[None])})[0] for image in pixels])


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
    return result
