"""Classifiers that others exported to ONNX, compared with ONNX Runtime on their own files."""

from __future__ import annotations

import shutil
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torchvision
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from tests.command_line import answer, call, failure
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.calibration.graph.onnx_graph import serialize
from vegrt.calibration.graph.placement import quantizable_nodes
from vegrt.errors import VegrtError
from vegrt.export.imported.convert import convert_imported
from vegrt.export.imported.onnx_file import read_imported
from vegrt.export.imported.source import import_onnx, read_classes, read_contract
from vegrt.export.onnx.fp16 import to_fp16
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime
from vegrt.photo.preprocess import Contract

SIZE, CLASSES = 48, ("Beet", "Cress", "Eggplant")
CONTRACT = Contract(SIZE, SIZE, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
TOML = "size = 48\nresize = 48\nmean = [0.5, 0.4, 0.3]\nstd = [0.2, 0.25, 0.3]\n"
KINDS: dict[str, dict[str, Any]] = {
    "torchscript-13-fixed": {"dynamo": False, "opset_version": 13},
    "torchscript-17": {"dynamo": False, "opset_version": 17, "dynamic_axes": {"x": {0: "b"}}, "input_names": ["x"]},
    "dynamo-18-fixed": {"dynamo": True, "opset_version": 18, "external_data": False},
    "dynamo-21-unoptimized": {"dynamo": True, "opset_version": 21, "optimize": False, "external_data": False},
}


PAIRS = tuple(zip(("resnet18", "mobilenet_v2", "mobilenet_v2", "resnet18"), KINDS, strict=True))


def build(name: str) -> nn.Module:
    """Return a torchvision network with random weights and statistics of batch normalisation that were really gathered."""
    torch.manual_seed(0)
    built: nn.Module = getattr(torchvision.models, name)(weights=None, num_classes=len(CLASSES))
    built.train()
    for module in built.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # a plain mean, good after a few batches
    with torch.no_grad():
        for _ in range(4):
            built(torch.randn(4, 3, SIZE, SIZE))
    return built.eval()


def tiny() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    return nn.Sequential(*layers, nn.Softmax(1)).eval()


def export_by_torch(network: nn.Module, file: Path, **options: Any) -> None:
    if not options.get("optimize", True):
        options["dynamic_shapes"] = ({0: torch.export.Dim("N")},)
    example = torch.rand(2 if "dynamic_shapes" in options else 1, 3, SIZE, SIZE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters warn of their own internals and of each other
        torch.onnx.export(network, (example,), file, verbose=False, **options)


def random_images(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


def original_answer(file: Path, images: NDArray[np.uint8], *, nhwc: bool = False) -> NDArray[np.float32]:
    """Return what the file itself gives, one image at a time."""
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    pixels = ((images / 255 - CONTRACT.mean) / CONTRACT.std).astype(np.float32)
    pixels = pixels if nhwc else pixels.transpose(0, 3, 1, 2)
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: np.ascontiguousarray(one[None])})[0] for one in pixels])


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
    return result


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_a_converted_network_answers_like_its_own_file(name: str, kind: str, tmp_path: Path) -> None:
    network, file, images = build(name), tmp_path / "model.onnx", random_images(5)
    export_by_torch(network, file, **KINDS[kind])
    model = convert_imported(read_imported(file, len(CLASSES), CONTRACT), CLASSES, CONTRACT)
    want, runner = original_answer(file, images), open_onnxruntime(serialize(model))
    for part in (images[:1], images[:2], images):
        np.testing.assert_allclose(runner.logits(part), want[: len(part)], atol=1e-4 * np.abs(want).max())
    kinds = [node.op_type for node in model.graph]
    assert kinds[:4] == ["Cast", "Transpose", "Mul", "Add"]
    assert kinds[-3:] == ["GlobalAveragePool", "Flatten", "Gemm"]
    assert not {"BatchNormalization", "Shape", "Reshape", "Constant", "Identity"} & set(kinds)
    convolutions = sum(isinstance(module, nn.Conv2d) for module in network.modules())
    assert sum(node.op_type == "Conv" for node in quantizable_nodes(model)) == convolutions
    assert len({node.name for node in model.graph}) == len(kinds)
    to_fp16(model)
    half = open_onnxruntime(serialize(model), float16=True).logits(images)
    np.testing.assert_allclose(half, want, atol=0.05 * np.abs(want).max())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES) + "\n\n")
    (tmp_path / "contract.toml").write_text(TOML)
    return tmp_path


def test_an_imported_model_passes_through_all_commands(photos: Path, folder: Path) -> None:
    """A fixed batch, a Softmax at the end, opset 13: exported, verified, evaluated, reported, and exported again."""
    file, out = folder / "model.onnx", folder / "ours"
    export_by_torch(tiny(), file, dynamo=False, opset_version=13)
    words = ["export", out, "--data", photos, "--no-engine", "--from-onnx", file]
    words += ["--untrained", "--classes", folder / "classes.txt", "--contract", folder / "contract.toml"]
    (fp32, *_), imported = answer(*words)["artifacts"], open_bundle(out)
    assert (fp32["reference"], fp32["parity"]["top1_agreement"], fp32["untrained"]) == ("source.onnx", 1.0, True)
    assert imported.variants() == ("fp32", "fp16", "int8", "int8-cpu")
    assert imported.file("source").read_bytes() == file.read_bytes()
    assert not (out / "weights.safetensors").exists()
    images = random_images(3)
    logits = open_onnxruntime(imported.file("model", "fp32")).logits(images)
    np.testing.assert_allclose(softmax(logits), original_answer(file, images), atol=1e-5)
    assert call("verify", out).exit_code == 0
    assert call("evaluate", out, "--data", photos, "--runtime", "onnxruntime", "--margin", "30").exit_code in (0, 3, 4)
    refused = failure("evaluate", out, "--data", photos, "--runtime", "torch")
    assert "no checkpoint, it was made from an ONNX file" in refused
    (out / "results/evaluate-test-only-onnxruntime.json").rename(out / "results/evaluate-test.json")
    assert call("report", out, "-o", folder / "report.html").exit_code == 0
    assert "--from-onnx model.onnx" in (folder / "report.html").read_text()
    before = imported.manifest
    assert import_onnx(out, file, folder / "classes.txt", folder / "contract.toml").manifest == before
    (folder / "contract.toml").write_text(TOML.replace("0.4", "0.5"))
    assert "holds another model, classes or contract" in failure(*words)


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


def test_a_file_with_tensorflows_layout_is_accepted(tmp_path: Path) -> None:
    file, images = tmp_path / "model.onnx", random_images(5)
    tensorflow_like(file)
    model = convert_imported(read_imported(file, 3, CONTRACT), CLASSES, CONTRACT)
    got = open_onnxruntime(serialize(model)).logits(images)
    np.testing.assert_allclose(softmax(got), original_answer(file, images, nhwc=True), atol=1e-5)
    assert np.ptp(got) > 0.01
    counts = Counter(node.op_type for node in model.graph)
    assert (counts["Transpose"], counts["Gemm"], counts["BatchNormalization"]) == (1, 1, 0)


def test_a_fixed_batch_that_cannot_be_made_dynamic_is_one_line(folder: Path) -> None:
    """Its last Reshape keeps three numbers, whatever the batch."""
    three = helper.make_node("Constant", [], ["three"], value_ints=[3])
    first = helper.make_node("Constant", [], ["first"], value_ints=[0])
    tail = [
        three,
        first,
        helper.make_node("Reshape", ["images", "three"], ["flat"]),
        helper.make_node("Unsqueeze", ["flat", "first"], ["scores"]),
    ]
    tensorflow_like(folder / "model.onnx", tail=tail, batch=1)
    with pytest.raises(VegrtError, match="batch size is fixed: export it with a dynamic batch"):
        import_onnx(folder / "out", folder / "model.onnx", folder / "classes.txt", folder / "contract.toml")
    assert not (folder / "out").exists()


def test_a_reshape_to_the_exported_batch_becomes_dynamic(folder: Path) -> None:
    shape = helper.make_node("Constant", [], ["shape"], value_ints=[1, 3])
    tail = [shape, helper.make_node("Reshape", ["images", "shape"], ["scores"])]
    tensorflow_like(folder / "model.onnx", tail=tail, batch=1)
    model = convert_imported(read_imported(folder / "model.onnx", 3, CONTRACT), CLASSES, CONTRACT)
    images = random_images(4)
    want = original_answer(folder / "model.onnx", images, nhwc=True)
    np.testing.assert_allclose(open_onnxruntime(serialize(model)).logits(images), want, atol=1e-5)


@pytest.mark.parametrize("allowzero", [0, 1])
def test_a_reshape_that_allows_zero_without_having_one_becomes_dynamic(allowzero: int, folder: Path) -> None:
    """torch's newer exporter sets `allowzero` on every Reshape."""
    shape = helper.make_node("Constant", [], ["shape"], value_ints=[1, 3])
    tail = [shape, helper.make_node("Reshape", ["images", "shape"], ["scores"], allowzero=allowzero)]
    tensorflow_like(folder / "model.onnx", tail=tail, batch=1, opset=14)
    model = convert_imported(read_imported(folder / "model.onnx", 3, CONTRACT), CLASSES, CONTRACT)
    images = random_images(4)
    want = original_answer(folder / "model.onnx", images, nhwc=True)
    np.testing.assert_allclose(open_onnxruntime(serialize(model)).logits(images), want, atol=1e-5)


@pytest.mark.parametrize(
    "pixels", [((0, 0, 0), (1 / 255,) * 3), ((0, 0, 0), (1, 1, 1)), ((0.5, 0.5, 0.5), (1 / 255,) * 3)]
)
def test_float16_works_where_an_optimizer_removed_operators_of_the_contract(pixels: Any, tmp_path: Path) -> None:
    """A mean of 0 adds nothing and a std of 1/255 multiplies by 1: such operators are dropped."""
    contract, images = Contract(SIZE, SIZE, *pixels), random_images(3)
    tensorflow_like(tmp_path / "model.onnx")
    model = convert_imported(read_imported(tmp_path / "model.onnx", 3, contract), CLASSES, contract)
    want = open_onnxruntime(serialize(model)).logits(images)
    to_fp16(model)
    got = open_onnxruntime(serialize(model), float16=True).logits(images)
    np.testing.assert_allclose(got, want, atol=0.05 * np.abs(want).max())


def test_weights_with_nan_are_named(tmp_path: Path) -> None:
    tensorflow_like(tmp_path / "model.onnx")
    proto = onnx.load(tmp_path / "model.onnx")
    stored = next(one for one in proto.graph.initializer if one.name == "w2")
    stored.CopyFrom(numpy_helper.from_array(np.full(stored.dims, np.nan, np.float32), "w2"))
    onnx.save(proto, tmp_path / "model.onnx")
    with pytest.raises(VegrtError, match="gives NaN or infinity for random pixels, its w2 contains NaN"):
        read_imported(tmp_path / "model.onnx", 3, CONTRACT)


def relu(**attributes: Any) -> onnx.NodeProto:
    return helper.make_node("Relu", ["images"], ["scores"], **attributes)


FLOAT = TensorProto.FLOAT
UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "two inputs": ({"inputs": [tensor("mask", FLOAT, 1)]}, "inputs pixels, mask, outputs scores; expected one image"),
    "two outputs": ({"outputs": [tensor("pooled", FLOAT, "n", 16)]}, "outputs scores, pooled; expected one image and"),
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
def test_a_model_that_is_no_image_classifier_is_one_line(name: str, tmp_path: Path) -> None:
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
def test_an_input_that_is_no_image_is_one_line(kind: int, shape: Any, message: str, tmp_path: Path) -> None:
    simple(tmp_path / "model.onnx", kind, *shape)
    with pytest.raises(VegrtError, match=message):
        read_imported(tmp_path / "model.onnx", 3, CONTRACT)


def test_unsuitable_files_are_one_line_and_write_nothing(folder: Path, photos: Path) -> None:
    tensorflow_like(folder / "model.onnx")
    words = ["--data", photos, "--classes", folder / "classes.txt", "--contract", folder / "contract.toml"]

    def refusal(model: Path) -> str:
        message = failure("export", folder / "out", *words, "--from-onnx", model)
        assert not (folder / "out").exists()
        return message

    assert "none.onnx: no such file; expected an ONNX model" in refusal(folder / "none.onnx")
    assert "not a readable ONNX model" in refusal(photos / "test/Beet/000.jpg")
    (folder / "classes.txt").write_text("a\nb\n")
    assert "gives 3 scores per image, --classes lists 2" in refusal(folder / "model.onnx")
    assert call("export", folder / "out", *words).exit_code == 2  # --classes without --from-onnx
    with pytest.raises(VegrtError, match="duplicate class b"):
        read_classes(write(folder / "twice.txt", "b\na\nb\n"))
    with pytest.raises(VegrtError, match=r"1 class name\(s\); expected at least 2"):
        read_classes(write(folder / "one.txt", "b\n"))


def write(file: Path, text: str) -> Path:
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TOML + "colour = 'BGR'\n", r"unknown key\(s\) colour; expected size, resize, mean, std"),
        ("size = 48\nresize = 48\n", "mean, std missing; expected size, resize, mean, std"),
        (TOML.replace("size = 48\n", "size = 48.5\n", 1), r"size is 48\.5; expected pixels"),
        (TOML.replace("0.4, ", ""), r"mean is \[0\.5, 0\.3\]; expected three numbers"),
        (TOML.replace("0.25", "-1"), "3 positive stds"),
        ("size = ", "not a TOML contract"),
        (f"{TOML}\nicc = 'p3'\n", "icc is 'p3'; expected the treatment of colour profiles, 'srgb'"),
        (
            "size = 48\nresize = 48\nmean = [123.675, 116.28, 103.53]\nstd = [58.395, 57.12, 57.375]\n",
            r"are for pixels in 0\.\.255; .*: mean = \[0\.485, 0\.456, 0\.406\], std = \[0\.229, 0\.224, 0\.225\]",
        ),
    ],
)
def test_an_invalid_contract_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(VegrtError, match=message):
        read_contract(write(tmp_path / "contract.toml", text))


def test_a_contract_is_read_unchanged(folder: Path) -> None:
    assert read_contract(folder / "contract.toml") == CONTRACT
    (folder / "contract.toml").write_text(f"{TOML}\nicc = 'ignore'\n")
    assert read_contract(folder / "contract.toml") == replace(CONTRACT, icc="ignore")
    assert read_classes(folder / "classes.txt") == CLASSES


def test_a_checkpoints_bundle_is_not_replaced(trained: Bundle, folder: Path) -> None:
    tensorflow_like(folder / "model.onnx")
    shutil.copytree(trained.path, folder / "out")
    with pytest.raises(VegrtError, match="holds another model"):
        import_onnx(folder / "out", folder / "model.onnx", folder / "classes.txt", folder / "contract.toml")
    assert open_bundle(folder / "out").manifest == trained.manifest
