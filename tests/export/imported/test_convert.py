"""Converted models answer like their own files in ONNX Runtime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import nn
from torchvision.models.mobilenetv2 import MobileNetV2
from torchvision.models.resnet import BasicBlock, ResNet

from tests.export.imported.classifiers import (
    CLASSES,
    CONTRACT,
    SIZE,
    export_by_torch,
    original_answer,
    random_images,
    softmax,
    tensor,
    tensorflow_like,
)
from vegrt.calibration.graph.onnx_graph import serialize
from vegrt.calibration.graph.placement import quantizable_nodes
from vegrt.errors import VegrtError
from vegrt.export.imported.convert import convert_imported
from vegrt.export.imported.onnx_file import ImportedRunner, read_imported
from vegrt.export.onnx.fp16 import to_fp16
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime
from vegrt.photo.contract import Contract

KINDS: dict[str, dict[str, Any]] = {
    "torchscript-13-fixed": {"dynamo": False, "opset_version": 13},
    "torchscript-17": {"dynamo": False, "opset_version": 17, "dynamic_axes": {"x": {0: "b"}}, "input_names": ["x"]},
    "dynamo-18-fixed": {"dynamo": True, "opset_version": 18, "external_data": False},
    "dynamo-21-unoptimized": {"dynamo": True, "opset_version": 21, "optimize": False, "external_data": False},
}

NETWORKS: dict[str, Callable[[], nn.Module]] = {  # with fewer blocks, because exporting takes time for each operator
    "resnet": lambda: ResNet(BasicBlock, [1, 1, 1, 1], num_classes=len(CLASSES)),
    "mobilenet": lambda: MobileNetV2(len(CLASSES), inverted_residual_setting=[[1, 16, 1, 1], [6, 24, 2, 2]]),
}
PAIRS = tuple(zip(("resnet", "mobilenet", "mobilenet", "resnet"), KINDS, strict=True))


def build(name: str) -> nn.Module:
    """Return a network of torchvision with random weights and statistics of batch normalisation that were really gathered."""
    torch.manual_seed(0)
    built = NETWORKS[name]()
    built.train()
    for module in built.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # a plain mean, good after a few batches
    with torch.no_grad():
        for _ in range(4):
            built(torch.randn(4, 3, SIZE, SIZE))
    return built.eval()


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


def test_a_file_with_tensorflows_layout_is_accepted(tmp_path: Path) -> None:
    file, images = tmp_path / "model.onnx", random_images(5)
    tensorflow_like(file)
    model = convert_imported(read_imported(file, 3, CONTRACT), CLASSES, CONTRACT)
    logits = open_onnxruntime(serialize(model)).logits(images)
    np.testing.assert_allclose(softmax(logits), original_answer(file, images, nhwc=True), atol=1e-5)
    assert np.ptp(logits) > 0.01
    counts = Counter(node.op_type for node in model.graph)
    assert (counts["Transpose"], counts["Gemm"], counts["BatchNormalization"]) == (1, 1, 0)


@pytest.mark.parametrize(("opset", "ir_version"), [(7, 3), (8, 3), (9, 4), (11, 6)])
def test_old_files_whose_weights_are_inputs_too_are_accepted(opset: int, ir_version: int, tmp_path: Path) -> None:
    """Before version 4 of ONNX's intermediate representation every weight had to be an input."""
    file, images = tmp_path / "model.onnx", random_images(3)
    tensorflow_like(file, opset=opset, tail=[helper.make_node("Identity", ["images"], ["scores"])])
    proto = onnx.load(file)
    proto.ir_version = ir_version
    proto.graph.input.extend(tensor(item.name, item.data_type, *item.dims) for item in proto.graph.initializer)
    onnx.save(proto, file)
    model = convert_imported(read_imported(file, 3, CONTRACT), CLASSES, CONTRACT)
    assert len(model.graph.inputs) == 1
    want = original_answer(file, images, nhwc=True)
    np.testing.assert_allclose(open_onnxruntime(serialize(model)).logits(images), want, atol=1e-5)


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
    logits = open_onnxruntime(serialize(model), float16=True).logits(images)
    np.testing.assert_allclose(logits, want, atol=0.05 * np.abs(want).max())


class Grey(nn.Module):
    """A network with one channel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.conv(images).relu().mean((2, 3)))
        return logits


def test_a_bgr_network_gets_its_channels_in_its_order(tmp_path: Path) -> None:
    contract, images, file = replace(CONTRACT, network_color="BGR"), random_images(4), tmp_path / "model.onnx"
    tensorflow_like(file)
    swapped = replace(CONTRACT, mean=CONTRACT.mean[::-1], std=CONTRACT.std[::-1])
    want = original_answer(file, images[..., ::-1], nhwc=True, contract=swapped)
    imported = read_imported(file, 3, contract)
    model = convert_imported(imported, CLASSES, contract)
    np.testing.assert_allclose(softmax(ImportedRunner(imported, contract).logits(images)), want, atol=1e-5)
    np.testing.assert_allclose(softmax(open_onnxruntime(serialize(model)).logits(images)), want, atol=1e-5)
    to_fp16(model)
    logits = open_onnxruntime(serialize(model), float16=True).logits(images)
    np.testing.assert_allclose(softmax(logits), want, atol=0.02)


def test_a_grey_network_gets_the_luminance(tmp_path: Path) -> None:
    contract, file = Contract(SIZE, SIZE, (0.4,), (0.3,), network_color="L"), tmp_path / "model.onnx"
    torch.manual_seed(0)
    export_by_torch(Grey().eval(), file, image=(1, SIZE, SIZE), dynamo=False, opset_version=17)
    grey = random_images(4)[..., :1]
    want = original_answer(file, grey, contract=contract)
    imported = read_imported(file, 3, contract)
    model = convert_imported(imported, CLASSES, contract)
    images = np.repeat(grey, 3, axis=3)
    np.testing.assert_allclose(ImportedRunner(imported, contract).logits(images), want, atol=1e-5)
    np.testing.assert_allclose(open_onnxruntime(serialize(model)).logits(images), want, atol=1e-5)
    to_fp16(model)
    np.testing.assert_allclose(open_onnxruntime(serialize(model), float16=True).logits(images), want, atol=0.02)
    with pytest.raises(VegrtError, match=r"\(1, 1, 48, 48\); expected .*for a grey network: network_color = 'L'"):
        read_imported(file, 3, CONTRACT)
