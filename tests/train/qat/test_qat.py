"""Quantization-aware training: it rounds as the exported models do, and recovers accuracy lost to rounding."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from tests.command_line import call
from vegrt.backbones import BACKBONES, build_network, contract_of
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import changing
from vegrt.bundle.manifest import Artifact, Manifest
from vegrt.calibration.graph.encode import quantize_weights
from vegrt.calibration.graph.onnx_graph import serialize
from vegrt.calibration.graph.placement import Encoding, quantizable_layers
from vegrt.calibration.graph.quantize import WEIGHT_LEVELS
from vegrt.calibration.saved import read_calibration
from vegrt.dataset.photos import read_split
from vegrt.export.onnx.model import export_fp32
from vegrt.networks import WithPreprocessing, load_network
from vegrt.photo.preprocess import load_image
from vegrt.train.fit import train
from vegrt.train.history.runs_db import list_runs
from vegrt.train.qat.learner import quantized_network
from vegrt.train.qat.network import GraphNetwork, fake_quantized
from vegrt.train.recipe import make_recipe


def pixels(data: Path, bundle: Bundle) -> NDArray[np.uint8]:
    split = read_split(data, "validation")
    return np.stack([load_image(photo.path, bundle.manifest.contract) for photo in split.photos])


@torch.no_grad()
def answers(network: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    logits: NDArray[np.float32] = network.eval()(torch.from_numpy(images)).numpy()
    return logits


@pytest.mark.parametrize("encoding", ["signed", "unsigned"])
@pytest.mark.parametrize(("everywhere", "share"), [(False, 0.05), (True, 0.5)], ids=["two", "all"])
def test_before_training_it_answers_like_the_exported_model(
    bundle: Bundle, photos: Path, encoding: Encoding, everywhere: bool, share: float
) -> None:
    """Compares with ONNX Runtime without fusions, which sum in another order. Rounding is discontinuous: a value that rounds
    differently in one layer changes the next ones, so all layers together may differ more than two.
    """
    graph = ir.load(bundle.file("model", "fp32"))
    float_layers = () if everywhere else tuple(quantizable_layers(graph, encoding)[1:-1])
    calibration = replace(read_calibration(bundle.file("calibration")), float_layers={encoding: float_layers})
    calibration.quantize(graph, encoding)
    images = pixels(photos, bundle)
    expected = unfused(serialize(graph), images)
    logits = answers(quantized_network(load_network(bundle), bundle, calibration, encoding), images)
    unrounded = answers(WithPreprocessing(load_network(bundle), bundle.manifest.contract), images)
    assert (logits.argmax(1) == expected.argmax(1)).mean() >= 0.95
    assert np.abs(logits - expected).mean() < share * np.abs(unrounded - expected).mean()


def unfused(model: bytes, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    logits: NDArray[np.float32] = session.run(["logits"], {"images": images})[0]
    return logits


@pytest.mark.parametrize("levels", sorted(set(WEIGHT_LEVELS.values())))
def test_weights_round_as_encoded(levels: int) -> None:
    weight = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    weight[2] = 0
    stored, scales = quantize_weights(weight.numpy(), 0, levels)
    expected = stored.astype(np.float32) * scales.reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(fake_quantized(weight, levels).numpy(), expected, rtol=1e-6)


def test_gradients_pass_rounding_and_stop_at_a_range(bundle: Bundle) -> None:
    calibration = read_calibration(bundle.file("calibration"))
    network = load_network(bundle)
    statistics = {name: tensor.clone() for name, tensor in network.named_buffers()}
    graph = quantized_network(network, bundle, calibration, "signed").train()
    graph(torch.randint(0, 256, (2, 48, 48, 3), dtype=torch.uint8)).square().sum().backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()] == []
    assert all(torch.equal(tensor, statistics[name]) for name, tensor in network.named_buffers())


@pytest.mark.parametrize("backbone", ["mobilenet_v2"])
def test_the_graph_without_rounding_is_the_network(backbone: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = build_network(backbone, 3).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # fresh ones do nothing, which would hide a wrong fold
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            nn.init.uniform_(module.get_buffer("running_mean"), -0.2, 0.2)
            nn.init.uniform_(module.get_buffer("running_var"), 0.5, 1.5)
    file = tmp_path / "weights.safetensors"
    save_file(network.state_dict(), file)
    manifest = _manifest(backbone)
    bundle = Bundle(tmp_path, replace(manifest, artifacts=(Artifact(file.name, "weights", "", "", 0),)))
    graph = GraphNetwork(network, export_fp32(bundle), (32, 32, 3), 127)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    expected = answers(WithPreprocessing(network, manifest.contract), images)
    np.testing.assert_allclose(answers(graph, images), expected, atol=1e-3 * np.abs(expected).max())
    assert {backbone} <= BACKBONES.keys()


def _manifest(backbone: str) -> Manifest:

    return Manifest(backbone, ("a", "b", "c"), contract_of(backbone, 32), {"backbone": backbone, "head": "gap"})


def coarse(bundle: Bundle, factor: float) -> None:
    """Make the calibrated ranges `factor` times as wide, so that rounding lowers the accuracy."""
    content = json.loads(bundle.file("calibration").read_text())
    for tensor in content["tensors"].values():
        for encoding in ("signed", "unsigned"):
            tensor[encoding] = {name: [factor * end for end in span] for name, span in tensor[encoding].items()}
    with changing(bundle.path) as staging:
        staging.file("calibration.json").write_text(json.dumps(content))
        staging.add("calibration.json", "calibration")
        staging.finish(bundle.manifest)


def loss_of(network: nn.Module, images: NDArray[np.uint8], labels: list[int]) -> float:
    return float(nn.functional.cross_entropy(torch.from_numpy(answers(network, images)), torch.tensor(labels)))


def test_training_recovers_the_loss_from_rounding(copied: Bundle, photos: Path, tmp_path: Path) -> None:
    coarse(copied, 24.0)
    copied = open_bundle(copied.path)
    calibration = read_calibration(copied.file("calibration"))
    recipe = make_recipe(qat=str(copied.path), epochs=2, batch_size=12, lr=3e-4, augment="none")
    new_bundle = train(photos, tmp_path / "new", recipe, runs_db=tmp_path / "runs.db")

    images, labels = pixels(photos, copied), [photo.label for photo in read_split(photos, "validation").photos]
    before = loss_of(quantized_network(load_network(copied), copied, calibration, "signed"), images, labels)
    # other weights, the same graph
    trained = quantized_network(load_network(new_bundle), copied, calibration, "signed")
    after = loss_of(trained, images, labels)
    assert after < 0.8 * before
    summary = new_bundle.manifest.training
    assert summary["validation_loss"] == pytest.approx(after, rel=0.02)  # of the rounded network, in the best epoch
    assert summary["recipe"]["qat_sha256"] == copied.sha256()
    assert new_bundle.artifact("weights").sha256 != copied.artifact("weights").sha256
    assert [run.status for run in list_runs(tmp_path / "runs.db")] == ["finished"]
    assert sorted(file.name for file in new_bundle.path.iterdir()) == ["manifest.json", "weights.safetensors"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--backbone", "resnet18"], "already determines --backbone"),
        (["--weights", "none", "--head", "gap"], "already determines --head, --weights"),
        (["--epochs-head", "3"], "qat trains all layers at once"),
        (["--qat-encoding", "int4"], "expected one of int8, int8-cpu"),
    ],
)
def test_flags_that_do_not_go_with_qat_are_refused(
    bundle: Bundle, photos: Path, tmp_path: Path, flags: list[str], message: str
) -> None:
    assert message in refusal(bundle.path, photos, tmp_path / "new", *flags)


def test_bundles_that_cannot_be_fine_tuned_are_refused(
    bundle: Bundle, trained: Bundle, photos: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    assert "no fp32 model (variants: none)" in refusal(trained.path, photos, new)
    assert "is also the bundle of --qat, which would be replaced" in refusal(bundle.path, photos, bundle.path)
    without = without_roles(bundle, tmp_path / "uncalibrated", "calibration")
    assert "no calibration (variants: " in refusal(without, photos, new)
    foreign = without_roles(bundle, tmp_path / "foreign", "weights")
    content = json.loads((foreign / "manifest.json").read_text())
    content["artifacts"][0]["role"] = "source"
    (foreign / "manifest.json").write_text(json.dumps(content))
    assert "made from an ONNX file" in refusal(foreign, photos, new)


def test_other_classes_are_refused(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        for name in ("Beet", "Cress"):
            shutil.copytree(photos / split / name, tmp_path / "data" / split / name)
    assert "the data's classes are Beet, Cress" in refusal(bundle.path, tmp_path / "data", tmp_path / "new")


def without_roles(bundle: Bundle, path: Path, role: str) -> Path:
    """Return a copy of the bundle without the files of a role; it keeps only float graphs."""
    path.mkdir()
    content = json.loads((bundle.path / "manifest.json").read_text())
    artifacts = [
        artifact
        for artifact in content["artifacts"]
        if artifact["role"] in {"weights", "model", "calibration"} - {role}
    ]
    content["artifacts"] = [artifact for artifact in artifacts if artifact["variant"] in ("", "fp32")]
    for artifact in content["artifacts"]:
        shutil.copyfile(bundle.path / artifact["path"], path / artifact["path"])
    (path / "manifest.json").write_text(json.dumps(content))
    return path


def refusal(qat: Path, data: Path, out: Path, *flags: str) -> str:
    result = call("train", "--qat", qat, "--data", data, "--out", out, *flags)
    assert result.exit_code != 0
    assert not (out / ".train").exists()
    return str(result.exception) + result.output
