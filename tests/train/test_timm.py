"""Models of timm are trained and exported like those of torchvision."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from vegrt.backbones import build_network, contract_of, find_backbone
from vegrt.calibration.graph.onnx_graph import serialize
from vegrt.errors import ModelError
from vegrt.export.onnx.model import export_fp32
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime
from vegrt.infer.runtimes.torch import TorchRunner
from vegrt.photo.contract import Contract
from vegrt.photo.preprocess import prepare
from vegrt.train.data.samples import DecodedPhotos, InputTransform, Samples
from vegrt.train.fit import train
from vegrt.train.loop.cached_activations import CachedSets, cache_activations
from vegrt.train.loop.freeze import freeze, frozen_modules, parameters_by_stage
from vegrt.train.loop.head import Head, compute_features
from vegrt.train.loop.learner import Learner
from vegrt.train.loop.split_network import split_at
from vegrt.train.loop.weights import load_weights
from vegrt.train.recipe import Recipe

TIMM_DATA: Any = importlib.import_module("timm.data")  # it has no types

pytestmark = pytest.mark.usefixtures("one_thread")


def test_contract_and_stages_come_from_timm() -> None:
    backbone = find_backbone("timm:vit_tiny_patch16_224")
    assert contract_of(backbone.name, 224).mean == (0.5, 0.5, 0.5)
    network = build_network(backbone.name, 3)
    groups = parameters_by_stage(network, backbone)
    assert list(groups)[-1] == "rest"  # the position embedding
    assert sum(map(len, groups.values())) == len(list(network.parameters()))


@pytest.mark.parametrize("name", ["resnet18.a1_in1k", "vit_tiny_patch16_224", "convnext_atto"])
def test_pixels_are_those_of_timms_own_transform(name: str) -> None:
    """The photos are noise, so that a shift by one pixel or another filter would show."""
    config = TIMM_DATA.resolve_data_config(model=build_network(f"timm:{name}", 2))
    side = config["input_size"][-1]
    transform = TIMM_DATA.create_transform(**config, normalize=False)
    for size in ((301, 417), (640, 333), (side, side), (1000, 257)):
        image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8))
        expected = transform(image).permute(1, 2, 0).numpy()
        assert np.array_equal(prepare(image, contract_of(f"timm:{name}", side)), expected), size


@pytest.mark.parametrize(
    ("config", "contract"),
    [
        ({"crop_mode": "squash", "crop_pct": 1.0}, Contract((48, 64), fit="stretch", rounding="torchvision")),
        ({"crop_mode": "squash", "crop_pct": 0.9}, Contract((48, 64), (53, 71), fit="stretch", rounding="torchvision")),
        ({"crop_pct": 0.875}, Contract((48, 64), (54, 73), rounding="torchvision")),
        (
            {"crop_mode": "border", "crop_pct": 0.9},
            Contract((48, 64), (53, 71), fit="letterbox", fill=(124, 116, 104), rounding="torchvision"),
        ),
        ({"crop_mode": "border", "crop_pct": 1.0}, Contract((48, 64), fit="letterbox", fill=(124, 116, 104))),
    ],
)
@pytest.mark.parametrize("size", [(301, 417), (640, 333), (50, 60), (20, 30)])
def test_every_crop_mode_of_timm_has_a_contract(
    config: dict[str, Any], contract: Contract, size: tuple[int, int]
) -> None:
    transform = TIMM_DATA.create_transform((3, 48, 64), interpolation="bilinear", normalize=False, **config)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8))
    assert np.array_equal(prepare(image, contract), transform(image).permute(1, 2, 0).numpy())


def test_a_given_fit_replaces_that_of_timm() -> None:
    contract = contract_of("timm:resnet18", 64, fit="letterbox", interpolation="bicubic")
    assert (contract.resize, contract.fit, contract.interpolation) == (64, "letterbox", "bicubic")
    plain = contract_of("timm:resnet18", 64, fit="crop", interpolation="bilinear")
    assert (plain.edition, plain.resize) == (1, 64)
    assert contract_of("resnet18", 64).edition == 1


def test_frozen_stages_of_timm_can_be_split_off() -> None:
    backbone = find_backbone("timm:mobilenetv3_small_050")
    network = build_network(backbone.name, 3).eval()
    first, tail = split_at(network, backbone, "blocks.2")
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(tail(first(images)), network(images))
    frozen = frozen_modules(network, backbone, "blocks.2")
    parameters = {id(parameter) for module in frozen for parameter in module.parameters()}
    assert {id(parameter) for parameter in first.parameters()} == parameters


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "ghostnet_050"])
def test_frozen_stages_that_cannot_be_split_off_are_computed_at_every_step(
    name: str, colours: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = Recipe(backbone=f"timm:{name}", weights="none", size=224)
    backbone = find_backbone(recipe.backbone)
    learner = Learner(build_network(backbone.name, 3), recipe, torch.device("cpu"), None)
    object.__setattr__(recipe, "freeze_until", backbone.stages[3][0])  # which random weights rule out elsewhere
    samples = Samples(
        DecodedPhotos((), 0, lambda path: np.zeros((1, 1, 3), np.uint8), ()), InputTransform(learner.contract, "full")
    )
    assert cache_activations(learner, samples, samples, limit_bytes=0) == CachedSets(samples, samples, 0)
    assert "computing its frozen stages at every step" in caplog.text


def test_a_position_embedding_is_frozen_with_the_stages_after_it() -> None:
    backbone = find_backbone("timm:vit_tiny_patch16_224")
    network = build_network(backbone.name, 3)
    freeze(network, backbone, frozen_modules(network, backbone, "blocks.0"))
    assert "rest" not in parameters_by_stage(network, backbone)
    convnext = find_backbone("timm:convnext_atto")
    network = build_network(convnext.name, 3)
    freeze(network, convnext, frozen_modules(network, convnext, "stages.0"))
    assert network.get_parameter("head.norm.weight").requires_grad


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("vit_tiny_patch16_224", ("head",)),
        ("deit_tiny_distilled_patch16_224", ("head", "head_dist")),
        ("levit_128s", ("head", "head_dist")),  # each with a batch normalisation
        ("efficientformerv2_s0", ("head", "head_dist")),
        ("crossvit_tiny_240", ("head.0", "head.1")),  # of different widths
        ("resnetv2_50", ("head.fc",)),  # a 1 x 1 convolution
        ("dla34", ("fc",)),
        ("eva02_tiny_patch14_224", ("head",)),  # which has none by default
    ],
)
def test_every_kind_of_head_is_trained_alone_on_features(name: str, heads: tuple[str, ...], tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = find_backbone(f"timm:{name}")
    assert backbone.heads == heads
    network = build_network(backbone.name, 3).eval()
    layers = [network.get_submodule(head) for head in heads]
    size = backbone.size or 64
    images, labels = torch.rand(2, 3, size, size), torch.tensor([0, 1])
    features = compute_features(network, layers, [(images, labels)], 2, torch.device("cpu"))
    head = Head(layers, features.shapes).eval()
    with torch.inference_mode():
        want = network(images)
        tolerance = 0.02 * float(want.abs().max())  # features may be computed in bfloat16
        torch.testing.assert_close(head(features.values), want, rtol=0, atol=tolerance)
    groups = parameters_by_stage(network, backbone)
    assert {id(parameter) for parameter in groups["head"]} == {id(parameter) for parameter in head.parameters()}
    assert sum(map(len, groups.values())) == len(list(network.parameters()))
    save_file(build_network(backbone.name, 2).state_dict(), tmp_path / "other.safetensors")
    load_weights(network, backbone.name, tmp_path / "other.safetensors")  # of two classes: all but the heads is taken


def test_a_head_whose_answer_is_not_the_networks_is_refused() -> None:
    """Such as one whose logits the network still changes."""
    layer = nn.Linear(4, 3)
    network = nn.Sequential(nn.Flatten(), layer, nn.Softmax(1))
    batch = torch.rand(2, 4, 1), torch.tensor([0, 1])
    with pytest.raises(ModelError, match="cannot be trained alone; expected --epochs-head 0"):
        compute_features(network, [layer], [batch], 2, torch.device("cpu"))


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("resnet18.nonsense", 224, "timm cannot build it"),
        ("vit_tiny_patch16_224", 64, "expected 224; add --size 224"),
    ],
)
def test_models_that_timm_cannot_build_are_refused_early(name: str, size: int, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        contract_of(f"timm:{name}", size)


@pytest.mark.parametrize(
    ("name", "message"), [("resnet19x", "similar names: resnet1"), ("zzz", "no model with a similar name")]
)
def test_an_unknown_name_is_an_error_that_lists_similar_names(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        find_backbone(f"timm:{name}")


def test_the_onnx_model_of_a_trained_timm_model_answers_like_torch(colours: Path, tmp_path: Path) -> None:
    recipe = Recipe(backbone="timm:test_efficientnet", weights="none", size=32, batch_size=8, epochs_head=0, epochs=1)
    bundle = train(colours, tmp_path / "small", recipe)
    (tmp_path / "fp32.onnx").write_bytes(serialize(export_fp32(bundle)))
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    answers = open_onnxruntime(tmp_path / "fp32.onnx").logits(pixels)
    np.testing.assert_allclose(answers, TorchRunner(bundle).logits(pixels), rtol=1e-3, atol=1e-4)
