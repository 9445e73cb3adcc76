"""The deployed form answers like the trained network, with fewer operators; torch is the oracle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from vegrt.backbones import contract_of
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import changing
from vegrt.bundle.manifest import Manifest
from vegrt.calibration.graph.onnx_graph import serialize
from vegrt.export.onnx.deployed import deployed
from vegrt.export.onnx.divergence import first_divergence
from vegrt.export.onnx.model import export_fp32
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime
from vegrt.infer.runtimes.torch import TorchRunner

SIZE = 64


def trained(name: str) -> nn.Module:
    """Return a network whose batch normalisations have statistics and factors that change the answers."""
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=3).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for value in module.state_dict().values():
                if value.is_floating_point():
                    nn.init.uniform_(value, 0.6, 1.4)
    return network


@pytest.mark.parametrize(
    ("name", "size", "convolutions"),
    [("repvgg_a0", SIZE, 22), ("mobileone_s0", SIZE, 43), ("repghostnet_050", SIZE, 95), ("levit_128s", 224, 4)],
)
def test_merged_branches_answer_like_the_trained_network(name: str, size: int, convolutions: int) -> None:
    network, images = trained(name), torch.rand(2, 3, size, size)
    with torch.inference_mode():
        want = network(images)
        form = deployed(network)
        torch.testing.assert_close(form(images), want, rtol=1e-3, atol=1e-3 * float(want.abs().max()))
        torch.testing.assert_close(network(images), want)  # the trained network is not changed
    assert sum(isinstance(module, nn.Conv2d) for module in form.modules()) == convolutions
    if name != "repghostnet_050":  # torch's exporters fold the others
        assert not any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in form.modules())


def trained_bundle(path: Path, name: str) -> Bundle:
    with changing(path) as staging:
        save_file(trained(name).state_dict(), staging.file("weights.safetensors"))
        staging.add("weights.safetensors", "weights")
        model = {"backbone": f"timm:{name}", "head": "gap"}
        staging.finish(Manifest(name, ("a", "b", "c"), contract_of(f"timm:{name}", SIZE), model))
    return open_bundle(path)


def test_the_exported_graph_is_that_of_the_deployed_form(tmp_path: Path) -> None:
    bundle = trained_bundle(tmp_path / "bundle", "repvgg_a0")
    graph = export_fp32(bundle)
    operators = [node.op_type for node in graph.graph]
    assert operators.count("Conv") == 22
    assert "BatchNormalization" not in operators
    images = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)
    answers, want = open_onnxruntime(serialize(graph)).logits(images), TorchRunner(bundle).logits(images)
    np.testing.assert_allclose(answers, want, atol=1e-3 * np.abs(want).max())
    assert "no layer diverges" in first_divergence(bundle, serialize(graph), images[0], 1e-3)


def test_layers_are_compared_before_the_activation_that_is_a_part_of_their_norm(tmp_path: Path) -> None:
    bundle = trained_bundle(tmp_path / "bundle", "test_efficientnet")
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    assert "no layer diverges" in first_divergence(bundle, serialize(export_fp32(bundle)), image, 1e-3)
