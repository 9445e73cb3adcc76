"""Models that a runtime loads and cannot run, or whose answer is no (N, K) logits: one line each, on both runtimes."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from vegrt.bundle.bundle import open_bundle
from vegrt.bundle.change import changing
from vegrt.bundle.manifest import Manifest
from vegrt.errors import ModelError
from vegrt.evaluate.verify import verify
from vegrt.files.atomic import write_json
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime
from vegrt.infer.runtimes.onnxruntime.session import open_session, read_tensors
from vegrt.infer.runtimes.open import open_candidate
from vegrt.infer.runtimes.openvino.runner import open_openvino
from vegrt.photo.contract import Contract

CLASSES = 4
IMAGES = np.zeros((2, 8, 8, 3), np.uint8)
Open = Callable[..., Any]
both = pytest.mark.parametrize("opened", [open_onnxruntime, open_openvino], ids=["onnxruntime", "openvino"])


def network(
    *last: onnx.NodeProto,
    logits: onnx.ValueInfoProto | None = None,
    name: str = "images",
    **constants: np.ndarray[Any, Any],
) -> bytes:
    """Return a classifier of four classes by the mean colour, whose scores `scores` the nodes `last` turn into `logits`."""
    nodes = [
        helper.make_node("Cast", [name], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "sides"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["scores"]),
        *(last or (helper.make_node("Identity", ["scores"], ["logits"]),)),
    ]
    values = {"sides": np.array([1, 2]), "weights": np.ones((3, CLASSES), np.float32), **constants}
    images = helper.make_tensor_value_info(name, TensorProto.UINT8, ["N", 8, 8, 3])
    outputs = logits or helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])
    initializers = [numpy_helper.from_array(value, key) for key, value in values.items()]
    graph = helper.make_graph(nodes, "odd", [images], [outputs], initializers)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.evil", 1)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())


def info(kind: int, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info("logits", kind, shape)


def node(kind: str, *more: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, ["scores", *more], ["logits"], **attributes)


def to_text() -> bytes:
    return network(node("Cast", to=TensorProto.STRING), logits=info(TensorProto.STRING, "N", CLASSES))


def renamed() -> bytes:
    return network().replace(b"means", b"m\xff\xfens")  # a name that is not UTF-8


ODD: dict[str, Callable[[], bytes]] = {
    "fails at run time": lambda: network(node("Reshape", "shape"), shape=np.array([7, 7])),
    "rank 0": lambda: network(node("ReduceSum", keepdims=0), logits=info(TensorProto.FLOAT)),
    "rank 1": lambda: network(
        node("ReduceSum", "axis", keepdims=0), logits=info(TensorProto.FLOAT, "N"), axis=np.array([1])
    ),
    "rank 3": lambda: network(
        node("Unsqueeze", "axis"), logits=info(TensorProto.FLOAT, "N", 1, CLASSES), axis=np.array([1])
    ),
    "whole numbers": lambda: network(node("Cast", to=TensorProto.INT64), logits=info(TensorProto.INT64, "N", CLASSES)),
    "more columns": lambda: network(weights=np.ones((3, 9), np.float32), logits=info(TensorProto.FLOAT, "N", 9)),
    "fewer columns, not declared": lambda: network(
        weights=np.ones((3, 2), np.float32), logits=info(TensorProto.FLOAT, "N", "K")
    ),
    "one row": lambda: network(
        node("ReduceMean", "axis"), logits=info(TensorProto.FLOAT, "M", CLASSES), axis=np.array([0])
    ),
    "another input": lambda: network(name="pictures"),
    "another output": lambda: network(helper.make_node("Identity", ["scores"], ["answers"])).replace(
        b"logits", b"answer"
    ),
    "an unknown operator": lambda: network(node("Nope")),
    "an operator of somebody": lambda: network(node("Evil", domain="com.evil")),
    "cut off": lambda: network()[:-60],
    "zeros": lambda: bytes(1000),
    "nothing": lambda: b"",
}


@both
@pytest.mark.parametrize("kind", ODD)
def test_an_odd_model_costs_one_line(tmp_path: Path, opened: Open, kind: str) -> None:
    (tmp_path / "odd.onnx").write_bytes(ODD[kind]())
    with pytest.raises(ModelError, match=r"odd\.onnx: ") as refused:
        opened(tmp_path / "odd.onnx", classes=CLASSES).logits(IMAGES)
    assert len(str(refused.value).splitlines()) == 1


def test_text_as_logits_is_refused_when_the_model_is_opened(tmp_path: Path) -> None:
    (tmp_path / "odd.onnx").write_bytes(to_text())
    with pytest.raises(ModelError, match=r"logits are tensor\(string\) .*; expected tensor\(float\) \(N, 4\)"):
        open_onnxruntime(tmp_path / "odd.onnx", classes=CLASSES)


@both
def test_a_name_that_is_not_utf8_costs_at_most_one_line(tmp_path: Path, opened: Open) -> None:
    (tmp_path / "odd.onnx").write_bytes(renamed())
    with contextlib.suppress(ModelError):  # some versions take it
        assert opened(tmp_path / "odd.onnx", classes=CLASSES).logits(IMAGES).shape == (2, CLASSES)


@both
def test_pixels_of_another_size_cost_one_line(tmp_path: Path, opened: Open) -> None:
    (tmp_path / "good.onnx").write_bytes(network())
    runner = opened(tmp_path / "good.onnx", classes=CLASSES)
    assert runner.logits(IMAGES).shape == (2, CLASSES)
    with pytest.raises(ModelError, match=r"good\.onnx: .* on images of shape \(1, 9, 9, 3\)"):
        runner.logits(np.zeros((1, 9, 9, 3), np.uint8))


def test_inner_tensors_are_read_through_the_same_seam() -> None:
    model = network(node("Reshape", "shape"), shape=np.array([7, 7]))
    assert open_session(model) is not None
    with pytest.raises(ModelError, match="ONNX Runtime cannot run it"):
        read_tensors(model, ["logits"])(IMAGES)


@pytest.mark.parametrize(("kind", "message"), [("fails at run time", "cannot run it"), ("more columns", "expected")])
def test_verify_fails_such_a_model_and_goes_on(tmp_path: Path, kind: str, message: str) -> None:
    with changing(tmp_path / "bundle") as staging:
        staging.file("fp32.onnx").write_bytes(ODD[kind]())
        staging.add("fp32.onnx", "model", "fp32")
        photo = staging.file("golden/0.png")
        photo.write_bytes(png())
        staging.add("golden/0.png", "golden")
        golden = {"file": "golden/0.png", "pixels_sha256": "0" * 64, "logits": [0.0] * CLASSES}
        write_json(staging.file("golden/golden.json"), {"images": [golden]})
        staging.add("golden/golden.json", "golden")
        staging.finish(Manifest("odd", tuple("abcd"), Contract(8, 8), {"onnx": "x.onnx"}))
    bundle = open_bundle(tmp_path / "bundle")
    checks = {check.subject: check for check in verify(bundle)}
    assert checks["fp32/onnxruntime"].status == "FAIL"
    assert message in checks["fp32/onnxruntime"].detail
    assert "fp32/openvino" in checks
    with pytest.raises(ModelError):
        open_candidate(bundle, Candidate("fp32", "onnxruntime")).logits(IMAGES)


def png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (9, 90, 200)).save(stream, "PNG")
    return stream.getvalue()
