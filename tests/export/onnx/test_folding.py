"""What is the same for all images is computed at the export, on a hand-made graph and on a module with standardised weights."""

from __future__ import annotations

import warnings

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn.functional import conv2d

from vegrt.calibration.graph.onnx_graph import copy_graph, serialize
from vegrt.calibration.graph.placement import quantizable_nodes
from vegrt.export.onnx.folding import fold_constants
from vegrt.export.onnx.model import EXPORTERS, Exporter, by_torch_export, by_torchscript
from vegrt.export.onnx.tidy import tidy
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime
from vegrt.networks import WithPreprocessing
from vegrt.photo.contract import Contract

SIDE, WIDTH = 8, 4


class Standardised(nn.Conv2d):
    """A convolution whose weights are standardised with every image, as in BiT."""

    def forward(self, images: Tensor) -> Tensor:
        mean, std = self.weight.mean((1, 2, 3), keepdim=True), self.weight.std((1, 2, 3), keepdim=True)
        return conv2d(images, (self.weight - mean) / (std + 1e-6), self.bias)


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_standardised_weights_are_stored_and_named_after_their_module(exporter: Exporter) -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(Standardised(3, WIDTH, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = WithPreprocessing(layers, Contract(SIDE, SIDE)).eval()
    run = by_torch_export if exporter == "torch.export" else by_torchscript
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters warn of their own internals
        model = run(network, torch.zeros((2, SIDE, SIDE, 3), dtype=torch.uint8), 20)
    tidy(model)
    (layer,) = quantizable_nodes(model)
    assert layer.op_type == "Conv"
    assert layer.name == "0" or exporter == "torchscript"
    images = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3)).astype(np.uint8)
    with torch.inference_mode():
        want = network(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(open_onnxruntime(serialize(model)).logits(images), want, rtol=1e-4, atol=1e-5)


def computing_model(between: str) -> ir.Model:
    """Return images x (weight -> `between` -> twice), where the first reading of the weight is an operator without inputs."""
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], "cast", to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["means"], "means", keepdims=0),
        helper.make_node("RandomNormal", [], ["noise"], "noise", shape=[3, WIDTH])
        if between == "noise"
        else helper.make_node("Identity", ["weight"], ["noise"], "same"),
        helper.make_node("Add", ["noise", "weight"], ["twice"], "twice"),
        helper.make_node("MatMul", ["means", "twice"], ["logits"], "product"),
    ]
    stored = {"weight": np.ones((3, WIDTH), np.float32), "axes": np.array([1, 2])}
    graph = helper.make_graph(
        nodes,
        "computing",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", WIDTH])],
        [numpy_helper.from_array(array, name) for name, array in stored.items()],
    )
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10))


def test_only_what_is_the_same_each_time_is_folded() -> None:
    model = computing_model("weight")
    images = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3)).astype(np.uint8)
    want = open_onnxruntime(serialize(model)).logits(images)
    fold_constants(model)
    assert [node.op_type for node in model.graph] == ["Cast", "ReduceMean", "MatMul"]
    assert np.array_equal(open_onnxruntime(serialize(model)).logits(images), want)
    random = computing_model("noise")
    before = [node.name for node in copy_graph(random).graph]
    fold_constants(random)
    assert [node.name for node in random.graph] == before
