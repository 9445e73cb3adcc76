"""ONNX files that are no image classifiers are refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.export.imported.classifiers import (
    CONTRACT,
    FLOAT,
    original_answer,
    random_images,
    softmax,
    tensor,
    tensorflow_like,
)
from vegrt.errors import BundleError, ModelError, VegrtError
from vegrt.export.imported.onnx_file import read_imported
from vegrt.export.imported.source import import_onnx, load_imported


def test_weights_with_nan_are_named(tmp_path: Path) -> None:
    tensorflow_like(tmp_path / "model.onnx")
    proto = onnx.load(tmp_path / "model.onnx")
    stored = next(weights for weights in proto.graph.initializer if weights.name == "w2")
    stored.CopyFrom(numpy_helper.from_array(np.full(stored.dims, np.nan, np.float32), "w2"))
    onnx.save(proto, tmp_path / "model.onnx")
    with pytest.raises(VegrtError, match="gives NaN or infinity for random pixels, its w2 contains NaN"):
        read_imported(tmp_path / "model.onnx", 3, CONTRACT)


def relu(**attributes: Any) -> onnx.NodeProto:
    return helper.make_node("Relu", ["images"], ["scores"], **attributes)


UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "two inputs": (
        {"inputs": [tensor("mask", FLOAT, 1)]},
        r"inputs pixels \(unk__1, 48, 48, 3\), mask \(1\); expected one, the image",
    ),
    "two outputs": (
        {"outputs": [tensor("pooled", FLOAT, "n", 16)]},
        r"outputs scores \(unk__1, 3\), pooled \(n, 16\); .* name that output with --output",
    ),
    "sigmoid over probabilities": (
        {"tail": [helper.make_node("Softmax", ["images"], ["p"]), helper.make_node("Relu", ["p"], ["scores"])]},
        "gives probabilities, without a Softmax at its end",
    ),
    "a yes or no for each class": (
        {"tail": [helper.make_node("Sigmoid", ["images"], ["scores"])]},
        "ends in Sigmoid, a yes or no per class; expected one class per photo",
    ),
    "a yes or no, in another shape": (
        {"tail": [helper.make_node("HardSigmoid", ["images"], ["p"]), helper.make_node("Flatten", ["p"], ["scores"])]},
        "ends in HardSigmoid, a yes or no per class",
    ),
    "softmax over images": (
        {"tail": [helper.make_node("Softmax", ["images"], ["scores"], axis=0)]},
        "ends in Softmax over axis 0; expected it over the classes",
    ),
    "own operators": ({"tail": [relu(domain="com.example")]}, r"outside of the ONNX standard: com\.example\.Relu"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_a_model_that_is_no_image_classifier_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    changes, message = UNFIT[name]
    tensorflow_like(tmp_path / "model.onnx", **changes)
    with pytest.raises(VegrtError, match=message) as caught:
        read_imported(tmp_path / "model.onnx", 3, CONTRACT)
    assert str(caught.value).startswith(f"{tmp_path / 'model.onnx'}: ")


def simple(file: Path, kind: int, *shape: int | str) -> None:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])], "g", [tensor("x", kind, *shape)], [tensor("y", kind, *shape)]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), file)


@pytest.mark.parametrize(
    ("kind", "shape", "message"),
    [
        (FLOAT, ("N", 100), r"input x is float \(N, 100\); expected normalised pixels, float32 \(N, 3, 48, 48\)"),
        (FLOAT, ("N", 1, 48, 48), r"\(N, 1, 48, 48\); expected normalised pixels"),
        (TensorProto.UINT8, ("N", 48, 48, 3), r"input x is uint8 .* expected normalised pixels"),
        (FLOAT, ("N", 3, 64, 64), r"\(N, 3, 64, 64\), the contract's size is 48; expected float32"),
        (FLOAT, ("N", 3, 48, 48), r"gives float32 \(2, 3, 48, 48\) for 2 image\(s\); expected float32 \(N, K\)"),
    ],
)
def test_an_input_that_is_no_image_is_refused_in_one_line(kind: int, shape: Any, message: str, tmp_path: Path) -> None:
    simple(tmp_path / "model.onnx", kind, *shape)
    with pytest.raises(VegrtError, match=message):
        read_imported(tmp_path / "model.onnx", 3, CONTRACT)


def test_one_of_two_heads_is_chosen_by_name(folder: Path) -> None:
    tensorflow_like(folder / "model.onnx", outputs=[tensor("product", FLOAT, "n", 3)])
    files = folder / "model.onnx", folder / "classes.txt", folder / "contract.toml"
    bundle = import_onnx(folder / "out", *files, "scores")
    source = load_imported(bundle)
    assert [value.name for value in source.graph.graph.outputs] == ["logits"]
    images = random_images(2)
    answers = source.reference.logits(images)
    np.testing.assert_allclose(softmax(answers), original_answer(folder / "model.onnx", images, nhwc=True), atol=1e-6)
    assert import_onnx(folder / "out", *files, "scores").manifest == bundle.manifest
    with pytest.raises(BundleError, match="holds another model, output"):
        import_onnx(folder / "out", *files, "product")
    with pytest.raises(ModelError, match=r"output 'probs'; expected one of scores \(unk__1, 3\), product \(n, 3\)"):
        import_onnx(folder / "new", *files, "probs")
