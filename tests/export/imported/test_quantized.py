"""Quantized models of others, made with ONNX Runtime's own quantizers, are candidates of a bundle beside its fp32."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

from tests.command_line import answer, call, failure
from tests.conftest import CLASSES, made_once
from tests.export.imported.classifiers import export_by_torch, original_answer, random_images, tensor
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.calibration.graph.onnx_graph import serialize
from vegrt.dataset.photos import read_split
from vegrt.errors import ModelError
from vegrt.evaluate.golden import least_cosine
from vegrt.export.imported.convert import convert_quantized
from vegrt.export.imported.onnx_file import read_imported
from vegrt.export.imported.quantized import read_quantized
from vegrt.infer.runtimes.candidates import candidates
from vegrt.infer.runtimes.host import is_installed
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime
from vegrt.networks import load_network
from vegrt.photo.preprocess import load_image

FORMS = ("QDQ", "QOperator", "dynamic")


class Photos(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no annotations
    """Some photos of the validation split, normalised as in training."""

    def __init__(self, data: Path, bundle: Bundle, name: str) -> None:
        contract, photos = bundle.manifest.contract, read_split(data, "validation").photos[::3]
        images = [load_image(photo.path, contract) for photo in photos]
        pixels = [((image / 255 - contract.mean) / contract.std).astype(np.float32) for image in images]
        self._batches: Iterator[dict[str, Any]] = iter([{name: image.transpose(2, 0, 1)[None]} for image in pixels])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._batches, None)


@pytest.fixture(scope="module")
def files(trained: Bundle, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder: fp32.onnx with a fixed batch of 1 and a Softmax, its three quantized forms, classes and contract. Read only."""

    def make(root: Path) -> None:
        contract, network = trained.manifest.contract, torch.nn.Sequential(load_network(trained), torch.nn.Softmax(1))
        export_by_torch(network.eval(), root / "fp32.onnx", dynamo=False, opset_version=13, input_names=["x"])
        shared = {"model_input": root / "fp32.onnx", "calibration_data_reader": None}
        for form in (QuantFormat.QDQ, QuantFormat.QOperator):
            shared["calibration_data_reader"] = Photos(photos, trained, "x")
            quantize_static(**shared, model_output=root / f"{form.name}.onnx", quant_format=form, per_channel=True)
        quantize_dynamic(root / "fp32.onnx", root / "dynamic.onnx", weight_type=QuantType.QUInt8)
        (root / "classes.txt").write_text("\n".join(CLASSES))
        facts = f"size = {contract.size}\nresize = {contract.resize}\nmean = {list(contract.mean)}\nstd = {list(contract.std)}\n"
        (root / "contract.toml").write_text(facts)

    return made_once(tmp_path_factory, "quantized", make)


@pytest.fixture
def words(files: Path, photos: Path, tmp_path: Path) -> list[object]:
    """The words of an export of the float32 file into a new bundle."""
    given = [
        "--from-onnx",
        files / "fp32.onnx",
        "--classes",
        files / "classes.txt",
        "--contract",
        files / "contract.toml",
    ]
    return ["export", tmp_path / "ours", "--data", photos, "--no-engine", *given]


@pytest.mark.parametrize("form", FORMS)
def test_only_the_ends_of_a_quantized_model_change(form: str, files: Path, trained: Bundle) -> None:
    file, contract, images = files / f"{form}.onnx", trained.manifest.contract, random_images(3)
    imported = read_imported(file, 3, contract, quantized=True)
    runner = open_onnxruntime(serialize(convert_quantized(imported, CLASSES, contract)))
    want = original_answer(file, images, contract=contract)
    for part in (images[:1], images) if form != "dynamic" else (images[:1],):  # dynamic: ranges of the whole batch
        logits = runner.logits(part)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        np.testing.assert_allclose(powers / powers.sum(axis=1, keepdims=True), want[: len(part)], atol=0.01)
    kept = {"QDQ": "Conv", "QOperator": "QLinearConv", "dynamic": "ConvInteger"}[form]
    before = Counter(node.op_type for node in onnx.load(file).graph.node)
    after = Counter(node.op_type for node in convert_quantized(imported, CLASSES, contract).graph)
    assert before[kept] == after[kept] > 0
    assert before["QuantizeLinear"] - after["QuantizeLinear"] in (0, 1)  # without that of the probabilities


def test_quantized_models_pass_through_all_commands(words: list[object], files: Path, photos: Path) -> None:
    out, given = Path(str(words[1])), [files / "QDQ.onnx", files / "QOperator.onnx"]
    shown = answer(*words, "--quantized", given[0], "--quantized", given[1])
    ours = open_bundle(out)
    assert ours.variants()[-2:] == ("int8-imported", "int8-imported-2")
    first, second = (ours.artifact("model", variant) for variant in ours.variants()[-2:])
    assert (first.path, first.details["onnx"], first.details["form"]) == ("int8-imported.onnx", "QDQ.onnx", "QDQ")
    assert second.details["form"] == "QOperator"
    assert first.details["parity"]["top1_agreement"] > 0.8
    assert "int8-imported" in [artifact["variant"] for artifact in shown["artifacts"]]
    runtimes = {(candidate.variant, candidate.runtime) for candidate in candidates(ours, device="cpu")}
    assert {("int8-imported", "onnxruntime"), ("int8-imported-2", "onnxruntime")} <= runtimes
    if is_installed("openvino"):  # it has no QLinearGlobalAveragePool and others of ONNX Runtime's own operators
        assert ("int8-imported", "openvino") in runtimes
        assert ("int8-imported-2", "openvino") not in runtimes
        assert ("int8-imported-2", "openvino") in {
            (candidate.variant, candidate.runtime) for candidate in candidates(ours, "openvino", "cpu")
        }
    assert call("evaluate", out, "--data", photos, "--margin", "30").exit_code in (0, 3, 4)
    evaluation = json.loads((out / "results/evaluate-test.json").read_text())
    gates = {row["key"]: row["gate"]["verdict"] for row in evaluation["candidates"]}
    assert gates["int8-imported/onnxruntime"] in ("PASS", "FAIL", "INCONCLUSIVE")
    assert call("verify", out).exit_code == 0
    inferred = answer(
        "infer", photos / "test/Beet", "--bundle", out, "--variant", "int8-imported", "-o", out.parent / "rows.csv"
    )
    assert inferred["variant"] == "int8-imported"
    assert call("report", out, "-o", out.parent / "report.html").exit_code == 0
    page = (out.parent / "report.html").read_text()
    assert "--quantized QDQ.onnx --quantized QOperator.onnx" in page
    calibrated = call("calibrate", out, "--data", photos, "--photos", "16", "--overwrite")
    assert calibrated.exit_code == 0, calibrated.output
    again = open_bundle(out)
    assert [again.artifact("model", variant).sha256 for variant in again.variants()[-2:]] == [
        first.sha256,
        second.sha256,
    ]


def test_a_bundle_from_a_checkpoint_takes_a_quantized_model_too(
    trained: Bundle, files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    [model] = read_quantized(trained, [files / "dynamic.onnx"])
    assert (model.variant, model.details["form"], model.details["producer"]) == (
        "int8-imported",
        "dynamic",
        "onnx.quantize",
    )
    assert "an answer depends on the other photos in it" in caplog.text


def test_a_quantized_model_may_differ_from_fp32_as_much_as_when_it_was_added(bundle: Bundle, tmp_path: Path) -> None:
    assert least_cosine(bundle, "int8") == 0.9
    shutil.copytree(bundle.path, tmp_path / "b")
    manifest = json.loads((tmp_path / "b/manifest.json").read_text())
    for entry in manifest["artifacts"]:
        if (entry["role"], entry["variant"]) == ("model", "int8"):
            entry["variant"], entry["details"]["parity"]["min_cosine"] = "int8-imported", 0.7
    (tmp_path / "b/manifest.json").write_text(json.dumps(manifest))
    assert least_cosine(open_bundle(tmp_path / "b"), "int8-imported") == pytest.approx(0.65)


def test_a_quantized_model_alone_is_refused_with_the_command_that_takes_it(words: list[object], files: Path) -> None:
    file = files / "QDQ.onnx"
    message = failure(*words[:5], "--from-onnx", file, *words[7:])
    assert f"{file}: already quantized (DequantizeLinear, QuantizeLinear); expected the float32 model" in message
    assert f"--from-onnx FP32 --quantized {file}" in message
    assert not Path(str(words[1])).exists()


def change(files: Path, folder: Path, **changes: Any) -> Path:
    """Write a changed copy of QDQ.onnx. order: of the classes. size: of the input. bits: of a zero point."""
    proto = onnx.load(files / "QDQ.onnx")
    if order := changes.get("order"):
        head = next(node for node in reversed(proto.graph.node) if node.op_type == "Gemm")
        sources = {node.output[0]: node.input[0] for node in proto.graph.node if node.op_type == "DequantizeLinear"}
        names = {
            name
            for source in head.input[1:]
            for name in (sources[source], sources[source].replace("_quantized", "_scale"))
        }
        names |= {name.replace("_scale", "_zero_point") for name in names}
        for item in proto.graph.initializer:
            if item.name in names and item.dims and item.dims[0] == len(order):
                item.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item)[order], item.name))
    if size := changes.get("size"):
        proto.graph.input[0].CopyFrom(tensor("x", onnx.TensorProto.FLOAT, 1, 3, size, size))
    if changes.get("bits") == 16:
        item = next(item for item in proto.graph.initializer if item.data_type == onnx.TensorProto.INT8)
        item.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item).astype(np.int16), item.name))
        proto.opset_import[0].version = 21
    onnx.save(proto, folder / "changed.onnx")
    return folder / "changed.onnx"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 64}, r"input x is float \(1, 3, 64, 64\), the contract's size is 48"),
        ({"bits": 16}, r"quantized to other widths \(INT16\); expected integers of 8 bits"),
    ],
)
def test_a_model_with_another_interface_is_refused(
    changes: dict[str, Any], message: str, files: Path, trained: Bundle, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        read_quantized(trained, [change(files, tmp_path, **changes)])
    assert "\n" not in str(caught.value)


def test_a_float_model_and_one_of_other_classes_are_refused(files: Path, trained: Bundle) -> None:
    with pytest.raises(ModelError, match=r"fp32.onnx: not quantized; expected a model in 8 bits"):
        read_quantized(trained, [files / "fp32.onnx"])
    with pytest.raises(ModelError, match="gives 3 scores per image, fp32 gives 4"):
        read_imported(files / "QDQ.onnx", 4, trained.manifest.contract, quantized=True)


def test_another_class_order_is_refused_by_its_name(words: list[object], files: Path, tmp_path: Path) -> None:
    message = failure(*words, "--quantized", change(files, tmp_path, order=[1, 2, 0]))
    assert "no better than chance; they match in another class order: " in message
    assert "Cress" in message
    assert not Path(str(words[1])).exists()
